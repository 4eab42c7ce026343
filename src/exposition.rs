//! States -> fragments -> a page, plain and gzip.
//!
//! Text is the `prometheus` crate's; rendering and deflating are paid once, at the end of a poll. A page
//! is put together from blocks: a deflate block that ends in a full flush refers to nothing before it and
//! ends on a byte, so blocks can follow each other in any order and still are one gzip member.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::thread::LocalKey;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use jiff::Timestamp;
use prometheus::TextEncoder;
use prometheus::proto::{Metric, MetricFamily};

use crate::metrics::{ALL, COUNTDOWN, Header};

thread_local! {
    /// Blocks are deflated once and sent often. Making a compressor costs more than most blocks, so it is kept.
    static BLOCKS: Deflater = deflater(6);
    /// The tail is deflated at each scrape.
    static TAIL: Deflater = deflater(1);
}

type Deflater = RefCell<Compress>;

fn deflater(level: u32) -> Deflater {
    RefCell::new(Compress::new(Compression::new(level), false))
}

/// What a scraper can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The text as it is.
    Plain,
    /// One gzip member.
    Gzip,
}

impl Encoding {
    /// The value of the label `encoding`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Plain => "identity",
            Self::Gzip => "gzip",
        }
    }
}

/// A piece of a page in both encodings.
#[derive(Debug, Clone)]
struct Block {
    plain: Bytes,
    deflated: Bytes,
    crc: crc32fast::Hasher,
    series: u64,
}

impl Block {
    fn new(text: String) -> Self {
        let mut crc = crc32fast::Hasher::new();
        crc.update(text.as_bytes());
        Self {
            deflated: deflate(text.as_bytes()).into(),
            crc,
            series: series(&text),
            plain: text.into(),
        }
    }
}

fn series(text: &str) -> u64 {
    text.lines().filter(|line| !line.starts_with('#')).count() as u64
}

/// Deflates what is kept into blocks that end with a full flush; public for benchmarks.
#[doc(hidden)]
#[must_use]
pub fn deflate(text: &[u8]) -> Vec<u8> {
    deflate_by(text, &BLOCKS)
}

fn deflate_by(text: &[u8], deflater: &'static LocalKey<Deflater>) -> Vec<u8> {
    deflater.with_borrow_mut(|compress| {
        compress.reset();
        deflate_with(text, compress)
    })
}

fn deflate_with(text: &[u8], compress: &mut Compress) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 8 + 64);
    loop {
        let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
        let status = compress.compress_vec(&text[read..], &mut out, FlushCompress::Full);
        // With room left in the output, all of the input is in it and flushed.
        if matches!(
            status,
            Ok(Status::Ok | Status::BufError | Status::StreamEnd)
        ) && out.len() < out.capacity()
        {
            out.shrink_to_fit();
            return out;
        }
        out.reserve(out.capacity());
    }
}

/// The families of one target, each rendered once; a family without samples is not there.
#[derive(Debug, Clone, Default)]
pub struct Fragment(Vec<(usize, Block)>);

impl Fragment {
    /// Renders families, given with their places in [`ALL`].
    pub fn render(families: impl Iterator<Item = (usize, MetricFamily)>) -> Self {
        Self(
            families
                .map(|(index, family)| (index, Block::new(samples(&family))))
                .collect(),
        )
    }

    fn block(&self, index: usize) -> Option<&Block> {
        self.0
            .iter()
            .find(|(at, _)| *at == index)
            .map(|(_, block)| block)
    }
}

/// The lines of a target whose values are the seconds left until a date.
#[derive(Debug, Clone, Default)]
pub struct Countdown(Vec<(Box<str>, Timestamp)>);

impl Countdown {
    /// Renders the samples without their values, which [`PageBuilder::countdown`] appends.
    #[must_use]
    pub fn render((metrics, dates): (Vec<Metric>, Vec<Timestamp>)) -> Self {
        if metrics.is_empty() {
            return Self::default();
        }
        let text = samples(&ALL[COUNTDOWN].family(metrics));
        // Each line ends in the value 0, written by the encoder.
        let lines = text
            .lines()
            .map(|line| line.strip_suffix('0').unwrap_or(line).into());
        Self(lines.zip(dates).collect())
    }
}

/// The encoder's lines for a family that has samples, without the two that head it.
fn samples(family: &MetricFamily) -> String {
    let mut text = encode(std::slice::from_ref(family));
    let end_of_header = text.match_indices('\n').nth(1).map_or(0, |(at, _)| at + 1);
    text.drain(..end_of_header);
    text
}

/// The encoder refuses only families without a name or a sample, of which there are none here.
fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    TextEncoder::new()
        .encode_utf8(families, &mut text)
        .expect("every family has a name and a sample");
    text
}

/// The two lines that head each family of [`ALL`].
static HEADERS: LazyLock<Vec<Block>> = LazyLock::new(|| {
    let lines = |header: &Header| {
        let text = encode(&[header.family(vec![Metric::default()])]);
        text.lines()
            .filter(|line| line.starts_with('#'))
            .flat_map(|line| [line, "\n"])
            .collect()
    };
    ALL.iter().map(|header| Block::new(lines(header))).collect()
});

/// A page, ready to be sent.
#[derive(Debug)]
pub struct Page {
    /// The bytes, in pieces.
    pub chunks: VecDeque<Bytes>,
    /// How many bytes these are.
    pub bytes: u64,
    /// How many series they show.
    pub series: u64,
}

/// Puts a page together.
#[derive(Debug)]
pub struct PageBuilder {
    encoding: Encoding,
    page: Page,
    crc: crc32fast::Hasher,
    plain_bytes: u64,
    tail: String,
}

impl PageBuilder {
    /// Begins an empty page.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        let page = Page {
            chunks: VecDeque::new(),
            bytes: 0,
            series: 0,
        };
        let mut builder = Self {
            encoding,
            page,
            crc: crc32fast::Hasher::new(),
            plain_bytes: 0,
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
        self.page.chunks.push_back(chunk);
    }

    fn block(&mut self, block: &Block) {
        self.page.series += block.series;
        self.plain_bytes += block.plain.len() as u64;
        match self.encoding {
            Encoding::Plain => self.push(block.plain.clone()),
            Encoding::Gzip => {
                self.crc.combine(&block.crc);
                self.push(block.deflated.clone());
            }
        }
    }

    /// Adds the families of all targets: each family once, with the samples of every fragment.
    pub fn fragments(&mut self, fragments: &[&Fragment]) {
        for (index, header) in HEADERS.iter().enumerate() {
            let mut blocks = fragments
                .iter()
                .filter_map(|fragment| fragment.block(index))
                .peekable();
            if blocks.peek().is_some() {
                self.block(header);
                blocks.for_each(|block| self.block(block));
            }
        }
    }

    /// Adds the countdown of all targets, as of now.
    pub fn countdown<'a>(&mut self, targets: impl Iterator<Item = &'a Countdown>, now: Timestamp) {
        let mut lines = targets.flat_map(|target| &target.0).peekable();
        if lines.peek().is_some() {
            self.tail
                .push_str(&String::from_utf8_lossy(&HEADERS[COUNTDOWN].plain));
        }
        for (line, date) in lines {
            let left = date.as_millisecond() - now.as_millisecond();
            // Writing to a String cannot fail.
            let _ = writeln!(self.tail, "{line}{}", left.div_euclid(1000));
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
        self.plain_bytes += tail.len() as u64;
        match self.encoding {
            Encoding::Plain => self.push(tail.into()),
            Encoding::Gzip => {
                self.crc.update(tail.as_bytes());
                self.push(deflate_by(tail.as_bytes(), &TAIL).into());
            }
        }
        if self.encoding == Encoding::Gzip {
            // An empty final block, then CRC-32 and length of all that was deflated.
            let mut end = vec![0x03, 0x00];
            end.extend_from_slice(&self.crc.clone().finalize().to_le_bytes());
            let [a, b, c, d, ..] = self.plain_bytes.to_le_bytes();
            end.extend_from_slice(&[a, b, c, d]);
            self.push(end.into());
        }
        self.page
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn bytes(page: &Page) -> Vec<u8> {
        page.chunks.iter().flatten().copied().collect()
    }

    fn gunzip(bytes: &[u8]) -> String {
        // Not the multi-member decoder: what is beyond the first member would be lost, as in curl.
        let mut decoder = flate2::bufread::GzDecoder::new(bytes);
        let mut text = String::new();
        decoder.read_to_string(&mut text).unwrap();
        assert!(
            decoder.into_inner().is_empty(),
            "one member, and nothing after it"
        );
        text
    }

    fn fragment(samples: &[(usize, &str)]) -> Fragment {
        Fragment(
            samples
                .iter()
                .map(|(index, text)| (*index, Block::new((*text).to_owned())))
                .collect(),
        )
    }

    #[test]
    fn a_family_is_contiguous_over_all_targets() {
        let (a, b) = (
            fragment(&[(0, "a0 1\n"), (3, "a3 1\n")]),
            fragment(&[(0, "b0 1\n")]),
        );
        let mut page = PageBuilder::new(Encoding::Plain);
        page.fragments(&[&a, &b]);
        let text = String::from_utf8(bytes(&page.finish())).unwrap();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, ["a0 1", "b0 1", "a3 1"]);
        assert_eq!(text.matches("# TYPE saas_connections gauge\n").count(), 1);
    }

    #[test]
    fn seconds_left_are_rounded_down_and_go_below_zero() {
        let now = Timestamp::from_millisecond(10_000).unwrap();
        let dates = [12_999, 10_000, 9_999]
            .map(|ms| (Box::from("x "), Timestamp::from_millisecond(ms).unwrap()));
        let mut page = PageBuilder::new(Encoding::Plain);
        page.countdown([Countdown(dates.into())].iter(), now);
        let text = String::from_utf8(bytes(&page.finish())).unwrap();
        assert!(text.ends_with("x 2\nx 0\nx -1\n"), "{text}");
    }

    proptest! {
        #[test]
        fn the_gzip_page_unpacks_to_the_plain_one(texts in prop::collection::vec((0..ALL.len(), "[a-z\n ]{0,400}"), 0..20)) {
            let fragments: Vec<_> = texts.iter().map(|(index, text)| fragment(&[(*index, text)])).collect();
            let fragments: Vec<_> = fragments.iter().collect();
            let [plain, gzip] = [Encoding::Plain, Encoding::Gzip].map(|encoding| {
                let mut page = PageBuilder::new(encoding);
                page.fragments(&fragments);
                let page = page.finish();
                prop_assert_eq!(page.bytes, bytes(&page).len() as u64);
                Ok(page)
            });
            let (plain, gzip) = (plain?, gzip?);
            prop_assert_eq!(plain.series, gzip.series);
            prop_assert_eq!(gunzip(&bytes(&gzip)), String::from_utf8(bytes(&plain)).unwrap());
        }

        #[test]
        fn any_text_survives_deflate(text in "\\PC{0,5000}") {
            let mut member = PageBuilder::new(Encoding::Gzip);
            member.block(&Block::new(text.clone()));
            prop_assert_eq!(gunzip(&bytes(&member.finish())), text);
        }
    }
}
