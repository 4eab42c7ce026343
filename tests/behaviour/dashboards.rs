//! The dashboards: the rules of Grafana's linter, and what the panels show on a real Prometheus.

mod answers;
mod fate;
mod lint;
mod played;
mod scene;

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Returns the three dashboards, with the names of their files.
fn dashboards() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards");
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(all.len(), 3);
    all
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// Returns the panels without row headings.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = list(dashboard, "panels").iter();
    panels.filter(|panel| panel["type"] != "row")
}

/// Returns each expression, with the title of its panel or the name of its annotation.
fn expressions(dashboard: &Value) -> Vec<(String, &str)> {
    let of_panels = panels(dashboard).flat_map(|panel| {
        list(panel, "targets")
            .iter()
            .map(|target| (text(panel, "title").to_owned(), text(target, "expr")))
    });
    let annotations = list(&dashboard["annotations"], "list").iter();
    let of_annotations = annotations.map(|a| (text(a, "name").to_owned(), text(a, "expr")));
    of_panels.chain(of_annotations).collect()
}
