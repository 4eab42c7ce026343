//! What is known now: pollers publish on it, the server reads from it, and a page is one look at it.

mod part;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::PollError;
use crate::exposition::{Countdown, Encoding, Fragment, Page, PageBuilder};
use crate::metrics::{self, AccountMetrics, OwnMetrics};
use crate::state::State;
use crate::upstream::System;
pub use part::Part;

/// Shelves by system and account.
type Shelves = BTreeMap<&'static str, BTreeMap<String, Shelf>>;

/// Everything that the server can show.
#[derive(Debug)]
pub struct Board {
    accounts: Mutex<Shelves>,
    /// Moves with every change of an account.
    changes: AtomicU64,
    /// Pages as they were last put together, but for their tails.
    assembled: Mutex<Vec<Assembled>>,
    own: OwnMetrics,
    clock: Clock,
}

/// A page without its tail.
#[derive(Debug)]
struct Assembled {
    encoding: Encoding,
    page: PageBuilder,
    /// Of which state of the board.
    changes: u64,
    /// When the first of its listings becomes too old.
    until: Option<Instant>,
}

/// One account's part of the board.
#[derive(Debug)]
struct Shelf {
    system: &'static System,
    metrics: Arc<AccountMetrics>,
    /// These, rendered, and their revision then.
    counted: Fragment,
    revision: Option<u64>,
    /// `None` until it is known which there are.
    targets: Option<BTreeMap<String, Shown>>,
    /// How the last discovery failed.
    undiscovered: Option<PollError>,
}

/// What is known of one account, as it is.
#[derive(Debug)]
pub struct AccountSeen {
    /// What never changes about its system.
    pub system: &'static System,
    /// The `account` label.
    pub account: String,
    /// What it costs the vendor, and what the vendor says.
    pub metrics: Arc<AccountMetrics>,
    /// Label and state of each target; `None` until it is known which there are.
    pub targets: Option<Vec<(String, State)>>,
    /// How the last discovery failed.
    pub undiscovered: Option<PollError>,
}

/// What is shown of one target: its state, rendered.
#[derive(Debug)]
struct Shown {
    label: String,
    state: State,
    freshness: Fragment,
    listing: Fragment,
    countdown: Countdown,
}

impl Shown {
    fn render(system: &System, account: &str, label: String, state: State) -> Self {
        let freshness = Fragment::render(|show| {
            metrics::freshness(system, account, &label, &state, show);
        });
        let (listing, countdown) = match &state.held {
            Some(held) => (
                Fragment::render(|show| metrics::listing(system, account, &label, held, show)),
                Countdown::render(
                    |show| metrics::token_expires_in(system, account, &label, held, show),
                    held.listing.connections().filter_map(|c| c.expiry),
                ),
            ),
            None => <_>::default(),
        };
        Self {
            label,
            state,
            freshness,
            listing,
            countdown,
        }
    }

    /// Takes a new state; the listing is rendered again only if there is a new one.
    fn update(&mut self, system: &System, account: &str, state: State) {
        let same = match (&self.state.held, &state.held) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if same {
            self.freshness = Fragment::render(|show| {
                metrics::freshness(system, account, &self.label, &state, show);
            });
            self.state = state;
        } else {
            *self = Self::render(system, account, std::mem::take(&mut self.label), state);
        }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.state
            .held
            .as_ref()
            .is_some_and(|held| held.is_fresh(now))
    }

    fn stale_from(&self) -> Option<Instant> {
        let held = self.state.held.as_ref()?;
        held.taken.checked_add(held.stale_after)
    }
}

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new(own: OwnMetrics, clock: Clock) -> Self {
        Self {
            accounts: Mutex::default(),
            changes: AtomicU64::default(),
            assembled: Mutex::default(),
            own,
            clock,
        }
    }

    fn accounts(&self) -> MutexGuard<'_, Shelves> {
        self.accounts.lock()
    }

    /// The accounts, about to be changed. Pages of before are given up by the next scrape, not here: that takes the longer
    /// the more targets there are.
    fn accounts_to_change(&self) -> MutexGuard<'_, Shelves> {
        let accounts = self.accounts();
        self.changes.fetch_add(1, Ordering::Relaxed);
        accounts
    }

    /// The metrics of the process.
    #[must_use]
    pub fn own(&self) -> &OwnMetrics {
        &self.own
    }

    /// What date it is.
    #[must_use]
    pub fn date(&self) -> Timestamp {
        self.clock.now()
    }

    /// Makes room for an account.
    #[must_use]
    pub fn open(
        self: &Arc<Self>,
        system: &'static System,
        metrics: Arc<AccountMetrics>,
    ) -> AccountBoard {
        let key = (system.name, metrics.account().1.to_owned());
        let account = Shelf {
            system,
            metrics,
            counted: Fragment::default(),
            revision: None,
            targets: None,
            undiscovered: None,
        };
        self.accounts_to_change()
            .entry(key.0)
            .or_default()
            .insert(key.1.clone(), account);
        AccountBoard {
            board: self.clone(),
            key,
        }
    }

    /// Takes an account off the board.
    pub fn close(&self, system: &'static str, account: &str) {
        if let Some(accounts) = self.accounts_to_change().get_mut(system) {
            accounts.remove(account);
        }
    }

    /// The page, as of now.
    #[must_use]
    pub fn page(&self, encoding: Encoding) -> Page {
        self.part(&Part::default(), encoding)
    }

    /// A part of the page, as of now.
    #[must_use]
    pub fn part(&self, part: &Part, encoding: Encoding) -> Page {
        let mut accounts = self.accounts();
        let (wall, now) = (self.clock.now(), Instant::now());
        part.each_account(&mut accounts, |shelf| {
            if shelf.count(wall) {
                self.changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut page = if part.is_whole() {
            self.assembled(&accounts, encoding, now)
        } else {
            assemble(part, &accounts, encoding, now)
        };
        page.countdown(
            fresh(part, &accounts, now).map(|target| &target.countdown),
            wall,
        );
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

    /// The page without its tail: as it was put together last, while nothing in it has changed.
    fn assembled(&self, accounts: &Shelves, encoding: Encoding, now: Instant) -> PageBuilder {
        let mut assembled = self.assembled.lock();
        let changes = self.changes.load(Ordering::Relaxed);
        assembled.retain(|earlier| {
            earlier.changes == changes && earlier.until.is_none_or(|until| now < until)
        });
        if let Some(earlier) = assembled
            .iter()
            .find(|earlier| earlier.encoding == encoding)
        {
            return earlier.page.clone();
        }
        let whole = Part::default();
        let page = assemble(&whole, accounts, encoding, now);
        assembled.push(Assembled {
            encoding,
            page: page.clone(),
            changes,
            until: fresh(&whole, accounts, now)
                .filter_map(Shown::stale_from)
                .min(),
        });
        page
    }

    /// What is known of every account.
    #[must_use]
    pub fn seen(&self) -> Vec<AccountSeen> {
        let accounts = self.accounts();
        let seen = |shelf: &Shelf| AccountSeen {
            system: shelf.system,
            account: shelf.metrics.account().1.to_owned(),
            metrics: shelf.metrics.clone(),
            targets: shelf.targets.as_ref().map(|targets| {
                let states = targets.values();
                states
                    .map(|shown| (shown.label.clone(), shown.state.clone()))
                    .collect()
            }),
            undiscovered: shelf.undiscovered.clone(),
        };
        accounts
            .values()
            .flat_map(BTreeMap::values)
            .map(seen)
            .collect()
    }

    /// System and name of every account.
    #[must_use]
    pub fn names(&self) -> Vec<(&'static str, String)> {
        let accounts = self.accounts();
        let names = accounts.iter().flat_map(|(system, accounts)| {
            accounts.keys().map(|account| (*system, account.clone()))
        });
        names.collect()
    }

    /// How many targets were never polled, and accounts whose targets were never listed.
    #[must_use]
    pub fn missing(&self) -> usize {
        let missing = |shelf: &Shelf| {
            let unpolled = shelf
                .targets()
                .filter(|target| target.state.last_attempt.is_none());
            unpolled.count() + usize::from(shelf.targets.is_none())
        };
        self.accounts()
            .values()
            .flat_map(BTreeMap::values)
            .map(missing)
            .sum()
    }
}

/// The targets that a part has something of.
fn targets<'a>(part: &'a Part, accounts: &'a Shelves) -> impl Iterator<Item = &'a Shown> + Clone {
    let targets = part.accounts(accounts).flat_map(Shelf::targets);
    targets.filter(|target| part.has_target(&target.label))
}

/// Those of them whose listings are not too old.
fn fresh<'a>(
    part: &'a Part,
    accounts: &'a Shelves,
    now: Instant,
) -> impl Iterator<Item = &'a Shown> + Clone {
    targets(part, accounts).filter(move |target| target.is_fresh(now))
}

/// A part of the page without its tail.
fn assemble(part: &Part, accounts: &Shelves, encoding: Encoding, now: Instant) -> PageBuilder {
    let counted = part.accounts(accounts).filter(|_| part.has_accounts());
    let fragments: Vec<_> = fresh(part, accounts, now)
        .map(|target| &target.listing)
        .chain(targets(part, accounts).map(|target| &target.freshness))
        .chain(counted.map(|shelf| &shelf.counted))
        .collect();
    let mut page = PageBuilder::new(encoding);
    page.fragments(&fragments);
    page
}

/// Where one account publishes.
#[derive(Debug, Clone)]
pub struct AccountBoard {
    board: Arc<Board>,
    key: (&'static str, String),
}

impl AccountBoard {
    /// Does nothing once the account is off the board.
    fn with_shelf(&self, with: impl FnOnce(&mut Shelf, &str)) {
        let (system, account) = &self.key;
        let mut accounts = self.board.accounts_to_change();
        if let Some(shelf) = accounts.get_mut(system).and_then(|of| of.get_mut(account)) {
            with(shelf, account);
        }
    }

    /// Sets which targets there are, with their labels: one look at the board sees all of it or nothing.
    ///
    /// Targets that are not named any more vanish, renamed ones are rendered anew, new ones begin with `new`.
    pub fn set_targets(&self, labels: &BTreeMap<String, String>, new: impl Fn(&str) -> State) {
        self.with_shelf(|shelf, account| {
            let mut before = shelf.targets.take().unwrap_or_default();
            let mut targets = BTreeMap::new();
            for (id, label) in labels {
                let shown = match before.remove(id) {
                    Some(shown) if shown.label == *label => shown,
                    Some(shown) => Shown::render(shelf.system, account, label.clone(), shown.state),
                    None => Shown::render(shelf.system, account, label.clone(), new(id)),
                };
                targets.insert(id.clone(), shown);
            }
            shelf.targets = Some(targets);
        });
    }

    /// Notes how the last discovery failed, or that it did not.
    pub fn discovered(&self, error: Option<PollError>) {
        self.with_shelf(|shelf, _| shelf.undiscovered = error);
    }

    /// Replaces the state of a target, all of its families at once. A target that is gone stays gone.
    pub fn publish(&self, id: &str, state: State) {
        self.with_shelf(|shelf, account| {
            if let Some(shown) = shelf
                .targets
                .as_mut()
                .and_then(|targets| targets.get_mut(id))
            {
                shown.update(shelf.system, account, state);
            }
        });
    }

    /// The target's label as of now.
    #[must_use]
    pub fn label(&self, id: &str) -> String {
        let accounts = self.board.accounts();
        let targets = accounts
            .get(self.key.0)
            .and_then(|accounts| accounts.get(&self.key.1))
            .and_then(|shelf| shelf.targets.as_ref());
        let shown = targets.and_then(|targets| targets.get(id));
        shown.map_or_else(|| id.to_owned(), |shown| shown.label.clone())
    }
}

impl Shelf {
    /// Renders what is counted of the account, if that has changed, and says whether it has.
    fn count(&mut self, now: Timestamp) -> bool {
        let revision = Some(self.metrics.revision(now));
        let changed = self.revision != revision;
        if changed {
            self.revision = revision;
            self.counted = Fragment::gathered(&self.metrics.gather(now));
        }
        changed
    }

    fn targets(&self) -> impl Iterator<Item = &Shown> + Clone {
        self.targets.iter().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
pub(crate) mod tests;
