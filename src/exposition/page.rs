//! Pages: blocks one after another, then a tail that is rendered on every scrape.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use prometheus::proto::MetricFamily;

use super::block::{Block, Deflated, series};
use super::body::{BodyWriter, Chunk, PageBody, SMALL};
use super::gathered::write_samples;
use super::header::{FamilyHeader, write_header};
use super::segment::SegmentCache;
use super::{Countdown, Encoding, Format, Fragment, HEADERS, Representation};
use crate::metrics::COUNTDOWN;

/// Page that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Page {
    /// Chunks of the body that pages share until something changes.
    pub(super) shared: Arc<[Chunk]>,
    /// Chunks after them.
    pub(super) own: Arc<[Chunk]>,
    /// Size of the body, in bytes.
    pub bytes: u64,
    /// Size without content encoding, in bytes: the value that scrapers limit.
    pub plain_bytes: u64,
    /// Number of series.
    pub series: u64,
}

impl Page {
    /// Returns the body in slices, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let chunks = self.shared.iter().chain(&*self.own);
        chunks.map(|chunk| &chunk.bytes()[..])
    }

    /// Returns the whole body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        self.slices().flatten().copied().collect()
    }

    /// Returns the body for sending.
    #[must_use]
    pub(crate) fn into_pieces(self) -> Pieces {
        Pieces {
            chunks: [self.shared, self.own],
            at: 0,
            sent: 0,
        }
    }
}

/// Body that is sent piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    chunks: [Arc<[Chunk]>; 2],
    /// Index of the next chunk in both.
    at: usize,
    /// Number of bytes of it that were sent.
    sent: usize,
}

impl From<Bytes> for Pieces {
    fn from(whole: Bytes) -> Self {
        let chunks = (!whole.is_empty()).then_some(Chunk::Bytes(whole));
        Self {
            chunks: [chunks.into_iter().collect(), Arc::default()],
            ..Self::default()
        }
    }
}

impl Pieces {
    fn chunk(&self) -> Option<&Chunk> {
        let [shared, own] = &self.chunks;
        shared
            .get(self.at)
            .or_else(|| own.get(self.at - shared.len()))
    }

    /// Returns whether everything was sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunk().is_none()
    }

    /// Returns the next piece, of at most this many bytes. Small chunks are copied into one.
    pub(crate) fn next(&mut self, most: usize) -> Option<Bytes> {
        let chunk = self.chunk()?.bytes();
        if chunk.len() >= SMALL.min(most) {
            let end = chunk.len().min(self.sent + most);
            let piece = chunk.slice(self.sent..end);
            if end == chunk.len() {
                (self.at, self.sent) = (self.at + 1, 0);
            } else {
                self.sent = end;
            }
            return Some(piece);
        }
        let mut piece = Vec::with_capacity(most);
        while let Some(chunk) = self.chunk()
            && chunk.len() < SMALL
            && piece.len() + chunk.len() <= most
        {
            piece.extend_from_slice(chunk.bytes());
            self.at += 1;
        }
        Some(piece.into())
    }
}

/// Builder of a page. Clones share its chunks.
#[derive(Debug, Clone)]
pub(crate) struct PageBuilder {
    representation: Representation,
    body: PageBody,
    countdowns: Arc<[Countdown]>,
    /// What follows the body.
    tail: BodyWriter,
}

/// Calls the closure with each family of the fragments and its blocks, in the order of a page.
pub(super) fn in_page_order<'a>(
    fragments: &[&'a Fragment],
    mut with: impl FnMut(&'static FamilyHeader, &[&'a Block]),
) {
    /// Place of a fragment of which nothing is left.
    const NOWHERE: usize = usize::MAX;
    let place =
        |rest: &[(&FamilyHeader, Block)]| rest.first().map_or(NOWHERE, |(header, _)| header.place);
    let mut rest: Vec<_> = fragments.iter().map(|fragment| &fragment.0[..]).collect();
    // Kept beside the slices: each family looks at all of them, but reads few of the fragments.
    let mut places: Vec<_> = rest.iter().copied().map(place).collect();
    let mut next = places.iter().copied().min().unwrap_or(NOWHERE);
    let mut blocks = Vec::new();
    while let Some(header) = HEADERS.get(next) {
        let mut later = NOWHERE;
        for (fragment, at) in places.iter_mut().enumerate() {
            while *at == next
                && let Some(((_, block), after)) = rest[fragment].split_first()
            {
                blocks.push(block);
                rest[fragment] = after;
                *at = place(after);
            }
            later = later.min(*at);
        }
        with(header, &blocks);
        blocks.clear();
        next = later;
    }
}

impl PageBuilder {
    /// Creates an empty page.
    #[must_use]
    pub(crate) fn new(representation: Representation) -> Self {
        let mut body = BodyWriter::new(representation.encoding);
        body.begin();
        let body = body.finish();
        Self {
            representation,
            countdowns: Arc::default(),
            tail: BodyWriter::after(&body, representation.encoding),
            body,
        }
    }

    /// Sets the families of this page, which are those of all fragments. They come before anything
    /// else: call it first.
    ///
    /// A plain page shares the text of the fragments. For a gzip page, unchanged segments of the
    /// previous page are taken from `segments`, which then holds those of this page.
    pub(crate) fn fragments(
        &mut self,
        fragments: &[&Fragment],
        segments: Option<&mut SegmentCache>,
    ) {
        let Representation { format, encoding } = self.representation;
        let mut body = BodyWriter::new(encoding);
        let mut once = SegmentCache::default();
        body.begin();
        match encoding {
            Encoding::Plain => in_page_order(fragments, |header, blocks| {
                body.block(header.block(format));
                for block in blocks {
                    body.block(block);
                }
            }),
            Encoding::Gzip => {
                let kept = segments.is_some();
                let segments = segments.unwrap_or(&mut once);
                segments.write(&mut body, fragments, format, kept);
            }
        }
        self.body = body.finish();
        self.tail = BodyWriter::after(&self.body, encoding);
    }

    /// Sets the countdowns of this page.
    pub(crate) fn countdowns<'a>(&mut self, targets: impl Iterator<Item = &'a Countdown>) {
        let counting = targets.filter(|target| !target.dates.is_empty());
        self.countdowns = counting.cloned().collect();
    }

    /// Appends the countdown samples, with the seconds left at `now`.
    pub(crate) fn count_down(&mut self, now: Timestamp) {
        /// Size of the text that is compressed at once.
        ///
        /// It fits into the window of deflate, which then need not slide, and into the CPU's cache.
        const CHUNK: usize = 32 * 1024;
        if self.countdowns.is_empty() {
            return;
        }
        let header = HEADERS[COUNTDOWN].block(self.representation.format).text();
        let mut text = String::with_capacity(CHUNK);
        text.push_str(&String::from_utf8_lossy(header));
        let (mut samples, mut digits) = (0, itoa::Buffer::new());
        let now = now.as_millisecond();
        for target in self.countdowns.iter() {
            let mut begin = 0;
            for &(end, date) in &*target.dates {
                let line = &target.lines[begin..end];
                let left = digits.format((date - now).div_euclid(1000));
                if text.len() + line.len() + left.len() >= CHUNK {
                    let full = std::mem::replace(&mut text, String::with_capacity(CHUNK));
                    self.tail.text(full.into(), samples, Deflated::once);
                    samples = 0;
                }
                text.push_str(line);
                text.push_str(left);
                text.push('\n');
                samples += 1;
                begin = end;
            }
        }
        self.tail.text(text.into(), samples, Deflated::once);
    }

    /// Appends families that are gathered at scrape time, and that exist since `created`.
    pub(crate) fn live(&mut self, families: &[MetricFamily], created: Timestamp) {
        let format = self.representation.format;
        let created = (format == Format::OpenMetrics).then_some(created);
        let mut text = String::new();
        for family in families {
            let (name, help, kind) = (family.name(), family.help(), family.get_field_type());
            write_header(&mut text, format, name, help, kind);
            write_samples(&mut text, family, created);
        }
        let series = series(&text);
        self.tail.text(text.into(), series, Deflated::once);
    }

    /// Returns the finished page.
    #[must_use]
    pub(crate) fn finish(mut self) -> Page {
        if self.representation.format == Format::OpenMetrics {
            let end = Bytes::from_static(b"# EOF\n");
            self.tail.text(end, 0, Deflated::once);
        }
        self.tail.end(self.body)
    }
}
