//! Generated files in `docs/` and `deploy/`, each compared with the file in the repository.
//!
//! `UPDATE_GOLDEN=1 cargo test documents` writes them.

#![expect(
    clippy::disallowed_methods,
    reason = "a test may wait for files, and runs off the event loop of what it tests"
)]

mod commands;
mod configuration;
mod metrics;
mod promql;
mod rules;
mod scenarios;

use std::fs;
use std::path::Path;

use crate::vendors::SYSTEMS;

/// First line of each generated page.
const GENERATED: &str =
    "<!-- Made from the code: change it there, then UPDATE_GOLDEN=1 cargo test documents -->";

/// Checks that a file of the repository has this text. With `UPDATE_GOLDEN`, it is written first.
fn hold(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    let differs = there
        .lines()
        .zip(text.lines())
        .position(|(one, other)| one != other);
    let differs = differs.unwrap_or_else(|| there.lines().count().min(text.lines().count()));
    assert!(
        there == text,
        "{path} is not what the code says, from line {} on: write it anew with UPDATE_GOLDEN=1 \
            cargo test documents",
        differs + 1
    );
}

/// Returns a Markdown table.
fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&head.map(str::to_owned)) + &line(&head.map(|_| "---".to_owned()));
    for row in rows {
        text += &line(&row.map(|cell| cell.replace('|', "\\|").replace('\n', " ")));
    }
    text
}

/// Returns each word as Markdown code, separated by commas.
fn code<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}
