//! State of one target: its last listing, its freshness, and the outcome of its polls.

mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::model::error::PollError;
use crate::model::history::ListingHistory;
use crate::model::listing::{Listing, Row, fast_eq, side_by_side};
use crate::model::recent::RecentPolls;
pub use snapshot::{ListingFile, ListingSnapshot, RestoredListing, StateSnapshot};

/// State of a target that its poller publishes.
///
/// A value that is not available has no sample.
#[derive(Debug, Clone)]
pub struct TargetState {
    /// Interval between two polls of the target.
    pub interval: Duration,
    /// Time at which the next poll is due.
    pub next_poll: Timestamp,
    /// Outcome of the last poll; `None` before the first one.
    pub last_attempt: Option<PollOutcome>,
    /// Outcomes of the most recent polls, including the last one.
    pub recent: RecentPolls,
    /// Duration of the longest recent poll.
    ///
    /// Each shorter poll reduces it by a tenth.
    pub longest_poll: Duration,
    /// End of the last successful poll.
    pub last_success: Option<Timestamp>,
    /// Number of failed polls since the last successful one.
    pub consecutive_failures: u32,
    /// End of the first of these failed polls.
    pub failing_since: Option<Timestamp>,
    /// Number of successful polls.
    pub successes: u64,
    /// Number of failed polls.
    pub failures: u64,
    /// Number of differences between listings since the start.
    pub changes: ChangeCounts,
    /// The last complete listing.
    pub last_listing: Option<Arc<LastListing>>,
    /// Whether the last listing comes from the state directory.
    pub restored: bool,
}

/// Outcome of a finished poll.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PollOutcome {
    /// End of the poll.
    pub at: Timestamp,
    /// Duration of the poll.
    pub duration: Duration,
    /// Error of the poll; `None` if it succeeded.
    pub error: Option<PollError>,
}

/// The last complete listing, and what was observed of its connections over time.
#[derive(Debug)]
pub struct LastListing {
    /// When these connections with this history were first listed.
    ///
    /// Listings of a target with the same version differ only in when they were complete.
    pub version: Timestamp,
    /// The listing.
    pub listing: Listing,
    /// What was observed of its connections, over all listings of the target.
    pub history: ListingHistory,
    /// Each `expect` entry of the configuration, and whether it is satisfied.
    pub expected: Vec<(String, bool)>,
    /// Time at which the listing was complete.
    pub completed_at: Instant,
    /// Age from which the listing is no longer exported.
    pub stale_after: Duration,
}

/// Number of differences between listings, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the value of the label `change`")]
pub struct ChangeCounts {
    pub added: u64,
    pub removed: u64,
    pub status: u64,
}

/// One difference between two listings.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectionChange<'a> {
    /// A connection that was not listed before.
    Added(Row<'a>),
    /// A connection that is no longer listed.
    Removed(Row<'a>),
    /// The status before the change, and the connection after it.
    Status(&'static str, Row<'a>),
}

impl TargetState {
    /// Creates the state of a target that has not been polled.
    #[must_use]
    pub fn new(interval: Duration, next_poll: Timestamp) -> Self {
        Self {
            interval,
            next_poll,
            last_attempt: None,
            recent: RecentPolls::default(),
            longest_poll: Duration::ZERO,
            last_success: None,
            consecutive_failures: 0,
            failing_since: None,
            successes: 0,
            failures: 0,
            changes: ChangeCounts::default(),
            last_listing: None,
            restored: false,
        }
    }

    /// Returns when the next poll is due, given the end of the account's last pause.
    #[must_use]
    pub(crate) fn next_poll_after(&self, pause_ends: Option<Timestamp>) -> Timestamp {
        pause_ends.map_or(self.next_poll, |ends| self.next_poll.max(ends))
    }

    /// Records the outcome of a poll.
    pub fn record(&mut self, outcome: PollOutcome) {
        self.recent = self.recent.with(&outcome);
        self.last_attempt = Some(outcome);
    }

    /// Records the duration of a poll.
    pub fn took(&mut self, duration: Duration) {
        self.longest_poll = duration.max(self.longest_poll.mul_f64(0.9));
    }
}

impl LastListing {
    /// Creates the state of a listing, whose version is the date of its history.
    #[must_use]
    pub fn new(
        listing: Listing,
        history: ListingHistory,
        expected: Vec<(String, bool)>,
        completed_at: Instant,
        stale_after: Duration,
    ) -> Self {
        Self {
            version: history.at.date(),
            listing,
            history,
            expected,
            completed_at,
            stale_after,
        }
    }

    /// Returns the same listing with other expected connections and another maximum age.
    #[must_use]
    pub fn again(&self, expected: Vec<(String, bool)>, stale_after: Duration) -> Self {
        Self {
            version: self.version,
            listing: self.listing.clone(),
            history: self.history.clone(),
            expected,
            completed_at: self.completed_at,
            stale_after,
        }
    }

    /// Returns whether both are exported as the same samples, except for the history.
    pub(crate) fn has_same_samples(&self, other: &Self) -> bool {
        let known = self.history.connections.iter();
        let mut pairs = known.zip(&other.history.connections);
        self.expected == other.expected
            && self.listing.has_same_rows(&other.listing)
            && pairs.all(|(one, other)| one.renewals == other.renewals)
    }

    /// Returns the time from which the listing is no longer exported.
    #[must_use]
    pub(crate) fn stale_from(&self) -> Option<Instant> {
        self.completed_at.checked_add(self.stale_after)
    }

    /// Returns whether the listing is still exported.
    #[must_use]
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.completed_at) < self.stale_after
    }
}

impl ChangeCounts {
    /// Adds these differences to the counts.
    pub fn count(&mut self, changes: &[ConnectionChange<'_>]) {
        for change in changes {
            match change {
                ConnectionChange::Added(_) => self.added += 1,
                ConnectionChange::Removed(_) => self.removed += 1,
                ConnectionChange::Status(..) => self.status += 1,
            }
        }
    }
}

impl<'a> ConnectionChange<'a> {
    /// Returns the value of the `change` label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Removed(_) => "removed",
            Self::Status(..) => "status",
        }
    }

    /// Returns the connection, and its status before and after the change.
    ///
    /// A status that does not exist is empty.
    #[must_use]
    pub fn values(&self) -> (Row<'a>, &'static str, &'static str) {
        match *self {
            Self::Added(now) => (now, "", now.status),
            Self::Removed(before) => (before, before.status, ""),
            Self::Status(before, now) => (now, before, now.status),
        }
    }
}

/// Returns the differences between two listings.
#[must_use]
pub fn changes<'a>(before: &'a Listing, now: &'a Listing) -> Vec<ConnectionChange<'a>> {
    let change = |pair: (Option<Row<'a>>, Option<Row<'a>>)| match pair {
        (None, Some(now)) => Some(ConnectionChange::Added(now)),
        (Some(before), None) => Some(ConnectionChange::Removed(before)),
        (Some(before), Some(now)) if !fast_eq(before.status, now.status) => {
            Some(ConnectionChange::Status(before.status, now))
        }
        _ => None,
    };
    side_by_side(before, now).filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::listing::{Connection, ListingBuilder};

    fn listing(rows: &[(&str, &'static str, Option<i64>)]) -> Listing {
        let rows = rows.iter().map(|(id, status, expiry)| Connection {
            id: (*id).into(),
            status,
            expiry: expiry.map(|s| Timestamp::from_second(s).unwrap()),
            ..<Connection>::default()
        });
        let mut builder = ListingBuilder::new("e", 100, 100);
        builder.add_page(rows.collect(), true).unwrap();
        builder.finish()
    }

    #[test]
    fn each_kind_of_difference_is_seen_once() {
        let before = listing(&[
            ("gone", "connected", None),
            ("same", "pending", None),
            ("turned", "connected", None),
        ]);
        let now = listing(&[
            ("new", "pending", None),
            ("same", "pending", None),
            ("turned", "disconnected", None),
        ]);
        let changes = changes(&before, &now);
        let mut labels: Vec<_> = changes
            .iter()
            .map(|c| (c.label(), c.values().1, c.values().2))
            .collect();
        labels.sort_unstable();
        assert_eq!(
            labels,
            [
                ("added", "", "pending"),
                ("removed", "connected", ""),
                ("status", "connected", "disconnected")
            ]
        );
        let mut counts = ChangeCounts::default();
        counts.count(&changes);
        assert_eq!(
            counts,
            ChangeCounts {
                added: 1,
                removed: 1,
                status: 1
            }
        );
    }
}
