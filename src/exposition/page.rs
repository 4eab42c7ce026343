//! Pages: blocks one after another, then a tail that is rendered on every scrape.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use prometheus::proto::MetricFamily;

use super::block::{Deflated, series};
use super::body::BodyWriter;
use super::gathered::write_samples;
use super::header::write_header;
use super::segment::{SegmentCache, SegmentWriter};
use super::{Countdown, Format, Fragment, HEADERS, Representation};
use crate::metrics::{COUNTDOWN, FIRST_VOLATILE};

/// Page that is ready to be sent.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Chunks of the body, in order.
    pub chunks: VecDeque<Bytes>,
    /// Size of the chunks, in bytes.
    pub bytes: u64,
    /// Size without content encoding, in bytes: the value that scrapers limit.
    pub plain_bytes: u64,
    /// Number of series.
    pub series: u64,
}

/// Builder of a page. Clones share its chunks until a tail is added.
#[derive(Debug, Clone)]
pub(crate) struct PageBuilder {
    format: Format,
    body: BodyWriter,
    countdowns: Arc<[Countdown]>,
    tail: String,
}

impl PageBuilder {
    /// Creates an empty page.
    #[must_use]
    pub(crate) fn new(representation: Representation) -> Self {
        let mut body = BodyWriter::new(representation.encoding);
        body.begin();
        Self {
            format: representation.format,
            body,
            countdowns: Arc::default(),
            tail: String::new(),
        }
    }

    /// Adds the families of all fragments: each family once, with the samples of every fragment.
    ///
    /// Unchanged segments of the previous page are taken from `segments`, which then holds those of
    /// this page.
    pub(crate) fn fragments<'a>(
        &'a mut self,
        fragments: &[&'a Fragment],
        segments: Option<&'a mut SegmentCache>,
    ) {
        let mut rest: Vec<_> = fragments.iter().map(|fragment| &fragment.0[..]).collect();
        let mut joiner = SegmentWriter::new(&mut self.body, segments, self.format);
        loop {
            let heads = rest.iter().filter_map(|rest| Some(&rest.first()?.0));
            let Some(next) = heads.min_by_key(|head| head.place) else {
                break;
            };
            joiner.header(next.block(self.format), next.place >= FIRST_VOLATILE);
            for (fragment, rest) in rest.iter_mut().enumerate() {
                while let Some(((head, block), after)) = rest.split_first()
                    && Arc::ptr_eq(head, next)
                {
                    joiner.block_of(fragment, block);
                    *rest = after;
                }
            }
        }
        joiner.end();
        self.body.join();
    }

    /// Sets the countdowns of this page.
    pub(crate) fn countdowns(&mut self, targets: impl Iterator<Item = Countdown>) {
        self.countdowns = targets.filter(|target| !target.dates.is_empty()).collect();
    }

    /// Appends the countdown samples, with the seconds left at `now`.
    pub(crate) fn count_down(&mut self, now: Timestamp) {
        /// Ten digits for the seconds of 300 years, a sign and the line end.
        const VALUE: usize = 12;
        if self.countdowns.is_empty() {
            return;
        }
        let header = HEADERS[COUNTDOWN].block(self.format).text();
        let length = |target: &Countdown| target.lines.len() + target.dates.len() * VALUE;
        let whole: usize = self.countdowns.iter().map(length).sum();
        // Reserved at once: a string that grows is copied, and the allocator zeroes the memory it
        // frees.
        self.tail.reserve(header.len() + whole);
        self.tail.push_str(&String::from_utf8_lossy(header));
        for target in self.countdowns.iter() {
            for (line, date) in target.lines.lines().zip(&*target.dates) {
                let left = date.as_millisecond() - now.as_millisecond();
                // Writing to a `String` cannot fail.
                let _ = writeln!(self.tail, "{line}{}", left.div_euclid(1000));
            }
        }
    }

    /// Appends families that are gathered at scrape time, and that exist since `created`.
    pub(crate) fn live(&mut self, families: &[MetricFamily], created: Timestamp) {
        let created = (self.format == Format::OpenMetrics).then_some(created);
        for family in families {
            let (name, help, kind) = (family.name(), family.help(), family.get_field_type());
            write_header(&mut self.tail, self.format, name, help, kind);
            write_samples(&mut self.tail, family, created);
        }
    }

    /// Returns the finished page.
    #[must_use]
    pub(crate) fn finish(mut self) -> Page {
        if self.format == Format::OpenMetrics {
            self.tail.push_str("# EOF\n");
        }
        let series = series(&self.tail);
        self.body.text(self.tail.into(), series, Deflated::once);
        self.body.end()
    }
}
