//! What is known of one target: its last listing, and how far that can be believed.

mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::model::error::PollError;
use crate::model::listing::{Listing, Row, fast_eq, side_by_side};
pub use snapshot::StateSnapshot;

/// What a poller publishes. A value that is not known has no sample.
#[derive(Debug, Clone)]
pub struct TargetState {
    /// How often the target is polled.
    pub interval: Duration,
    /// When the next poll is due.
    pub next_poll: Timestamp,
    /// The last poll; `None` before the first.
    pub last_attempt: Option<PollOutcome>,
    /// How long the longest of the last polls took: each that is shorter takes a tenth of it away.
    pub longest_poll: Duration,
    /// The end of the last poll that gave a listing.
    pub last_success: Option<Timestamp>,
    /// Polls that failed since the last one that did not.
    pub consecutive_failures: u32,
    /// The end of the first of these.
    pub failing_since: Option<Timestamp>,
    /// Polls that gave a listing.
    pub successes: u64,
    /// Polls that failed.
    pub failures: u64,
    /// Differences between listings, since the start.
    pub changes: ChangeCounts,
    /// The last complete listing.
    pub held: Option<Arc<LastListing>>,
    /// Whether that listing comes from the state folder.
    pub restored: bool,
}

/// A poll that is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PollOutcome {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// How it failed; `None` if it did not.
    pub error: Option<PollError>,
}

/// A complete listing and what was seen of its connections over time.
#[derive(Debug)]
pub struct LastListing {
    /// The listing.
    pub listing: Listing,
    /// How often each connection's expiry moved forward, in the listing's order.
    pub renewals: Vec<u64>,
    /// Each `expect` entry of the configuration, and whether it is there.
    pub expected: Vec<(String, bool)>,
    /// When the listing was complete.
    pub completed_at: Instant,
    /// How old it may become before it is not shown any more.
    pub stale_after: Duration,
}

/// How many differences between listings were seen, by kind.
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
    /// The connection was not there before.
    Added(Row<'a>),
    /// The connection is not there any more.
    Removed(Row<'a>),
    /// The status changed from the first to that of the second.
    Status(&'static str, Row<'a>),
}

impl TargetState {
    /// Nothing known yet.
    #[must_use]
    pub fn new(interval: Duration, next_poll: Timestamp) -> Self {
        Self {
            interval,
            next_poll,
            last_attempt: None,
            longest_poll: Duration::ZERO,
            last_success: None,
            consecutive_failures: 0,
            failing_since: None,
            successes: 0,
            failures: 0,
            changes: ChangeCounts::default(),
            held: None,
            restored: false,
        }
    }

    /// When the next poll is due of an account whose last pause ends then.
    #[must_use]
    pub fn next_poll_after(&self, pause_ends: Option<Timestamp>) -> Timestamp {
        pause_ends.map_or(self.next_poll, |ends| self.next_poll.max(ends))
    }

    /// Notes how long a poll took.
    pub fn took(&mut self, duration: Duration) {
        self.longest_poll = duration.max(self.longest_poll.mul_f64(0.9));
    }
}

impl LastListing {
    /// A listing, after the one that was held before it.
    #[must_use]
    pub fn new(
        listing: Listing,
        before: Option<&Self>,
        expected: Vec<(String, bool)>,
        completed_at: Instant,
        stale_after: Duration,
    ) -> Self {
        Self {
            renewals: renewals(before, &listing),
            listing,
            expected,
            completed_at,
            stale_after,
        }
    }

    /// The same listing, of which this is expected, and which may become so old.
    #[must_use]
    pub fn again(&self, expected: Vec<(String, bool)>, stale_after: Duration) -> Self {
        Self {
            listing: self.listing.clone(),
            renewals: self.renewals.clone(),
            expected,
            completed_at: self.completed_at,
            stale_after,
        }
    }

    /// From when on it is not shown any more.
    #[must_use]
    pub fn stale_from(&self) -> Option<Instant> {
        self.completed_at.checked_add(self.stale_after)
    }

    /// Whether it is shown.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.completed_at) < self.stale_after
    }
}

impl ChangeCounts {
    /// Counts these differences too.
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
    /// The value of the `change` label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Removed(_) => "removed",
            Self::Status(..) => "status",
        }
    }

    /// The connection that changed, and its status before and after; empty where there is none.
    #[must_use]
    pub fn values(&self) -> (Row<'a>, &'static str, &'static str) {
        match *self {
            Self::Added(now) => (now, "", now.status),
            Self::Removed(before) => (before, before.status, ""),
            Self::Status(before, now) => (now, before, now.status),
        }
    }
}

/// The differences between two listings.
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

/// How often each connection's expiry moved forward, given the counts of the listing before.
fn renewals(before: Option<&LastListing>, now: &Listing) -> Vec<u64> {
    let Some(before) = before else {
        return vec![0; now.connections().len()];
    };
    let mut counts = before.renewals.iter();
    let count = |(before, now): (Option<Row<'_>>, Option<Row<'_>>)| {
        let count = before.and_then(|_| counts.next()).copied();
        let now = now?.expiry;
        let moved = before
            .and_then(|before| before.expiry)
            .is_some_and(|before| now.is_some_and(|now| now > before));
        Some(count.unwrap_or_default() + u64::from(moved))
    };
    side_by_side(&before.listing, now)
        .filter_map(count)
        .collect()
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

    #[test]
    fn an_expiry_that_moved_forward_is_a_renewal_and_one_that_moved_back_is_not() {
        let held = |listing: Listing, renewals| LastListing {
            listing,
            renewals,
            expected: Vec::new(),
            completed_at: Instant::now(),
            stale_after: Duration::ZERO,
        };
        let before = held(
            listing(&[("a", "", Some(10)), ("b", "", Some(10)), ("c", "", None)]),
            vec![4, 4, 4],
        );
        let now = listing(&[
            ("a", "", Some(11)),
            ("b", "", Some(9)),
            ("c", "", Some(5)),
            ("d", "", Some(5)),
        ]);
        assert_eq!(renewals(Some(&before), &now), [5, 4, 4, 0]);
        assert_eq!(renewals(None, &now), [0, 0, 0, 0]);
    }
}
