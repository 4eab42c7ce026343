//! Rendering: states to text fragments, and fragments to a page, plain or gzip.
//!
//! The text of a target is written at the end of a poll. A large block is compressed when it is
//! rendered. Small blocks are compressed together with their neighbours for the first page that
//! shows them, and the next pages reuse the result.
//!
//! The text format and OpenMetrics have the same sample lines in the same order. They differ in the
//! headers of families, and in the samples that are rendered on every scrape.
//!
//! The compressor is reset before each text and flushed after it. Its output therefore refers to no
//! earlier data, and ends on a byte boundary. Segments can follow each other in any order, and they
//! still form one gzip member.

mod block;
mod body;
mod gathered;
mod header;
mod page;
mod samples;
mod segment;

use std::sync::Arc;

use jiff::Timestamp;

use crate::metrics::COUNTDOWN;
use block::Block;
pub use block::deflate;
use header::{FamilyHeader, HEADERS};
pub use page::Page;
pub(crate) use page::{PageBuilder, Pieces};
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

/// Exposition format of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

/// Format and content encoding of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Representation {
    /// Exposition format.
    pub format: Format,
    /// Content encoding.
    pub encoding: Encoding,
}

/// The text format in this encoding.
impl From<Encoding> for Representation {
    fn from(encoding: Encoding) -> Self {
        Self {
            format: Format::Text,
            encoding,
        }
    }
}

/// Families of one target or account, each rendered once, in page order.
///
/// A family without samples is absent.
#[derive(Debug, Clone, Default)]
pub struct Fragment(Arc<[(&'static FamilyHeader, Block)]>);

impl Fragment {
    /// Renders the samples that the closure adds.
    ///
    /// `common` are the values of the labels `system`, `account` and, for a target, `target`. A
    /// block whose text equals that in `before` is reused.
    #[must_use]
    pub fn render(before: &Self, common: &[&str], samples: impl FnOnce(&mut SampleWriter)) -> Self {
        let mut writer = SampleWriter::new(common);
        samples(&mut writer);
        let texts = writer.finish();
        Self::of(before, texts.map(|(index, text)| (&HEADERS[index], text)))
    }

    fn of(before: &Self, texts: impl Iterator<Item = (&'static FamilyHeader, String)>) -> Self {
        let blocks = texts.map(|(head, text)| {
            let same = before
                .0
                .iter()
                .find(|(of, block)| of.place == head.place && block.text() == &text);
            let block = same.map(|(_, block)| block.clone());
            (head, block.unwrap_or_else(|| Block::new(text)))
        });
        Self(blocks.collect())
    }

    /// Returns whether this is a clone of the other fragment.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Sample lines of a target whose values are the seconds left until a date.
#[derive(Debug, Clone, Default)]
pub struct Countdown {
    /// All lines, each without its value and its line feed.
    lines: Arc<str>,
    /// Where each line ends, and the date at which its value is 0, in milliseconds since the epoch.
    dates: Arc<[(usize, i64)]>,
}

impl Countdown {
    /// Renders samples without their values, which a page adds at scrape time: the labels of each,
    /// and the date at which it reaches 0.
    pub(crate) fn render<'a>(
        common: &[&str],
        samples: impl Iterator<Item = ([&'a str; 2], Timestamp)>,
    ) -> Self {
        let mut writer = SampleWriter::new(common);
        let write = |(labels, date): ([&str; 2], Timestamp)| {
            let end = writer.open_line(COUNTDOWN, &labels).len();
            (end, date.as_millisecond())
        };
        let dates = samples.map(write).collect();
        let lines = writer.finish().map(|(_, lines)| lines);
        Self {
            lines: lines.collect::<String>().into(),
            dates,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::block::Deflated;
    use super::body::BodyWriter;
    use super::*;
    use crate::metrics::ALL;

    fn bytes(page: &Page) -> Vec<u8> {
        page.body()
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
                .map(|(index, text)| (&HEADERS[*index], Block::new((*text).to_owned())))
                .collect(),
        )
    }

    #[test]
    fn a_family_is_contiguous_over_all_targets() {
        let (a, b) = (
            fragment(&[(0, "a0 1\n"), (3, "a3 1\n")]),
            fragment(&[(0, "b0 1\n")]),
        );
        let mut page = PageBuilder::new(Encoding::Plain.into());
        page.fragments(&[&a, &b], None);
        let text = String::from_utf8(bytes(&page.finish())).unwrap();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, ["a0 1", "b0 1", "a3 1"]);
        assert_eq!(text.matches("# TYPE saas_connections gauge\n").count(), 1);
    }

    #[test]
    fn seconds_left_are_rounded_down_and_go_below_zero() {
        let now = Timestamp::from_millisecond(10_000).unwrap();
        let countdown = Countdown {
            lines: "x x x ".into(),
            dates: [(2, 12_999), (4, 10_000), (6, 9_999)].into(),
        };
        let mut page = PageBuilder::new(Encoding::Plain.into());
        page.countdowns([countdown].iter());
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
            [(&HEADERS[0], text)].into_iter()
        };
        let nothing = Fragment::default();
        let first = (0..1024).map(|at| Fragment::of(&nothing, text(at, 1)));
        let mut fragments: Vec<_> = first.collect();
        let mut segments = SegmentCache::default();
        let mut kept = |fragments: &[Fragment]| {
            let mut page = PageBuilder::new(Encoding::Gzip.into());
            page.fragments(&fragments.iter().collect::<Vec<_>>(), Some(&mut segments));
            segments.shared()
        };
        let before = kept(&fragments);
        fragments[500] = Fragment::of(&fragments[500], text(500, 1));
        let again = kept(&fragments);
        fragments[500] = Fragment::of(&fragments[500], text(500, 2));
        let changed = kept(&fragments);
        assert!(before.len() > 30, "{}", before.len());
        assert_eq!(before, again);
        assert_eq!(again.intersection(&changed).count(), before.len() - 1);
    }

    #[test]
    fn a_plain_page_shares_the_text_of_its_blocks_and_is_sent_in_few_pieces() {
        let large = "large\n".repeat(10_000);
        let small = (0..500).map(|at| fragment(&[(0, &format!("small {at}\n"))]));
        let fragments: Vec<_> = small.chain([fragment(&[(0, &large)])]).collect();
        let mut page = PageBuilder::new(Encoding::Plain.into());
        page.fragments(&fragments.iter().collect::<Vec<_>>(), None);
        let page = page.finish();
        let slices: std::collections::HashSet<_> = page.slices().map(<[u8]>::as_ptr).collect();
        let block = |fragment: &Fragment| fragment.0[0].1.text().as_ptr();
        assert!(
            fragments
                .iter()
                .all(|fragment| slices.contains(&block(fragment)))
        );
        let (body, mut pieces) = (page.body(), page.into_pieces());
        let mut sent = Vec::new();
        let mut lengths = Vec::new();
        while let Some(piece) = pieces.next(16 * 1024) {
            lengths.push(piece.len());
            sent.extend_from_slice(&piece);
        }
        assert!(pieces.is_empty() && sent == body);
        assert!(
            lengths.len() < 8
                && lengths
                    .iter()
                    .all(|length| (1..=16 * 1024).contains(length)),
            "{lengths:?}"
        );
    }

    #[test]
    fn pages_of_both_formats_share_their_segments() {
        let texts = |target: usize| {
            let text = move |family| format!("{family} of {target}\n").repeat(10);
            (0..3).map(move |family| (&HEADERS[family], text(family)))
        };
        let nothing = Fragment::default();
        let all = (0..1000).map(|target| Fragment::of(&nothing, texts(target)));
        let all: Vec<_> = all.collect();
        let mut segments = SegmentCache::default();
        let encoding = Encoding::Gzip;
        let shared = [Format::Text, Format::OpenMetrics].map(|format| {
            let mut page = PageBuilder::new(Representation { format, encoding });
            page.fragments(&all.iter().collect::<Vec<_>>(), Some(&mut segments));
            segments.shared()
        });
        assert_eq!(shared[0], shared[1]);
        assert!(shared[0].len() > 3 * 30, "{}", shared[0].len());
    }

    proptest! {
        #[test]
        fn each_gzip_page_unpacks_to_the_plain_one(rounds in prop::collection::vec(changes(), 1..5)) {
            let mut shown: Vec<(BTreeMap<usize, String>, Fragment)> = Vec::new();
            let mut segments = SegmentCache::default();
            for (size, changes) in rounds {
                shown.resize(size, <_>::default());
                for (at, family, text) in changes {
                    let (texts, fragment) = &mut shown[at % size];
                    texts.insert(family, format!("{at} {text}"));
                    let texts = texts.iter().map(|(family, text)| (&HEADERS[*family], text.clone()));
                    *fragment = Fragment::of(fragment, texts);
                }
                let fragments: Vec<_> = shown.iter().map(|(_, fragment)| fragment).collect();
                for format in [Format::Text, Format::OpenMetrics] {
                    let mut page = |encoding: Encoding| {
                        let mut page = PageBuilder::new(Representation { format, encoding });
                        page.fragments(&fragments, Some(&mut segments));
                        page.finish()
                    };
                    let (plain, gzip) = (page(Encoding::Plain), page(Encoding::Gzip));
                    for page in [&plain, &gzip] {
                        prop_assert_eq!(page.bytes, bytes(page).len() as u64);
                    }
                    prop_assert_eq!((plain.series, plain.bytes), (gzip.series, gzip.plain_bytes));
                    let encoding = Encoding::Plain;
                    let mut anew = PageBuilder::new(Representation { format, encoding });
                    anew.fragments(&fragments, None);
                    let anew = String::from_utf8(bytes(&anew.finish())).unwrap();
                    prop_assert_eq!(&gunzip(&bytes(&gzip)), &anew);
                    prop_assert_eq!(String::from_utf8(bytes(&plain)).unwrap(), anew);
                }
            }
        }

        #[test]
        fn countdowns_of_any_size_are_the_same_lines_in_both_encodings(
            targets in prop::collection::vec((1..2000_usize, 0..300_usize), 0..5),
            long in prop_oneof![3 => Just(0), 1 => 32_700..33_000_usize],
        ) {
            let now = Timestamp::UNIX_EPOCH;
            let lengths = targets.iter().copied().chain([(long, usize::from(long > 0))]);
            let mut expected = String::new();
            let mut samples = 0;
            let countdowns = lengths.map(|(length, lines)| {
                let (mut text, mut dates) = (String::new(), Vec::new());
                for seconds in 0..lines {
                    let line = "x".repeat(length);
                    text.push_str(&line);
                    dates.push((text.len(), 1000 * i64::try_from(seconds).unwrap()));
                    expected.extend([&line, &seconds.to_string()[..], "\n"]);
                    samples += 1;
                }
                Countdown { lines: text.into(), dates: dates.into() }
            });
            let countdowns: Vec<_> = countdowns.collect();
            if samples > 0 {
                let header = HEADERS[COUNTDOWN].block(Format::Text).text();
                expected.insert_str(0, std::str::from_utf8(header).unwrap());
            }
            let [plain, gzip] = [Encoding::Plain, Encoding::Gzip].map(|encoding| {
                let mut page = PageBuilder::new(encoding.into());
                page.countdowns(countdowns.iter());
                page.count_down(now);
                page.finish()
            });
            prop_assert_eq!((plain.series, plain.bytes), (samples, expected.len() as u64));
            prop_assert_eq!((gzip.series, gzip.plain_bytes), (plain.series, plain.bytes));
            prop_assert_eq!(gunzip(&bytes(&gzip)), &expected[..]);
            prop_assert_eq!(String::from_utf8(bytes(&plain)).unwrap(), expected);
        }

        #[test]
        fn any_text_survives_deflate(text in "\\PC{0,5000}") {
            let mut member = BodyWriter::new(Encoding::Gzip);
            member.begin();
            let body = member.finish();
            let mut end = BodyWriter::after(&body, Encoding::Gzip);
            end.text(text.clone().into(), 0, Deflated::once);
            let page = end.end(body);
            prop_assert_eq!(gunzip(&bytes(&page)), text);
        }
    }
}
