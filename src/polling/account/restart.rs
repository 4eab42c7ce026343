//! State that an account restores from the state directory: rate limiter, discovery and targets.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Account;
use crate::clock::until;
use crate::model::history::ListingHistory;
use crate::model::listing::Listing;
use crate::model::state::{LastListing, StateSnapshot, TargetState};
use crate::state_dir::{StateFile, Stored};
use crate::vendors::account::TargetConfig;

/// State that was read from a file, and its listing with the history of that.
type Saved = (StateSnapshot, Option<(Listing, ListingHistory)>);

/// Returns the time left after a restart until `next`.
///
/// `None` if that is overdue, or if the clock was set back, which leaves the time unknown.
///
/// `next` is limited to one interval after `last`, even if refusals had moved it: a restart often
/// means that their cause was fixed.
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
    /// Restores the state of the rate limiter.
    ///
    /// Its file is written before the first request: without it, the next process would not know
    /// that one was made. If the disk does not respond, an earlier request is assumed.
    pub(super) async fn resume(&self) {
        let first = self.limiter.snapshot(self.clock.now());
        let snapshot = match self.state_dir.read_or_write(StateFile::Pace, first).await {
            Stored::Nothing => return,
            Stored::Unusable => None,
            Stored::This(snapshot) => Some(snapshot),
        };
        let date = self.clock.now();
        let paused = self.limiter.restore(snapshot.as_ref(), date);
        if !paused.is_zero() {
            let (system, account) = self.metrics.account();
            let seconds = paused.as_secs_f64();
            tracing::info!(system, account, seconds, "still paused after a restart");
            self.metrics.paused_until(date + paused);
        }
    }

    /// Reads the saved states of these targets.
    ///
    /// A disk that hangs delays only this account, and only up to a deadline.
    pub(super) async fn snapshots(&self, ids: Vec<String>) -> Vec<Option<Saved>> {
        let (system, most) = (self.config.system, self.max_connections);
        let read = |id| {
            self.state_dir
                .read(StateFile::Target(id), move |mut snapshot: StateSnapshot| {
                    let (known, healthy) = (system.zero_series, system.healthy_status);
                    let listing = snapshot.listing(known, healthy, most)?;
                    Ok((snapshot, listing))
                })
        };
        // All reads have started before the first is awaited.
        let reads: Vec<_> = ids.into_iter().map(read).collect();
        let mut snapshots = Vec::with_capacity(reads.len());
        for read in reads {
            snapshots.push(read.await);
        }
        snapshots
    }

    /// Returns the initial state of a target, and when it is first polled.
    ///
    /// That is at its place in the spread, or when it would have been due without a restart.
    pub(super) fn initial_state(
        &self,
        target: &TargetConfig,
        reference: Instant,
        snapshot: Option<Saved>,
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
        let last_listing = listing.zip(snapshot.last_success);
        let last_listing = last_listing.map(|((listing, history), taken)| {
            let expected = self.setup.lock().expected(&target.id, &listing);
            // At least as old as it could become before the restart, so that the restart leaves no
            // gap.
            let least = self.schedule.stale_after(snapshot.longest_poll());
            let most = least + interval * 3;
            let stale_after = match self.schedule.configured_stale_after() {
                Some(configured) => configured,
                None => snapshot.stale_after.unwrap_or(least).clamp(least, most),
            };
            // No `Instant` precedes the machine's start, so an older listing counts as stale.
            let taken = now.checked_sub(until(taken, date));
            let (taken, stale_after) =
                taken.map_or((now, Duration::ZERO), |taken| (taken, stale_after));
            LastListing::new(listing, history, expected, taken, stale_after)
        });
        (state.restored(snapshot, last_listing), now + wait)
    }
}
