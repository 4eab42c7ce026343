//! Report of what live accounts answer, with nothing in it that belongs to their owner.
//!
//! A [`Recording`] sees every response of a check. It keeps no text of a response, only what a
//! fixed vocabulary of the program can say about it: this is what makes a report safe to publish.
//! Every text that reaches the report is a literal of this program, or a number that was counted.

mod calls;
mod headers;
mod interpretation;
mod recording;
mod texts;
mod value;
mod vocabulary;

use serde::Serialize;

use crate::inventory::AccountSnapshot;
use calls::CallShape;
use interpretation::Interpretation;
pub use recording::Recording;

/// Version of the format. A change that a reader of the file notices increments it.
const FORMAT: u32 = 1;

/// What a maintainer needs from a live account.
#[derive(Debug, Serialize)]
pub struct ShapeReport {
    /// Version of this format.
    connections_exporter_report: u32,
    /// Version of the program.
    version: &'static str,
    accounts: Vec<AccountShape>,
}

/// One account: its calls, and how they were read.
#[derive(Debug, Serialize)]
struct AccountShape {
    /// System and number of the account.
    account: String,
    system: &'static str,
    /// What was requested about the targets: `targets`, `names` or `nothing`.
    discovers: &'static str,
    calls: Vec<CallShape>,
    interpretation: Interpretation,
}

impl ShapeReport {
    /// Creates the report of a recording that has ended, and of the accounts' states at its end.
    #[must_use]
    pub fn new(recording: &Recording, accounts: &[AccountSnapshot]) -> Self {
        Self {
            connections_exporter_report: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            accounts: recording.accounts(accounts),
        }
    }
}

/// Maximum number of distinct entries of a count that the vendor determines.
const MAX_ENTRIES: usize = 40;

/// Counts, by what was counted.
type Counts<K = String> = std::collections::BTreeMap<K, u64>;

/// Adds 1 to the count of `what`, or to that of all others if there are too many different ones.
fn count(counts: &mut Counts, what: String) {
    let full = counts.len() >= MAX_ENTRIES && !counts.contains_key(&what);
    let what = if full { "(others)".to_owned() } else { what };
    *counts.entry(what).or_default() += 1;
}

/// Returns a number of characters, without more detail than a reader needs.
fn characters(text: &str) -> String {
    match text.chars().count() {
        1 => "1 character".to_owned(),
        n @ ..=9999 => format!("{n} characters"),
        _ => "10000 characters or more".to_owned(),
    }
}

/// Smallest and largest of some lengths.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(into = "[u64; 2]")]
struct LengthRange {
    shortest: u64,
    longest: u64,
}

impl From<LengthRange> for [u64; 2] {
    fn from(range: LengthRange) -> Self {
        [range.shortest, range.longest]
    }
}

impl LengthRange {
    fn of(length: usize) -> Self {
        let length = length as u64;
        Self {
            shortest: length,
            longest: length,
        }
    }

    fn add(range: &mut Option<Self>, length: usize) {
        let Self { shortest, longest } = Self::of(length);
        let range = range.get_or_insert_with(|| Self::of(length));
        range.shortest = range.shortest.min(shortest);
        range.longest = range.longest.max(longest);
    }
}
