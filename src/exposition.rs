//! Rendering: states to text fragments, and fragments to a page, plain or gzip.
//!
//! The text of a target is written at the end of a poll. What the exporter counts of accounts and
//! of itself is written by the encoder of the `prometheus` crate. A large block is compressed when
//! it is rendered. Small blocks are compressed together with their neighbours for the first page
//! that shows them, and the next pages reuse the result.
//!
//! The compressor is reset before each text and ends it with a full flush. Its output therefore
//! refers to no earlier data, and ends on a byte boundary. Segments can follow each other in any
//! order, and still form one gzip member.

mod block;
mod body;
mod page;
mod samples;
mod segment;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus::TextEncoder;
use prometheus::proto::{MetricFamily, MetricType};

use crate::metrics::{ALL, COUNTDOWN, FamilyDescription};
use block::Block;
pub use block::deflate;
pub use page::Page;
pub(crate) use page::PageBuilder;
pub use samples::SampleWriter;
pub(crate) use segment::SegmentCache;

/// Content encoding of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Uncompressed text.
    Plain,
    /// One gzip member.
    Gzip,
}

impl Encoding {
    /// Returns the value of the `encoding` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Plain => "identity",
            Self::Gzip => "gzip",
        }
    }
}

/// Position of a family on a page, and its `# HELP` and `# TYPE` lines.
#[derive(Debug)]
struct FamilyHeader {
    /// Families of [`ALL`] come first, in its order; all others follow by name.
    place: (usize, String),
    block: Block,
}

impl FamilyHeader {
    fn new(place: usize, name: &str, text: String) -> Arc<Self> {
        Arc::new(Self {
            place: (place, name.to_owned()),
            block: Block::new(text),
        })
    }
}

/// Headers of the families that are not in [`ALL`], by name.
///
/// All accounts share one header per family, because a page groups families by the identity of the
/// `Arc`.
#[derive(Debug, Default)]
pub(crate) struct GatheredHeaders(Mutex<BTreeMap<String, Arc<FamilyHeader>>>);

impl GatheredHeaders {
    fn of(&self, family: &MetricFamily, text: &str) -> Arc<FamilyHeader> {
        let mut known = self.0.lock();
        if let Some(head) = known.get(family.name()) {
            return head.clone();
        }
        let head = FamilyHeader::new(ALL.len(), family.name(), text.to_owned());
        known.insert(family.name().to_owned(), head.clone());
        head
    }
}

/// Families of one target or account, each rendered once, in page order.
///
/// A family without samples is absent.
#[derive(Debug, Clone, Default)]
pub struct Fragment(Vec<(Arc<FamilyHeader>, Block)>);

impl Fragment {
    /// Renders the samples that the closure adds.
    ///
    /// `common` are the values of the labels `system`, `account` and `target`. A block whose text
    /// equals that in `before` is reused.
    #[must_use]
    pub fn render(
        before: &Self,
        common: [&str; 3],
        samples: impl FnOnce(&mut SampleWriter),
    ) -> Self {
        let mut writer = SampleWriter::new(common);
        samples(&mut writer);
        let texts = writer.finish();
        Self::of(
            before,
            texts.map(|(index, text)| (HEADS[index].clone(), text)),
        )
    }

    /// Renders families that are not in [`ALL`], in order of their names.
    ///
    /// Blocks are reused as in [`render`](Self::render).
    #[must_use]
    pub(crate) fn gathered(
        before: &Self,
        families: &[MetricFamily],
        headers: &GatheredHeaders,
    ) -> Self {
        let texts = families.iter().map(|family| {
            let text = encode(std::slice::from_ref(family));
            let (head, samples) = text.split_at(end_of_header(&text));
            (headers.of(family, head), samples.to_owned())
        });
        Self::of(before, texts)
    }

    fn of(before: &Self, texts: impl Iterator<Item = (Arc<FamilyHeader>, String)>) -> Self {
        let blocks = texts.map(|(head, text)| {
            let same = before
                .0
                .iter()
                .find(|(of, block)| Arc::ptr_eq(of, &head) && block.text() == &text);
            let block = same.map(|(_, block)| block.clone());
            (head, block.unwrap_or_else(|| Block::new(text)))
        });
        Self(blocks.collect())
    }
}

/// Sample lines of a target whose values are the seconds left until a date.
#[derive(Debug, Clone, Default)]
pub struct Countdown {
    /// All lines, each without its value.
    lines: Arc<str>,
    dates: Arc<[Timestamp]>,
}

impl Countdown {
    /// Renders samples without their values, which a page adds at scrape time: the labels of each,
    /// and the date at which it reaches 0.
    pub(crate) fn render<'a>(
        common: [&str; 3],
        samples: impl Iterator<Item = ([&'a str; 2], Timestamp)>,
    ) -> Self {
        let mut writer = SampleWriter::new(common);
        let write = |(labels, date): ([&str; 2], Timestamp)| {
            writer.open_line(COUNTDOWN, &labels).push('\n');
            date
        };
        let dates = samples.map(write).collect();
        let lines = writer.finish().map(|(_, lines)| lines);
        Self {
            lines: lines.collect::<String>().into(),
            dates,
        }
    }
}

fn end_of_header(text: &str) -> usize {
    text.match_indices('\n').nth(1).map_or(0, |(at, _)| at + 1)
}

/// Returns the text of these families.
///
/// The encoder fails only for a family without a name or a sample, and callers pass none.
fn encode(families: &[MetricFamily]) -> String {
    TextEncoder::new()
        .encode_to_string(families)
        .expect("every family has a name and a sample")
}

/// Headers of the families of [`ALL`].
static HEADS: LazyLock<Vec<Arc<FamilyHeader>>> = LazyLock::new(|| {
    let head = |(place, family): (usize, &FamilyDescription)| {
        let FamilyDescription { name, help, .. } = family;
        let kind = match family.kind {
            MetricType::COUNTER => "counter",
            _ => "gauge",
        };
        let text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        FamilyHeader::new(place, name, text)
    };
    ALL.iter().enumerate().map(head).collect()
});

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Read as _;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::block::Deflated;
    use super::body::BodyWriter;
    use super::*;

    fn bytes(page: &Page) -> Vec<u8> {
        page.chunks.iter().flatten().copied().collect()
    }

    fn gunzip(bytes: &[u8]) -> String {
        // Like curl, this decoder ignores data after the first member. The multi-member decoder
        // would accept it.
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
        page.fragments(&[&a, &b], None);
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
        page.countdowns([countdown].into_iter());
        page.count_down(now);
        let text = String::from_utf8(bytes(&page.finish())).unwrap();
        assert!(text.ends_with("x 2\nx 0\nx -1\n"), "{text}");
    }

    /// Strategy for a number of fragments, and a list of changes to them.
    ///
    /// A change is a fragment (modulo that number), a family index and a text.
    fn changes() -> impl Strategy<Value = (usize, Vec<(usize, usize, String)>)> {
        let text = (
            "[a-z\n ]{1,9}",
            prop_oneof![9 => 0..50_usize, 1 => 400..900_usize],
        );
        let text = text.prop_map(|(text, times)| text.repeat(times));
        let change = (any::<usize>(), 0..ALL.len(), text);
        (1..100_usize, prop::collection::vec(change, 0..40))
    }

    #[test]
    fn a_change_leaves_the_other_pieces_of_a_page_as_they_are() {
        let line = "x".repeat(200);
        let text = |at: usize, value| {
            let text = format!("{line}{{at=\"{at}\"}} {value}\n");
            [(HEADS[0].clone(), text)].into_iter()
        };
        let nothing = Fragment::default();
        let first = (0..1024).map(|at| Fragment::of(&nothing, text(at, 1)));
        let mut fragments: Vec<_> = first.collect();
        let mut segments = SegmentCache::default();
        let mut chunks = |fragments: &[Fragment]| {
            let mut page = PageBuilder::new(Encoding::Plain);
            page.fragments(&fragments.iter().collect::<Vec<_>>(), Some(&mut segments));
            page.finish().chunks
        };
        let before = chunks(&fragments);
        fragments[500] = Fragment::of(&fragments[500], text(500, 1));
        let again = chunks(&fragments);
        fragments[500] = Fragment::of(&fragments[500], text(500, 2));
        let changed = chunks(&fragments);
        let same = |one: &VecDeque<Bytes>, other: &VecDeque<Bytes>| {
            let pairs = one.iter().zip(other);
            pairs.filter(|(a, b)| a.as_ptr() == b.as_ptr()).count()
        };
        assert!(before.len() > 30, "{}", before.len());
        assert_eq!(same(&before, &again), before.len());
        assert_eq!(same(&again, &changed), before.len() - 1);
    }

    proptest! {
        #[test]
        fn each_gzip_page_unpacks_to_the_plain_one(rounds in prop::collection::vec(changes(), 1..5)) {
            let mut shown: Vec<(BTreeMap<usize, String>, Fragment)> = Vec::new();
            let mut segments = [(); 2].map(|()| SegmentCache::default());
            for (size, changes) in rounds {
                shown.resize(size, <_>::default());
                for (at, family, text) in changes {
                    let (texts, fragment) = &mut shown[at % size];
                    texts.insert(family, format!("{at} {text}"));
                    let texts = texts.iter().map(|(family, text)| (HEADS[*family].clone(), text.clone()));
                    *fragment = Fragment::of(fragment, texts);
                }
                let fragments: Vec<_> = shown.iter().map(|(_, fragment)| fragment).collect();
                let mut page = |encoding: Encoding| {
                    let mut page = PageBuilder::new(encoding);
                    page.fragments(&fragments, Some(&mut segments[encoding as usize]));
                    page.finish()
                };
                let (plain, gzip) = (page(Encoding::Plain), page(Encoding::Gzip));
                for page in [&plain, &gzip] {
                    prop_assert_eq!(page.bytes, bytes(page).len() as u64);
                }
                prop_assert_eq!((plain.series, plain.bytes), (gzip.series, gzip.plain_bytes));
                let mut anew = PageBuilder::new(Encoding::Plain);
                anew.fragments(&fragments, None);
                let anew = String::from_utf8(bytes(&anew.finish())).unwrap();
                prop_assert_eq!(&gunzip(&bytes(&gzip)), &anew);
                prop_assert_eq!(String::from_utf8(bytes(&plain)).unwrap(), anew);
            }
        }

        #[test]
        fn any_text_survives_deflate(text in "\\PC{0,5000}") {
            let mut member = BodyWriter::new(Encoding::Gzip);
            member.begin();
            member.text(text.clone().into(), 0, Deflated::new);
            prop_assert_eq!(gunzip(&bytes(&member.end())), text);
        }
    }
}
