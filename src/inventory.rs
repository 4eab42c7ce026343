//! What is known now: pollers publish on it, the server reads from it, and a page is one look at it.

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
use crate::exposition::{Encoding, Fragment, Page, PageBuilder, SegmentCache};
use crate::metrics::{AccountMetrics, ExporterMetrics};
use crate::model::error::PollError;
use crate::model::listing::LONG;
use crate::model::state::{LastListing, TargetState};
use crate::vendors::System;
use crate::vendors::http::beside_the_loop;
use entry::{AccountEntry, TargetEntry};
pub use selector::Selector;

/// Accounts by system and name.
type Entries = BTreeMap<&'static str, BTreeMap<String, AccountEntry>>;

/// Everything that the server can show.
#[derive(Debug)]
pub struct Inventory {
    accounts: Mutex<Entries>,
    /// At the start, how many accounts the configuration names, until all of them are here.
    opening: AtomicUsize,
    /// Moves with every change of an account.
    changes: AtomicU64,
    /// By encoding.
    assembled: Mutex<[PageCache; 2]>,
    /// Whether every account of the first configuration is there, and whether each of them had its first attempt.
    all_open: AtomicBool,
    ready: AtomicBool,
    own: ExporterMetrics,
    clock: Clock,
}

/// What has not had its first attempt yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Whether all accounts of the first configuration are in the inventory.
    pub all_open: bool,
    /// How many are not.
    pub opening: usize,
    /// Accounts whose targets were not listed yet.
    pub accounts: usize,
    /// Targets that were not polled yet.
    pub targets: usize,
}

/// The page of one encoding without its tail, as it was put together last.
#[derive(Debug, Default)]
struct PageCache {
    /// `None` once anything in it has changed.
    page: Option<CachedPage>,
    /// What the next one takes over, where it is the same.
    pieces: SegmentCache,
}

#[derive(Debug)]
struct CachedPage {
    page: PageBuilder,
    /// Of which state of the inventory.
    changes: u64,
    /// When the first of its listings becomes too old.
    until: Option<Instant>,
}

/// What is known of one account, as it is.
#[derive(Debug)]
pub struct AccountSnapshot {
    /// What never changes about its system.
    pub system: &'static System,
    /// The `account` label.
    pub account: String,
    /// What it costs the vendor, and what the vendor says.
    pub metrics: Arc<AccountMetrics>,
    /// Label and state of each target; `None` until it is known which there are.
    pub targets: Option<Vec<(String, TargetState)>>,
    /// How the last discovery failed.
    pub undiscovered: Option<PollError>,
}

impl Inventory {
    /// An empty inventory.
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

    /// The accounts, about to be changed. Pages of before are given up by the next scrape, not here: that takes the longer
    /// the more targets there are.
    fn accounts_to_change(&self) -> MutexGuard<'_, Entries> {
        let accounts = self.accounts();
        self.changes.fetch_add(1, Ordering::Relaxed);
        accounts
    }

    /// The metrics of the process.
    #[must_use]
    pub fn exporter_metrics(&self) -> &ExporterMetrics {
        &self.own
    }

    /// What date it is.
    #[must_use]
    pub fn date(&self) -> Timestamp {
        self.clock.now()
    }

    /// Notes that so many accounts are on their way; 0, once all are here.
    pub fn opening(&self, accounts: usize) {
        self.opening.store(accounts, Ordering::Relaxed);
        self.all_open.store(accounts == 0, Ordering::Relaxed);
    }

    /// Makes room for an account.
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

    /// Takes an account off the inventory.
    pub fn close(&self, system: &'static str, account: &str) {
        if let Some(accounts) = self.accounts_to_change().get_mut(system) {
            accounts.remove(account);
        }
    }

    /// The page, as of now.
    #[must_use]
    pub fn page(&self, encoding: Encoding) -> Page {
        self.part(&Selector::default(), encoding)
    }

    /// A part of the page, as of now.
    #[must_use]
    pub fn part(&self, part: &Selector, encoding: Encoding) -> Page {
        let mut accounts = self.accounts();
        let (wall, now) = (self.clock.now(), Instant::now());
        part.each_account(&mut accounts, |entry| {
            if entry.count(wall) {
                self.changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut page = if part.is_whole() {
            self.assembled(&accounts, encoding, now)
        } else {
            drop(self.current(now, None));
            assemble(part, &accounts, encoding, now, None)
        };
        page.count_down(wall);
        match part.systems() {
            _ if part.has_process() => page.live(&self.own.gather()),
            Some(systems) => page.live(&self.own.durations_of(systems)),
            None => {}
        }
        let page = page.finish();
        if part.is_whole() {
            let sizes = [(encoding, page.bytes), (Encoding::Plain, page.plain_bytes)];
            self.own.served(
                sizes.map(|(encoding, bytes)| (encoding.label(), bytes)),
                page.series,
            );
        }
        page
    }

    /// The pages that were put together since anything in them changed. Others are given up here, and all of their pieces
    /// but those for the page that is asked for now: nobody may ask for another one again. Where somebody does, in turn
    /// with others, each of these pages is put together as if it were the first.
    fn current(&self, now: Instant, asked: Option<Encoding>) -> MutexGuard<'_, [PageCache; 2]> {
        let mut assembled = self.assembled.lock();
        let changes = self.changes.load(Ordering::Relaxed);
        for (encoding, earlier) in assembled.iter_mut().enumerate() {
            let outdated = earlier.page.take_if(|page| {
                page.changes != changes || page.until.is_some_and(|until| until <= now)
            });
            if outdated.is_some() && asked.is_none_or(|asked| asked as usize != encoding) {
                earlier.pieces = SegmentCache::default();
            }
        }
        assembled
    }

    /// The page without its tail: as it was put together last, while nothing in it has changed.
    fn assembled(&self, accounts: &Entries, encoding: Encoding, now: Instant) -> PageBuilder {
        let changes = self.changes.load(Ordering::Relaxed);
        let mut current = self.current(now, Some(encoding));
        let PageCache { page, pieces } = &mut current[encoding as usize];
        let whole = Selector::default();
        let current = page.get_or_insert_with(|| CachedPage {
            page: assemble(&whole, accounts, encoding, now, Some(pieces)),
            changes,
            until: fresh(&whole, accounts, now)
                .filter_map(TargetEntry::stale_from)
                .min(),
        });
        current.page.clone()
    }

    /// What is known of every account.
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

    /// System and name of every account; `None` until all are here.
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

    /// What is missing until the process is ready. Once nothing was, nothing is ever again: what fails later, or comes by a
    /// reload, is for the metrics to tell. Taken out of service, a process could only say less.
    #[must_use]
    pub fn pending(&self) -> Option<Pending> {
        let accounts = self.accounts();
        if self.is_ready(&accounts) {
            return None;
        }
        let shelves = || accounts.values().flat_map(BTreeMap::values);
        let here = shelves().count();
        Some(Pending {
            all_open: self.all_open.load(Ordering::Relaxed),
            opening: self.opening.load(Ordering::Relaxed).saturating_sub(here),
            accounts: shelves()
                .filter(|entry| entry.targets.is_none() && !entry.is_attempted())
                .count(),
            targets: shelves().map(|entry| entry.unattempted().count()).sum(),
        })
    }

    /// Whether every account had its first attempt. Looked at also before whatever could bring one that had none.
    fn is_ready(&self, accounts: &Entries) -> bool {
        if self.ready.load(Ordering::Relaxed) {
            return true;
        }
        let mut shelves = accounts.values().flat_map(BTreeMap::values);
        let ready =
            self.all_open.load(Ordering::Relaxed) && shelves.all(AccountEntry::is_attempted);
        if ready {
            self.ready.store(true, Ordering::Relaxed);
        }
        ready
    }
}

impl fmt::Display for Pending {
    /// Counts only: whoever asks whether we are ready needs no password.
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

/// The targets that a part has something of.
fn targets<'a>(
    part: &'a Selector,
    accounts: &'a Entries,
) -> impl Iterator<Item = &'a TargetEntry> + Clone {
    let targets = part.accounts(accounts).flat_map(AccountEntry::targets);
    targets.filter(|target| part.has_target(&target.label))
}

/// Those of them whose listings are not too old.
fn fresh<'a>(
    part: &'a Selector,
    accounts: &'a Entries,
    now: Instant,
) -> impl Iterator<Item = &'a TargetEntry> + Clone {
    targets(part, accounts).filter(move |target| target.is_fresh(now))
}

/// A part of the page without its tail.
fn assemble(
    part: &Selector,
    accounts: &Entries,
    encoding: Encoding,
    now: Instant,
    pieces: Option<&mut SegmentCache>,
) -> PageBuilder {
    // In the place of a listing that is too old, so that the others keep theirs, and their pieces.
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
    page.fragments(&fragments, pieces);
    page.countdowns(fresh(part, accounts, now).map(|target| target.countdown.clone()));
    page
}

/// Where one account publishes.
#[derive(Debug, Clone)]
pub struct AccountHandle {
    inventory: Arc<Inventory>,
    key: (&'static str, String),
}

impl AccountHandle {
    /// Does nothing once the account is off the inventory.
    fn with_entry(&self, with: impl FnOnce(&mut AccountEntry, &str)) {
        let (system, account) = &self.key;
        let mut accounts = self.inventory.accounts_to_change();
        if let Some(entry) = accounts.get_mut(system).and_then(|of| of.get_mut(account)) {
            with(entry, account);
        }
    }

    /// `None` if the target is gone.
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

    /// Sets which targets there are, with their labels: one look at the inventory sees all of it or nothing.
    ///
    /// Targets that are not named any more vanish, renamed ones are rendered anew, new ones begin with `new`.
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

    /// Notes how the last discovery failed, or that it did not.
    pub fn discovered(&self, error: Option<PollError>) {
        self.inventory.is_ready(&self.inventory.accounts());
        self.with_entry(|entry, _| entry.undiscovered = error);
    }

    /// Replaces the state of a target, all of its families at once. A target that is gone stays gone.
    pub fn publish(&self, id: &str, state: TargetState) {
        self.with_target(id, |shown, system, account, paused_until| {
            shown.update(system, account, state, paused_until);
        });
    }

    /// As [`publish`](Self::publish); a listing that is new and long is rendered beside the event loop.
    pub async fn publish_any(&self, id: &str, state: TargetState) {
        let long = |held: &Arc<LastListing>| held.listing.connections().len() > LONG;
        while state.held.as_ref().is_some_and(long) {
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
            let Ok(rendered) = beside_the_loop("listing", true, render).await else {
                break;
            };
            // Where the label has changed meanwhile, it is rendered again.
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

    /// The target's label as of now.
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
