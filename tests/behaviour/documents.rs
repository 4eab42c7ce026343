//! The documentation names only what exists: metrics, links, tests and commands.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::restarts;

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

/// Lists the files with this extension in a directory and all directories below it.
pub(crate) fn below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut all = restarts::files(folder);
    all.retain(|path| path.extension().is_some_and(|e| e == ending));
    all
}

/// Returns the words that look like the name of an exporter metric or of a recording rule.
///
/// A word that ends in `_` is left out, because it is a prefix of several names.
fn metrics(text: &str) -> BTreeSet<&str> {
    let ends = |c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && !"_:".contains(c);
    let words = text.split(ends).map(|word| word.trim_end_matches(':'));
    let ours = |word: &&str| {
        let name = word.split(':').nth(1).unwrap_or(word);
        let begins = name.starts_with("saas_") || name.starts_with("connections_exporter_");
        begins && !word.ends_with('_')
    };
    words.filter(ours).collect()
}

#[test]
fn documents_dashboards_and_rules_name_only_metrics_that_exist() {
    let sources: String = files("src/metrics", "rs")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let rules = fs::read_to_string(root().join("deploy/prometheus/alerts.yaml")).unwrap();
    let recorded = rules
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- record: "));
    let mut known = metrics(&sources);
    assert!(known.len() > 30);
    known.extend(recorded);
    let documents = [
        below(&root().join("docs"), "md"),
        files("grafana/dashboards", "json"),
        below(&root().join("deploy/prometheus"), "yaml"),
        files(".", "md"),
    ]
    .concat();
    assert!(documents.len() > 20);
    // The changelog also names what there was.
    let documents = documents
        .iter()
        .filter(|path| !path.ends_with("CHANGELOG.md"));
    for document in documents {
        let text = fs::read_to_string(document).unwrap();
        // A histogram is defined under one name and exposed under three.
        let named = metrics(&text).into_iter().map(|name| {
            let mut ends = ["_bucket", "_sum", "_count"].into_iter();
            let short = ends.find_map(|end| name.strip_suffix(end));
            short.filter(|short| known.contains(short)).unwrap_or(name)
        });
        let unknown: Vec<_> = named.filter(|name| !known.contains(name)).collect();
        assert!(
            unknown.is_empty(),
            "{} names {unknown:?}",
            document.display()
        );
    }
}

/// Returns the anchors of a document's headings, as GitHub generates them.
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
    let files = [
        below(&root().join("src"), "rs"),
        below(&root().join("tests"), "rs"),
    ]
    .concat();
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
fn the_readme_names_the_toolchain_that_the_package_needs() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let needed = concat!(
        "Rust toolchain (",
        env!("CARGO_PKG_RUST_VERSION"),
        " or later)"
    );
    assert!(readme.contains(needed), "{needed}");
}

#[test]
fn a_bare_make_tells_what_each_target_does() {
    let output = Command::new("make")
        .args(["--no-print-directory", "--directory"])
        .arg(root())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets = makefile
        .lines()
        .filter_map(|line| line.strip_prefix(".PHONY: "))
        .flat_map(str::split_whitespace);
    for target in targets.filter(|target| *target != "help") {
        let told = said
            .lines()
            .any(|line| line.split(' ').next() == Some(target));
        assert!(told, "{target} is not in: {said}");
    }
}

/// Pages that are generated from the code: each row of a table is one line.
const GENERATED: [&str; 3] = ["configuration.md", "flags.md", "metrics.md"];

/// Whether a line is wider than 100 columns although it could be wrapped.
fn is_too_wide(line: &str) -> bool {
    line.chars().count() > 100 && line.trim().split(' ').all(|word| word.len() <= 80)
}

#[test]
fn comments_and_prose_are_at_most_100_columns_wide() {
    let mut wide = Vec::new();
    for folder in ["src", "tests", "benches", "crates", "fuzz/fuzz_targets"] {
        for path in below(&root().join(folder), "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().zip(1..);
            let comments = lines.filter(|(line, _)| line.trim_start().starts_with("//"));
            let comments = comments.filter(|(line, _)| is_too_wide(line));
            wide.extend(comments.map(|(_, number)| format!("{}:{number}", path.display())));
        }
    }
    let mut pages = below(&root().join("docs"), "md");
    pages.retain(|path| !GENERATED.contains(&path.file_name().unwrap().to_str().unwrap()));
    pages.extend(files("", "md"));
    for path in pages {
        let text = fs::read_to_string(&path).unwrap();
        let mut in_code = false;
        for (line, number) in text.lines().zip(1..) {
            in_code ^= line.trim_start().starts_with("```");
            let is_prose = !in_code && !line.starts_with("    ") && !line.starts_with('|');
            if is_prose && is_too_wide(line) {
                wide.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert!(wide.is_empty(), "wider than 100 columns: {wide:#?}");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 140, "details belong in docs/");
}
