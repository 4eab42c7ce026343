//! Panels on hand-written series: twenty days in steps of an hour, or a layout of scrapes that the
//! simulator does not have.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{dashboards, list, panels, text};

/// Input series of a promtool test.
#[derive(Default)]
pub(super) struct Played(Vec<String>);

impl Played {
    pub(super) fn series(&mut self, series: &str, values: &str) {
        let line = format!("      - {{series: '{series}', values: '{values}'}}\n");
        self.0.push(line);
    }

    /// Asserts the samples of the panel's first query at hour 479.
    pub(super) fn shows(&self, file: &str, title: &str, expected: &[(String, f64)]) {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yaml");
        let rules = rules.display().to_string();
        self.shows_by(&[&rules], file, title, expected);
    }

    /// Asserts the same in a Prometheus that has only these files of rules.
    pub(super) fn shows_by(
        &self,
        rules: &[&str],
        file: &str,
        title: &str,
        expected: &[(String, f64)],
    ) {
        let all = dashboards();
        let (_, dashboard) = all.iter().find(|(name, _)| name == file).unwrap();
        let panel = panels(dashboard).find(|panel| panel["title"] == title);
        let expression = text(&list(panel.unwrap(), "targets")[0], "expr");
        let expression = ["cluster", "job", "system", "account", "target"]
            .iter()
            .fold(expression.to_owned(), |filled, name| {
                filled.replace(&format!("${name}"), ".*")
            });
        let quoted = serde_json::to_string(&expression).unwrap();
        let samples = expected
            .iter()
            .map(|(labels, value)| format!("          - {{labels: '{labels}', value: {value}}}\n"));
        let test = format!(
            "rule_files: {rules:?}\nevaluation_interval: 1h\ntests:\n  - interval: 1h\n    \
                input_series:\n{}    promql_expr_test:\n      - expr: {quoted}\n        \
                eval_time: 479h\n        exp_samples:\n{}",
            self.0.concat(),
            samples.collect::<String>()
        );
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("test.yaml"), test).unwrap();
        let output = Command::new("promtool")
            .args(["test", "rules", "test.yaml"])
            .current_dir(&folder)
            .output()
            .unwrap();
        let said =
            String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{title}: {said}");
    }
}

#[test]
#[ignore = "needs promtool: make test"]
fn an_exporter_that_is_scraped_in_parts_is_one_and_down_if_a_part_is() {
    let mut played = Played::default();
    for (process, up) in [("a:9932", 1), ("b:9932", 0)] {
        let labels = |part: &str| format!("{{job=\"j\",instance=\"{process}{part}\"}}");
        let own = labels("");
        played.series(&format!("up{own}"), "1x480");
        played.series(&format!("connections_exporter_build_info{own}"), "1x480");
        for part in ["/zis/acme", "/zuora/production"] {
            let values = if up == 0 { "1x470 0x9" } else { "1x480" };
            played.series(&format!("up{}", labels(part)), values);
            let budget = "connections_exporter_api_budget_requests_per_second";
            let values = if up == 0 { "1x470 stale" } else { "1x480" };
            played.series(&format!("{budget}{}", labels(part)), values);
        }
    }
    played.series("up{job=\"other\",instance=\"c\"}", "0x480");
    let row = |instance: &str, up| (format!("{{job=\"j\",instance=\"{instance}\"}}"), up);
    played.shows("overview", "Exporters down", &[("{}".to_owned(), 1.0)]);
    played.shows(
        "budget",
        "Instances",
        &[row("a:9932", 1.0), row("b:9932", 0.0)],
    );
}

#[test]
#[ignore = "needs promtool: make test"]
fn a_quota_whose_window_is_over_is_not_shown_as_used_up() {
    let mut played = Played::default();
    let now = 479 * 3600;
    for (window, left, resets) in [("60", 0, now - 60), ("86400", 50, now + 60)] {
        for (metric, value) in [
            ("limit", 100),
            ("remaining", left),
            ("reset_timestamp_seconds", resets),
        ] {
            let labels = format!("{{system=\"zuora\",account=\"a\",window=\"{window}\"}}");
            played.series(
                &format!("connections_exporter_api_quota_{metric}{labels}"),
                &format!("{value}x480"),
            );
        }
    }
    played.shows("budget", "Quota left", &[("{}".to_owned(), 0.5)]);
}

#[test]
#[ignore = "needs promtool: make test"]
fn shards_of_two_clusters_do_not_stand_in_for_each_other() {
    let mut played = Played::default();
    for (cluster, shards) in [("x", 0..2), ("y", 1..2)] {
        for shard in shards {
            let labels = format!(
                "{{job=\"j\",cluster=\"{cluster}\",instance=\"{cluster}{shard}\",pod=\"{shard}\"}}"
            );
            played.series(
                &format!("connections_exporter_shard_index{labels}"),
                &format!("{shard}x480"),
            );
            played.series(&format!("connections_exporter_shards{labels}"), "2x480");
        }
    }
    played.shows("budget", "Shards missing", &[("{}".to_owned(), 1.0)]);
}
