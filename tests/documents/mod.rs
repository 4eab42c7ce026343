//! What of `docs/` and `deploy/` is made from the code: each file as it must be, compared with the one there is.
//!
//! `UPDATE_GOLDEN=1 cargo test documents` writes them anew.

#![expect(
    clippy::disallowed_methods,
    reason = "a test may wait for files, and runs off the event loop of what it tests"
)]

mod commands;
mod configuration;
mod metrics;
mod promql;
mod rules;

use std::fs;
use std::path::Path;

use crate::vendors::{AccountSettings as _, System, zis, zuora};

const SYSTEMS: [&System; 2] = [zuora::ZuoraAccount::SYSTEM, zis::ZisAccount::SYSTEM];

/// Said at the top of each page.
const GENERATED: &str =
    "<!-- Made from the code: change it there, then UPDATE_GOLDEN=1 cargo test documents -->";

/// Holds the file at this path of the repository against the text that the code gives.
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

/// A table of Markdown.
fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&head.map(str::to_owned)) + &line(&head.map(|_| "---".to_owned()));
    for row in rows {
        text += &line(&row.map(|cell| cell.replace('|', "\\|").replace('\n', " ")));
    }
    text
}

/// These words, each as code.
fn code<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}
