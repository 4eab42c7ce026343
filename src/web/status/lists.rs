//! Lists that the page limits to [`MAX_ROWS`] rows: tokens by expiry, and connections with
//! problems.

use std::collections::HashSet;
use std::fmt;

use jiff::Timestamp;

use super::format::{Date, Name, Number};
use super::view::{TargetPath, TargetRow};
use crate::model::listing::Row;

/// Maximum number of rows of a list. The page also states the total.
pub(super) const MAX_ROWS: usize = 200;

/// Selected rows of a list, and the number of all rows.
#[derive(Debug)]
pub(super) struct Truncated<T> {
    pub(super) rows: Vec<T>,
    pub(super) total: usize,
}

impl<T> Truncated<T> {
    /// Number of rows that are not shown.
    pub(super) fn more(&self) -> usize {
        self.total - self.rows.len()
    }

    pub(super) fn shown(&self) -> Number {
        Number(self.rows.len() as u64)
    }

    pub(super) fn all(&self) -> Number {
        Number(self.total as u64)
    }
}

/// Stored token that expires.
#[derive(Debug)]
pub(super) struct TokenRow<'a> {
    pub(super) expires: Date,
    pub(super) connection: Name<'a>,
    pub(super) kind: &'static str,
    pub(super) place: TargetPath<'a>,
    pub(super) renews: Renews,
}

impl TokenRow<'_> {
    /// Whether the token expired or expires within a day, and no renewal is in sight.
    pub(super) fn is_ending(&self) -> bool {
        let day = self.expires.now + jiff::SignedDuration::from_hours(24);
        self.renews == Renews::NotSeen && self.expires.at < day
    }
}

/// Evidence that a token renews itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renews {
    /// The expiry moved forward this many times.
    Seen(u64),
    /// A refresh token is stored with the token.
    Stored,
    /// Neither of the two.
    NotSeen,
}

impl fmt::Display for Renews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen(1) => f.write_str("yes, seen once"),
            Self::Seen(times) => write!(f, "yes, seen {times} times"),
            Self::Stored => f.write_str("when used: a refresh token is stored"),
            Self::NotSeen => f.write_str("not seen, and no refresh token is stored"),
        }
    }
}

/// Connection that is missing or not healthy.
#[derive(Debug)]
pub(super) struct Issue<'a> {
    /// Status of the connection, or `missing`.
    pub(super) what: &'static str,
    pub(super) missing: bool,
    pub(super) connection: Name<'a>,
    /// Name, or else id, of the source and of the target entity; `None` if one has neither.
    pub(super) between: Option<(Name<'a>, Name<'a>)>,
    pub(super) place: TargetPath<'a>,
}

/// Returns the tokens whose expiry, past or future, is nearest to now, in order of expiry.
pub(super) fn tokens<'a>(targets: &[TargetRow<'a>], now: Timestamp) -> Truncated<TokenRow<'a>> {
    let mut all: Vec<_> = targets
        .iter()
        .filter_map(|row| Some((row.place, row.last_listing?)))
        .flat_map(|(place, last_listing)| {
            let rows = last_listing.listing.connections();
            let rows = rows.zip(&last_listing.history.connections);
            rows.filter_map(move |(connection, history)| {
                Some((connection.expiry?, connection, history.renewals, place))
            })
        })
        .collect();
    let total = all.len();
    if total > MAX_ROWS {
        all.select_nth_unstable_by_key(MAX_ROWS, |token| token.0.duration_since(now).abs());
        all.truncate(MAX_ROWS);
    }
    all.sort_by_key(|token| token.0);
    let row = |(at, connection, count, place): (_, Row<'a>, _, _)| TokenRow {
        expires: Date { at, now },
        connection: Name(connection.id),
        kind: connection.kind,
        place,
        renews: match (count, connection.renewable) {
            (1.., _) => Renews::Seen(count),
            (0, Some(true)) => Renews::Stored,
            (0, _) => Renews::NotSeen,
        },
    };
    Truncated {
        rows: all.into_iter().map(row).collect(),
        total,
    }
}

/// Returns expected connections that are missing, then connections that are not healthy.
///
/// A connection between two polled targets is in the listings of both, but is returned once.
pub(super) fn worries<'a>(targets: &[TargetRow<'a>]) -> Truncated<Issue<'a>> {
    let last_listing = || {
        targets
            .iter()
            .filter_map(|row| Some((row.place, row.last_listing?)))
    };
    let missing = last_listing().flat_map(|(place, last_listing)| {
        let expected = last_listing.expected.iter().filter(|(_, there)| !there);
        expected.map(move |(name, _)| Issue {
            what: "missing",
            missing: true,
            connection: Name(name),
            between: None,
            place,
        })
    });
    let ill = last_listing().flat_map(|(place, last_listing)| {
        let well = place.system.healthy_status;
        let connections = last_listing.listing.connections();
        let ill = connections
            .filter(move |connection| well.is_some_and(|well| connection.status != well));
        ill.map(move |connection| Issue {
            what: connection.status,
            missing: false,
            connection: Name(connection.id),
            between: between(connection),
            place,
        })
    });
    let mut known = HashSet::new();
    let once = ill.filter(|worry| {
        let TargetPath {
            system, account, ..
        } = worry.place;
        known.insert((system.name, account.0, worry.connection.0))
    });
    let mut all = missing.chain(once);
    let rows: Vec<_> = all.by_ref().take(MAX_ROWS).collect();
    let total = rows.len() + all.count();
    Truncated { rows, total }
}

/// Returns the two ends of a connection, each by name or else by id.
fn between(connection: Row<'_>) -> Option<(Name<'_>, Name<'_>)> {
    let facts = &connection.facts;
    let source = either(facts.source_entity_name, facts.source_entity)?;
    let target = either(facts.target_entity_name, facts.target_entity)?;
    Some((Name(source), Name(target)))
}

fn either<'a>(name: &'a str, id: &'a str) -> Option<&'a str> {
    [name, id].into_iter().find(|text| !text.is_empty())
}
