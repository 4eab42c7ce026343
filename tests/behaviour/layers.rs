//! Folders of `src/` use each other as the diagram in `docs/architecture.md` shows, without cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// For each layer, the layers that it uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// Modules of `src/` that form one layer together. Any other module is a layer of its own.
const TOGETHER: [(&str, &[&str]); 2] = [
    ("commands", &["main", "cli", "commands"]),
    (
        "base",
        &["blocking", "clock", "invalid", "log", "sanitize", "systemd"],
    ),
];

/// Modules that are not part of the daemon.
const ASIDE: [&str; 3] = ["lib", "documents", "fuzzing"];

fn layer(module: &str) -> &str {
    let together = TOGETHER.iter().find(|(_, files)| files.contains(&module));
    together.map_or(module, |(layer, _)| *layer)
}

/// Collects all sources below a folder, each with the name of its top-level module.
fn sources(folder: &Path, top: Option<&str>, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let top = top.unwrap_or(name);
        if path.is_dir() {
            sources(&path, Some(top), found);
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests" {
            found.push((top.to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Returns the top-level modules that a source names, outside its tests and comments.
fn named(source: &str) -> BTreeSet<&str> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = source.lines().map(|line| line.split("//").next().unwrap());
    let paths = lines.flat_map(|line| {
        let ours = line.split("crate::").skip(1);
        ours.chain(line.split("connections_exporter::").skip(1))
    });
    let word = |path: &str| {
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
        end.unwrap_or(path.len())
    };
    paths.map(|path| &path[..word(path)]).collect()
}

fn in_code() -> Uses {
    let mut files = Vec::new();
    sources(&repository().join("src"), None, &mut files);
    let tops: BTreeSet<_> = files.iter().map(|(top, _)| top.clone()).collect();
    let mut uses = Uses::new();
    for (top, source) in &files {
        if ASIDE.contains(&top.as_str()) {
            continue;
        }
        let uses = uses.entry(layer(top).to_owned()).or_default();
        let others = named(source).into_iter().filter(|name| {
            tops.contains(*name) && !ASIDE.contains(name) && layer(name) != layer(top)
        });
        uses.extend(others.map(|name| layer(name).to_owned()));
    }
    uses
}

fn in_diagram() -> Uses {
    let text = fs::read_to_string(repository().join("docs/architecture.md")).unwrap();
    let diagram = text.split("```mermaid").nth(1).expect("there is a diagram");
    let diagram = diagram.split("```").next().unwrap();
    let mut uses = Uses::new();
    for (folder, below) in diagram.lines().filter_map(|line| line.split_once(" --> ")) {
        let below = below.split(" & ").map(|name| name.trim().to_owned());
        uses.entry(folder.trim().to_owned())
            .or_default()
            .extend(below);
    }
    uses
}

/// Returns all layers that a layer uses, directly or indirectly.
fn all_used(uses: &Uses, folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec![folder];
    while let Some(folder) = next.pop() {
        for below in uses.get(folder).into_iter().flatten() {
            if found.insert(below.clone()) {
                next.push(below);
            }
        }
    }
    found
}

#[test]
fn folders_use_only_what_is_below_them_as_the_diagram_shows() {
    let (code, diagram) = (in_code(), in_diagram());
    for user in code.keys().chain(diagram.keys()) {
        let below = all_used(&diagram, user);
        assert!(!below.contains(user), "{user} uses itself");
        for used in code.get(user).into_iter().flatten() {
            assert!(
                below.contains(used),
                "{user} uses {used}, which is not below it"
            );
        }
    }
    for (user, drawn) in &diagram {
        for used in drawn {
            assert!(code[user].contains(used), "{user} does not use {used}");
        }
    }
}

/// Returns the name of the type that a line declares at the top level of a module.
fn declared(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) => rest.split_once(' ')?.1,
        None => line,
    };
    // `pub(in crate::module)` has a space of its own.
    let line = match line.strip_prefix("crate::") {
        Some(rest) => rest.split_once(' ')?.1,
        None => line,
    };
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let name = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    name.split(|c: char| !c.is_alphanumeric()).next()
}

#[test]
fn no_two_types_have_the_same_name() {
    let mut files = Vec::new();
    for folder in ["src", "crates/simulator/src"] {
        sources(&repository().join(folder), None, &mut files);
    }
    let mut seen = BTreeSet::new();
    let mut twice = Vec::new();
    for (_, source) in &files {
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        twice.extend(
            source
                .lines()
                .filter_map(declared)
                .filter(|name| !seen.insert(*name)),
        );
    }
    assert!(seen.len() > 150, "only {} types were found", seen.len());
    assert!(twice.is_empty(), "declared twice: {twice:?}");
}
