//! Pages: blocks one after another, and a tail that is new at each scrape.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use prometheus::proto::MetricFamily;

use super::block::{Block, deflate_tail, series};
use super::{Countdown, Encoding, Fragment, HEADS, encode};
use crate::metrics::COUNTDOWN;

/// A page, ready to be sent.
#[derive(Debug, Clone)]
pub struct Page {
    /// The bytes, in pieces.
    pub chunks: VecDeque<Bytes>,
    /// How many bytes these are.
    pub bytes: u64,
    /// How many bytes it is without encoding: what scrapers limit.
    pub plain_bytes: u64,
    /// How many series they show.
    pub series: u64,
}

/// Blocks shorter than this are copied together into pieces of [`JOINED`] bytes: a piece costs more than such a copy.
const SMALL: usize = 4 * 1024;

/// See [`SMALL`].
const JOINED: usize = 16 * 1024;

/// Puts a page together. A copy of one that has only fragments yet shares their bytes.
#[derive(Debug, Clone)]
pub struct PageBuilder {
    encoding: Encoding,
    page: Page,
    small: Vec<u8>,
    crc: crc32fast::Hasher,
    tail: String,
}

impl PageBuilder {
    /// Begins an empty page.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        let page = Page {
            chunks: VecDeque::new(),
            bytes: 0,
            plain_bytes: 0,
            series: 0,
        };
        let mut builder = Self {
            encoding,
            page,
            small: Vec::new(),
            crc: crc32fast::Hasher::new(),
            tail: String::new(),
        };
        if encoding == Encoding::Gzip {
            // Deflate, no flags, no time, no hint, unknown system: RFC 1952, 2.3.
            builder.push(Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]));
        }
        builder
    }

    fn push(&mut self, chunk: Bytes) {
        self.page.bytes += chunk.len() as u64;
        if chunk.len() >= SMALL {
            self.join();
            self.page.chunks.push_back(chunk);
            return;
        }
        if self.small.capacity() == 0 {
            self.small.reserve(JOINED);
        }
        self.small.extend_from_slice(&chunk);
        if self.small.len() > JOINED - SMALL {
            self.join();
        }
    }

    /// Makes a piece of the small blocks so far.
    fn join(&mut self) {
        if !self.small.is_empty() {
            let joined = std::mem::take(&mut self.small);
            self.page.chunks.push_back(joined.into());
        }
    }

    pub(super) fn block(&mut self, block: &Block) {
        self.page.series += block.series;
        self.page.plain_bytes += block.plain.len() as u64;
        match self.encoding {
            Encoding::Plain => self.push(block.plain.clone()),
            Encoding::Gzip => {
                self.crc.combine(&block.crc);
                self.push(block.deflated.clone());
            }
        }
    }

    /// Adds the families of all fragments: each family once, with the samples of every fragment.
    pub fn fragments(&mut self, fragments: &[&Fragment]) {
        let mut rest: Vec<_> = fragments.iter().map(|fragment| &fragment.0[..]).collect();
        loop {
            let heads = rest.iter().filter_map(|rest| Some(&rest.first()?.0));
            let Some(next) = heads.min_by_key(|head| &head.place).cloned() else {
                break;
            };
            self.block(&next.block);
            for rest in &mut rest {
                while let Some(((head, block), after)) = rest.split_first()
                    && Arc::ptr_eq(head, &next)
                {
                    self.block(block);
                    *rest = after;
                }
            }
        }
        self.join();
    }

    /// Adds the countdown of all targets, as of now.
    pub fn countdown<'a>(
        &mut self,
        targets: impl Iterator<Item = &'a Countdown> + Clone,
        now: Timestamp,
    ) {
        /// Digits of the seconds of 300 years, a sign and the line's end.
        const VALUE: usize = 12;
        let header = &HEADS[COUNTDOWN].block.plain;
        let length = |target: &Countdown| target.lines.len() + target.dates.len() * VALUE;
        let whole: usize = targets.clone().map(length).sum();
        if whole == 0 {
            return;
        }
        // A tail that grows is copied, and what it leaves is zeroed.
        self.tail.reserve(header.len() + whole);
        self.tail.push_str(&String::from_utf8_lossy(header));
        for target in targets {
            for (line, date) in target.lines.lines().zip(&target.dates) {
                let left = date.as_millisecond() - now.as_millisecond();
                // Writing to a String cannot fail.
                let _ = writeln!(self.tail, "{line}{}", left.div_euclid(1000));
            }
        }
    }

    /// Adds families that are gathered at the scrape.
    pub fn live(&mut self, families: &[MetricFamily]) {
        self.tail.push_str(&encode(families));
    }

    /// Ends the page.
    #[must_use]
    pub fn finish(mut self) -> Page {
        let tail = std::mem::take(&mut self.tail);
        self.page.series += series(&tail);
        self.page.plain_bytes += tail.len() as u64;
        match self.encoding {
            Encoding::Plain => self.push(tail.into()),
            Encoding::Gzip => {
                self.crc.update(tail.as_bytes());
                self.push(deflate_tail(tail.as_bytes()).into());
            }
        }
        if self.encoding == Encoding::Gzip {
            // An empty final block, then CRC-32 and length of all that was deflated.
            let mut end = vec![0x03, 0x00];
            end.extend_from_slice(&self.crc.clone().finalize().to_le_bytes());
            let [a, b, c, d, ..] = self.page.plain_bytes.to_le_bytes();
            end.extend_from_slice(&[a, b, c, d]);
            self.push(end.into());
        }
        self.join();
        self.page
    }
}
