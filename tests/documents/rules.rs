//! `deploy/prometheus/alerts.yaml`: its expressions can return something, and Kubernetes gets the
//! same rules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::promql::Series;

const RUNBOOKS: &str =
    "https://github.com/connections-exporter/connections-exporter/blob/main/docs/runbooks/";
const DASHBOARDS: [&str; 3] = [
    "connections-exporter-overview",
    "connections-exporter-connections",
    "connections-exporter-budget",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

fn yaml(name: &str) -> Value {
    serde_yaml::from_str(&read(name)).unwrap()
}

fn rules(file: &Value) -> Vec<&Map<String, Value>> {
    let groups = file["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    rules.map(|rule| rule.as_object().unwrap()).collect()
}

fn text<'a>(rule: &'a Map<String, Value>, key: &str) -> &'a str {
    rule[key].as_str().unwrap()
}

/// Returns the word after each occurrence of `begin`.
fn after<'a>(text: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let rest = text.split(begin).skip(1);
    rest.map(move |rest| rest.split(ends).next().unwrap())
}

/// Returns the queries in a template, with a sample word for each parameter, and the template's
/// text up to the next query.
fn queries(template: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for action in template.split("{{").skip(1) {
        let inner = action.split("}}").next().unwrap();
        if inner.contains("query") && !inner.contains("urlquery") {
            let quoted = inner.split('"').nth(1).unwrap();
            let system = quoted.replace("system=%q", "system=\"zuora\"");
            found.push((system.replace("%q", "\"x\""), String::new()));
        } else if let Some((_, text)) = found.last_mut() {
            text.push_str(action);
        }
    }
    found
}

#[test]
fn every_rule_can_mean_something() {
    let file = yaml("deploy/prometheus/alerts.yaml");
    let mut series = Series::new();
    let mut alerts = 0;
    for rule in rules(&file) {
        let expression = text(rule, "expr");
        if let Some(name) = rule.get("record") {
            let name = name.as_str().unwrap();
            // A rule that continues its own last value has the labels of its first operand.
            let begin = expression.split(&format!("or\n  {name}")).next().unwrap();
            let begin = begin.split("\nor\n").next().unwrap();
            let of = series
                .of(begin)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            series.record(name, of.clone());
            assert_eq!(series.of(expression), Ok(of), "{name}");
            continue;
        }
        let name = text(rule, "alert");
        let mut kept = series
            .of(expression)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        kept.insert("severity".to_owned());
        let annotations = rule["annotations"].as_object().unwrap();
        for (key, template) in annotations {
            let template = template.as_str().unwrap();
            for label in after(template, "$labels.") {
                assert!(
                    kept.contains(label),
                    "{name}: {key} names {label}, of {kept:?}"
                );
            }
            for (query, text) in queries(template) {
                let of = series
                    .of(&query)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                for label in after(&text, "label \"") {
                    assert!(of.contains(label), "{name}: {query} has no {label}");
                }
            }
            assert!(
                !template.contains('\n') && !template.contains("  "),
                "{name}: {template:?}"
            );
        }
        for key in ["summary", "description"] {
            assert!(!annotations[key].as_str().unwrap().is_empty(), "{name}");
        }
        assert_eq!(
            text(annotations, "runbook_url"),
            format!("{RUNBOOKS}{name}.md")
        );
        let dashboard = text(annotations, "dashboard_url")
            .split("/d/")
            .nth(1)
            .unwrap();
        assert!(
            DASHBOARDS.contains(&dashboard.split('?').next().unwrap()),
            "{name}: {dashboard}"
        );
        let severity = text(rule["labels"].as_object().unwrap(), "severity");
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: {severity}"
        );
        // These two look back themselves: a missing scrape target is their cause, not a gap.
        let looks_back = ["ConnectionsExporterAbsent", "ConnectionsAccountMissing"].contains(&name);
        let held = rule.contains_key("keep_firing_for") || looks_back;
        assert!(held, "{name} resolves in a gap of ten minutes");
        alerts += 1;
    }
    assert!(alerts >= 30, "{alerts}");
}

#[test]
fn every_recording_rule_is_used() {
    let file = yaml("deploy/prometheus/alerts.yaml");
    let rules = rules(&file);
    let folder = fs::read_dir(path("grafana/dashboards")).unwrap();
    let dashboards: String = folder
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for rule in rules.iter().filter(|rule| rule.contains_key("record")) {
        let name = text(rule, "record");
        let others = rules
            .iter()
            .filter(|other| other.get("record") != rule.get("record"));
        let used = others
            .into_iter()
            .any(|other| text(other, "expr").contains(name));
        assert!(used || dashboards.contains(name), "{name}");
    }
}

/// Cases that the test of each alert covers at least. Its name lists them.
///
/// `every_rule_has_its_tests` checks the name, and those cases that can be recognized in the file.
const KINDS: [&str; 5] = [
    "fires",
    "stays quiet",
    "survives a gap",
    "survives a restart",
    "keeps targets apart",
];

#[test]
fn every_rule_has_its_tests() {
    let folder = fs::read_dir(path("deploy/prometheus/tests")).unwrap();
    let files: Vec<Value> = folder
        .map(|entry| {
            serde_yaml::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap()
        })
        .collect();
    let tests = || {
        files
            .iter()
            .flat_map(|file| file["tests"].as_array().unwrap())
    };
    let file = yaml("deploy/prometheus/alerts.yaml");
    let mut tested = BTreeSet::new();
    for rule in rules(&file) {
        if let Some(name) = rule.get("record") {
            let name = name.as_str().unwrap();
            let asked = tests().filter_map(|test| test["promql_expr_test"].as_array());
            let holds = |test: &&Value| test["expr"] == name && test["exp_samples"][0].is_object();
            assert!(
                asked.flatten().any(|test| holds(&test)),
                "{name} has no test"
            );
            continue;
        }
        let (name, severity) = (text(rule, "alert"), &rule["labels"]["severity"]);
        let begin = format!("{name}: ");
        let own = tests().find(|test| {
            let kinds = test["name"].as_str().unwrap().strip_prefix(&begin);
            kinds.is_some_and(|kinds| kinds.split(", ").eq(KINDS))
        });
        let own = own.unwrap_or_else(|| panic!("{name} has no test of {KINDS:?}"));
        let checks = own["alert_rule_test"].as_array().unwrap();
        let firing = |check: &Value| check["exp_alerts"].as_array().unwrap().len();
        let counts: Vec<_> = checks.iter().map(firing).collect();
        let most = *counts.iter().max().unwrap();
        assert!(counts[0] < most, "{name} fires from the start");
        let resolves = counts.windows(2).any(|pair| pair[1] < pair[0]);
        assert!(resolves, "{name} never resolves");
        let lasting = counts.iter().filter(|count| **count > 0).count();
        assert!(lasting >= 3, "{name} survives nothing");
        let series = own["input_series"].to_string();
        for what in ["stale", "10.0.0.1", "10.0.0.2"] {
            assert!(series.contains(what), "{name}: {what}");
        }
        let of_severity = tests()
            .filter_map(|test| test["alert_rule_test"].as_array())
            .flatten();
        let seen = of_severity
            .filter(|check| check["alertname"] == name)
            .any(|check| {
                let alerts = check["exp_alerts"].as_array().unwrap();
                alerts
                    .iter()
                    .any(|alert| alert["exp_labels"]["severity"] == *severity)
            });
        assert!(seen, "{name} is not seen to be {severity}");
        tested.insert(name);
    }
    for name in tests()
        .filter_map(|test| test["alert_rule_test"].as_array())
        .flatten()
    {
        let name = name["alertname"].as_str().unwrap();
        assert!(tested.contains(name), "{name} is tested, and is no alert");
    }
}

#[test]
fn the_operator_gets_the_same_rules() {
    let object = yaml("deploy/kubernetes/components/prometheus-rule/prometheus-rule.yaml");
    assert_eq!(object["spec"], yaml("deploy/prometheus/alerts.yaml"));
}

/// kube-prometheus-stack inhibits a warning while a critical alert of the same name fires.
#[test]
fn no_alert_has_two_severities() {
    let file = yaml("deploy/prometheus/alerts.yaml");
    let mut names = BTreeSet::new();
    for name in rules(&file).iter().filter_map(|rule| rule.get("alert")) {
        assert!(names.insert(name.as_str().unwrap()), "{name}");
    }
}
