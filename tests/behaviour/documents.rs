//! What is documented exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
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

#[test]
fn links_between_documents_resolve() {
    let mut links = 0;
    for document in [files("docs", "md"), files(".", "md")].concat() {
        let text = fs::read_to_string(&document).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .map(|rest| rest.split([')', '#']).next().unwrap())
        {
            if !link.contains("://") {
                assert!(
                    document.parent().unwrap().join(link).exists(),
                    "{} links to {link}",
                    document.display()
                );
                links += 1;
            }
        }
    }
    assert!(links >= 5);
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
