//! Cost of publishing one target, in a small and in a large inventory.
//!
//! `benches/table` reads the output. It has a line for each inventory: the number of series, and
//! two medians in microseconds. The first median is of publishes one after another, the second of
//! publishes that each follow a page.

#![expect(clippy::disallowed_macros, reason = "for who runs it by hand")]

#[path = "workload/mod.rs"]
mod workload;

use std::time::{Duration, Instant};

use connections_exporter::exposition::Encoding;
use workload::{ROWS, answer, inventory, parse, state};

fn main() {
    // Two listings alternate, because what is unchanged is not deflated again.
    let listings = [ROWS, ROWS - 1].map(|rows| parse(&answer(rows, rows)));
    for targets in [2, 200] {
        let (inventory, account) = inventory(10, targets, &listings[0]);
        let publish = |time: usize| {
            let state = state(listings[time % 2].clone());
            let begun = Instant::now();
            account.publish("0", state);
            begun.elapsed()
        };
        let alone = median(publish);
        let after_a_page = median(|time| {
            let _ = inventory.page(Encoding::Gzip);
            publish(time)
        });
        let shown = inventory.page(Encoding::Plain).series;
        println!("{shown} {alone:.1} {after_a_page:.1}");
    }
}

/// Returns the median of 101 durations, in microseconds.
fn median(taken: impl FnMut(usize) -> Duration) -> f64 {
    let mut taken: Vec<_> = (1..102).map(taken).collect();
    taken.sort_unstable();
    taken[50].as_secs_f64() * 1e6
}
