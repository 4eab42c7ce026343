//! How many instructions the hot paths take, counted by callgrind: a doubling fails, the machine's noise does not.

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

/// The path that this process runs under callgrind.
const PATH: &str = "INSTRUCTIONS_OF";

/// Each path, and the most instructions that it may take: a half more than it took when this was written, in a build
/// for tests. Whoever makes one faster lowers its limit.
const LIMITS: [(&str, u64); 6] = [
    // It took 4.9 million when serde built each row. What a vendor sends is read in place since then, so that the size of
    // what is built is bounded; that takes 7.1 million.
    ("parse 100 rows", 7_300_000),
    ("render and deflate 100 rows", 14_000_000),
    ("publish a target", 15_400_000),
    ("a plain page after a publish", 7_200_000),
    ("a gzip page after a publish", 10_800_000),
    ("a gzip page with 2,000 tokens", 17_400_000),
];

fn run(path: &str) {
    let rows = answer(ROWS, ROWS / 2);
    match path {
        "parse 100 rows" => measure(&mut || drop(black_box(parse(&rows)))),
        "render and deflate 100 rows" => {
            let held = state(parse(&rows)).held.expect("it has a listing");
            let render = || {
                Fragment::render(&Fragment::default(), |show| {
                    metrics::listing(SYSTEM, "acme", "target", &held, show);
                })
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

/// Another listing: what is as it was before is not made again.
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

/// The second time: the first one also makes what is made once.
fn measure(path: &mut dyn FnMut()) {
    path();
    counted(path);
}

/// Callgrind counts while this runs; its name is below.
#[inline(never)]
fn counted(path: &mut dyn FnMut()) {
    path();
}

fn instructions(path: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*instructions::counted*")
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
        // Far less is a limit that was forgotten, or a path that was not run.
        assert!(
            count >= limit / 3,
            "so few that the limit must be lowered:\n{table}"
        );
    }
}
