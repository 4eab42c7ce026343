//! Segments of a gzip page: runs of blocks that are compressed together and cached.
//!
//! Compressed one by one, small blocks compress badly, and each costs a scrape more than its bytes.

use super::block::{Block, Deflated};
use super::body::{BodyWriter, PageBody};
use super::header::FamilyHeader;
use super::page::in_page_order;
use super::{Encoding, Format, Fragment, HEADERS};
use crate::metrics::FIRST_VOLATILE;

/// A segment ends once its small blocks have this many bytes.
const ENOUGH: usize = 16 * 1024;

/// Number of neighbouring fragments that form a group.
///
/// On a page of several groups, a segment has blocks of one family in one group. A group without a
/// changed fragment is not looked into. Adding or removing a fragment changes all groups after it.
const TOGETHER: usize = 32;

/// Segments of the last page, for reuse by the next page.
///
/// A segment is built again only if one of its blocks was replaced.
#[derive(Debug, Default)]
pub(crate) struct SegmentCache {
    groups: Vec<Group>,
    /// Segments of a page of one group, by format.
    single_group: [Vec<Segment>; 2],
}

/// Segments of neighbouring fragments.
#[derive(Debug, Default)]
struct Group {
    fragments: Vec<Fragment>,
    /// Families of the fragments, in page order.
    families: Vec<GroupFamily>,
}

/// Segments of a family in a group. They are empty until a page has used them.
#[derive(Debug)]
struct GroupFamily {
    header: &'static FamilyHeader,
    /// Segments without the header, which pages of both formats share.
    samples: Vec<Segment>,
    /// Segments that begin with the header, by format.
    headed: [Vec<Segment>; 2],
}

#[derive(Debug)]
struct Segment {
    blocks: Box<[Block]>,
    body: PageBody,
}

/// Writer that cuts blocks into segments.
struct SegmentWriter<'a> {
    /// Whether the segments are kept for other pages.
    kept: bool,
    before: Vec<Segment>,
    done: Vec<Segment>,
    open: Vec<&'a Block>,
    /// Whether `open` has blocks of a family that changes with each poll.
    short_lived: bool,
    /// Size of the small blocks of samples in `open`, in bytes.
    bytes: usize,
}

impl SegmentCache {
    /// Writes fragments to a page. If the cache is used only once, `kept` is `false`.
    pub(super) fn write(
        &mut self,
        page: &mut BodyWriter,
        fragments: &[&Fragment],
        format: Format,
        kept: bool,
    ) {
        if fragments.len() <= TOGETHER {
            self.groups.clear();
            let segments = &mut self.single_group[format as usize];
            let mut writer = SegmentWriter::new(std::mem::take(segments), kept);
            in_page_order(fragments, |header, blocks| {
                writer.family(header, Some(format), blocks);
            });
            *segments = writer.finish();
            for segment in segments.iter() {
                page.add(&segment.body);
            }
            return;
        }
        self.single_group = Default::default();
        let groups = fragments.chunks(TOGETHER);
        self.groups.resize_with(groups.len(), Group::default);
        for (group, fragments) in self.groups.iter_mut().zip(groups) {
            group.update(fragments, kept);
        }
        let mut rest: Vec<_> = self
            .groups
            .iter_mut()
            .map(|group| (&group.fragments, group.families.iter_mut().peekable()))
            .collect();
        for header in HEADERS.iter() {
            let mut unwritten = Some(format);
            for (fragments, families) in &mut rest {
                let Some(family) = families.next_if(|family| family.header.place == header.place)
                else {
                    continue;
                };
                for segment in family.segments(fragments, unwritten.take(), kept) {
                    page.add(&segment.body);
                }
            }
        }
    }

    /// Drops what only pages of this format use.
    pub(crate) fn drop_format(&mut self, format: Format) {
        self.single_group[format as usize].clear();
        for family in self.groups.iter_mut().flat_map(|group| &mut group.families) {
            family.headed[format as usize] = Vec::new();
        }
    }

    /// Returns where the contents of the segments without a header are.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> std::collections::BTreeSet<*const u8> {
        let families = self.groups.iter().flat_map(|group| &group.families);
        let segments = families.flat_map(|family| &family.samples);
        segments.map(|segment| segment.body.start()).collect()
    }
}

impl Group {
    /// Sets the fragments, and builds those segments again whose blocks have changed.
    fn update(&mut self, fragments: &[&Fragment], kept: bool) {
        let same = |(before, now): (&Fragment, &&Fragment)| before.is_same(now);
        if self.fragments.len() == fragments.len() && self.fragments.iter().zip(fragments).all(same)
        {
            return;
        }
        self.fragments = fragments.iter().copied().cloned().collect();
        let mut before = std::mem::take(&mut self.families).into_iter().peekable();
        in_page_order(fragments, |header, blocks| {
            while before
                .next_if(|family| family.header.place < header.place)
                .is_some()
            {}
            let family = before.next_if(|family| family.header.place == header.place);
            let mut family = family.unwrap_or_else(|| GroupFamily {
                header,
                samples: Vec::new(),
                headed: Default::default(),
            });
            for format in [None, Some(Format::Text), Some(Format::OpenMetrics)] {
                if !family.variant(format).is_empty() {
                    family.build(format, blocks, kept);
                }
            }
            self.families.push(family);
        });
    }
}

impl GroupFamily {
    /// Returns the segments with the header in this format, or those without a header.
    fn variant(&mut self, format: Option<Format>) -> &mut Vec<Segment> {
        match format {
            Some(format) => &mut self.headed[format as usize],
            None => &mut self.samples,
        }
    }

    fn build(&mut self, format: Option<Format>, blocks: &[&Block], kept: bool) {
        let header = self.header;
        let segments = self.variant(format);
        let mut writer = SegmentWriter::new(std::mem::take(segments), kept);
        writer.family(header, format, blocks);
        *segments = writer.finish();
    }

    /// Returns the segments with the header in this format, or those without a header.
    ///
    /// The other ones are dropped, because pages do not use them: they are from when another group
    /// was the first with the family.
    fn segments<'f>(
        &mut self,
        fragments: &'f [Fragment],
        format: Option<Format>,
        kept: bool,
    ) -> &[Segment] {
        match format {
            Some(_) => self.samples = Vec::new(),
            None => self.headed = Default::default(),
        }
        if self.variant(format).is_empty() {
            let place = self.header.place;
            let block = |fragment: &'f Fragment| {
                let index = fragment
                    .0
                    .binary_search_by_key(&place, |(header, _)| header.place);
                index.ok().map(|index| &fragment.0[index].1)
            };
            let blocks: Vec<_> = fragments.iter().filter_map(block).collect();
            self.build(format, &blocks, kept);
        }
        self.variant(format)
    }
}

impl<'a> SegmentWriter<'a> {
    fn new(before: Vec<Segment>, kept: bool) -> Self {
        Self {
            kept,
            before,
            done: Vec::new(),
            open: Vec::new(),
            short_lived: false,
            bytes: 0,
        }
    }

    /// Adds blocks of a family, and its header if there is a format.
    ///
    /// The size of the header does not count, so that the segments of both formats end at the same
    /// blocks.
    fn family(
        &mut self,
        header: &'static FamilyHeader,
        format: Option<Format>,
        blocks: &[&'a Block],
    ) {
        self.open.extend(format.map(|format| header.block(format)));
        for block in blocks {
            self.open.push(block);
            self.short_lived |= header.place >= FIRST_VOLATILE;
            if !block.is_large() {
                self.bytes += block.bytes();
            }
            if self.bytes >= ENOUGH {
                self.end();
            }
        }
    }

    /// Ends the current segment. An earlier one with the same blocks is used again.
    fn end(&mut self) {
        let same = |segment: &Segment| {
            let ids = self.open.iter().map(|block| block.id());
            segment.blocks.iter().map(Block::id).eq(ids)
        };
        let segment = match self.before.iter().position(same) {
            Some(index) => self.before.swap_remove(index),
            None => self.segment(),
        };
        self.done.push(segment);
        self.open.clear();
        self.short_lived = false;
        self.bytes = 0;
    }

    fn segment(&self) -> Segment {
        // One of the targets in a segment is usually polled before the next scrape. Compressing the
        // freshness of all of them well would be most of the cost of that scrape.
        let deflate = if self.kept && !self.short_lived {
            Deflated::new
        } else {
            Deflated::once
        };
        let mut body = BodyWriter::new(Encoding::Gzip);
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

    fn finish(mut self) -> Vec<Segment> {
        if !self.open.is_empty() {
            self.end();
        }
        self.done
    }
}
