//! Writer of the sample lines of a target or an account, which are the same in both formats.

use std::fmt::Write as _;

use crate::metrics::{ALL, SampleSink};

/// Labels that all families of a target start with. Those of an account have the first two.
const COMMON: [&str; 3] = ["system", "account", "target"];

/// Sample lines of one target or account, by the index of their family in [`ALL`].
#[derive(Debug)]
pub struct SampleWriter {
    /// The values of the common labels with their names, as they stand in each line.
    common: String,
    /// Number of these labels.
    count: usize,
    families: Vec<String>,
}

impl SampleWriter {
    /// Creates a writer with the values of the common labels.
    #[must_use]
    pub(super) fn new(common: &[&str]) -> Self {
        let mut labels = String::new();
        for (name, value) in COMMON.iter().zip(common) {
            label(&mut labels, name, value);
        }
        Self {
            common: labels,
            count: common.len(),
            families: vec![String::new(); ALL.len()],
        }
    }

    /// Appends a line without its value.
    pub(super) fn open_line(&mut self, family: usize, labels: &[&str]) -> &mut String {
        let (description, line) = (&ALL[family], &mut self.families[family]);
        debug_assert_eq!(description.labels.len(), self.count + labels.len());
        line.push_str(description.name);
        line.push('{');
        line.push_str(&self.common);
        for (name, value) in description.labels[self.count..].iter().zip(labels) {
            label(line, name, value);
        }
        // The last label ends with a comma.
        line.pop();
        line.push_str("} ");
        line
    }

    /// Returns the lines of each family that has any.
    pub(super) fn finish(self) -> impl Iterator<Item = (usize, String)> {
        let families = self.families.into_iter().enumerate();
        families.filter(|(_, lines)| !lines.is_empty())
    }
}

impl SampleSink for SampleWriter {
    fn sample(&mut self, family: usize, labels: &[&str], value: f64) {
        let line = self.open_line(family, labels);
        number(line, value);
        line.push('\n');
    }
}

/// Appends a label and a comma.
pub(super) fn label(line: &mut String, name: &str, value: &str) {
    line.push_str(name);
    line.push_str("=\"");
    escape(line, value, "\"");
    line.push_str("\",");
}

/// Appends text with backslashes, line ends and, if they are given, quotes escaped.
pub(super) fn escape(line: &mut String, text: &str, quotes: &str) {
    let mut rest = text;
    let special = |byte: u8| matches!(byte, b'\\' | b'\n') || quotes.as_bytes().contains(&byte);
    while let Some(at) = rest.bytes().position(special) {
        line.push_str(&rest[..at]);
        line.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    line.push_str(rest);
}

/// Appends a value as Rust displays it, except for infinity, which both formats spell `Inf`.
pub(super) fn number(line: &mut String, value: f64) {
    /// Magnitude below which a float is displayed with all digits of its integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the result is compared with the value"
    )]
    let whole = value as i64;
    let is_whole = (whole as f64).to_bits() == value.to_bits() && value.abs() < EXACT;
    if is_whole {
        // Much faster than a float.
        line.push_str(itoa::Buffer::new().format(whole));
    } else if value.is_infinite() {
        line.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        // Writing to a `String` cannot fail.
        let _ = write!(line, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::exposition::{Format, HEADERS};
    use crate::metrics::FamilyDescription;
    use crate::metrics::described::ProtoFamilies;

    proptest! {
        #[test]
        fn lines_are_those_of_the_encoder_of_the_crate(
            common in prop::collection::vec("[\\PC\\\\\"\n]{0,20}", 2..=3),
            samples in prop::collection::vec(
                (0..ALL.len(), prop::collection::vec("[\\PC\\\\\"\n]{0,12}", 16), value()),
                0..40,
            ),
        ) {
            let common: Vec<_> = common.iter().map(String::as_str).collect();
            let mut writer = SampleWriter::new(&common);
            let mut crates = ProtoFamilies::new(&common);
            let is_of_target = |family: &FamilyDescription| family.labels.get(2) == Some(&"target");
            for (family, labels, value) in &samples {
                if is_of_target(&ALL[*family]) != (common.len() == 3) {
                    continue;
                }
                let labels = &labels[..ALL[*family].labels.len() - common.len()];
                let labels: Vec<_> = labels.iter().map(String::as_str).collect();
                writer.sample(*family, &labels, *value);
                crates.sample(*family, &labels, *value);
            }
            let encoded = TextEncoder::new().encode_to_string(&crates.finish()).unwrap();
            let mut written = Vec::new();
            for (family, lines) in writer.finish() {
                written.extend_from_slice(HEADERS[family].block(Format::Text).text());
                written.extend_from_slice(lines.as_bytes());
            }
            prop_assert_eq!(String::from_utf8(written).unwrap(), encoded);
        }
    }

    #[test]
    fn infinity_is_spelt_as_the_formats_say() {
        let mut line = String::new();
        number(&mut line, f64::INFINITY);
        number(&mut line, f64::NEG_INFINITY);
        assert_eq!(line, "+Inf-Inf");
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |value| !value.is_infinite()),
            any::<i64>().prop_map(|whole| whole as f64),
            (-1000..1000).prop_map(f64::from),
            any::<u32>().prop_map(|seconds| f64::from(seconds) + 0.125),
            Just(-0.0),
            Just(f64::NAN),
            Just(9_007_199_254_740_992.0),
        ]
    }
}
