//! Each alert has a runbook, and the runbooks match the rules.

mod pasted;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_yaml::Value;

use crate::documents::{files, root};

const RULES: &str = "deploy/prometheus/alerts.yaml";
const INDEX: &str = "docs/runbooks/README.md";

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Returns the alerts by name.
fn alerts() -> Vec<(String, Value)> {
    let rules: Value = serde_yaml::from_str(&read(RULES)).unwrap();
    let groups = rules["groups"].as_sequence().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_sequence().unwrap());
    let alerts: Vec<_> = rules
        .filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule.clone())))
        .collect();
    assert!(alerts.len() > 20);
    alerts
}

/// Returns the paths of all documents in `docs/runbooks`.
fn documents() -> Vec<String> {
    let names = files("docs/runbooks", "md").into_iter().map(|file| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        format!("docs/runbooks/{name}")
    });
    names.collect()
}

/// Returns the alert that a runbook is for.
fn alert_of(document: &str) -> Option<&str> {
    let name = Path::new(document).file_stem()?.to_str()?;
    // Documents for several alerts have lower-case names.
    (name != "README" && name.starts_with(char::is_uppercase)).then_some(name)
}

/// Returns the cells of the first table after the text `below`.
fn rows<'a>(text: &'a str, below: &str) -> Vec<Vec<&'a str>> {
    let (_, rest) = text.split_once(below).unwrap();
    let table = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

#[test]
fn each_alert_has_a_runbook_and_each_runbook_an_alert() {
    let documents = documents();
    let runbooks: BTreeSet<_> = documents.iter().filter_map(|name| alert_of(name)).collect();
    let alerts = alerts();
    let names: BTreeSet<_> = alerts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(runbooks, names);
    for (name, rule) in &alerts {
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        let (_, file) = url.split_once("/blob/main/").unwrap();
        assert_eq!(file, format!("docs/runbooks/{name}.md"));
    }
}

#[test]
fn each_runbook_helps_at_once_and_then_says_the_rest_in_the_same_order() {
    let order = [
        "Meaning",
        "Impact",
        "Diagnosis",
        "Mitigation",
        "False alarms",
    ];
    for document in documents() {
        let Some(alert) = alert_of(&document) else {
            continue;
        };
        let text = read(&document);
        let mut sections = text.split("\n## ");
        let first = sections.next().unwrap();
        let help = first.strip_prefix(&format!("# {alert}\n\n")).unwrap();
        assert!(!help.trim().is_empty(), "{document} begins with nothing");
        let sections: Vec<_> = sections
            .map(|section| section.split_once('\n').unwrap())
            .collect();
        let headings: Vec<_> = sections.iter().map(|(heading, _)| *heading).collect();
        assert_eq!(headings, order, "{document}");
        for (heading, body) in sections {
            assert!(!body.trim().is_empty(), "{document}: {heading}");
        }
    }
}

#[test]
fn the_index_has_each_alert_under_its_severity() {
    let index = read(INDEX);
    let mut severities: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let alerts = alerts();
    for (name, rule) in &alerts {
        let severity = rule["labels"]["severity"].as_str().unwrap();
        let link = format!("[{name}]({name}.md)");
        severities.entry(severity).or_default().insert(link);
    }
    assert_eq!(severities.len(), 3);
    for (severity, links) in severities {
        let listed = rows(&index, &format!("**{severity}**"));
        let listed: BTreeSet<_> = listed.iter().map(|row| row[0].to_owned()).collect();
        assert_eq!(listed, links, "{severity}");
    }
}

/// Returns the keys of `thresholds`, each with the comment above it.
fn thresholds(values: &str) -> Vec<(String, String)> {
    let (_, lines) = values.split_once("\nthresholds:\n").unwrap();
    let (mut comment, mut found) = (String::new(), Vec::new());
    let mut after_key = false;
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let text = line.strip_prefix("# ");
        if let Some(text) = text {
            if after_key {
                comment.clear();
            }
            comment += text;
            comment.push(' ');
        } else {
            let key = line.split(':').next().unwrap();
            found.push((key.to_owned(), comment.clone()));
        }
        after_key = text.is_none();
    }
    found
}

#[test]
fn each_threshold_is_used_and_its_comment_names_an_alert() {
    let names: BTreeSet<_> = alerts().into_iter().map(|(name, _)| name).collect();
    let rules: String = files("deploy/mixin/rules", "libsonnet")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let thresholds = thresholds(&read("deploy/mixin/values.yaml"));
    assert!(thresholds.len() > 20, "{thresholds:?}");
    for (key, comment) in thresholds {
        let mut words = comment.split(|c: char| !c.is_ascii_alphanumeric());
        assert!(words.any(|word| names.contains(word)), "{key}: {comment}");
        assert!(rules.contains(&format!("@{key}@")), "{key} is not used");
    }
}

/// The example that is tested end to end is the one that the runbooks show.
#[test]
fn the_runbooks_show_the_inhibition_rules_of_the_example() {
    let example = read("deploy/docker-compose/alertmanager/alertmanager.yml");
    let (_, rules) = example.split_once("inhibit_rules:\n").unwrap();
    let (rules, _) = rules.split_once("receivers:\n").unwrap();
    assert!(read(INDEX).contains(rules));
}
