//! Assembly of pages from the fragments of accounts and targets.

use tokio::time::Instant;

use super::Selector;
use super::entry::{AccountEntry, Entries, TargetEntry};
use crate::exposition::{Fragment, PageBuilder, Representation, SegmentCache};

/// Returns the targets that a part selects.
pub(super) fn targets<'a>(
    part: &'a Selector,
    accounts: &'a Entries,
) -> impl Iterator<Item = &'a TargetEntry> + Clone {
    let targets = part.accounts(accounts).flat_map(AccountEntry::targets);
    targets.filter(|target| part.has_target(&target.label))
}

/// Returns the targets that a part selects and whose listings are not stale.
pub(super) fn fresh<'a>(
    part: &'a Selector,
    accounts: &'a Entries,
    now: Instant,
) -> impl Iterator<Item = &'a TargetEntry> + Clone {
    targets(part, accounts).filter(move |target| target.is_fresh(now))
}

/// Builds a part of the page, without its tail.
pub(super) fn assemble(
    part: &Selector,
    accounts: &Entries,
    representation: Representation,
    now: Instant,
    segments: Option<&mut SegmentCache>,
) -> PageBuilder {
    // Replaces stale listings, so that the other fragments keep their positions and their segments.
    let nothing = Fragment::default();
    let targets: Vec<_> = targets(part, accounts)
        .map(|target| (target, target.is_fresh(now)))
        .collect();
    let listings = targets
        .iter()
        .map(|(target, fresh)| if *fresh { &target.listing } else { &nothing });
    let entries = part.accounts(accounts).filter(|_| part.has_accounts());
    let fragments: Vec<_> = listings
        .chain(targets.iter().map(|(target, _)| &target.history))
        .chain(targets.iter().map(|(target, _)| &target.freshness))
        .chain(entries.map(|entry| &entry.fragment))
        .collect();
    let mut page = PageBuilder::new(representation);
    page.fragments(&fragments, segments);
    let fresh = targets.iter().filter(|(_, fresh)| *fresh);
    page.countdowns(fresh.map(|(target, _)| &target.countdown));
    page
}
