//! Benchmarks of a poll (parse, render, deflate, publish) and of a scrape (build a page).

#[path = "workload/mod.rs"]
mod workload;

use connections_exporter::exposition::{Encoding, Fragment, deflate};
use connections_exporter::inventory::Selector;
use connections_exporter::metrics;
use connections_exporter::model::listing::Listing;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use workload::{ROWS, SYSTEM, answer, inventory, parse, state};

fn main() {
    divan::main();
}

#[divan::bench]
fn parse_a_page_of_100_rows(bencher: Bencher) {
    let answer = answer(ROWS, ROWS / 2);
    bencher
        .counter(BytesCount::new(answer.body.len()))
        .bench(|| parse(&answer));
}

#[divan::bench]
fn render_and_deflate_100_rows(bencher: Bencher) {
    let state = state(parse(&answer(ROWS, ROWS / 2)));
    let last_listing = state.last_listing.expect("it has a listing");
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        Fragment::render(
            &Fragment::default(),
            &[SYSTEM.name, "acme", "target"],
            |into| {
                metrics::listing(SYSTEM, &last_listing, into);
            },
        )
    });
}

#[divan::bench]
fn deflate_a_block(bencher: Bencher) {
    let (inventory, _) = inventory(1, 1, &parse(&answer(ROWS, ROWS / 2)));
    let text = inventory.page(Encoding::Plain).body();
    bencher
        .counter(BytesCount::new(text.len()))
        .bench(|| deflate(&text));
}

#[divan::bench]
fn publish_among_200_targets(bencher: Bencher) {
    let mut listings = listings(ROWS / 2);
    let (_board, account) = inventory(1, 200, &listings[0]);
    bencher
        .with_inputs(|| {
            listings.reverse();
            state(listings[0].clone())
        })
        .bench_local_values(|state| account.publish("7", state));
}

/// Returns two listings to publish alternately, because what is unchanged is not rendered again.
fn listings(tokens: usize) -> [Listing; 2] {
    [ROWS, ROWS - 1].map(|rows| parse(&answer(rows, tokens)))
}

/// Number of accounts, and of targets in each.
const SHAPES: [(usize, usize); 3] = [(1, 200), (10, 100), (1000, 1)];

#[divan::bench(args = SHAPES)]
fn plain_page(bencher: Bencher, shape: (usize, usize)) {
    page(bencher, shape, 0, Encoding::Plain);
}

#[divan::bench(args = SHAPES)]
fn gzip_page(bencher: Bencher, shape: (usize, usize)) {
    page(bencher, shape, 0, Encoding::Gzip);
}

#[divan::bench(args = SHAPES)]
fn gzip_page_after_a_publish(bencher: Bencher, (accounts, targets): (usize, usize)) {
    let mut listings = listings(0);
    let (inventory, account) = inventory(accounts, targets, &listings[0]);
    bencher
        .with_inputs(|| {
            listings.reverse();
            account.publish("0", state(listings[0].clone()));
        })
        .bench_local_values(|()| inventory.page(Encoding::Gzip));
}

/// The first page after a start.
#[divan::bench(args = SHAPES)]
fn first_gzip_page(bencher: Bencher, (accounts, targets): (usize, usize)) {
    let listing = parse(&answer(ROWS, 0));
    bencher
        .with_inputs(|| inventory(accounts, targets, &listing).0)
        .bench_values(|inventory| inventory.page(Encoding::Gzip));
}

/// Narrowed pages of 1,000 accounts, which are built at each scrape.
#[divan::bench(args = ["system=zis&account=account_7", "system=zis"])]
fn narrowed_gzip_page(bencher: Bencher, query: &str) {
    let (inventory, _) = inventory(1000, 1, &parse(&answer(ROWS, 0)));
    let part = Selector::parse(query).expect("it is a part");
    bencher.bench(|| inventory.part(&part, Encoding::Gzip));
}

#[divan::bench]
fn plain_page_with_20_000_tokens(bencher: Bencher) {
    page(bencher, (1, 200), ROWS, Encoding::Plain);
}

#[divan::bench]
fn gzip_page_with_20_000_tokens(bencher: Bencher) {
    page(bencher, (1, 200), ROWS, Encoding::Gzip);
}

fn page(bencher: Bencher, (accounts, targets): (usize, usize), tokens: usize, encoding: Encoding) {
    let (inventory, _) = inventory(accounts, targets, &parse(&answer(ROWS, tokens)));
    bencher.bench(|| inventory.page(encoding));
}
