//! Blocks that follow each other on a page, taken together: one by one, small ones deflate badly, and each costs a scrape
//! more than its bytes.

use std::collections::HashMap;

use super::block::{Block, Deflated};
use super::body::BodyWriter;

/// A piece ends where its small blocks have so many bytes.
const ENOUGH: usize = 16 * 1024;

/// And behind the blocks of so many fragments, so that a text that grows moves the ends of few other pieces. A fragment
/// that comes or goes moves all behind it.
const TOGETHER: usize = 32;

/// The pieces of a page, each by its first block, kept for the next page: a piece is made again only if a block of it is
/// another one.
#[derive(Debug, Default)]
pub(crate) struct SegmentCache(HashMap<usize, Segment>);

#[derive(Debug)]
struct Segment {
    blocks: Box<[Block]>,
    body: BodyWriter,
}

/// Adds blocks to a page, in pieces.
pub(super) struct SegmentWriter<'a> {
    page: &'a mut BodyWriter,
    /// None for a page that no other one follows.
    kept: Option<&'a mut SegmentCache>,
    before: SegmentCache,
    open: Vec<&'a Block>,
    /// Of small blocks.
    bytes: usize,
    /// Of which [`TOGETHER`] fragments the last block was.
    neighbours: usize,
}

impl<'a> SegmentWriter<'a> {
    pub(super) fn new(page: &'a mut BodyWriter, mut kept: Option<&'a mut SegmentCache>) -> Self {
        Self {
            page,
            before: kept.as_deref_mut().map(std::mem::take).unwrap_or_default(),
            kept,
            open: Vec::new(),
            bytes: 0,
            neighbours: 0,
        }
    }

    /// A block of the fragment that has this place among all of them.
    pub(super) fn block_of(&mut self, fragment: usize, block: &'a Block) {
        if self.neighbours != fragment / TOGETHER {
            self.neighbours = fragment / TOGETHER;
            self.end();
        }
        self.block(block);
    }

    pub(super) fn block(&mut self, block: &'a Block) {
        self.open.push(block);
        if !block.is_large() {
            self.bytes += block.bytes();
        }
        if self.bytes >= ENOUGH {
            self.end();
        }
    }

    /// Ends the piece.
    pub(super) fn end(&mut self) {
        let Some(first) = self.open.first().map(|block| block.id()) else {
            return;
        };
        let before = self.before.0.remove(&first);
        let same = |piece: &Segment| {
            let ids = self.open.iter().map(|block| block.id());
            piece.body.encoding == self.page.encoding && piece.blocks.iter().map(Block::id).eq(ids)
        };
        let piece = before.filter(same).unwrap_or_else(|| self.piece());
        self.page.add(&piece.body);
        if let Some(kept) = &mut self.kept {
            kept.0.insert(first, piece);
        }
        self.open.clear();
        self.bytes = 0;
    }

    fn piece(&self) -> Segment {
        let deflate = match self.kept {
            Some(_) => Deflated::new,
            None => Deflated::once,
        };
        let mut body = BodyWriter::new(self.page.encoding);
        for run in self.open.chunk_by(|a, b| !a.is_large() && !b.is_large()) {
            let series = run.iter().map(|block| block.series()).sum();
            if let [alone] = run {
                body.text(alone.text().clone(), series, |text| {
                    alone.deflated().unwrap_or_else(|| deflate(text))
                });
            } else {
                let texts: Vec<_> = run.iter().map(|block| &block.text()[..]).collect();
                body.text(texts.concat().into(), series, deflate);
            }
        }
        body.join();
        Segment {
            blocks: self.open.iter().copied().cloned().collect(),
            body,
        }
    }
}
