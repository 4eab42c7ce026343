//! Current state of every account: pollers publish to it, and the server renders pages from it.
//!
//! A page is built under one lock, so it never shows half of a change.

mod entry;
mod selector;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::exposition::{Encoding, Fragment, GatheredHeaders, Page, PageBuilder, SegmentCache};
use crate::metrics::{AccountMetrics, ExporterMetrics};
use crate::model::error::PollError;
use crate::model::listing::LONG;
use crate::model::state::{LastListing, TargetState};
use crate::vendors::System;
use crate::vendors::http::offload;
use entry::{AccountEntry, Entries, TargetEntry};
pub use selector::Selector;

/// State of all accounts, and the pages that were rendered from it.
#[derive(Debug)]
pub struct Inventory {
    accounts: Mutex<Entries>,
    /// Number of configured accounts while they are being opened at start; 0 once all are open.
    opening: AtomicUsize,
    /// Incremented with every change of an account.
    changes: AtomicU64,
    /// Cached pages by encoding.
    assembled: Mutex<[PageCache; 2]>,
    headers: GatheredHeaders,
    /// Whether every account of the first configuration is open.
    all_open: AtomicBool,
    /// Whether each of them has had its first attempt; once true, it stays true.
    ready: AtomicBool,
    own: ExporterMetrics,
    clock: Clock,
}

/// Accounts and targets that have not had their first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Whether all accounts of the first configuration are in the inventory.
    pub all_open: bool,
    /// Number of accounts that are not in it yet.
    pub opening: usize,
    /// Number of accounts whose targets have not been listed yet.
    pub accounts: usize,
    /// Number of targets that have not been polled yet.
    pub targets: usize,
}

/// Cached page of one encoding, without its tail.
#[derive(Debug, Default)]
struct PageCache {
    /// `None` once the page is outdated.
    page: Option<CachedPage>,
    /// Segments for the next page, which reuses those that have not changed.
    segments: SegmentCache,
}

#[derive(Debug)]
struct CachedPage {
    page: PageBuilder,
    /// Value of `Inventory::changes` when the page was built.
    changes: u64,
    /// When the first of its listings becomes stale.
    until: Option<Instant>,
}

/// Snapshot of one account.
#[derive(Debug)]
pub struct AccountSnapshot {
    /// System that the account belongs to.
    pub system: &'static System,
    /// The `account` label.
    pub account: String,
    /// Metrics of the account: requests, budget, and the quota that the vendor reports.
    pub metrics: Arc<AccountMetrics>,
    /// Label and state of each target; `None` until the account has set its targets.
    pub targets: Option<Vec<(String, TargetState)>>,
    /// Error of the last discovery; `None` if it succeeded.
    pub undiscovered: Option<PollError>,
}

impl Inventory {
    /// Creates an empty inventory.
    #[must_use]
    pub fn new(own: ExporterMetrics, clock: Clock) -> Self {
        Self {
            accounts: Mutex::default(),
            opening: AtomicUsize::default(),
            changes: AtomicU64::default(),
            assembled: Mutex::default(),
            headers: GatheredHeaders::default(),
            all_open: AtomicBool::default(),
            ready: AtomicBool::default(),
            own,
            clock,
        }
    }

    fn accounts(&self) -> MutexGuard<'_, Entries> {
        self.accounts.lock()
    }

    /// Locks the accounts for a change, which outdates all cached pages.
    ///
    /// The next scrape drops these pages. Dropping them here would take longer the more targets
    /// exist.
    fn accounts_to_change(&self) -> MutexGuard<'_, Entries> {
        let accounts = self.accounts();
        self.changes.fetch_add(1, Ordering::Relaxed);
        accounts
    }

    /// Returns the exporter's own metrics.
    #[must_use]
    pub fn exporter_metrics(&self) -> &ExporterMetrics {
        &self.own
    }

    /// Returns the current date.
    #[must_use]
    pub fn date(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sets the number of accounts that are being opened; 0 once all are open.
    pub fn opening(&self, accounts: usize) {
        self.opening.store(accounts, Ordering::Relaxed);
        self.all_open.store(accounts == 0, Ordering::Relaxed);
    }

    /// Adds an account, and returns the handle through which it publishes.
    #[must_use]
    pub fn open(
        self: &Arc<Self>,
        system: &'static System,
        metrics: Arc<AccountMetrics>,
    ) -> AccountHandle {
        let key = (system.name, metrics.account().1.to_owned());
        let account = AccountEntry {
            system,
            metrics,
            counted: Fragment::default(),
            revision: None,
            targets: None,
            undiscovered: None,
            paused_until: None,
        };
        self.is_ready(&self.accounts());
        self.accounts_to_change()
            .entry(key.0)
            .or_default()
            .insert(key.1.clone(), account);
        AccountHandle {
            inventory: self.clone(),
            key,
        }
    }

    /// Removes an account.
    pub fn close(&self, system: &'static str, account: &str) {
        if let Some(accounts) = self.accounts_to_change().get_mut(system) {
            accounts.remove(account);
        }
    }

    /// Returns the whole page as of now.
    #[must_use]
    pub fn page(&self, encoding: Encoding) -> Page {
        self.part(&Selector::default(), encoding)
    }

    /// Returns the selected part of the page as of now.
    #[must_use]
    pub fn part(&self, selector: &Selector, encoding: Encoding) -> Page {
        let (wall, now) = (self.clock.now(), Instant::now());
        let mut accounts = self.accounts();
        self.refresh_counters(selector, &mut accounts, wall);
        let mut page = self.fragments(selector, &accounts, encoding, now);
        page.count_down(wall);
        self.add_exporter_metrics(selector, &mut page);
        let page = page.finish();
        if selector.is_whole() {
            self.record_size(encoding, &page);
        }
        page
    }

    /// Renders the counters of the selected accounts again where they have changed.
    fn refresh_counters(&self, selector: &Selector, accounts: &mut Entries, wall: Timestamp) {
        selector.each_account(accounts, |entry| {
            if entry.count(wall, &self.headers) {
                self.changes.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Joins the fragments of the selected accounts.
    fn fragments(
        &self,
        selector: &Selector,
        accounts: &Entries,
        encoding: Encoding,
        now: Instant,
    ) -> PageBuilder {
        if selector.is_whole() {
            self.assembled(accounts, encoding, now)
        } else {
            drop(self.current(now, None));
            assemble(selector, accounts, encoding, now, None)
        }
    }

    /// Adds the exporter's own metrics, as far as they are selected.
    fn add_exporter_metrics(&self, selector: &Selector, page: &mut PageBuilder) {
        match selector.systems() {
            _ if selector.has_process() => page.live(&self.own.gather()),
            Some(systems) => page.live(&self.own.durations_of(systems)),
            None => {}
        }
    }

    /// Records the size of a whole page, which the next page shows.
    fn record_size(&self, encoding: Encoding, page: &Page) {
        let sizes = [(encoding, page.bytes), (Encoding::Plain, page.plain_bytes)];
        let sizes = sizes.map(|(encoding, bytes)| (encoding.label(), bytes));
        self.own.served(sizes, page.series);
    }

    /// Locks the cached pages after dropping those that are outdated.
    ///
    /// The segments of an outdated page are dropped too, unless its encoding is `asked`, because
    /// that page may never be requested again. The cost: if clients alternate between pages, each
    /// page is built from scratch.
    fn current(&self, now: Instant, asked: Option<Encoding>) -> MutexGuard<'_, [PageCache; 2]> {
        let mut assembled = self.assembled.lock();
        let changes = self.changes.load(Ordering::Relaxed);
        for (encoding, earlier) in assembled.iter_mut().enumerate() {
            let outdated = earlier.page.take_if(|page| {
                page.changes != changes || page.until.is_some_and(|until| until <= now)
            });
            if outdated.is_some() && asked.is_none_or(|asked| asked as usize != encoding) {
                earlier.segments = SegmentCache::default();
            }
        }
        assembled
    }

    /// Returns the whole page without its tail, from the cache unless something has changed.
    fn assembled(&self, accounts: &Entries, encoding: Encoding, now: Instant) -> PageBuilder {
        let changes = self.changes.load(Ordering::Relaxed);
        let mut current = self.current(now, Some(encoding));
        let PageCache { page, segments } = &mut current[encoding as usize];
        let whole = Selector::default();
        let current = page.get_or_insert_with(|| CachedPage {
            page: assemble(&whole, accounts, encoding, now, Some(segments)),
            changes,
            until: fresh(&whole, accounts, now)
                .filter_map(TargetEntry::stale_from)
                .min(),
        });
        current.page.clone()
    }

    /// Returns a snapshot of every account.
    #[must_use]
    pub fn snapshot(&self) -> Vec<AccountSnapshot> {
        let accounts = self.accounts();
        let seen = |entry: &AccountEntry| AccountSnapshot {
            system: entry.system,
            account: entry.metrics.account().1.to_owned(),
            metrics: entry.metrics.clone(),
            targets: entry.targets.as_ref().map(|targets| {
                let states = targets.values();
                states
                    .map(|shown| (shown.label.clone(), shown.state.clone()))
                    .collect()
            }),
            undiscovered: entry.undiscovered.clone(),
        };
        accounts
            .values()
            .flat_map(BTreeMap::values)
            .map(seen)
            .collect()
    }

    /// Returns system and name of every account; `None` until all are open.
    #[must_use]
    pub fn names(&self) -> Option<Vec<(&'static str, String)>> {
        let accounts = self.accounts();
        if self.opening.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let names = accounts.iter().flat_map(|(system, accounts)| {
            accounts.keys().map(|account| (*system, account.clone()))
        });
        Some(names.collect())
    }

    /// Returns what readiness is waiting for; `None` if the process is ready.
    ///
    /// A process that was ready stays ready. Metrics report later failures, and targets and
    /// accounts added by a reload. Taken out of service, the process could only report less.
    #[must_use]
    pub fn pending(&self) -> Option<Pending> {
        let accounts = self.accounts();
        if self.is_ready(&accounts) {
            return None;
        }
        let entries = || accounts.values().flat_map(BTreeMap::values);
        let here = entries().count();
        Some(Pending {
            all_open: self.all_open.load(Ordering::Relaxed),
            opening: self.opening.load(Ordering::Relaxed).saturating_sub(here),
            accounts: entries()
                .filter(|entry| entry.targets.is_none() && !entry.is_attempted())
                .count(),
            targets: entries().map(|entry| entry.unattempted().count()).sum(),
        })
    }

    /// Returns whether every account has had its first attempt.
    ///
    /// Also evaluated before any change that can add an account or target without one.
    fn is_ready(&self, accounts: &Entries) -> bool {
        if self.ready.load(Ordering::Relaxed) {
            return true;
        }
        let mut entries = accounts.values().flat_map(BTreeMap::values);
        let ready =
            self.all_open.load(Ordering::Relaxed) && entries.all(AccountEntry::is_attempted);
        if ready {
            self.ready.store(true, Ordering::Relaxed);
        }
        ready
    }
}

impl fmt::Display for Pending {
    /// Writes counts only, because the readiness endpoint needs no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            all_open,
            opening,
            accounts,
            targets,
        } = self;
        let opening = (!all_open).then(|| format!("accounts still being opened: {opening}"));
        let accounts = (*accounts > 0)
            .then(|| format!("accounts whose targets were not listed yet: {accounts}"));
        let targets = (*targets > 0).then(|| format!("targets not polled yet: {targets}"));
        let missing: Vec<_> = [opening, accounts, targets].into_iter().flatten().collect();
        f.write_str(&missing.join("; "))
    }
}

/// Returns the targets that a part selects.
fn targets<'a>(
    part: &'a Selector,
    accounts: &'a Entries,
) -> impl Iterator<Item = &'a TargetEntry> + Clone {
    let targets = part.accounts(accounts).flat_map(AccountEntry::targets);
    targets.filter(|target| part.has_target(&target.label))
}

/// Returns the targets that a part selects and whose listings are not stale.
fn fresh<'a>(
    part: &'a Selector,
    accounts: &'a Entries,
    now: Instant,
) -> impl Iterator<Item = &'a TargetEntry> + Clone {
    targets(part, accounts).filter(move |target| target.is_fresh(now))
}

/// Builds a part of the page, without its tail.
fn assemble(
    part: &Selector,
    accounts: &Entries,
    encoding: Encoding,
    now: Instant,
    segments: Option<&mut SegmentCache>,
) -> PageBuilder {
    // Replaces stale listings, so that the other fragments keep their positions and their segments.
    let nothing = Fragment::default();
    let listings = targets(part, accounts).map(|target| {
        if target.is_fresh(now) {
            &target.listing
        } else {
            &nothing
        }
    });
    let counted = part.accounts(accounts).filter(|_| part.has_accounts());
    let fragments: Vec<_> = listings
        .chain(targets(part, accounts).map(|target| &target.freshness))
        .chain(counted.map(|entry| &entry.counted))
        .collect();
    let mut page = PageBuilder::new(encoding);
    page.fragments(&fragments, segments);
    page.countdowns(fresh(part, accounts, now).map(|target| target.countdown.clone()));
    page
}

/// Handle through which one account publishes.
#[derive(Debug, Clone)]
pub struct AccountHandle {
    inventory: Arc<Inventory>,
    key: (&'static str, String),
}

impl AccountHandle {
    /// Calls the closure with the account's entry. Does nothing once the account was removed.
    fn with_entry(&self, with: impl FnOnce(&mut AccountEntry, &str)) {
        let (system, account) = &self.key;
        let mut accounts = self.inventory.accounts_to_change();
        if let Some(entry) = accounts.get_mut(system).and_then(|of| of.get_mut(account)) {
            with(entry, account);
        }
    }

    /// Calls the closure with a target's entry. Returns `None` if the target does not exist.
    fn with_target<T>(
        &self,
        id: &str,
        with: impl FnOnce(&mut TargetEntry, &'static System, &str, Option<Timestamp>) -> T,
    ) -> Option<T> {
        let mut done = None;
        self.with_entry(|entry, account| {
            let targets = entry.targets.as_mut();
            let shown = targets.and_then(|targets| targets.get_mut(id));
            done = shown.map(|shown| with(shown, entry.system, account, entry.paused_until));
        });
        done
    }

    /// Sets the account's targets and their labels. No page shows half of the change.
    ///
    /// Targets without a label are removed, renamed targets are rendered again, and new targets
    /// start with the state that `new` returns.
    pub fn set_targets(
        &self,
        labels: &BTreeMap<String, String>,
        new: impl Fn(&str) -> TargetState,
    ) {
        self.inventory.is_ready(&self.inventory.accounts());
        self.with_entry(|entry, account| {
            let paused_until = entry.paused_until;
            let mut before = entry.targets.take().unwrap_or_default();
            let mut targets = BTreeMap::new();
            for (id, label) in labels {
                let shown = match before.remove(id) {
                    Some(shown) if shown.label == *label => shown,
                    before => {
                        let state = before.map_or_else(|| new(id), |shown| shown.state);
                        let label = label.clone();
                        TargetEntry::new(entry.system, account, label, state, paused_until)
                    }
                };
                targets.insert(id.clone(), shown);
            }
            entry.targets = Some(targets);
        });
    }

    /// Sets the error of the last discovery; `None` if it succeeded.
    pub fn discovered(&self, error: Option<PollError>) {
        self.inventory.is_ready(&self.inventory.accounts());
        self.with_entry(|entry, _| entry.undiscovered = error);
    }

    /// Replaces the state of a target and all of its families at once.
    ///
    /// Does nothing if the target was removed.
    pub fn publish(&self, id: &str, state: TargetState) {
        self.with_target(id, |shown, system, account, paused_until| {
            shown.update(system, account, state, paused_until);
        });
    }

    /// Publishes like [`publish`](Self::publish), but renders a new, long listing off the event
    /// loop.
    pub async fn publish_any(&self, id: &str, state: TargetState) {
        let long =
            |last_listing: &Arc<LastListing>| last_listing.listing.connections().len() > LONG;
        while state.last_listing.as_ref().is_some_and(long) {
            let before = self.with_target(id, |shown, system, _, paused_until| {
                (shown.clone(), system, paused_until)
            });
            let Some((before, system, paused_until)) = before else {
                return;
            };
            if !before.has_another(&state) {
                break;
            }
            let (account, label) = (self.key.1.clone(), before.label.clone());
            let state = state.clone();
            let render = move || {
                let mut rendered = before;
                rendered.update(system, &account, state, paused_until);
                rendered
            };
            let Ok(rendered) = offload("listing", true, render).await else {
                break;
            };
            // The target was renamed while it was rendered: render it again.
            let done = self.with_target(id, |shown, system, account, pause| {
                let same = shown.label == label;
                if same {
                    *shown = rendered;
                    if pause != paused_until {
                        shown.render_freshness(system, account, pause);
                    }
                }
                same
            });
            if done != Some(false) {
                return;
            }
        }
        self.publish(id, state);
    }

    /// Returns the current label of a target, or its id if the target does not exist.
    #[must_use]
    pub fn label(&self, id: &str) -> String {
        let accounts = self.inventory.accounts();
        let targets = accounts
            .get(self.key.0)
            .and_then(|accounts| accounts.get(&self.key.1))
            .and_then(|entry| entry.targets.as_ref());
        let shown = targets.and_then(|targets| targets.get(id));
        shown.map_or_else(|| id.to_owned(), |shown| shown.label.clone())
    }
}

#[cfg(test)]
pub(crate) mod tests;
