//! What an account takes back from the state folder: its pace, its targets, and what was known of each.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Account;
use crate::clock::until;
use crate::model::listing::Listing;
use crate::model::state::{LastListing, StateSnapshot, TargetState};
use crate::state_dir::{StateFile, Stored};
use crate::vendors::account::{DiscoveryMode, TargetConfig};

/// What is known of the account's targets; outlives the process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct DiscoveryState {
    /// The ids that were found last, where targets are followed.
    pub(super) found: Vec<String>,
    /// What the vendor last called each target.
    pub(super) names: BTreeMap<String, String>,
    /// Whether the last discovery succeeded.
    pub(super) up: bool,
    /// When one last did.
    pub(super) last_success: Option<Timestamp>,
    /// When the last one ended.
    pub(super) last_attempt: Timestamp,
    /// When the next one is due.
    pub(super) next: Timestamp,
    /// What the source learned with it.
    pub(super) memory: serde_json::Value,
}

/// How long what was planned for `next` still waits after a restart; `None` if it is overdue, or if the clock was
/// set back, so that nobody knows.
///
/// Never later than an interval after the last time, though refusals made it so: a restart is what somebody
/// does who mended their cause.
pub(crate) fn time_left(
    date: Timestamp,
    last: Timestamp,
    next: Timestamp,
    interval: Duration,
) -> Option<Duration> {
    let next = next.min(last.checked_add(interval).unwrap_or(Timestamp::MAX));
    (last <= date && date < next).then(|| until(date, next))
}

impl Account {
    /// Lets the pace go on where it was before a restart. Its file is there before the first request is: without it
    /// the next process would not know that there was one. Where the disk does not answer, there may have been one.
    pub(super) async fn resume(&self) {
        let first = self.limiter.snapshot(self.clock.now());
        let snapshot = match self.state_dir.read_or_write(StateFile::Pace, first).await {
            Stored::Nothing => return,
            Stored::Unusable => None,
            Stored::This(snapshot) => Some(snapshot),
        };
        let date = self.clock.now();
        let paused = self.limiter.resume(snapshot.as_ref(), date);
        if !paused.is_zero() {
            let (system, account) = self.metrics.account();
            let seconds = paused.as_secs_f64();
            tracing::info!(system, account, seconds, "still paused after a restart");
            self.metrics.paused_until(date + paused);
        }
    }

    /// Takes back what was known before a restart, and gives the time until the next discovery.
    pub(super) async fn restore(&mut self) -> Option<Duration> {
        self.known = self.state_dir.read(StateFile::Discovery, Ok).await?;
        self.source().import_state(self.known.memory.clone());
        let DiscoveryState {
            up,
            last_success,
            last_attempt,
            next,
            ..
        } = self.known;
        let at_once = self.schedule.phase("");
        if self.config.discovery == DiscoveryMode::Targets {
            self.metrics.discovered(up, last_success);
            if up && self.known.found.is_empty() {
                // They were named by the configuration until now.
                return Some(at_once);
            }
        }
        let interval = self.discover_again_after(up);
        let left = time_left(self.clock.now(), last_attempt, next, interval);
        Some(left.unwrap_or(at_once))
    }

    /// What was known of these targets before a restart. A disk that hangs holds up nothing else, and this not for
    /// long.
    pub(super) async fn snapshots(
        &self,
        ids: Vec<String>,
    ) -> Vec<Option<(StateSnapshot, Option<Listing>)>> {
        let (system, most) = (self.config.system, self.max_connections);
        let read = |id| {
            self.state_dir
                .read(StateFile::Target(id), move |mut snapshot: StateSnapshot| {
                    let listing = snapshot.listing(system.zero_series, most)?;
                    Ok((snapshot, listing))
                })
        };
        // All of them are on their way before the first is waited for.
        let reads: Vec<_> = ids.into_iter().map(read).collect();
        let mut snapshots = Vec::with_capacity(reads.len());
        for read in reads {
            snapshots.push(read.await);
        }
        snapshots
    }

    /// The state that a target begins with, and when it is first polled: at its place in the spread, or when it
    /// would have been due without a restart.
    pub(super) fn begin(
        &self,
        target: &TargetConfig,
        reference: Instant,
        snapshot: Option<(StateSnapshot, Option<Listing>)>,
    ) -> (TargetState, Instant) {
        let (now, date) = (Instant::now(), self.clock.now());
        let interval = self.schedule.interval();
        let left = snapshot.as_ref().and_then(|(snapshot, _)| {
            time_left(date, snapshot.last_attempt.at, snapshot.next_poll, interval)
        });
        let wait = left.unwrap_or_else(|| {
            (reference + self.schedule.phase(&target.id)).saturating_duration_since(now)
        });
        let state = TargetState::new(interval, date + wait);
        let Some((snapshot, listing)) = snapshot else {
            return (state, now + wait);
        };
        let held = listing.zip(snapshot.last_success).map(|(listing, taken)| {
            let expected = self.setup.lock().expected(&target.id, &listing);
            // At least as old as it could become before the restart, so that this makes no hole.
            let least = self.schedule.stale_after(snapshot.longest_poll());
            let most = least + interval * 3;
            let stale_after = match self.schedule.configured_stale_after() {
                Some(configured) => configured,
                None => snapshot.stale_after.unwrap_or(least).clamp(least, most),
            };
            // A date before the machine's start is as old as can be.
            let taken = now.checked_sub(until(taken, date));
            let (taken, stale_after) =
                taken.map_or((now, Duration::ZERO), |taken| (taken, stale_after));
            LastListing::new(listing, None, expected, taken, stale_after)
        });
        (state.restored(snapshot, held), now + wait)
    }
}
