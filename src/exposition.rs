//! States -> fragments -> a page, plain and gzip.
//!
//! Text is the `prometheus` crate's; rendering and deflating are paid once, at the end of a poll. A page
//! is put together from blocks: a deflate block that ends in a full flush refers to nothing before it and
//! ends on a byte, so blocks can follow each other in any order and still are one gzip member.

mod block;
mod page;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus::TextEncoder;
use prometheus::proto::{Metric, MetricFamily};

use crate::metrics::{ALL, Header, Sink};
use block::Block;
pub use block::deflate;
pub use page::{Page, PageBuilder};

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
    /// Renders the families that are shown; one that comes again goes on where it ended.
    pub fn render(families: impl FnOnce(Sink<'_>)) -> Self {
        let blocks = texts(families).map(|(index, text)| (HEADS[index].clone(), Block::new(text)));
        Self(blocks.collect())
    }

    /// Renders families that are not in [`ALL`], given by their names.
    #[must_use]
    pub fn gathered(families: &[MetricFamily]) -> Self {
        let blocks = families.iter().map(|family| {
            let text = encode(std::slice::from_ref(family));
            let samples = text[end_of_header(&text)..].to_owned();
            (Head::of(family), Block::new(samples))
        });
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
    pub fn render(families: impl FnOnce(Sink<'_>), dates: impl Iterator<Item = Timestamp>) -> Self {
        // Each line ends in the value 0, written by the encoder.
        let lines = |(_, text): (usize, String)| text.replace("0\n", "\n");
        Self {
            lines: texts(families).map(lines).collect(),
            dates: dates.collect(),
        }
    }
}

/// The encoder's lines for the samples of families, without the two that head each, by their places in [`ALL`].
fn texts(families: impl FnOnce(Sink<'_>)) -> impl Iterator<Item = (usize, String)> {
    // Put together at the end, once: a text that grows is copied again and again, and what it leaves is zeroed.
    let mut pieces: BTreeMap<usize, Vec<Box<str>>> = BTreeMap::new();
    let mut encoded = String::new();
    families(&mut |index, family| {
        encoded.clear();
        encode_into(std::slice::from_ref(family), &mut encoded);
        let samples = &encoded[end_of_header(&encoded)..];
        pieces.entry(index).or_default().push(samples.into());
    });
    pieces
        .into_iter()
        .map(|(index, pieces)| (index, pieces.concat()))
}

fn end_of_header(text: &str) -> usize {
    text.match_indices('\n').nth(1).map_or(0, |(at, _)| at + 1)
}

fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    encode_into(families, &mut text);
    text
}

/// The encoder refuses only families without a name or a sample, of which there are none here.
fn encode_into(families: &[MetricFamily], text: &mut String) {
    TextEncoder::new()
        .encode_utf8(families, text)
        .expect("every family has a name and a sample");
}

/// The heads of the families of [`ALL`].
static HEADS: LazyLock<Vec<Arc<Head>>> = LazyLock::new(|| {
    let head = |(place, header): (usize, &Header)| {
        Head::new(place, &header.family(vec![Metric::default()]))
    };
    ALL.iter().enumerate().map(head).collect()
});

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
            prop_assert_eq!((plain.series, plain.bytes), (gzip.series, gzip.plain_bytes));
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
