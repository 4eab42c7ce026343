//! Writer of the families that the `prometheus` crate gathers: counters, gauges and histograms.

use std::fmt::Write as _;

use jiff::Timestamp;
use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::header::TOTAL;
use super::samples::{label, number};
use crate::clock::seconds;

/// Appends the sample lines of a family.
///
/// With `created`, each counter and histogram also gets a `_created` sample of OpenMetrics.
pub(super) fn write_samples(lines: &mut String, family: &MetricFamily, created: Option<Timestamp>) {
    let name = family.name();
    for metric in family.get_metric() {
        let mut sample = |suffix: [&str; 2], le: Option<f64>, value: f64| {
            let [name, suffix] = suffix;
            lines.push_str(name);
            lines.push_str(suffix);
            write_labels(lines, metric, le);
            lines.push(' ');
            number(lines, value);
            lines.push('\n');
        };
        let base = match family.get_field_type() {
            MetricType::COUNTER => {
                sample([name, ""], None, metric.get_counter().get_value());
                name.strip_suffix(TOTAL).unwrap_or(name)
            }
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let buckets = histogram.get_bucket().iter();
                let buckets =
                    buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
                let count = histogram.get_sample_count();
                for (bound, count) in buckets.chain([(f64::INFINITY, count)]) {
                    sample([name, "_bucket"], Some(bound), count as f64);
                }
                sample([name, "_sum"], None, histogram.get_sample_sum());
                sample([name, "_count"], None, count as f64);
                name
            }
            _ => {
                sample([name, ""], None, metric.get_gauge().get_value());
                continue;
            }
        };
        if let Some(created) = created {
            sample([base, "_created"], None, seconds(created));
        }
    }
}

/// Appends the labels of a sample, if it has any.
///
/// The label `le` is written as a float also where it is whole, as OpenMetrics requires and as
/// Prometheus 3 stores it.
fn write_labels(lines: &mut String, metric: &Metric, le: Option<f64>) {
    let start = lines.len();
    lines.push('{');
    for pair in metric.get_label() {
        label(lines, pair.name(), pair.value());
    }
    match le {
        Some(f64::INFINITY) => label(lines, "le", "+Inf"),
        // Writing to a `String` cannot fail.
        Some(bound) => drop(write!(lines, "le=\"{bound:?}\",")),
        None => {}
    }
    // Either the comma after the last label, or the brace.
    lines.pop();
    if lines.len() > start {
        lines.push('}');
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use prometheus::core::Collector as _;

    use super::super::Format;
    use super::super::header::write_header;
    use super::*;
    use crate::metrics::ExporterMetrics;
    use crate::metrics::described::from_the_start;

    /// Returns families of every type.
    fn families() -> Vec<MetricFamily> {
        let own = ExporterMetrics::new(Timestamp::UNIX_EPOCH);
        let durations = own.durations();
        for (endpoint, seconds) in [("a \"b\"\n", 0.07), ("c\\", 300.0)] {
            durations
                .with_label_values(&["zis", endpoint])
                .observe(seconds);
        }
        let mut families = from_the_start();
        families.extend(durations.collect());
        families
    }

    fn text(families: &[MetricFamily]) -> String {
        let mut lines = String::new();
        for family in families {
            let kind = family.get_field_type();
            write_header(&mut lines, Format::Text, family.name(), family.help(), kind);
            write_samples(&mut lines, family, None);
        }
        lines
    }

    #[test]
    fn gathered_families_are_written_as_by_the_encoder_of_the_crate() {
        let families = families();
        let encoded = TextEncoder::new().encode_to_string(&families).unwrap();
        assert!(encoded.contains("le=\"0.05\"") && encoded.contains("le=\"120\""));
        let mut expected = String::new();
        for line in encoded.lines() {
            let whole = line.split_once("le=\"").and_then(|(before, rest)| {
                let (bound, after) = rest.split_once('"')?;
                bound.parse::<u32>().ok()?;
                Some(format!("{before}le=\"{bound}.0\"{after}"))
            });
            expected += whole.as_deref().unwrap_or(line);
            expected += "\n";
        }
        assert_eq!(text(&families), expected);
    }

    #[test]
    fn counters_and_histograms_may_have_the_date_of_their_creation() {
        let mut lines = String::new();
        for family in families() {
            write_samples(
                &mut lines,
                &family,
                Some(Timestamp::constant(5, 500_000_000)),
            );
        }
        let created = lines.lines().filter(|line| line.contains("_created"));
        let created: Vec<_> = created.collect();
        assert!(created.contains(&"connections_exporter_state_write_failures_created 5.5"));
        assert!(!lines.contains("_total_created"));
        assert!(created.iter().all(|line| line.ends_with(" 5.5")));
    }
}
