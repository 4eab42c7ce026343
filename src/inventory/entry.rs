//! What is kept of an account and of its targets, rendered when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::exposition::{Countdown, Fragment};
use crate::metrics;
use crate::metrics::AccountMetrics;
use crate::model::error::PollError;
use crate::model::state::TargetState;
use crate::vendors::System;

/// One account's part of the inventory.
#[derive(Debug)]
pub(super) struct AccountEntry {
    pub(super) system: &'static System,
    pub(super) metrics: Arc<AccountMetrics>,
    /// These, rendered, and their revision then.
    pub(super) counted: Fragment,
    pub(super) revision: Option<u64>,
    /// `None` until it is known which there are.
    pub(super) targets: Option<BTreeMap<String, TargetEntry>>,
    /// How the last discovery failed.
    pub(super) undiscovered: Option<PollError>,
    /// The end of the last pause, as it is rendered with the targets.
    pub(super) paused_until: Option<Timestamp>,
}

impl AccountEntry {
    /// Renders what is counted of the account, if that has changed, and says whether it has. A pause changes when its targets
    /// are polled next.
    pub(super) fn count(&mut self, now: Timestamp) -> bool {
        let revision = Some(self.metrics.revision(now));
        let changed = self.revision != revision;
        if changed {
            self.revision = revision;
            self.counted = Fragment::gathered(&self.counted, &self.metrics.gather(now));
            let paused_until = self.metrics.pause_ends();
            if self.paused_until != paused_until {
                self.paused_until = paused_until;
                let account = self.metrics.account().1;
                for shown in self.targets.iter_mut().flat_map(BTreeMap::values_mut) {
                    shown.render_freshness(self.system, account, paused_until);
                }
            }
        }
        changed
    }

    /// Whether it had its first attempt, good or bad: each of its targets was polled or restored, or it was asked in vain
    /// which there are.
    pub(super) fn is_attempted(&self) -> bool {
        match self.targets {
            Some(_) => self.unattempted().next().is_none(),
            None => self.undiscovered.is_some(),
        }
    }

    /// The targets that were never polled.
    pub(super) fn unattempted(&self) -> impl Iterator<Item = &TargetEntry> {
        let targets = self.targets();
        targets.filter(|target| target.state.last_attempt.is_none())
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &TargetEntry> + Clone {
        self.targets.iter().flat_map(BTreeMap::values)
    }
}

/// What is shown of one target: its state, rendered. To copy it costs little: what is rendered is shared.
#[derive(Debug, Clone)]
pub(super) struct TargetEntry {
    pub(super) label: String,
    pub(super) state: TargetState,
    pub(super) freshness: Fragment,
    pub(super) listing: Fragment,
    pub(super) countdown: Countdown,
}

impl TargetEntry {
    pub(super) fn new(
        system: &System,
        account: &str,
        label: String,
        state: TargetState,
        paused_until: Option<Timestamp>,
    ) -> Self {
        let mut shown = Self {
            label,
            state,
            freshness: Fragment::default(),
            listing: Fragment::default(),
            countdown: Countdown::default(),
        };
        shown.render_freshness(system, account, paused_until);
        shown.render_listing(system, account);
        shown
    }

    /// Renders how far the listing can be believed; while the account is paused, its next poll comes no sooner than the end.
    pub(super) fn render_freshness(
        &mut self,
        system: &System,
        account: &str,
        paused_until: Option<Timestamp>,
    ) {
        self.freshness = Fragment::render(&self.freshness, |show| {
            let Self { label, state, .. } = &*self;
            metrics::freshness(system, account, label, state, paused_until, show);
        });
    }

    fn render_listing(&mut self, system: &System, account: &str) {
        let (label, listing) = (&self.label, &self.listing);
        (self.listing, self.countdown) = match &self.state.held {
            Some(held) => (
                Fragment::render(listing, |show| {
                    metrics::listing(system, account, label, held, show);
                }),
                Countdown::render(
                    |show| metrics::token_expires_in(system, account, label, held, show),
                    held.listing.connections().filter_map(|c| c.expiry),
                ),
            ),
            None => <_>::default(),
        };
    }

    /// Whether this state has a listing that is not the one that is shown.
    pub(super) fn has_another(&self, state: &TargetState) -> bool {
        match (&self.state.held, &state.held) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
            (None, None) => false,
            _ => true,
        }
    }

    /// Takes a new state; the listing is rendered again only if there is a new one.
    pub(super) fn update(
        &mut self,
        system: &System,
        account: &str,
        state: TargetState,
        paused_until: Option<Timestamp>,
    ) {
        let another = self.has_another(&state);
        self.state = state;
        self.render_freshness(system, account, paused_until);
        if another {
            self.render_listing(system, account);
        }
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.state
            .held
            .as_ref()
            .is_some_and(|held| held.is_fresh(now))
    }

    pub(super) fn stale_from(&self) -> Option<Instant> {
        self.state.held.as_ref()?.stale_from()
    }
}
