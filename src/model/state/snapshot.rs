//! State of a target that survives the process.
//!
//! Counts since the start are not part of it, and no credential is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::{LastListing, PollOutcome, TargetState};
use crate::invalid::Invalid;
use crate::model::listing::{Connection, Facts, Listing, ListingBuilder};

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
    created: Option<Timestamp>,
    updated: Option<Timestamp>,
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

    /// Takes the listing out, with the same checks as one that was polled.
    ///
    /// Its types and statuses must be documented by the vendor, `other` or empty. The error is the
    /// end of a sentence.
    pub fn listing(
        &mut self,
        documented: &[(&'static str, &'static str)],
        max_connections: usize,
    ) -> Result<Option<Listing>, Invalid> {
        let Some(StoredListing { pages, connections }) = self.listing.take() else {
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
        Ok(Some(listing))
    }
}

impl SavedConnection {
    fn connection(self, documented: &[(&'static str, &'static str)]) -> Option<Connection> {
        let known = |text: &str, words: &mut dyn Iterator<Item = &'static str>| {
            words.chain(["other", ""]).find(|word| *word == text)
        };
        let documented = documented.iter();
        Some(Connection {
            kind: known(&self.kind, &mut documented.clone().map(|(kind, _)| *kind))?,
            status: known(&self.status, &mut documented.map(|(_, status)| *status))?,
            id: self.id,
            facts: self.facts,
            expiry: self.expiry,
            renewable: self.renewable,
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
