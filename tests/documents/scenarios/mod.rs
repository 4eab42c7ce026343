//! Scenarios of an engineer on call, as tests of the alert rules.
//!
//! The series are those of the exporter's own page: each scenario lists connections, and the code
//! that observes and renders listings turns them into samples.

mod edges;
mod healthy;
mod missing;
mod month;
mod scene;
mod series;
mod target;
mod tokens;

use std::collections::BTreeSet;
use std::fmt::Write as _;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Interval of polls, scrapes and evaluations. Shorter ones would make promtool take minutes.
const STEP: i64 = 15 * MINUTE;
/// `keep_firing_for` of the alerts on tokens.
const KEPT: i64 = 15 * MINUTE;

/// Length of the tests of tokens.
const END: i64 = 40 * DAY;

/// Alerts of a connection, with the times from which and until which their rule returns it.
type Alerts = [(&'static str, i64, i64)];

/// Returns the beginning of a file of tests, with the minutes between evaluations.
fn header(minutes: i64) -> String {
    format!(
        "# Generated from tests/documents/scenarios: change it there, then UPDATE_GOLDEN=1 cargo test documents\n\
         rule_files: [../alerts.yaml]\nevaluation_interval: {minutes}m\n\
         group_eval_order: [connections-exporter.records, connections-exporter.tokens, connections-exporter.connections, \
         connections-exporter.targets, connections-exporter.budget, connections-exporter.exporter]\ntests:\n",
    )
}

/// Returns the beginning of a file with one test, with the seconds between samples and evaluations.
fn beginning(name: &str, every: i64) -> String {
    let minutes = every / MINUTE;
    header(minutes) + &format!("  - name: {name}\n    interval: {minutes}m\n    input_series:\n")
}

/// Adds checks of which alerts of a connection fire: around the time at which each begins and ends.
fn check(text: &mut String, connection: &str, alerts: &Alerts) {
    let mut checks = BTreeSet::from([20 * DAY + STEP, END - HOUR]);
    for (_, from, to) in alerts {
        checks.extend([from - STEP, from + STEP, to - STEP, to + KEPT + 2 * STEP]);
    }
    let firing = |now: i64| -> Option<BTreeSet<&str>> {
        let mut firing = BTreeSet::new();
        for (alert, from, to) in alerts {
            // From the first evaluation on, and until the alert is no longer kept.
            let begins = now == *from;
            let ends = (*to..=to + KEPT + STEP).contains(&now) && *to < END;
            if begins || ends {
                return None;
            }
            if *from < now && now < *to {
                firing.insert(*alert);
            }
        }
        Some(firing)
    };
    for now in checks.into_iter().filter(|now| (0..END).contains(now)) {
        let Some(firing) = firing(now) else { continue };
        let _ = writeln!(
            text,
            "      - expr: group by (alertname) (ALERTS{{alertstate=\"firing\",connection=\"{connection}\"}})\n        eval_time: {}m",
            now / MINUTE
        );
        let samples: Vec<_> = firing
            .iter()
            .map(|alert| format!("{{labels: '{{alertname=\"{alert}\"}}', value: 1}}"))
            .collect();
        let _ = writeln!(text, "        exp_samples: [{}]", samples.join(", "));
    }
}
