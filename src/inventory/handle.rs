//! Handle through which one account publishes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Inventory;
use super::entry::{AccountEntry, Entries, TargetEntry};
use crate::model::error::PollError;
use crate::model::listing::LONG;
use crate::model::state::{LastListing, TargetState};
use crate::vendors::System;
use crate::vendors::http::offload;

/// Handle through which one account publishes.
#[derive(Debug, Clone)]
pub struct AccountHandle {
    pub(super) inventory: Arc<Inventory>,
    pub(super) key: (&'static str, String),
}

impl AccountHandle {
    /// Returns the account's entry; `None` once the account was removed.
    fn entry<'a>(&self, accounts: &'a Entries) -> Option<&'a AccountEntry> {
        let (system, account) = &self.key;
        accounts.get(system)?.get(account)
    }

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
            let target = targets.and_then(|targets| targets.get_mut(id));
            done = target.map(|target| with(target, entry.system, account, entry.paused_until));
        });
        done
    }

    /// Sets the account's targets and their labels. No page shows half of the change.
    ///
    /// Targets that are not in `labels` are removed, and renamed ones are rendered again. New ones
    /// start with the state that `new` returns.
    pub fn set_targets(
        &self,
        labels: &BTreeMap<String, String>,
        new: impl Fn(&str) -> TargetState,
    ) {
        self.inventory.update_ready(&self.inventory.accounts());
        self.with_entry(|entry, account| {
            let paused_until = entry.paused_until;
            let mut before = entry.targets.take().unwrap_or_default();
            let mut targets = BTreeMap::new();
            for (id, label) in labels {
                let target = match before.remove(id) {
                    Some(target) if target.label == *label => target,
                    before => {
                        let state = before.map_or_else(|| new(id), |target| target.state);
                        let label = label.clone();
                        TargetEntry::new(entry.system, account, label, state, paused_until)
                    }
                };
                targets.insert(id.clone(), target);
            }
            entry.targets = Some(targets);
        });
    }

    /// Sets the error of the last discovery; `None` if it succeeded.
    pub fn set_discovery_error(&self, error: Option<PollError>) {
        self.inventory.update_ready(&self.inventory.accounts());
        self.with_entry(|entry, _| entry.discovery_error = error);
    }

    /// Replaces the state of a target and all of its families at once.
    ///
    /// Does nothing if the target was removed.
    pub fn publish(&self, id: &str, state: TargetState) {
        self.with_target(id, |target, system, account, paused_until| {
            target.update(system, account, state, paused_until);
        });
    }

    /// Publishes like [`publish`](Self::publish), but renders a new, long listing off the event
    /// loop.
    pub(crate) async fn publish_offloaded(&self, id: &str, state: TargetState) {
        let long =
            |last_listing: &Arc<LastListing>| last_listing.listing.connections().len() > LONG;
        while state.last_listing.as_ref().is_some_and(long) {
            // Only read here: a change would invalidate the pages that are cached.
            let before = self.entry(&self.inventory.accounts()).and_then(|entry| {
                let target = entry.targets.as_ref()?.get(id)?;
                Some((target.clone(), entry.system, entry.paused_until))
            });
            let Some((before, system, paused_until)) = before else {
                return;
            };
            if !before.listing_differs(&state) {
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
            // Not stored if the target was renamed meanwhile: the loop then renders it again.
            let done = self.with_target(id, |target, system, account, pause| {
                let same = target.label == label;
                if same {
                    *target = rendered;
                    if pause != paused_until {
                        target.render_freshness(system, account, pause);
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
        let targets = self
            .entry(&accounts)
            .and_then(|entry| entry.targets.as_ref());
        let target = targets.and_then(|targets| targets.get(id));
        target.map_or_else(|| id.to_owned(), |target| target.label.clone())
    }
}
