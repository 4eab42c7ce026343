//! Strict parser of pages in both formats.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use crate::exposition::{Encoding, Format, Page};

pub(crate) type Labels = BTreeMap<String, String>;
/// Samples by the name that their family has in the text format.
pub(crate) type Families = BTreeMap<String, Vec<(Labels, f64)>>;
/// Metric name and labels.
pub(crate) type Series = (String, Labels);

/// Returns the text of a page.
pub(crate) fn text(page: &Page, encoding: Encoding) -> String {
    let bytes = page.body();
    if encoding == Encoding::Plain {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
    decoder.read_to_string(&mut text).unwrap();
    text
}

/// Metadata of the family that is being read.
#[derive(Default)]
struct Metadata {
    name: String,
    kind: String,
    unit: Option<String>,
}

impl Metadata {
    /// Returns the name of a family with these samples in the text format.
    fn text_name(&self, format: Format) -> String {
        match (format, self.kind.as_str()) {
            (Format::OpenMetrics, "counter") => format!("{}_total", self.name),
            _ => self.name.clone(),
        }
    }

    /// Checks that a sample may have this name.
    fn check(&self, format: Format, sample: &str) {
        let suffix = sample.strip_prefix(&*self.name);
        let suffix = suffix.unwrap_or_else(|| panic!("{sample} in {}", self.name));
        let allowed: &[&str] = match (format, self.kind.as_str()) {
            (_, "gauge") | (Format::Text, "counter") => &[""],
            (Format::Text, "histogram") => &["_bucket", "_sum", "_count"],
            (Format::OpenMetrics, "counter") => &["_total", "_created"],
            (Format::OpenMetrics, "histogram") => &["_bucket", "_sum", "_count", "_created"],
            (_, other) => panic!("{} has the type {other}", self.name),
        };
        assert!(allowed.contains(&suffix), "{sample} in a {}", self.kind);
        let unit = ["seconds", "bytes"].into_iter().find(|unit| {
            let name = self.name.strip_suffix(unit);
            name.is_some_and(|name| name.ends_with('_'))
        });
        let unit = unit.filter(|_| format == Format::OpenMetrics);
        assert_eq!(self.unit.as_deref(), unit, "{}", self.name);
    }
}

/// Parses a page as strictly as the specification of its format defines it.
///
/// Each family occurs once, starts with its metadata, and has all of its samples together. No
/// series occurs twice, every escape is defined, and every value is a number.
pub(crate) fn parse(format: Format, page: &str) -> (Families, BTreeSet<Series>) {
    let mut families = Families::new();
    let mut family = Metadata::default();
    let mut series = BTreeSet::new();
    let page = match format {
        Format::Text => page,
        Format::OpenMetrics => page.strip_suffix("# EOF\n").expect("# EOF at the end"),
    };
    assert!(page.is_empty() || page.ends_with('\n'));
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').unwrap();
            let mut after = |what: &str| {
                let prefix = format!("# {what} {name} ");
                let found = lines.next_if(|line| line.starts_with(&prefix))?;
                Some(found[prefix.len()..].to_owned())
            };
            family = Metadata {
                name: name.to_owned(),
                kind: after("TYPE").unwrap(),
                unit: after("UNIT"),
            };
            let earlier = families.insert(family.text_name(format), Vec::new());
            assert!(earlier.is_none(), "{name} comes twice");
            continue;
        }
        let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line:?}"));
        let (name, mut rest) = line.split_at(end);
        family.check(format, name);
        let mut labels = Labels::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (label, value) = rest.split_once("=\"").unwrap();
                let (text, after) = unescape(value);
                if label == "le" && text != "+Inf" {
                    let bound: f64 = text.parse().unwrap();
                    assert_eq!(text, format!("{bound:?}"));
                }
                assert!(
                    labels.insert(label.to_owned(), text).is_none(),
                    "{label} comes twice"
                );
                rest = after;
                match rest.split_at(1) {
                    (",", more) => rest = more,
                    ("}", more) => break rest = more,
                    other => panic!("{other:?}"),
                }
            }
        }
        let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
        assert!(value.is_finite(), "{line}");
        assert!(
            series.insert((name.to_owned(), labels.clone())),
            "{line} comes twice"
        );
        if !name.ends_with("_created") {
            let samples = families.get_mut(&family.text_name(format)).unwrap();
            samples.push((labels, value));
        }
    }
    (families, series)
}

/// Returns the text up to the closing quote, and the text after it.
fn unescape(value: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = value.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (text, &value[at + 1..]),
            '\\' => text.push(match chars.next().unwrap().1 {
                'n' => '\n',
                '\\' => '\\',
                '"' => '"',
                other => panic!("\\{other} is no escape"),
            }),
            other => text.push(other),
        }
    }
    panic!("no closing quote");
}
