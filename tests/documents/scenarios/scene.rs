//! Tests of a file, each with its own series and intervals.

use std::fmt::Write as _;

use super::header;
use super::series::Series;
use crate::documents::hold;

/// Adds a sample: job and instance, name, labels and value.
pub(super) type Sample<'a> = dyn FnMut((&str, &str), &str, &[(&str, &str)], f64) + 'a;

/// One test of a file: its series, the time between two samples, and what must fire when.
pub(super) struct Scene {
    name: String,
    /// Seconds between two scrapes and between two evaluations.
    every: i64,
    pub(super) series: Series,
    length: i64,
    /// Expressions that must have this number of results, with the time in seconds.
    checks: Vec<(i64, String, usize)>,
}

impl Scene {
    pub(super) fn new(name: impl Into<String>, every: i64, length: i64) -> Self {
        Self {
            name: name.into(),
            every,
            series: Series::default(),
            length,
            checks: Vec::new(),
        }
    }

    /// Adds the samples of each scrape from `from` until `until`.
    pub(super) fn scrapes(&mut self, from: i64, until: i64, sample: impl Fn(i64, &mut Sample<'_>)) {
        for now in (from..until).step_by(usize::try_from(self.every).unwrap()) {
            let step = usize::try_from(now / self.every).unwrap();
            let series = &mut self.series;
            sample(now, &mut |of, name, labels, value| {
                series.add_of(step, of, name, labels, value);
            });
        }
    }

    /// Adds a check of how many alerts that a matcher selects fire.
    pub(super) fn fires(&mut self, at: i64, matchers: &str, number: usize) {
        let expr = format!("count(ALERTS{{alertstate=\"firing\",{matchers}}})");
        self.checks.push((at, expr, number));
    }
}

/// Writes a file of tests.
pub(super) fn write(file: &str, scenes: &[Scene]) {
    let mut text = header(1);
    for scene in scenes {
        let _ = writeln!(
            text,
            "  - name: '{}'\n    interval: {}s\n    input_series:",
            scene.name, scene.every
        );
        scene.series.write(
            &mut text,
            usize::try_from(scene.length / scene.every).unwrap(),
        );
        text += "    promql_expr_test:\n";
        for (at, expr, number) in &scene.checks {
            let samples = match number {
                0 => "[]".to_owned(),
                _ => format!("[{{labels: '{{}}', value: {number}}}]"),
            };
            let _ = writeln!(
                text,
                "      - expr: {expr}\n        eval_time: {at}s\n        exp_samples: {samples}"
            );
        }
    }
    hold(file, &text);
}

pub(super) const ONE: (&str, &str) = ("connections-exporter", "10.0.0.1:9932");
pub(super) const OTHER: (&str, &str) = ("another-exporter", "10.0.0.2:9932");
pub(super) const TARGET: [(&str, &str); 3] =
    [("system", "zis"), ("account", "acme"), ("target", "slack")];

/// Returns a function that adds a sample of a target to the page of [`ONE`]. The metric's name is
/// completed.
pub(super) fn target<'a>(
    add: &'a mut Sample<'_>,
    labels: &'a [(&'a str, &'a str)],
) -> impl FnMut(&str, f64) + 'a {
    move |name, value| {
        let name = format!("connections_exporter_target_{name}");
        add(ONE, &name, labels, value);
    }
}

/// Adds what Prometheus itself writes for a scrape target, and what every page has.
pub(super) fn up(add: &mut Sample<'_>, of: (&str, &str)) {
    add(of, "up", &[], 1.0);
    add(of, "connections_exporter_build_info", &[], 1.0);
}
