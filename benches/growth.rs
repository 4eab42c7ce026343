//! What publishing one target costs on a small board and on a large one: a line for each, with its series and the
//! median in microseconds, which `benches/table` reads.

#[path = "workload/mod.rs"]
mod workload;

use std::time::Instant;

use connections_exporter::exposition::Encoding;
use workload::{ROWS, answer, board, parse, state};

fn main() {
    // Five series of each connection.
    let listing = parse(&answer(ROWS, ROWS));
    for series in [10_000, 1_000_000] {
        let (board, account) = board(10, series / 10 / 5 / ROWS, &listing);
        let mut taken: Vec<_> = (0..101)
            .map(|_| {
                // What was put together for a scrape is given up by the publish after it.
                let _ = board.page(Encoding::Gzip);
                let state = state(listing.clone());
                let begun = Instant::now();
                account.publish("0", state);
                begun.elapsed()
            })
            .collect();
        taken.sort_unstable();
        let shown = board.page(Encoding::Plain).series;
        println!("{shown} {:.1}", taken[50].as_secs_f64() * 1e6);
    }
}
