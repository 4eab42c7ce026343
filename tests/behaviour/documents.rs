//! What is documented exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect()
}

/// Words of a text that look like the name of a metric of ours.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_');
    words
        .filter(|word| word.starts_with("saas_") || word.starts_with("connections_exporter_"))
        .collect()
}

#[test]
fn documents_and_dashboards_name_only_metrics_that_exist() {
    let sources: String = files("src/metrics", "rs")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let known = metrics(&sources);
    assert!(known.len() > 30);
    let documents = [
        files("docs", "md"),
        files("grafana/dashboards", "json"),
        vec![root().join("README.md")],
    ]
    .concat();
    assert!(documents.len() > 3);
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let unknown: Vec<_> = metrics(&text).difference(&known).copied().collect();
        assert!(
            unknown.is_empty(),
            "{} names {unknown:?}",
            document.display()
        );
    }
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_documents_resolve() {
    let mut links = 0;
    let runbooks = files("docs/runbooks", "md");
    assert!(runbooks.len() > 20);
    for document in [files("docs", "md"), files(".", "md"), runbooks].concat() {
        let text = fs::read_to_string(&document).unwrap();
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in targets.filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let shown = document.display();
            let there = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            assert!(there.exists(), "{shown} links to {link}");
            if !anchor.is_empty() {
                let headings = anchors(&fs::read_to_string(&there).unwrap());
                assert!(
                    headings.contains(anchor),
                    "{shown} links to {link}, of {headings:?}"
                );
            }
            links += 1;
        }
    }
    assert!(links >= 15, "{links}");
}

/// Every file of Rust below a folder.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| sources(folder));
    let files = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "rs"));
    files.chain(below).collect()
}

#[test]
fn each_promise_of_security_names_a_test_that_there_is() {
    let page = fs::read_to_string(root().join("docs/SECURITY.md")).unwrap();
    let rows: Vec<_> = page
        .lines()
        .skip_while(|line| *line != "| promise | test |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 10);
    let files = [sources(&root().join("src")), sources(&root().join("tests"))].concat();
    let code: String = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for row in rows {
        let cell = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
        let tests: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            assert!(
                code.contains(&format!("fn {test}()")),
                "there is no test {test}"
            );
        }
    }
}

#[test]
fn a_dashboard_asks_for_its_data_source_and_explains_each_panel() {
    for file in files("grafana/dashboards", "json") {
        let dashboard: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert!(
            dashboard.get("__inputs").is_none(),
            "a dashboard with inputs cannot be provisioned"
        );
        for panel in dashboard["panels"].as_array().unwrap() {
            for key in ["title", "description"] {
                assert!(
                    panel[key].as_str().is_some_and(|text| !text.is_empty()),
                    "{panel}"
                );
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
        }
    }
}
