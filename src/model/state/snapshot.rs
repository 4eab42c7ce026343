//! State of a target that survives the process.
//!
//! Counts since the start are not part of it, and no credential is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::{LastListing, PollOutcome, TargetState};
use crate::invalid::Invalid;
use crate::model::history::{ConnectionHistory, GoneConnection, ListingHistory, Second};
use crate::model::listing::{Connection, Facts, GrantType, Listing, ListingBuilder};

/// Maximum duration of a poll that is accepted from a file.
const MAX_POLL: Duration = Duration::from_hours(24);

/// State of a target, as it is read from a file.
#[derive(Debug, Deserialize)]
pub struct StateSnapshot {
    /// Time at which the next poll is due.
    pub next_poll: Timestamp,
    /// Outcome of the last poll.
    pub last_attempt: PollOutcome,
    /// End of the last successful poll.
    pub last_success: Option<Timestamp>,
    /// Number of failed polls since then.
    pub consecutive_failures: u32,
    /// End of the first of these failed polls. Files of earlier versions do not have it.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// Duration of the longest recent poll. Files of earlier versions do not have it.
    #[serde(default)]
    pub longest_poll: Option<Duration>,
    /// Maximum age of the listing. Files of earlier versions do not have it.
    #[serde(default)]
    pub stale_after: Option<Duration>,
    listing: Option<StoredListing<Vec<SavedConnection>>>,
    /// Files of earlier versions do not have it.
    #[serde(default)]
    history: Option<SavedHistory>,
}

/// State of a target, as it is written to a file.
#[derive(Serialize)]
struct StoredState<'a> {
    next_poll: Timestamp,
    last_attempt: &'a Option<PollOutcome>,
    last_success: Option<Timestamp>,
    consecutive_failures: u32,
    failing_since: Option<Timestamp>,
    longest_poll: Duration,
    stale_after: Option<Duration>,
    listing: Option<StoredListing<Connections<'a>>>,
    history: Option<&'a ListingHistory>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredListing<C> {
    pages: u32,
    connections: C,
}

struct Connections<'a>(&'a Listing);

impl Serialize for Connections<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.connections())
    }
}

/// A [`Connection`] whose type and status have not been checked.
#[derive(Debug, Deserialize)]
struct SavedConnection {
    id: Box<str>,
    kind: String,
    status: String,
    facts: Facts,
    expiry: Option<Timestamp>,
    renewable: Option<bool>,
    /// Files of earlier versions do not have it.
    #[serde(default)]
    grant_type: Option<GrantType>,
    created: Option<Timestamp>,
    updated: Option<Timestamp>,
}

/// A [`ListingHistory`] whose types have not been checked.
#[derive(Debug, Deserialize)]
struct SavedHistory {
    at: Second,
    connections: Vec<ConnectionHistory>,
    gone: Vec<SavedGoneConnection>,
}

/// A [`GoneConnection`] whose type has not been checked.
#[derive(Debug, Deserialize)]
struct SavedGoneConnection {
    id: Box<str>,
    kind: String,
    entities: [Box<str>; 4],
    at: Second,
    history: ConnectionHistory,
}

impl Serialize for TargetState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let listing = self
            .last_listing
            .as_deref()
            .map(|LastListing { listing, .. }| StoredListing {
                pages: listing.pages,
                connections: Connections(listing),
            });
        let written = StoredState {
            next_poll: self.next_poll,
            last_attempt: &self.last_attempt,
            last_success: self.last_success,
            consecutive_failures: self.consecutive_failures,
            failing_since: self.failing_since,
            longest_poll: self.longest_poll,
            stale_after: self.last_listing.as_ref().map(|last| last.stale_after),
            listing,
            history: self.last_listing.as_ref().map(|last| &last.history),
        };
        written.serialize(serializer)
    }
}

impl StateSnapshot {
    /// Returns the duration of the longest recent poll.
    ///
    /// If the file does not have it, this is the duration of the last poll.
    #[must_use]
    pub(crate) fn longest_poll(&self) -> Duration {
        let known = self.longest_poll.unwrap_or(self.last_attempt.duration);
        known.min(MAX_POLL)
    }

    /// Takes the listing and its history out, with the same checks as for one that was polled.
    ///
    /// Its types and statuses must be documented by the vendor, `other` or empty. `healthy` is the
    /// status of a connected connection. The error is the end of a sentence.
    pub fn listing(
        &mut self,
        documented: &[(&'static str, &'static str)],
        healthy: Option<&str>,
        max_connections: usize,
    ) -> Result<Option<(Listing, ListingHistory)>, Invalid> {
        let (Some(StoredListing { pages, connections }), Some(taken)) =
            (self.listing.take(), self.last_success)
        else {
            return Ok(None);
        };
        let rows = connections
            .into_iter()
            .map(|row| row.connection(documented))
            .collect::<Option<Vec<_>>>()
            .ok_or("holds a type or a status that this version does not know")?;
        let mut builder = ListingBuilder::new("state", max_connections, rows.len().max(1));
        builder
            .add_page(rows, true)
            .map_err(|error| format!("holds {}", error.detail))?;
        let mut listing = builder.finish();
        // Every page except the last one had a new row.
        let most = u32::try_from(listing.connections().len()).unwrap_or(u32::MAX);
        listing.pages = pages.clamp(1, most.saturating_add(1));
        let fits = |saved: &SavedHistory| saved.connections.len() == listing.connections().len();
        let history = match self.history.take().filter(fits) {
            Some(saved) => saved.history(documented),
            // The file is of an earlier version.
            None => ListingHistory::first(&listing, taken, healthy),
        };
        Ok(Some((listing, history)))
    }
}

impl SavedHistory {
    fn history(self, documented: &[(&'static str, &'static str)]) -> ListingHistory {
        let gone = self.gone.into_iter().filter_map(|gone| {
            Some(GoneConnection {
                id: gone.id,
                kind: known(&gone.kind, documented.iter().map(|(kind, _)| *kind))?,
                entities: gone.entities,
                at: gone.at,
                history: gone.history,
            })
        });
        ListingHistory {
            at: self.at,
            connections: self.connections,
            gone: gone.collect(),
        }
    }
}

/// Returns the documented word that the text is equal to, `other` or the empty text.
fn known(text: &str, words: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    words.chain(["other", ""]).find(|word| *word == text)
}

impl SavedConnection {
    fn connection(self, documented: &[(&'static str, &'static str)]) -> Option<Connection> {
        let documented = documented.iter();
        Some(Connection {
            kind: known(&self.kind, documented.clone().map(|(kind, _)| *kind))?,
            status: known(&self.status, documented.map(|(_, status)| *status))?,
            id: self.id,
            facts: self.facts,
            expiry: self.expiry,
            renewable: self.renewable,
            grant_type: self.grant_type,
            created: self.created,
            updated: self.updated,
        })
    }
}

impl TargetState {
    /// Returns this state with the values of `snapshot` and this listing.
    #[must_use]
    pub fn restored(self, snapshot: StateSnapshot, last_listing: Option<LastListing>) -> Self {
        Self {
            longest_poll: snapshot.longest_poll(),
            recent: self.recent.with(&snapshot.last_attempt),
            last_attempt: Some(snapshot.last_attempt),
            last_success: snapshot.last_success,
            consecutive_failures: snapshot.consecutive_failures,
            failing_since: snapshot.failing_since,
            restored: last_listing.is_some(),
            last_listing: last_listing.map(Arc::new),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// State of a target with one connected connection, as it is saved.
    fn saved(taken: Timestamp) -> serde_json::Value {
        let row: Connection = Connection {
            id: "a".into(),
            kind: "outbound",
            status: "connected",
            ..Connection::default()
        };
        let mut builder = ListingBuilder::new("list", 10, 10);
        builder.add_page(vec![row], true).unwrap();
        let listing = builder.finish();
        let none = ListingBuilder::new("list", 10, 10).finish();
        let before = ListingHistory::first(&listing, taken, Some("connected"));
        let gone = before.next(&listing, &none, taken, Some("connected"));
        let history = ListingHistory {
            gone: gone.gone,
            ..before
        };
        let last = LastListing::new(listing, history, Vec::new(), Instant::now(), Duration::MAX);
        let state = TargetState {
            last_attempt: Some(PollOutcome {
                at: taken,
                duration: Duration::ZERO,
                error: None,
            }),
            last_success: Some(taken),
            last_listing: Some(Arc::new(last)),
            ..TargetState::new(Duration::ZERO, taken)
        };
        serde_json::to_value(state).unwrap()
    }

    fn restored(state: serde_json::Value) -> (Listing, ListingHistory) {
        let mut snapshot: StateSnapshot = serde_json::from_value(state).unwrap();
        let known = [("outbound", "connected")];
        snapshot
            .listing(&known, Some("connected"), 10)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn the_history_comes_back_and_state_of_earlier_versions_counts_as_the_first_listing() {
        let taken: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let state = saved(taken);
        let (listing, history) = restored(state.clone());
        assert_eq!(history.gone.len(), 1);
        assert_eq!(history.connections[0].last_connected, Some(taken.into()));
        let mut earlier = state.clone();
        earlier.as_object_mut().unwrap().remove("history");
        let first = ListingHistory::first(&listing, taken, Some("connected"));
        assert_eq!(restored(earlier).1, first);
        // A history of another listing is not used.
        let mut other = state;
        other["history"]["connections"] = serde_json::json!([]);
        assert_eq!(restored(other).1, first);
    }
}
