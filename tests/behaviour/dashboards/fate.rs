//! What is said of a stored token after weeks, which no simulator waits for.

use std::fs;
use std::process::Command;

use super::{dashboards, list, panels, text};

#[test]
#[ignore = "needs promtool: make test"]
fn a_token_renews_if_its_expiry_moved_within_seven_days_over_restarts_too() {
    let all = dashboards();
    let (_, dashboard) = all.iter().find(|(name, _)| name == "connections").unwrap();
    let panel = panels(dashboard).find(|panel| panel["title"] == "Stored tokens");
    let expression = text(&list(panel.unwrap(), "targets")[0], "expr");
    let expression = ["system", "account", "target"]
        .iter()
        .fold(expression.to_owned(), |filled, name| {
            filled.replace(&format!("${name}"), ".+")
        });
    // By the hour, for 20 days: when it ends, the renewals counted by two processes of which the second took over after 18 days, and what is expected.
    let soon = 20 * 86_400 + 3600;
    let mut series = Vec::new();
    let mut expected = Vec::new();
    for (name, expiry, counted, fate) in [
        (
            "in_time",
            format!("{}x359 {soon}x120", soon - 86_400),
            ["0x359 1x72", "0x48"],
            0,
        ),
        (
            "long_ago",
            format!("{}x100 {soon}x379", soon - 86_400),
            ["0x100 1x331", "0x48"],
            5,
        ),
        ("never", format!("{soon}x480"), ["0x432", "0x48"], 5),
        (
            "young_and_renewed",
            format!("_x450 {soon}x29"),
            ["_x432", "_x18 0x10 1x18"],
            0,
        ),
        (
            "young",
            format!("_x450 {soon}x29"),
            ["_x432", "_x18 0x29"],
            5,
        ),
    ] {
        let labels = format!(
            "system=\"zis\",account=\"acme\",target=\"t\",connection=\"{name}\",connection_type=\"oauth\""
        );
        let mut add = |metric: &str, instance: &str, values: &str| {
            series.push(format!("      - {{series: '{metric}{{{labels},instance=\"{instance}\"}}', values: '{values}'}}\n"));
        };
        add(
            "saas_connection_token_expiry_timestamp_seconds",
            "b",
            &expiry,
        );
        add(
            "saas_connection_token_expires_in_seconds",
            "b",
            "_x470 3600x9",
        );
        add("saas_connection_token_renewable", "b", "_x470 0x9");
        add(
            "saas_connection_token_renewals_total",
            "a",
            &format!("{} stale", counted[0]),
        );
        add(
            "saas_connection_token_renewals_total",
            "b",
            &format!("_x432 {}", counted[1]),
        );
        expected.push(format!(
            "          - {{labels: '{{{labels}}}', value: {fate}}}\n"
        ));
    }
    let quoted = serde_json::to_string(&expression).unwrap();
    let test = format!(
        "evaluation_interval: 1h\ntests:\n  - interval: 1h\n    input_series:\n{}    promql_expr_test:\n      - expr: {quoted}\n        eval_time: 479h\n        exp_samples:\n{}",
        series.concat(),
        expected.concat()
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
    assert!(output.status.success(), "{said}");
}
