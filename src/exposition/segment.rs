//! Segments of a gzip page: runs of blocks that are compressed together and cached.
//!
//! Compressed one by one, small blocks compress badly, and each costs a scrape more than its bytes.

use std::collections::HashMap;

use super::Format;
use super::block::{Block, Deflated};
use super::body::{BodyWriter, PageBody};

/// A segment ends once its small blocks have this many bytes.
const ENOUGH: usize = 16 * 1024;

/// A segment also ends after the blocks of this many fragments.
///
/// A block that grows then moves the ends of few other segments. Adding or removing a fragment
/// moves all segments after it.
const TOGETHER: usize = 32;

/// Segments of the last page by their first block, for reuse by the next page.
///
/// A segment is built again only if one of its blocks was replaced.
#[derive(Debug, Default)]
pub(crate) struct SegmentCache {
    /// Segments without a header, which pages of both formats share.
    samples: Segments,
    /// Segments with a header, by format.
    headed: [Segments; 2],
}

impl SegmentCache {
    /// Drops what only pages of this format use.
    pub(crate) fn drop_format(&mut self, format: Format) {
        self.headed[format as usize].clear();
    }

    /// Returns where the contents of the segments without a header are.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> std::collections::BTreeSet<*const u8> {
        let bodies = self.samples.values().map(|segment| segment.body.start());
        bodies.collect()
    }
}

type Segments = HashMap<usize, Segment>;

#[derive(Debug)]
struct Segment {
    blocks: Box<[Block]>,
    body: PageBody,
}

/// Writes blocks to a page in segments.
pub(super) struct SegmentWriter<'a> {
    page: &'a mut BodyWriter,
    /// Caches for the next page, of segments without and with a header; `None` for a page that is
    /// built only once.
    kept: Option<[&'a mut Segments; 2]>,
    before: [Segments; 2],
    open: Vec<&'a Block>,
    /// Whether `open` has a header.
    headed: bool,
    /// Whether the current family changes with each poll.
    volatile: bool,
    /// Whether `open` has blocks of such a family.
    short_lived: bool,
    /// Size of the small blocks of samples in `open`, in bytes.
    bytes: usize,
    /// Index of the group of [`TOGETHER`] fragments that the last block belongs to.
    neighbours: usize,
}

impl<'a> SegmentWriter<'a> {
    pub(super) fn new(
        page: &'a mut BodyWriter,
        cache: Option<&'a mut SegmentCache>,
        format: Format,
    ) -> Self {
        let mut kept = cache.map(|cache| [&mut cache.samples, &mut cache.headed[format as usize]]);
        let before = kept
            .as_mut()
            .map(|kept| kept.each_mut().map(|cache| std::mem::take(*cache)));
        Self {
            page,
            before: before.unwrap_or_default(),
            kept,
            open: Vec::new(),
            headed: false,
            volatile: false,
            short_lived: false,
            bytes: 0,
            neighbours: 0,
        }
    }

    /// Adds a block of the fragment with this index among all fragments of the page.
    pub(super) fn block_of(&mut self, fragment: usize, block: &'a Block) {
        if self.neighbours != fragment / TOGETHER {
            self.neighbours = fragment / TOGETHER;
            self.end();
        }
        self.block(block);
    }

    /// Adds the header of a family, and whether that changes with each poll.
    ///
    /// Its size does not count, so that the segments of both formats end at the same blocks.
    pub(super) fn header(&mut self, block: &'a Block, volatile: bool) {
        self.open.push(block);
        self.headed = true;
        self.volatile = volatile;
    }

    fn block(&mut self, block: &'a Block) {
        self.open.push(block);
        self.short_lived |= self.volatile;
        if !block.is_large() {
            self.bytes += block.bytes();
        }
        if self.bytes >= ENOUGH {
            self.end();
        }
    }

    /// Ends the current segment. It is taken from the cache if its blocks have not changed.
    pub(super) fn end(&mut self) {
        let Some(first) = self.open.first().map(|block| block.id()) else {
            return;
        };
        let cache = usize::from(std::mem::take(&mut self.headed));
        let before = self.before[cache].remove(&first);
        let same = |piece: &Segment| {
            let ids = self.open.iter().map(|block| block.id());
            piece.blocks.iter().map(Block::id).eq(ids)
        };
        let piece = before.filter(same).unwrap_or_else(|| self.piece());
        self.page.add(&piece.body);
        if let Some(kept) = &mut self.kept {
            kept[cache].insert(first, piece);
        }
        self.open.clear();
        self.short_lived = false;
        self.bytes = 0;
    }

    fn piece(&self) -> Segment {
        // One of the targets in a segment is usually polled before the next scrape. Compressing the
        // freshness of all of them well would be most of the cost of that scrape.
        let deflate = match self.kept {
            Some(_) if !self.short_lived => Deflated::new,
            _ => Deflated::once,
        };
        let mut body = BodyWriter::new(self.page.encoding());
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
        Segment {
            blocks: self.open.iter().copied().cloned().collect(),
            body: body.finish(),
        }
    }
}
