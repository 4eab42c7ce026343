//! What is kept of an account and of its targets, rendered when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::error::PollError;
use crate::exposition::{Countdown, Fragment};
use crate::metrics::{self, AccountMetrics};
use crate::state::State;
use crate::upstream::System;

/// One account's part of the board.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) system: &'static System,
    pub(super) metrics: Arc<AccountMetrics>,
    /// These, rendered, and their revision then.
    pub(super) counted: Fragment,
    pub(super) revision: Option<u64>,
    /// `None` until it is known which there are.
    pub(super) targets: Option<BTreeMap<String, Shown>>,
    /// How the last discovery failed.
    pub(super) undiscovered: Option<PollError>,
}

impl Shelf {
    /// Renders what is counted of the account, if that has changed, and says whether it has.
    pub(super) fn count(&mut self, now: Timestamp) -> bool {
        let revision = Some(self.metrics.revision(now));
        let changed = self.revision != revision;
        if changed {
            self.revision = revision;
            self.counted = Fragment::gathered(&self.counted, &self.metrics.gather(now));
        }
        changed
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Shown> + Clone {
        self.targets.iter().flat_map(BTreeMap::values)
    }
}

/// What is shown of one target: its state, rendered. To copy it costs little: what is rendered is shared.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) label: String,
    pub(super) state: State,
    pub(super) freshness: Fragment,
    pub(super) listing: Fragment,
    pub(super) countdown: Countdown,
}

impl Shown {
    pub(super) fn new(system: &System, account: &str, label: String, state: State) -> Self {
        let nothing = Fragment::default();
        Self::render(system, account, label, state, [&nothing; 2])
    }

    /// With freshness and listing as they were before.
    fn render(
        system: &System,
        account: &str,
        label: String,
        state: State,
        [freshness, listing]: [&Fragment; 2],
    ) -> Self {
        let freshness = Fragment::render(freshness, |show| {
            metrics::freshness(system, account, &label, &state, show);
        });
        let (listing, countdown) = match &state.held {
            Some(held) => (
                Fragment::render(listing, |show| {
                    metrics::listing(system, account, &label, held, show);
                }),
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

    /// Whether this state has a listing that is not the one that is shown.
    pub(super) fn has_another(&self, state: &State) -> bool {
        match (&self.state.held, &state.held) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
            (None, None) => false,
            _ => true,
        }
    }

    /// Takes a new state; the listing is rendered again only if there is a new one.
    pub(super) fn update(&mut self, system: &System, account: &str, state: State) {
        if self.has_another(&state) {
            *self = self.updated(system, account, state);
        } else {
            self.freshness = Fragment::render(&self.freshness, |show| {
                metrics::freshness(system, account, &self.label, &state, show);
            });
            self.state = state;
        }
    }

    /// The same target with another listing.
    pub(super) fn updated(&self, system: &System, account: &str, state: State) -> Self {
        let before = [&self.freshness, &self.listing];
        Self::render(system, account, self.label.clone(), state, before)
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.state
            .held
            .as_ref()
            .is_some_and(|held| held.is_fresh(now))
    }

    pub(super) fn stale_from(&self) -> Option<Instant> {
        let held = self.state.held.as_ref()?;
        held.taken.checked_add(held.stale_after)
    }
}
