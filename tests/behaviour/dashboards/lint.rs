//! The rules of Grafana's dashboard-linter that apply here, and rules of this project.
//!
//! The linter requires a variable for the instance, which the dashboards do not have: panels count
//! an account once even if several instances show it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{dashboards, expressions, list, panels, text};

const CHOICES: [&str; 5] = ["cluster", "job", "system", "account", "target"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn a_dashboard_can_be_provisioned_and_is_changed_in_the_code_only() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert_eq!(
            text(&dashboard, "uid"),
            format!("connections-exporter-{name}")
        );
        assert!(uids.insert(text(&dashboard, "title").to_owned()), "{name}");
        for key in ["__inputs", "__requires", "id"] {
            assert!(
                dashboard.get(key).is_none_or(Value::is_null),
                "{name}: {key}"
            );
        }
        assert_eq!(dashboard["editable"], false, "{name}");
        for kind in ["Restart", "Reload", "Reload refused", "Pause"] {
            let annotations = list(&dashboard["annotations"], "list");
            assert!(
                annotations.iter().any(|a| a["name"] == kind),
                "{name}: {kind}"
            );
        }
    }
}

#[test]
fn variables_choose_the_data_source_and_narrow_each_other() {
    for (name, dashboard) in dashboards() {
        let variables = list(&dashboard["templating"], "list");
        let names: Vec<_> = variables.iter().map(|v| text(v, "name")).collect();
        assert_eq!(
            names,
            [
                "datasource",
                "cluster",
                "job",
                "system",
                "account",
                "target"
            ],
            "{name}"
        );
        assert_eq!(variables[0]["type"], "datasource");
        assert_eq!(variables[0]["query"], "prometheus");
        for (n, variable) in variables[1..].iter().enumerate() {
            assert_eq!(variable["datasource"]["uid"], "${datasource}");
            for key in ["multi", "includeAll"] {
                assert_eq!(variable[key], true, "{name}: {variable}");
            }
            // Without clusters no series has the label.
            let all = if n == 0 { ".*" } else { ".+" };
            assert_eq!(variable["allValue"], all);
            let query = text(&variable["query"], "query");
            for before in &CHOICES[..n] {
                assert!(
                    query.contains(&format!("{before}=~\"${before}\"")),
                    "{query}"
                );
            }
            assert!(query.ends_with(&format!(", {})", CHOICES[n])), "{query}");
        }
    }
}

#[test]
fn each_panel_says_what_it_shows_in_what_unit_from_where_and_what_nothing_means() {
    for (name, dashboard) in dashboards() {
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = text(panel, "title");
            let place = format!("{name}: {title}");
            assert!(titles.insert(title), "{place} twice");
            assert!(
                !title.is_empty() && text(panel, "description").len() > 20,
                "{place}"
            );
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(!text(defaults, "unit").is_empty(), "{place}: unit");
            assert!(!text(defaults, "noValue").is_empty(), "{place}: noValue");
            assert!(
                !list(&defaults["thresholds"], "steps").is_empty(),
                "{place}: thresholds"
            );
            for of in [panel].into_iter().chain(list(panel, "targets")) {
                assert_eq!(of["datasource"]["uid"], "${datasource}", "{place}");
                assert_eq!(of["datasource"]["type"], "prometheus", "{place}");
            }
            for target in list(panel, "targets") {
                let named = target["instant"] == true || !text(target, "legendFormat").is_empty();
                assert!(named, "{place}: legend");
            }
        }
    }
}

#[test]
fn panels_have_ids_of_their_own_and_fill_the_grid_without_overlap() {
    for (name, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeMap::new();
        for panel in list(&dashboard, "panels") {
            let title = text(panel, "title");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= 24, "{name}: {title}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (y, x))) {
                let other = taken.insert(cell, title);
                assert!(other.is_none(), "{name}: {title} over {other:?}");
            }
        }
        let rows = taken.keys().map(|(y, _)| *y).max().unwrap() + 1;
        assert_eq!(taken.len() as u64, 24 * rows, "{name} has holes");
    }
}

/// Returns the documented labels of each metric.
fn labels() -> BTreeMap<String, String> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| {
        let (metric, rest) = row.split_once("` | ")?;
        let labels = rest.split(" | ").nth(1)?;
        Some((metric.to_owned(), labels.to_owned()))
    });
    rows.filter(|(metric, _)| metric.contains('_')).collect()
}

/// Returns each exporter metric and record in an expression: name, the text before it, and its
/// selector.
fn selectors(expression: &str) -> Vec<(&str, &str, &str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut from = 0;
    for word in expression.split(|c| !is_name(c)) {
        let begins = from;
        from += word.len() + 1;
        let metric = word.split(':').nth(1).unwrap_or(word);
        if !["saas_", "connections_exporter_", "process_"]
            .iter()
            .any(|p| metric.starts_with(p))
        {
            continue;
        }
        let rest = &expression[begins + word.len()..];
        let selector = rest
            .strip_prefix('{')
            .map_or("", |rest| rest.split('}').next().unwrap());
        found.push((word, &expression[..begins], selector));
    }
    found
}

/// Text before a metric that the dashboard's variables need not narrow.
///
/// Instances that are down are found by their samples of the last day, for all accounts.
const UNCHOSEN: &str = "last_over_time(";

#[test]
fn what_is_chosen_narrows_every_metric_that_has_such_labels() {
    let labels = labels();
    let mut checked = 0;
    for (name, dashboard) in dashboards() {
        for (place, expression) in expressions(&dashboard) {
            for (metric, before, selector) in selectors(expression) {
                let metric = metric.strip_suffix("_bucket").unwrap_or(metric);
                let known = match metric.split_once(':') {
                    Some(("account" | "credential", _)) => Some("`system`, `account`"),
                    Some(_) => Some("`system`, `account`, `target`"),
                    None => labels.get(metric).map(String::as_str),
                };
                let known =
                    known.unwrap_or_else(|| panic!("{name}: {place}: {metric} is not documented"));
                // Prometheus adds the labels of the scrape.
                let known = format!("`cluster`, `job`, {known}");
                for label in CHOICES
                    .iter()
                    .filter(|label| known.contains(&format!("`{label}`")))
                {
                    let narrowed = selector.contains(&format!("{label}=~\"${label}\""));
                    let origin = ["cluster", "job"].contains(label);
                    assert!(
                        narrowed || before.ends_with(UNCHOSEN) && !origin,
                        "{name}: {place}: {metric} by {label}"
                    );
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 200, "{checked}");
}

/// Metrics that are queried over a fixed range, with that range.
const FIXED: [(&str, &str); 2] = [
    // Instances that are down have no current samples.
    ("last_over_time(connections_exporter_build_info", "[1d]"),
    (
        "last_over_time(connections_exporter_api_budget_requests_per_second",
        "[1d]",
    ),
];

#[test]
fn counters_are_asked_for_their_growth_over_what_the_screen_resolves() {
    let mut ranges = 0;
    for (name, dashboard) in dashboards() {
        for (place, expression) in expressions(&dashboard) {
            for (at, _) in expression.match_indices('[') {
                let range = &expression[at..=at + expression[at..].find(']').unwrap()];
                let before = &expression[..at];
                let fixed = FIXED.iter().any(|(of, over)| {
                    let last = before.rfind(of);
                    *over == range
                        && last.is_some_and(|last| !before[last + of.len()..].contains('('))
                });
                let resolved = ["[$__rate_interval]", "[$__range]"].contains(&range);
                assert!(resolved || fixed, "{name}: {place}: {range}");
                ranges += 1;
            }
            for (metric, before, _) in selectors(expression) {
                if metric.ends_with("_total") || metric.ends_with("_bucket") {
                    let growth = ["rate(", "increase("];
                    let outer = growth.iter().find_map(|of| before.strip_suffix(*of));
                    let outer = outer.unwrap_or_else(|| panic!("{name}: {place}: {metric}"));
                    // Two scrapes of one exporter count once. They do not change a quantile.
                    let aggregation = outer.rsplit_once(" by (").map_or(outer, |(of, _)| of);
                    let once = aggregation.ends_with("max") || outer.ends_with("max(");
                    assert!(
                        once || metric.ends_with("_bucket"),
                        "{name}: {place}: {metric} counts twice if it is scraped twice"
                    );
                }
            }
        }
    }
    assert!(ranges > 20, "{ranges}");
}

/// Returns all strings in a value, at any depth.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(values) => values.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn links_lead_to_dashboards_and_runbooks_that_there_are() {
    let rules = read("deploy/prometheus/alerts.yaml");
    let alerts: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let all = dashboards();
    let (mut runbooks, mut others) = (BTreeSet::new(), 0);
    for (name, dashboard) in &all {
        for text in strings(dashboard) {
            if let Some((_, file)) = text
                .split_once("/docs/runbooks/")
                .filter(|(_, file)| !file.contains('$'))
            {
                let alert = file.strip_suffix(".md").unwrap();
                assert!(
                    alerts.contains(alert),
                    "{name} links to the runbook of {alert}"
                );
                runbooks.insert(alert);
            }
            // Queries map a reason to the name of its runbook.
            for rest in text.split("\"runbook\", \"").skip(1) {
                let alert = rest.split('"').next().unwrap();
                assert!(
                    alerts.contains(alert),
                    "{name} names the runbook of {alert}"
                );
            }
            if let Some(path) = text.strip_prefix("/d/") {
                let (uid, query) = path.split_once('?').unwrap();
                assert!(
                    all.iter().any(|(_, other)| other["uid"] == uid),
                    "{name} links to {uid}"
                );
                for choice in query.split("var-").skip(1) {
                    assert!(
                        CHOICES.contains(&choice.split('=').next().unwrap()),
                        "{text}"
                    );
                }
                others += 1;
            }
        }
    }
    assert!(others > 15, "{others}");
    // Alerts without a panel appear in the panel of firing alerts.
    assert!(runbooks.len() > 20, "{runbooks:?}");
}

#[test]
fn columns_that_cells_link_by_are_there() {
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard).filter(|panel| panel["type"] == "table") {
            let organized = list(panel, "transformations").last().unwrap();
            let columns = organized["options"]["renameByName"].as_object().unwrap();
            for text in strings(&panel["fieldConfig"]) {
                for field in text.split("${__data.fields.").skip(1) {
                    let field = field.split(':').next().unwrap();
                    assert!(
                        columns.contains_key(field),
                        "{name}: {}: {field}",
                        panel["title"]
                    );
                }
            }
        }
    }
}
