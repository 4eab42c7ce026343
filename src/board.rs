//! What is known now: pollers publish on it, the server reads from it, and a page is one look at it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::PollError;
use crate::exposition::{Countdown, Encoding, Fragment, Page, PageBuilder};
use crate::metrics::{self, AccountMetrics, OwnMetrics};
use crate::state::State;
use crate::upstream::System;

/// Everything that the server can show.
#[derive(Debug)]
pub struct Board {
    accounts: Mutex<BTreeMap<(&'static str, String), Shelf>>,
    own: OwnMetrics,
    clock: Clock,
}

/// One account's part of the board.
#[derive(Debug)]
struct Shelf {
    system: &'static System,
    metrics: Arc<AccountMetrics>,
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
        let freshness = Fragment::render(metrics::freshness(system, account, &label, &state));
        let (listing, countdown) = match &state.held {
            Some(held) => (
                Fragment::render(metrics::listing(system, account, &label, held)),
                Countdown::render(metrics::token_expires_in(system, account, &label, held)),
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
            self.freshness =
                Fragment::render(metrics::freshness(system, account, &self.label, &state));
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
}

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new(own: OwnMetrics, clock: Clock) -> Self {
        Self {
            accounts: Mutex::default(),
            own,
            clock,
        }
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<(&'static str, String), Shelf>> {
        self.accounts.lock()
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
            targets: None,
            undiscovered: None,
        };
        self.accounts().insert(key.clone(), account);
        AccountBoard {
            board: self.clone(),
            key,
        }
    }

    /// Takes an account off the board.
    pub fn close(&self, system: &'static str, account: &str) {
        self.accounts().remove(&(system, account.to_owned()));
    }

    /// The page, as of now.
    #[must_use]
    pub fn page(&self, encoding: Encoding) -> Page {
        let accounts = self.accounts();
        let (wall, now) = (self.clock.now(), Instant::now());
        let targets = || accounts.values().flat_map(Shelf::targets);
        let fresh = || targets().filter(|target| target.is_fresh(now));
        let fragments: Vec<_> = fresh()
            .map(|t| &t.listing)
            .chain(targets().map(|t| &t.freshness))
            .collect();
        let mut page = PageBuilder::new(encoding);
        page.fragments(&fragments);
        page.countdown(fresh().map(|t| &t.countdown), wall);
        page.live(
            &self
                .own
                .gather(accounts.values().map(|shelf| &*shelf.metrics), wall),
        );
        let page = page.finish();
        let sizes = [(encoding, page.bytes), (Encoding::Plain, page.plain_bytes)];
        self.own.served(
            sizes.map(|(encoding, bytes)| (encoding.label(), bytes)),
            page.series,
        );
        page
    }

    /// What is known of every account.
    #[must_use]
    pub fn seen(&self) -> Vec<AccountSeen> {
        let accounts = self.accounts();
        let seen = |((_, account), shelf): (&(&'static str, String), &Shelf)| AccountSeen {
            system: shelf.system,
            account: account.clone(),
            metrics: shelf.metrics.clone(),
            targets: shelf.targets.as_ref().map(|targets| {
                let states = targets.values();
                states
                    .map(|shown| (shown.label.clone(), shown.state.clone()))
                    .collect()
            }),
            undiscovered: shelf.undiscovered.clone(),
        };
        accounts.iter().map(seen).collect()
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
        self.accounts().values().map(missing).sum()
    }
}

/// Where one account publishes.
#[derive(Debug, Clone)]
pub struct AccountBoard {
    board: Arc<Board>,
    key: (&'static str, String),
}

impl AccountBoard {
    /// Does nothing once the account is off the board.
    fn with_shelf<T: Default>(&self, with: impl FnOnce(&mut Shelf, &str) -> T) -> T {
        let mut accounts = self.board.accounts();
        let account = accounts.get_mut(&self.key);
        account.map_or_else(T::default, |shelf| with(shelf, &self.key.1))
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
        let label = self.with_shelf(|shelf, _| {
            let shown = shelf.targets.as_ref()?.get(id)?;
            Some(shown.label.clone())
        });
        label.unwrap_or_else(|| id.to_owned())
    }
}

impl Shelf {
    fn targets(&self) -> impl Iterator<Item = &Shown> {
        self.targets.iter().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
mod tests;
