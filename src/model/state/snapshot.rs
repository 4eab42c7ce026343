//! State of a target that survives the process: its listing, and the outcome of its polls.
//!
//! Each has a file of its own, because most polls list the same connections again. Counts since the
//! start are not part of either, and no credential is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use tokio::time::Instant;

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
    /// The listing that the last successful poll gave.
    #[serde(default)]
    listed: Option<Listed>,
    /// Earlier versions wrote the listing to the same file.
    #[serde(default)]
    listing: Option<SavedRows>,
    #[serde(default)]
    history: Option<SavedHistory>,
}

/// Reference to a listing in a file of its own.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Listed {
    /// Version of the listing.
    version: Timestamp,
    /// End of the last listing with this version.
    at: Second,
}

/// Listing of a target with its history, as it is read from a file.
#[derive(Debug, Deserialize)]
pub struct ListingSnapshot {
    version: Timestamp,
    listing: SavedRows,
    history: Option<SavedHistory>,
}

/// A listing that was restored, before it is known when it was last complete.
#[derive(Debug)]
pub struct RestoredListing {
    /// The listing.
    pub listing: Listing,
    /// Its history, as of the first listing with this version.
    pub history: ListingHistory,
    version: Timestamp,
}

/// Listing of a target with its history, as it is written to a file.
#[derive(Debug, Clone)]
pub struct ListingFile(pub Arc<LastListing>);

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
    listed: Option<Listed>,
}

#[derive(Serialize)]
struct StoredListing<'a> {
    version: Timestamp,
    listing: StoredRows<Connections<'a>>,
    history: &'a ListingHistory,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredRows<C> {
    pages: u32,
    connections: C,
}

type SavedRows = StoredRows<Vec<SavedConnection>>;

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
        let listed = self.last_listing.as_ref().map(|last| Listed {
            version: last.version,
            at: last.history.at,
        });
        let written = StoredState {
            next_poll: self.next_poll,
            last_attempt: &self.last_attempt,
            last_success: self.last_success,
            consecutive_failures: self.consecutive_failures,
            failing_since: self.failing_since,
            longest_poll: self.longest_poll,
            stale_after: self.last_listing.as_ref().map(|last| last.stale_after),
            listed,
        };
        written.serialize(serializer)
    }
}

impl Serialize for ListingFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let LastListing {
            version,
            listing,
            history,
            ..
        } = &*self.0;
        let written = StoredListing {
            version: *version,
            listing: StoredRows {
                pages: listing.pages,
                connections: Connections(listing),
            },
            history,
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

    /// Returns the listing of a file that an earlier version wrote; `None` for any other.
    #[must_use]
    pub fn embedded(&mut self) -> Option<ListingSnapshot> {
        Some(ListingSnapshot {
            version: self.last_success?,
            listing: self.listing.take()?,
            history: self.history.take(),
        })
    }

    /// Returns the restored listing as of the last poll that gave it, and when that ended.
    ///
    /// A listing of another version than the last poll gave is as old as that version. That is the
    /// case if the process ended before it had written both files.
    #[must_use]
    pub fn as_of_last_poll(&self, restored: RestoredListing) -> (Timestamp, LastListing) {
        let RestoredListing {
            listing,
            mut history,
            version,
        } = restored;
        let mut taken = version;
        if let Some(listed) = self.listed.filter(|listed| listed.version == version) {
            history.continue_until(listed.at);
            taken = self.last_success.unwrap_or(version);
        }
        let (now, age) = (Instant::now(), Duration::ZERO);
        let last_listing = LastListing {
            version,
            ..LastListing::new(listing, history, Vec::new(), now, age)
        };
        (taken, last_listing)
    }
}

impl ListingSnapshot {
    /// Returns the listing and its history, with the same checks as for one that was polled.
    ///
    /// Its types and statuses must be documented by the vendor, `other` or empty. `healthy` is the
    /// status of a connected connection. The error is the end of a sentence.
    pub fn restore(
        self,
        documented: &[(&'static str, &'static str)],
        healthy: Option<&str>,
        max_connections: usize,
    ) -> Result<RestoredListing, Invalid> {
        let StoredRows { pages, connections } = self.listing;
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
        let history = match self.history.filter(fits) {
            Some(saved) => saved.history(documented),
            // The file is of an earlier version.
            None => ListingHistory::first(&listing, self.version, healthy),
        };
        Ok(RestoredListing {
            listing,
            history,
            version: self.version,
        })
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
    use super::*;

    const HEALTHY: Option<&str> = Some("connected");

    fn taken() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    /// Returns a target with one connected connection and one that is gone.
    fn state() -> TargetState {
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
        let before = ListingHistory::first(&listing, taken(), HEALTHY);
        let gone = before.next(&listing, &none, taken(), HEALTHY);
        let history = ListingHistory {
            gone: gone.gone,
            ..before
        };
        let last = LastListing::new(listing, history, Vec::new(), Instant::now(), Duration::MAX);
        TargetState {
            last_attempt: Some(PollOutcome {
                at: taken(),
                duration: Duration::ZERO,
                error: None,
            }),
            last_success: Some(taken()),
            last_listing: Some(Arc::new(last)),
            ..TargetState::new(Duration::ZERO, taken())
        }
    }

    fn files(state: &TargetState) -> [serde_json::Value; 2] {
        let listing = ListingFile(state.last_listing.clone().unwrap());
        [
            serde_json::to_value(state).unwrap(),
            serde_json::to_value(listing).unwrap(),
        ]
    }

    fn restored(listing: serde_json::Value) -> RestoredListing {
        let listing: ListingSnapshot = serde_json::from_value(listing).unwrap();
        let known = [("outbound", "connected")];
        listing.restore(&known, HEALTHY, 10).unwrap()
    }

    #[test]
    fn polls_that_list_the_same_need_only_the_file_of_the_target() {
        let mut state = state();
        let [_, listing] = files(&state);
        let last = state.last_listing.take().unwrap();
        let later = taken() + Duration::from_hours(1);
        let history = last
            .history
            .next(&last.listing, &last.listing, later, HEALTHY);
        assert!(last.history.is_continued_by(&history));
        let last = LastListing {
            history: history.clone(),
            version: last.version,
            ..last.again(Vec::new(), Duration::MAX)
        };
        state.last_listing = Some(Arc::new(last));
        state.last_success = Some(later);
        let [target, _] = files(&state);
        let target: StateSnapshot = serde_json::from_value(target).unwrap();
        let (at, last) = target.as_of_last_poll(restored(listing.clone()));
        assert_eq!((at, &last.history), (later, &history));
        assert_eq!(history.connections[0].last_connected, Some(later.into()));
        // A listing of another version is as old as the file says.
        let mut other = listing;
        other["version"] = "2026-01-02T03:00:00Z".into();
        let (at, last) = target.as_of_last_poll(restored(other));
        assert_eq!(at, "2026-01-02T03:00:00Z".parse().unwrap());
        assert_eq!(
            last.history.connections[0].last_connected,
            Some(taken().into())
        );
    }

    #[test]
    fn a_history_ends_with_what_is_not_only_later() {
        let last = state().last_listing.unwrap();
        let later = taken() + Duration::from_hours(1);
        let next = |healthy| {
            last.history
                .next(&last.listing, &last.listing, later, healthy)
        };
        assert!(last.history.is_continued_by(&next(HEALTHY)));
        assert!(!last.history.is_continued_by(&next(Some("other"))));
        let mut gone = next(HEALTHY);
        gone.gone.clear();
        assert!(!last.history.is_continued_by(&gone));
        let mut renewed = next(HEALTHY);
        renewed.connections[0].expiry_seen = Some(later.into());
        assert!(!last.history.is_continued_by(&renewed));
    }

    #[test]
    fn the_history_comes_back_and_files_of_earlier_versions_are_read() {
        let state = state();
        let last = state.last_listing.clone().unwrap();
        let [target, listing] = files(&state);
        let all = restored(listing.clone());
        assert_eq!(all.history, last.history);
        assert_eq!(all.history.gone.len(), 1);
        let first = ListingHistory::first(&all.listing, taken(), HEALTHY);
        // A history of another listing is not used.
        let mut other = listing.clone();
        other["history"]["connections"] = serde_json::json!([]);
        assert_eq!(restored(other).history, first);
        // One file for both, at first without a history.
        let mut earlier = target;
        earlier["listing"] = listing["listing"].clone();
        for (history, expected) in [(None, first), (Some(&listing["history"]), all.history)] {
            if let Some(history) = history {
                earlier["history"] = history.clone();
            }
            let mut target: StateSnapshot = serde_json::from_value(earlier.clone()).unwrap();
            let embedded = target.embedded().unwrap();
            let known = [("outbound", "connected")];
            let restored = embedded.restore(&known, HEALTHY, 10).unwrap();
            assert_eq!(restored.history, expected);
        }
    }
}
