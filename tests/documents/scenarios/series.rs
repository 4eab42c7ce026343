//! Samples, in the notation of promtool.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Samples of each series, one per step.
#[derive(Default)]
pub(super) struct Series(BTreeMap<String, Vec<Option<f64>>>);

impl Series {
    pub(super) fn add(&mut self, step: usize, name: &str, labels: &[(&str, &str)], value: f64) {
        self.add_of(
            step,
            ("connections-exporter", "10.0.0.1:9932"),
            name,
            labels,
            value,
        );
    }

    /// Adds a sample of a job and an instance.
    pub(super) fn add_of(
        &mut self,
        step: usize,
        (job, instance): (&str, &str),
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let labels = [
            vec![format!("job=\"{job}\",instance=\"{instance}\"")],
            labels,
        ]
        .concat();
        let samples = self.0.entry(format!("{name}{{{}}}", labels.join(",")));
        let samples = samples.or_default();
        samples.resize(step, None);
        samples.push(Some(value));
    }

    /// Returns the series in promtool's notation.
    pub(super) fn write(&self, text: &mut String, steps: usize) {
        for (name, samples) in &self.0 {
            let mut samples = samples.clone();
            samples.resize(steps, None);
            let _ = writeln!(
                text,
                "      - {{series: '{name}', values: '{}'}}",
                notation(&samples)
            );
        }
    }
}

/// Returns samples in promtool's notation: runs with a constant difference in short.
#[expect(clippy::float_cmp, reason = "a run repeats the very same numbers")]
fn notation(samples: &[Option<f64>]) -> String {
    let mut words = Vec::new();
    let mut at = 0;
    while at < samples.len() {
        let run =
            |holds: &dyn Fn(usize) -> bool| (at..samples.len()).take_while(|i| holds(*i)).count();
        let Some(first) = samples[at] else {
            let missing = run(&|i| samples[i].is_none());
            // Without the marker, Prometheus would show the last sample for five more minutes.
            if at > 0 {
                words.push("stale".to_owned());
            }
            let rest = missing - usize::from(at > 0);
            if rest > 0 {
                words.push(format!("_x{rest}"));
            }
            at += missing;
            continue;
        };
        let step = samples
            .get(at + 1)
            .copied()
            .flatten()
            .map_or(0.0, |next| next - first);
        let length =
            run(&|i| samples[i].is_some_and(|value| value == first + step * (i - at) as f64));
        let sign = if step < 0.0 { "-" } else { "+" };
        match length {
            1 => words.push(first.to_string()),
            _ if step == 0.0 => words.push(format!("{first}x{}", length - 1)),
            2 => words.push(first.to_string()),
            _ => words.push(format!("{first}{sign}{}x{}", step.abs(), length - 1)),
        }
        at += if length == 2 && step != 0.0 {
            1
        } else {
            length
        };
    }
    words.join(" ")
}
