//! State that an account restores from the state directory: rate limiter, discovery and targets.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Account;
use crate::clock::until;
use crate::model::state::{
    LastListing, ListingSnapshot, RestoredListing, StateSnapshot, TargetState,
};
use crate::state_dir::{StateFile, Stored};
use crate::vendors::account::TargetConfig;

/// State that was read from the file of a target, and its listing.
type Saved = (StateSnapshot, Option<RestoredListing>);

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
        let restore = move |listing: ListingSnapshot| {
            let (known, healthy) = (system.zero_series, system.healthy_status);
            listing.restore(known, healthy, most)
        };
        let read = |id: String| {
            let listing = self.state_dir.read(StateFile::Listing(id.clone()), restore);
            let target = StateFile::Target(id);
            let target = self
                .state_dir
                .read(target, move |mut target: StateSnapshot| {
                    let embedded = target.embedded().map(restore).transpose()?;
                    Ok((target, embedded))
                });
            (listing, target)
        };
        // All reads have started before the first is awaited.
        let reads: Vec<_> = ids.into_iter().map(read).collect();
        let mut snapshots = Vec::with_capacity(reads.len());
        for (listing, target) in reads {
            let listing = listing.await;
            let target = target.await;
            // An earlier version wrote both to one file, and left the file of a later one behind.
            snapshots.push(target.map(|(target, embedded)| (target, embedded.or(listing))));
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
        // Without its listing, a target is polled as after a first start.
        let whole = snapshot
            .as_ref()
            .filter(|(target, listing)| listing.is_some() || target.last_success.is_none());
        let left = whole.and_then(|(target, _)| {
            time_left(date, target.last_attempt.at, target.next_poll, interval)
        });
        let wait = left.unwrap_or_else(|| {
            (reference + self.schedule.phase(&target.id)).saturating_duration_since(now)
        });
        let state = TargetState::new(interval, date + wait);
        let Some((snapshot, restored)) = snapshot else {
            return (state, now + wait);
        };
        let restored = restored.map(|restored| snapshot.as_of_last_poll(restored));
        let last_listing = restored.map(|(taken, last)| {
            let expected = self.setup.lock().expected(&target.id, &last.listing);
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
            let (completed_at, stale_after) =
                taken.map_or((now, Duration::ZERO), |taken| (taken, stale_after));
            LastListing {
                expected,
                completed_at,
                stale_after,
                ..last
            }
        });
        (state.restored(snapshot, last_listing), now + wait)
    }
}
