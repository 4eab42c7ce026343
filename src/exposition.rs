//! States -> fragments -> a page, plain and gzip.
//!
//! Text is the `prometheus` crate's; rendering and deflating are paid once, at the end of a poll. A page
//! is put together from blocks: a deflate block that ends in a full flush refers to nothing before it and
//! ends on a byte, so blocks can follow each other in any order and still are one gzip member.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::thread::LocalKey;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use jiff::Timestamp;
use parking_lot::Mutex;
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
            // It grew as it was written: a page must not hold what is left of its last doubling.
            plain: text.into_boxed_str().into_boxed_bytes().into(),
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

/// Where a family stands on a page, and the two lines that head it there.
#[derive(Debug)]
struct Head {
    /// First those of [`ALL`], then others by their names.
    place: (usize, String),
    block: Block,
}

impl Head {
    fn new(place: usize, family: &MetricFamily) -> Arc<Self> {
        let text = encode(std::slice::from_ref(family));
        let (head, _) = text.split_at(end_of_header(&text));
        Arc::new(Self {
            place: (place, family.name().to_owned()),
            block: Block::new(head.to_owned()),
        })
    }

    /// The head of a family that is not in [`ALL`]: one for all who have it.
    fn of(family: &MetricFamily) -> Arc<Self> {
        static OTHERS: Mutex<BTreeMap<String, Arc<Head>>> = Mutex::new(BTreeMap::new());
        let mut others = OTHERS.lock();
        if let Some(head) = others.get(family.name()) {
            return head.clone();
        }
        let head = Self::new(ALL.len(), family);
        others.insert(family.name().to_owned(), head.clone());
        head
    }
}

/// The families of a target or of an account, each rendered once, in the order of the page; a family without samples
/// is not there.
#[derive(Debug, Clone, Default)]
pub struct Fragment(Vec<(Arc<Head>, Block)>);

impl Fragment {
    /// Renders families, given with their places in [`ALL`]; one that comes again goes on where it ended.
    pub fn render(families: impl Iterator<Item = (usize, MetricFamily)>) -> Self {
        let mut texts: BTreeMap<usize, String> = BTreeMap::new();
        for (index, family) in families {
            append_samples(&family, texts.entry(index).or_default());
        }
        let blocks = texts
            .into_iter()
            .map(|(index, text)| (HEADS[index].clone(), Block::new(text)));
        Self(blocks.collect())
    }

    /// Renders families that are not in [`ALL`], given by their names.
    #[must_use]
    pub fn gathered(families: &[MetricFamily]) -> Self {
        let blocks = families
            .iter()
            .map(|family| (Head::of(family), Block::new(samples(family))));
        Self(blocks.collect())
    }
}

/// The lines of a target whose values are the seconds left until a date.
#[derive(Debug, Clone, Default)]
pub struct Countdown {
    /// Each line up to its value.
    lines: Box<str>,
    dates: Box<[Timestamp]>,
}

impl Countdown {
    /// Renders the samples without their values, which [`PageBuilder::countdown`] appends.
    #[must_use]
    pub fn render((metrics, dates): (Vec<Metric>, Vec<Timestamp>)) -> Self {
        if metrics.is_empty() {
            return Self::default();
        }
        let text = samples(&ALL[COUNTDOWN].family(metrics));
        // Each line ends in the value 0, written by the encoder.
        Self {
            lines: text.replace("0\n", "\n").into(),
            dates: dates.into(),
        }
    }
}

/// The encoder's lines for a family that has samples, without the two that head it.
fn samples(family: &MetricFamily) -> String {
    let mut text = String::new();
    append_samples(family, &mut text);
    text
}

fn append_samples(family: &MetricFamily, text: &mut String) {
    let encoded = encode(std::slice::from_ref(family));
    text.push_str(&encoded[end_of_header(&encoded)..]);
}

fn end_of_header(text: &str) -> usize {
    text.match_indices('\n').nth(1).map_or(0, |(at, _)| at + 1)
}

/// The encoder refuses only families without a name or a sample, of which there are none here.
fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    TextEncoder::new()
        .encode_utf8(families, &mut text)
        .expect("every family has a name and a sample");
    text
}

/// The heads of the families of [`ALL`].
static HEADS: LazyLock<Vec<Arc<Head>>> = LazyLock::new(|| {
    let head = |(place, header): (usize, &Header)| {
        Head::new(place, &header.family(vec![Metric::default()]))
    };
    ALL.iter().enumerate().map(head).collect()
});

/// A page, ready to be sent.
#[derive(Debug, Clone)]
pub struct Page {
    /// The bytes, in pieces.
    pub chunks: VecDeque<Bytes>,
    /// How many bytes these are.
    pub bytes: u64,
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
            small: Vec::new(),
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
        self.join();
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
                .map(|(index, text)| (HEADS[*index].clone(), Block::new((*text).to_owned())))
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
        let dates = [12_999, 10_000, 9_999].map(|ms| Timestamp::from_millisecond(ms).unwrap());
        let countdown = Countdown {
            lines: "x \nx \nx \n".into(),
            dates: dates.into(),
        };
        let mut page = PageBuilder::new(Encoding::Plain);
        page.countdown([countdown].iter(), now);
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
