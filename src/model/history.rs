//! What was observed of each connection over many listings, since it first appeared.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::listing::{Facts, Listing, Row, fast_eq, side_by_side};

const DAY: u32 = 86_400;
/// Days for which a gap between two renewals counts.
const GAP_DAYS: u32 = 35;
/// Seconds for which a connection that is gone is kept, and one that is disconnected is lost.
const LOST_FOR: u32 = 7 * DAY;
/// Maximum number of connections that are gone and kept, per target.
const MOST_GONE: usize = 1000;

/// A date in whole seconds since 1970, up to the year 2106.
///
/// A target has several of them for each connection, so they are compact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Second(NonZeroU32);

impl Second {
    /// Returns the seconds since 1970, the unit of dates in Prometheus samples.
    #[must_use]
    pub(crate) fn value(self) -> f64 {
        f64::from(self.0.get())
    }

    /// Returns the date.
    #[must_use]
    pub(crate) fn date(self) -> Timestamp {
        Timestamp::from_second(self.0.get().into()).unwrap_or_default()
    }

    /// Returns the seconds since `earlier`; 0 if the clock was set back.
    fn since(self, earlier: Self) -> u32 {
        self.0.get().saturating_sub(earlier.0.get())
    }
}

impl From<Timestamp> for Second {
    fn from(at: Timestamp) -> Self {
        let seconds = u32::try_from(at.as_second().max(0)).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN))
    }
}

/// History of all connections of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListingHistory {
    /// End of the last listing.
    pub(crate) at: Second,
    /// History of each connection, in the order of the listing.
    pub(crate) connections: Vec<ConnectionHistory>,
    /// Connections that are gone, in the order in which they went.
    pub(crate) gone: Vec<GoneConnection>,
}

/// History of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionHistory {
    /// When a listing first contained it.
    pub(crate) first_seen: Second,
    /// When a listing first showed the current expiry; `None` without an expiry.
    pub(crate) expiry_seen: Option<Second>,
    /// The last renewal of the token.
    pub(crate) renewal: Option<Renewal>,
    gaps: RenewalGaps,
    /// When a listing first showed the current status.
    ///
    /// `None` for what the first listing of the target contained, and for systems without statuses.
    pub(crate) status_changed: Option<Second>,
    /// When a listing last showed it as connected.
    pub(crate) last_connected: Option<Second>,
    /// How often the expiry moved forward since the process started.
    #[serde(skip)]
    pub(crate) renewals: u64,
}

/// A renewal: the expiry moved forward between two listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Renewal {
    /// When a listing first showed it.
    pub(crate) at: Second,
    /// Seconds from then to the previous expiry; negative after a lazy renewal.
    pub(crate) lead: i32,
}

/// Longest times between two consecutive renewals, with the day on which each ended.
///
/// They become shorter from one to the next: an earlier one that is not longer than a later one can
/// never be the longest of the window again. There is at most one per day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct RenewalGaps(Option<Arc<[(u32, u32)]>>);

/// A connection that had been connected and is disconnected or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostConnection<'a> {
    /// The `connection` label.
    pub(crate) id: &'a str,
    /// The `connection_type` label.
    pub(crate) kind: &'static str,
    /// The labels `source_entity`, `source_entity_name`, `target_entity` and `target_entity_name`.
    pub(crate) entities: [&'a str; 4],
    /// When a listing first showed that.
    pub(crate) at: Second,
}

/// A connection that had been connected and is no longer listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GoneConnection {
    /// The `connection` label.
    pub(crate) id: Box<str>,
    /// The `connection_type` label.
    pub(crate) kind: &'static str,
    /// The labels `source_entity`, `source_entity_name`, `target_entity` and `target_entity_name`.
    pub(crate) entities: [Box<str>; 4],
    /// When it was first missing from a complete listing.
    pub(crate) at: Second,
    /// Its history until then, which continues when it is listed again.
    pub(crate) history: ConnectionHistory,
}

impl ListingHistory {
    /// Returns the history after the first listing of a target.
    ///
    /// `healthy` is the status of a connected connection; `None` for systems without statuses.
    #[must_use]
    pub fn first(listing: &Listing, at: Timestamp, healthy: Option<&str>) -> Self {
        let at = Second::from(at);
        let first = |row: Row<'_>| ConnectionHistory::new(row, at, healthy);
        Self {
            at,
            connections: listing.connections().map(first).collect(),
            gone: Vec::new(),
        }
    }

    /// Returns the history after the next listing.
    #[must_use]
    pub fn next(
        &self,
        before: &Listing,
        listing: &Listing,
        at: Timestamp,
        healthy: Option<&str>,
    ) -> Self {
        let at = Second::from(at);
        let kept = |gone: &&GoneConnection| at.since(gone.at) < LOST_FOR;
        let gone = self.gone.iter().filter(kept);
        let gone: BTreeMap<_, _> = gone.map(|gone| (gone.identity(), gone)).collect();
        let mut connections = Vec::with_capacity(listing.connections().len());
        let mut newly_gone = Vec::new();
        let mut back = BTreeSet::new();
        let mut earlier = self.connections.iter();
        for (before, now) in side_by_side(before, listing) {
            let known = before.and_then(|_| earlier.next());
            match (before.zip(known), now) {
                (Some((before, known)), Some(now)) => {
                    connections.push(known.next(before, now, at, healthy));
                }
                (Some((before, known)), None) if known.last_connected.is_some() => {
                    newly_gone.push(GoneConnection::new(before, known.clone(), at));
                }
                (Some(_) | None, None) => {}
                (None, Some(now)) => {
                    let mut history = ConnectionHistory::new(now, at, healthy);
                    if let Some(gone) = gone.get(&now.identity()) {
                        back.insert(now.identity());
                        history.first_seen = gone.history.first_seen;
                        history.last_connected =
                            history.last_connected.or(gone.history.last_connected);
                    }
                    history.status_changed = healthy.map(|_| at);
                    connections.push(history);
                }
            }
        }
        let still_gone = self.gone.iter().filter(kept);
        let still_gone = still_gone.filter(|gone| !back.contains(&gone.identity()));
        let mut gone: Vec<_> = still_gone.cloned().chain(newly_gone).collect();
        gone.drain(..gone.len().saturating_sub(MOST_GONE));
        Self {
            at,
            connections,
            gone,
        }
    }

    /// Returns whether both are exported as the same samples, for listings with the same rows.
    pub(crate) fn has_same_samples(&self, other: &Self) -> bool {
        let day = |history: &Self| history.at.0.get() / DAY;
        let mut known = self.connections.iter();
        // The longest gap depends on the day, and whether a loss is exported on the second.
        day(self) == day(other)
            && self.connections == other.connections
            && self.gone.is_empty()
            && other.gone.is_empty()
            && known.all(|known| known.disconnected().is_none())
    }

    /// Returns whether `next`, for the same rows, differs only in its date: what was connected then
    /// still is.
    pub(crate) fn is_continued_by(&self, next: &Self) -> bool {
        let mut expected = self.clone();
        expected.continue_until(next.at);
        expected == *next
    }

    /// Changes the date of the last listing, of which all rows were the same as before.
    pub(crate) fn continue_until(&mut self, at: Second) {
        for connection in &mut self.connections {
            if connection.last_connected == Some(self.at) {
                connection.last_connected = Some(at);
            }
        }
        self.at = at;
    }

    /// Returns the connections that were lost within seven days before the listing.
    ///
    /// A connection is not lost if another one connects its two entities.
    pub(crate) fn lost<'a>(
        &'a self,
        listing: &'a Listing,
        healthy: &str,
    ) -> impl Iterator<Item = LostConnection<'a>> {
        let rows = move || listing.connections().zip(&self.connections);
        let connected: BTreeSet<_> = rows()
            .filter(|(row, _)| row.status == healthy)
            .filter_map(|(row, _)| pair(row.facts.source_entity, row.facts.target_entity))
            .collect();
        let disconnected = rows().filter_map(|(row, history)| {
            Some(LostConnection {
                id: row.id,
                kind: row.kind,
                entities: entities(&row.facts),
                at: history.disconnected()?,
            })
        });
        let gone = self.gone.iter().map(|gone| LostConnection {
            id: &gone.id,
            kind: gone.kind,
            entities: gone.entities.each_ref().map(|text| &**text),
            // The deletion of a connection that was disconnected long before loses nothing.
            at: gone.history.disconnected().unwrap_or(gone.at),
        });
        disconnected.chain(gone).filter(move |lost| {
            let [source, _, target, _] = lost.entities;
            let replaced = pair(source, target).is_some_and(|pair| connected.contains(&pair));
            self.at.since(lost.at) < LOST_FOR && !replaced
        })
    }
}

/// Returns two entities in a fixed order; `None` if one is unknown.
fn pair<'a>(one: &'a str, other: &'a str) -> Option<(&'a str, &'a str)> {
    let known = !one.is_empty() && !other.is_empty();
    known.then(|| (one.min(other), one.max(other)))
}

/// Returns the ids and names of both entities.
fn entities<'a>(facts: &Facts<&'a str>) -> [&'a str; 4] {
    [
        facts.source_entity,
        facts.source_entity_name,
        facts.target_entity,
        facts.target_entity_name,
    ]
}

impl ConnectionHistory {
    fn new(row: Row<'_>, at: Second, healthy: Option<&str>) -> Self {
        Self {
            first_seen: at,
            expiry_seen: row.expiry.map(|_| at),
            renewal: None,
            gaps: RenewalGaps::default(),
            status_changed: None,
            last_connected: (healthy == Some(row.status)).then_some(at),
            renewals: 0,
        }
    }

    fn next(&self, before: Row<'_>, now: Row<'_>, at: Second, healthy: Option<&str>) -> Self {
        let mut next = self.clone();
        if before.expiry != now.expiry {
            next.expiry_seen = now.expiry.map(|_| at);
        }
        if let (Some(was), Some(is)) = (before.expiry, now.expiry)
            && is > was
        {
            if let Some(last) = self.renewal {
                next.gaps = self.gaps.with(at, at.since(last.at));
            }
            let lead = was.as_second() - i64::from(at.0.get());
            let lead = lead.clamp(i32::MIN.into(), i32::MAX.into());
            let lead = i32::try_from(lead).unwrap_or_default();
            next.renewal = Some(Renewal { at, lead });
            next.renewals += 1;
        }
        if healthy.is_some() && !fast_eq(before.status, now.status) {
            next.status_changed = Some(at);
        }
        if healthy == Some(now.status) {
            next.last_connected = Some(at);
        }
        next
    }

    /// Returns when a listing first showed it in another status after it had been connected.
    fn disconnected(&self) -> Option<Second> {
        let (changed, connected) = (self.status_changed?, self.last_connected?);
        (connected < changed).then_some(changed)
    }

    /// Returns the longest time between two consecutive renewals within the last 35 days.
    pub(crate) fn longest_gap(&self, now: Second) -> Option<u32> {
        self.gaps.longest(now)
    }
}

impl RenewalGaps {
    fn recent(&self, now: Second) -> impl Iterator<Item = (u32, u32)> {
        let today = now.0.get() / DAY;
        let gaps = self.0.iter().flat_map(|gaps| gaps.iter().copied());
        gaps.filter(move |(day, _)| today.saturating_sub(*day) < GAP_DAYS)
    }

    fn longest(&self, now: Second) -> Option<u32> {
        self.recent(now).map(|(_, gap)| gap).next()
    }

    fn with(&self, now: Second, gap: u32) -> Self {
        let today = now.0.get() / DAY;
        let mut gaps: Vec<_> = self.recent(now).filter(|(_, known)| *known > gap).collect();
        if gaps.last().is_none_or(|(day, _)| *day < today) {
            gaps.push((today, gap));
        }
        Self(Some(gaps.into()))
    }
}

impl GoneConnection {
    fn new(row: Row<'_>, history: ConnectionHistory, at: Second) -> Self {
        Self {
            id: row.id.into(),
            kind: row.kind,
            entities: entities(&row.facts).map(Into::into),
            at,
            history,
        }
    }

    fn identity(&self) -> (&str, &'static str) {
        (&self.id, self.kind)
    }
}

#[cfg(test)]
mod tests;
