//! Instruction counts of the hot paths, from callgrind. They do not depend on the load of the
//! machine.

#![expect(clippy::disallowed_macros, reason = "for who runs it by hand")]

#[path = "../../benches/workload/mod.rs"]
mod workload;

use std::env::{self, current_exe};
use std::hint::black_box;
use std::process::Command;

use connections_exporter::exposition::{Encoding, Fragment};
use connections_exporter::metrics;
use connections_exporter::model::listing::Listing;
use workload::{ROWS, SYSTEM, answer, inventory, parse, state};

/// Environment variable that names the hot path to run under callgrind.
const PATH: &str = "INSTRUCTIONS_OF";

/// Name and maximum number of instructions of each hot path.
///
/// A maximum is one and a half times what the path took in a test build when this was written. If
/// you make a path faster, lower its maximum.
const LIMITS: [(&str, u64); 6] = [
    // 4.9 million when serde built each row. Since then a response is read in place, which bounds
    // the size of what is built. That takes 7.1 million.
    ("parse 100 rows", 7_300_000),
    ("render and deflate 100 rows", 11_000_000),
    ("publish a target", 15_400_000),
    ("a plain page after a publish", 4_900_000),
    ("a gzip page after a publish", 10_800_000),
    ("a gzip page with 2,000 tokens", 17_400_000),
];

fn run(path: &str) {
    let rows = answer(ROWS, ROWS / 2);
    match path {
        "parse 100 rows" => measure(&mut || drop(black_box(parse(&rows)))),
        "render and deflate 100 rows" => {
            let last_listing = state(parse(&rows)).last_listing.expect("it has a listing");
            let render = || {
                Fragment::render(
                    &Fragment::default(),
                    &[SYSTEM.name, "acme", "target"],
                    |into| {
                        metrics::listing(SYSTEM, &last_listing, into);
                    },
                )
            };
            measure(&mut || drop(black_box(render())));
        }
        "publish a target" => {
            let (_board, account) = inventory(1, 2, &before());
            let listing = parse(&rows);
            counted(&mut || account.publish("1", state(listing.clone())));
        }
        "a plain page after a publish" => page(ROWS / 2, 20, Encoding::Plain),
        "a gzip page after a publish" => page(ROWS / 2, 20, Encoding::Gzip),
        "a gzip page with 2,000 tokens" => page(ROWS, 20, Encoding::Gzip),
        path => panic!("there is no path {path}"),
    }
}

/// Returns another listing, because what is unchanged is not rendered again.
fn before() -> Listing {
    parse(&answer(ROWS - 1, 0))
}

fn page(tokens: usize, targets: usize, encoding: Encoding) {
    let (inventory, account) = inventory(1, targets, &parse(&answer(ROWS, tokens)));
    account.publish("1", state(before()));
    let _ = inventory.page(encoding);
    account.publish("1", state(parse(&answer(ROWS, tokens))));
    counted(&mut || drop(black_box(inventory.page(encoding))));
}

/// Counts the second run. The first run also does what is done only once.
fn measure(path: &mut dyn FnMut()) {
    path();
    counted(path);
}

/// Runs the path while callgrind counts. `instructions` passes the name of this function to
/// callgrind.
#[inline(never)]
fn counted(path: &mut dyn FnMut()) {
    path();
}

fn instructions(path: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*callgrind::counted*")
        .arg(current_exe().expect("this program has a path"))
        .args(["--include-ignored", "--test-threads=1"])
        .env(PATH, path)
        .output()
        .expect("valgrind is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .expect("callgrind says how many");
    collected.1.trim().parse().expect("it is a number")
}

#[test]
#[ignore = "needs valgrind: make test"]
fn no_hot_path_takes_twice_the_instructions_that_it_took() {
    if let Ok(path) = env::var(PATH) {
        return run(&path);
    }
    let counts = LIMITS.map(|(path, limit)| (path, instructions(path), limit));
    let lines = counts.map(|(path, count, limit)| format!("{path}: {count} of {limit}"));
    let table = lines.join("\n");
    println!("{table}");
    for (_, count, limit) in counts {
        assert!(count <= limit, "more than the limit:\n{table}");
        // A much lower count means an outdated limit, or a path that did not run.
        assert!(
            count >= limit / 3,
            "so few that the limit must be lowered:\n{table}"
        );
    }
}
