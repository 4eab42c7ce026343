//! State of an account and of its targets, rendered when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::AccountSnapshot;
use crate::exposition::{Countdown, Fragment};
use crate::metrics;
use crate::metrics::AccountMetrics;
use crate::model::error::PollError;
use crate::model::state::{LastListing, TargetState};
use crate::vendors::System;

/// Accounts by system, then by name.
pub(super) type Entries = BTreeMap<&'static str, BTreeMap<String, AccountEntry>>;

/// State of one account.
#[derive(Debug)]
pub(super) struct AccountEntry {
    pub(super) system: &'static System,
    pub(super) metrics: Arc<AccountMetrics>,
    /// Fragment of `metrics`, rendered at `revision`.
    pub(super) fragment: Fragment,
    pub(super) revision: Option<u64>,
    /// Targets by id; `None` until the account has set its targets.
    pub(super) targets: Option<BTreeMap<String, TargetEntry>>,
    /// Error of the last discovery; `None` if it succeeded.
    pub(super) discovery_error: Option<PollError>,
    /// End of the account's last pause, as last rendered into the freshness of its targets.
    pub(super) paused_until: Option<Timestamp>,
}

impl AccountEntry {
    /// Renders the account's metrics if they have changed, and returns whether they have.
    ///
    /// A new pause also renders the targets' freshness again, because it moves their next poll.
    pub(super) fn refresh_metrics(&mut self, now: Timestamp) -> bool {
        let revision = Some(self.metrics.refresh_revision(now));
        let changed = self.revision != revision;
        if changed {
            self.revision = revision;
            let (system, account) = self.metrics.account();
            self.fragment = Fragment::render(&self.fragment, &[system, account], |into| {
                self.metrics.samples(now, into);
            });
            let paused_until = self.metrics.pause_ends();
            if self.paused_until != paused_until {
                self.paused_until = paused_until;
                for target in self.targets.iter_mut().flat_map(BTreeMap::values_mut) {
                    target.render_freshness(self.system, account, paused_until);
                }
            }
        }
        changed
    }

    /// Returns whether the account has had its first attempt, successful or not.
    ///
    /// Either each target was polled or restored, or the discovery of the targets failed.
    pub(super) fn is_attempted(&self) -> bool {
        match self.targets {
            Some(_) => self.unattempted().next().is_none(),
            None => self.discovery_error.is_some(),
        }
    }

    /// Returns the targets that were never polled.
    pub(super) fn unattempted(&self) -> impl Iterator<Item = &TargetEntry> {
        let targets = self.targets();
        targets.filter(|target| target.state.last_attempt.is_none())
    }

    /// Returns a snapshot of the account and of those targets whose labels are selected.
    pub(super) fn snapshot(&self, selects: impl Fn(&str) -> bool) -> AccountSnapshot {
        let state = |target: &TargetEntry| (target.label.clone(), target.state.clone());
        AccountSnapshot {
            system: self.system,
            account: self.metrics.account().1.to_owned(),
            metrics: self.metrics.clone(),
            targets: self.targets.as_ref().map(|targets| {
                let selected = targets.values().filter(|target| selects(&target.label));
                selected.map(state).collect()
            }),
            target_ids: self.selected_ids(&selects).cloned().collect(),
            discovery_error: self.discovery_error.clone(),
        }
    }

    /// Returns the ids of these targets, in the same order.
    fn selected_ids(&self, selects: impl Fn(&str) -> bool) -> impl Iterator<Item = &String> {
        let targets = self.targets.iter().flatten();
        targets.filter_map(move |(id, target)| selects(&target.label).then_some(id))
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &TargetEntry> + Clone {
        self.targets.iter().flat_map(BTreeMap::values)
    }
}

/// State of one target, and the fragments rendered from it.
///
/// Cloning is cheap, because clones share the fragments.
#[derive(Debug, Clone)]
pub(super) struct TargetEntry {
    pub(super) label: String,
    pub(super) state: TargetState,
    pub(super) freshness: Fragment,
    pub(super) listing: Fragment,
    /// What was observed over time, which is exported even if the listing is stale.
    pub(super) history: Fragment,
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
        let mut target = Self {
            label,
            state,
            freshness: Fragment::default(),
            listing: Fragment::default(),
            history: Fragment::default(),
            countdown: Countdown::default(),
        };
        target.render_freshness(system, account, paused_until);
        target.render_listing(system, account, None);
        target
    }

    /// Renders the freshness of the target.
    ///
    /// While the account is paused, the next poll is not before the end of the pause.
    pub(super) fn render_freshness(
        &mut self,
        system: &System,
        account: &str,
        paused_until: Option<Timestamp>,
    ) {
        let common = &[system.name, account, &self.label];
        self.freshness = Fragment::render(&self.freshness, common, |into| {
            metrics::freshness(&self.state, paused_until, into);
        });
    }

    /// Renders the listing and its history, as far as their samples are not those of `before`.
    fn render_listing(&mut self, system: &System, account: &str, before: Option<&LastListing>) {
        let Some(last_listing) = &self.state.last_listing else {
            (self.listing, self.countdown, self.history) = <_>::default();
            return;
        };
        let common = &[system.name, account, &self.label];
        let same = before.is_some_and(|before| before.has_same_samples(last_listing));
        if !same {
            self.listing = Fragment::render(&self.listing, common, |into| {
                metrics::listing(system, last_listing, into);
            });
            self.countdown = Countdown::render(common, metrics::countdown(last_listing));
        }
        let history = &last_listing.history;
        if !same || !before.is_some_and(|before| before.history.has_same_samples(history)) {
            self.history = Fragment::render(&self.history, common, |into| {
                metrics::history(system, last_listing, into);
            });
        }
    }

    /// Returns whether `state` has a different listing from the rendered one.
    pub(super) fn listing_differs(&self, state: &TargetState) -> bool {
        match (&self.state.last_listing, &state.last_listing) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
            (None, None) => false,
            _ => true,
        }
    }

    /// Sets a new state. The listing is rendered again only if it has other samples.
    pub(super) fn update(
        &mut self,
        system: &System,
        account: &str,
        state: TargetState,
        paused_until: Option<Timestamp>,
    ) {
        let another = self.listing_differs(&state);
        let before = std::mem::replace(&mut self.state, state);
        self.render_freshness(system, account, paused_until);
        if another {
            self.render_listing(system, account, before.last_listing.as_deref());
        }
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.state
            .last_listing
            .as_ref()
            .is_some_and(|last| last.is_fresh(now))
    }

    pub(super) fn stale_from(&self) -> Option<Instant> {
        self.state.last_listing.as_ref()?.stale_from()
    }
}
