//! Current state of every account: pollers publish to it, and the server renders pages from it.
//!
//! A page is built under one lock, so it never shows half of a change.

mod assembly;
mod entry;
mod handle;
mod pending;
mod selector;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::exposition::{
    Encoding, Format, Fragment, Page, PageBuilder, Representation, SegmentCache,
};
use crate::metrics::{AccountMetrics, ExporterMetrics};
use crate::model::error::PollError;
use crate::model::state::TargetState;
use crate::vendors::System;
use assembly::{assemble, fresh};
use entry::{AccountEntry, Entries, TargetEntry};
pub use handle::AccountHandle;
pub use pending::Pending;
pub use selector::Selector;

/// State of all accounts, and the pages that were rendered from it.
#[derive(Debug)]
pub struct Inventory {
    accounts: Mutex<Entries>,
    /// Number of configured accounts while they are being opened at start; 0 once all are open.
    opening: AtomicUsize,
    /// Incremented with every change of an account.
    changes: AtomicU64,
    /// Cached pages, by encoding.
    assembled: Mutex<[PageCache; 2]>,
    /// Whether every account of the first configuration is open.
    all_open: AtomicBool,
    /// Whether each of them has had its first attempt; once true, it stays true.
    ready: AtomicBool,
    own: ExporterMetrics,
    clock: Clock,
}

/// Cached pages of one encoding, without their tails.
#[derive(Debug, Default)]
struct PageCache {
    /// Pages by format; `None` once the page is outdated.
    pages: [Option<CachedPage>; 2],
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
    /// Ids of these targets, in the same order.
    pub target_ids: Vec<String>,
    /// Error of the last discovery; `None` if it succeeded.
    pub discovery_error: Option<PollError>,
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
            all_open: AtomicBool::default(),
            ready: AtomicBool::default(),
            own,
            clock,
        }
    }

    fn accounts(&self) -> MutexGuard<'_, Entries> {
        self.accounts.lock()
    }

    /// Locks the accounts for a change, which invalidates all cached pages.
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
            fragment: Fragment::default(),
            revision: None,
            targets: None,
            discovery_error: None,
            paused_until: None,
        };
        self.update_ready(&self.accounts());
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
    pub fn page(&self, representation: impl Into<Representation>) -> Page {
        self.part(&Selector::default(), representation)
    }

    /// Returns the selected part of the page as of now.
    #[must_use]
    pub fn part(&self, selector: &Selector, representation: impl Into<Representation>) -> Page {
        let representation = representation.into();
        let (wall, now) = (self.clock.now(), Instant::now());
        let mut accounts = self.accounts();
        self.refresh_metrics(selector, &mut accounts, wall);
        let mut page = self.fragments(selector, &accounts, representation, now);
        page.count_down(wall);
        self.add_exporter_metrics(selector, &mut page);
        let page = page.finish();
        if selector.is_whole() {
            self.record_size(representation.encoding, &page);
        }
        page
    }

    /// Renders the metrics of the selected accounts again where they have changed.
    fn refresh_metrics(&self, selector: &Selector, accounts: &mut Entries, wall: Timestamp) {
        selector.each_account(accounts, |entry| {
            if entry.refresh_metrics(wall) {
                self.changes.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Joins the fragments of the selected accounts.
    fn fragments(
        &self,
        selector: &Selector,
        accounts: &Entries,
        representation: Representation,
        now: Instant,
    ) -> PageBuilder {
        if selector.is_whole() {
            self.assembled(accounts, representation, now)
        } else {
            drop(self.lock_cache(now, None));
            assemble(selector, accounts, representation, now, None)
        }
    }

    /// Adds the exporter's own metrics, as far as they are selected.
    fn add_exporter_metrics(&self, selector: &Selector, page: &mut PageBuilder) {
        let families = match selector.systems() {
            _ if selector.has_process() => self.own.gather(self.clock.now()),
            Some(systems) => self.own.durations_of(systems),
            None => return,
        };
        page.live(&families, self.own.started());
    }

    /// Records the size of a whole page, which the next page shows.
    fn record_size(&self, encoding: Encoding, page: &Page) {
        let sizes = [(encoding, page.bytes), (Encoding::Plain, page.plain_bytes)];
        let sizes = sizes.map(|(encoding, bytes)| (encoding.label(), bytes));
        self.own.served(sizes, page.series);
    }

    /// Locks the page cache after dropping the invalid pages.
    ///
    /// The segments of the `requested` representation are kept for its next page. Those that only
    /// other invalid pages use are dropped, because these may never be requested again. The cost:
    /// if clients alternate between encodings, each page after a change is built from scratch.
    fn lock_cache(
        &self,
        now: Instant,
        requested: Option<Representation>,
    ) -> MutexGuard<'_, [PageCache; 2]> {
        let mut assembled = self.assembled.lock();
        let changes = self.changes.load(Ordering::Relaxed);
        let outdated = |page: &mut CachedPage| {
            page.changes != changes || page.until.is_some_and(|until| until <= now)
        };
        for (encoding, cache) in [Encoding::Plain, Encoding::Gzip]
            .into_iter()
            .zip(&mut *assembled)
        {
            let formats = [Format::Text, Format::OpenMetrics];
            for (format, page) in formats.into_iter().zip(&mut cache.pages) {
                let representation = Representation { format, encoding };
                if page.take_if(outdated).is_some() && requested != Some(representation) {
                    cache.segments.drop_format(format);
                }
            }
            if cache.pages.iter().all(Option::is_none)
                && requested.is_none_or(|requested| requested.encoding != encoding)
            {
                cache.segments = SegmentCache::default();
            }
        }
        assembled
    }

    /// Returns the whole page without its tail, from the cache unless something has changed.
    fn assembled(
        &self,
        accounts: &Entries,
        representation: Representation,
        now: Instant,
    ) -> PageBuilder {
        let changes = self.changes.load(Ordering::Relaxed);
        let mut current = self.lock_cache(now, Some(representation));
        let PageCache { pages, segments } = &mut current[representation.encoding as usize];
        let whole = Selector::default();
        let current = pages[representation.format as usize].get_or_insert_with(|| CachedPage {
            page: assemble(&whole, accounts, representation, now, Some(segments)),
            changes,
            until: fresh(&whole, accounts, now)
                .filter_map(TargetEntry::stale_from)
                .min(),
        });
        current.page.clone()
    }

    /// Returns a snapshot of every account.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Vec<AccountSnapshot> {
        let accounts = self.accounts();
        let accounts = accounts.values().flat_map(BTreeMap::values);
        accounts.map(|entry| entry.snapshot(|_| true)).collect()
    }

    /// Returns a snapshot of an account with one of its targets; `None` if either does not exist.
    #[must_use]
    pub(crate) fn snapshot_of(
        &self,
        system: &str,
        account: &str,
        target: &str,
    ) -> Option<AccountSnapshot> {
        let accounts = self.accounts();
        let entry = accounts.get(system)?.get(account)?;
        let seen = entry.snapshot(|label| label == target);
        seen.targets.as_ref()?.first()?;
        Some(seen)
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
        if self.update_ready(&accounts) {
            return None;
        }
        let entries = || accounts.values().flat_map(BTreeMap::values);
        let here = entries().count();
        Some(Pending {
            standby: self.own.is_standby(),
            all_open: self.all_open.load(Ordering::Relaxed),
            opening: self.opening.load(Ordering::Relaxed).saturating_sub(here),
            accounts: entries()
                .filter(|entry| entry.targets.is_none() && !entry.is_attempted())
                .count(),
            targets: entries().map(|entry| entry.unattempted().count()).sum(),
        })
    }

    /// Sets `ready` once every account has had its first attempt, and returns it.
    ///
    /// Also called before each change that could make it false again, for this side effect alone.
    fn update_ready(&self, accounts: &Entries) -> bool {
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

#[cfg(test)]
pub(crate) mod tests;
