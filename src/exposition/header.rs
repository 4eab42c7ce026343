//! Headers of families: their metadata lines in each format.

use std::sync::LazyLock;

use prometheus::proto::MetricType;

use super::Format;
use super::block::Block;
use super::samples::escape;
use crate::metrics::{ALL, FamilyDescription};

/// Suffix of the samples of a counter, which OpenMetrics does not count to the family's name.
pub(super) const TOTAL: &str = "_total";

/// Units of metrics, as their names end.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Position of a family on a page, and its metadata lines.
#[derive(Debug)]
pub(super) struct FamilyHeader {
    /// Index in [`ALL`].
    pub(super) place: usize,
    /// Lines by format.
    blocks: [Block; 2],
}

impl FamilyHeader {
    fn new(place: usize, name: &str, help: &str, kind: MetricType) -> Self {
        let block = |format| {
            let mut lines = String::new();
            write_header(&mut lines, format, name, help, kind);
            Block::new(lines)
        };
        Self {
            place,
            blocks: [Format::Text, Format::OpenMetrics].map(block),
        }
    }

    /// Returns the lines of the header in a format.
    pub(super) fn block(&self, format: Format) -> &Block {
        &self.blocks[format as usize]
    }
}

/// Headers of the families of [`ALL`].
pub(super) static HEADERS: LazyLock<Vec<FamilyHeader>> = LazyLock::new(|| {
    let header = |(place, family): (usize, &FamilyDescription)| {
        FamilyHeader::new(place, family.name, family.help, family.kind)
    };
    ALL.iter().enumerate().map(header).collect()
});

/// Appends the metadata lines of a family.
///
/// In OpenMetrics a family has the name of its samples without their suffix, and its unit is
/// declared. Families such as `saas_connection_info` are gauges in both formats. As the type `info`
/// of OpenMetrics, they would lose the name under which Prometheus shows their help, and parsers of
/// the text format that are sent OpenMetrics would refuse the page.
pub(super) fn write_header(
    lines: &mut String,
    format: Format,
    name: &str,
    help: &str,
    kind: MetricType,
) {
    let (name, quotes) = match format {
        Format::Text => (name, ""),
        Format::OpenMetrics => (name.strip_suffix(TOTAL).unwrap_or(name), "\""),
    };
    let kind = match kind {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        _ => "gauge",
    };
    for part in ["# HELP ", name, " "] {
        lines.push_str(part);
    }
    escape(lines, help, quotes);
    for part in ["\n# TYPE ", name, " ", kind, "\n"] {
        lines.push_str(part);
    }
    let unit = UNITS.iter().find(|unit| has_unit(name, unit));
    if let Some(unit) = unit.filter(|_| format == Format::OpenMetrics) {
        for part in ["# UNIT ", name, " ", unit, "\n"] {
            lines.push_str(part);
        }
    }
}

/// Whether a name ends with an underscore and this unit.
fn has_unit(name: &str, unit: &str) -> bool {
    let rest = name.strip_suffix(unit);
    rest.is_some_and(|rest| rest.ends_with('_'))
}
