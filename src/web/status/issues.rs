//! Connections that need attention, and lists that are limited to [`MAX_ROWS`].

use std::collections::HashSet;

use jiff::Timestamp;

use super::format::{Count, Date, Name, Number};
use super::runbooks::Runbook;
use super::targets::{TargetPath, TargetRow};
use super::tokens::TokenExpiry;
use crate::model::listing::Row;
use crate::model::state::LastListing;

/// Maximum number of rows of a list. The page also states the total.
pub(super) const MAX_ROWS: usize = 200;

/// Selected rows of a list, and the number of all rows.
#[derive(Debug)]
pub(super) struct Truncated<T> {
    pub(super) rows: Vec<T>,
    pub(super) total: usize,
}

impl<T> Truncated<T> {
    /// Collects the first [`MAX_ROWS`] items, and counts the others.
    pub(super) fn first(mut all: impl Iterator<Item = T>) -> Self {
        let rows: Vec<_> = all.by_ref().take(MAX_ROWS).collect();
        let total = rows.len() + all.count();
        Self { rows, total }
    }

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

/// What is wrong with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IssueKind {
    /// It is expected, and does not exist.
    Missing,
    /// It is not connected; the status that it has instead.
    Status(&'static str),
    /// Its token expires within a day, and somebody has to replace it.
    TokenExpiring(Date),
    /// Its token has expired, and somebody has to replace it.
    TokenExpired(Date),
}

impl IssueKind {
    /// Whether it is an error, and not only a warning.
    pub(super) fn is_error(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::TokenExpired(_) | Self::Status("disconnected")
        )
    }
}

/// Connection that needs attention.
#[derive(Debug)]
pub(super) struct Issue<'a> {
    pub(super) kind: IssueKind,
    pub(super) connection: Name<'a>,
    /// Name, or else id, of the source and of the target entity; `None` if one has neither.
    pub(super) between: Option<(Name<'a>, Name<'a>)>,
    pub(super) place: TargetPath<'a>,
}

impl Issue<'_> {
    /// Text of the badge.
    pub(super) fn words(&self) -> &'static str {
        match self.kind {
            IssueKind::Missing => "missing",
            IssueKind::Status(status) => status,
            IssueKind::TokenExpiring(_) => "token expires",
            IssueKind::TokenExpired(_) => "token expired",
        }
    }

    /// Expiry of the token, if that is the issue.
    pub(super) fn expiry(&self) -> Option<Date> {
        match self.kind {
            IssueKind::TokenExpiring(at) | IssueKind::TokenExpired(at) => Some(at),
            IssueKind::Missing | IssueKind::Status(_) => None,
        }
    }

    /// What an operator can do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self.kind {
            IssueKind::Missing => "create it at the vendor, or correct expect in the configuration",
            IssueKind::Status("pending") => "accept or deny it in the target entity",
            IssueKind::Status("disconnected") => "find out whether that was intended, or reconnect",
            IssueKind::Status(_) => "find out why, and connect the two again if they should be",
            IssueKind::TokenExpiring(_) => "connect it again before that",
            IssueKind::TokenExpired(_) => "connect it again, or delete it if nothing uses it",
        }
    }

    pub(super) fn runbook(&self) -> Runbook {
        match self.kind {
            IssueKind::Missing => Runbook::EXPECTED_MISSING,
            IssueKind::Status("pending") => Runbook::PENDING,
            IssueKind::Status(_) => Runbook::DISCONNECTED,
            IssueKind::TokenExpiring(_) => Runbook::TOKEN_EXPIRING,
            IssueKind::TokenExpired(_) => Runbook::TOKEN_EXPIRED,
        }
    }
}

/// Connections that need attention, and how many there are of each kind.
#[derive(Debug)]
pub(super) struct Issues<'a> {
    pub(super) list: Truncated<Issue<'a>>,
    pub(super) missing: usize,
    pub(super) not_connected: usize,
    pub(super) tokens: usize,
}

impl Issues<'_> {
    /// Number of connections that are missing or not connected.
    pub(super) fn connections(&self) -> Number {
        Number((self.missing + self.not_connected) as u64)
    }

    pub(super) fn count(&self) -> Count {
        Count(self.list.total, "connection")
    }

    pub(super) fn tokens(&self) -> Count {
        Count(self.tokens, "token")
    }
}

/// Returns expected connections that are missing, then connections that are not connected, then
/// those whose token needs a renewal that nobody is known to make, in the order of their expiry.
///
/// A connection between two polled targets is in the listings of both, but is returned once.
pub(super) fn issues<'a: 'b, 'b>(
    targets: &(impl Iterator<Item = &'b TargetRow<'a>> + Clone),
    now: Timestamp,
) -> Issues<'a> {
    let listed = || {
        let rows = targets.clone();
        rows.filter_map(|row| Some((row.place, row.last_listing?)))
    };
    let missing = listed().flat_map(|(place, last)| {
        let expected = last.expected.iter().filter(|(_, there)| !there);
        expected.map(move |(name, _)| Issue {
            kind: IssueKind::Missing,
            connection: Name(name),
            between: None,
            place,
        })
    });
    let ill = listed().flat_map(|(place, last)| {
        let well = place.system.healthy_status;
        let connections = last.listing.connections();
        let ill = connections
            .filter(move |connection| well.is_some_and(|well| connection.status != well));
        ill.map(move |connection| Issue {
            kind: IssueKind::Status(connection.status),
            connection: Name(connection.id),
            between: between(connection),
            place,
        })
    });
    let mut known = HashSet::new();
    let once = ill.filter(|issue| {
        let TargetPath {
            system, account, ..
        } = issue.place;
        known.insert((system.name, account.0, issue.connection.0))
    });
    let tokens = listed().flat_map(|(place, last)| ending(place, last, now));
    let mut tokens: Vec<_> = tokens.collect();
    tokens.sort_by_key(|issue| issue.expiry().map(|date| date.at));
    let (mut counts, mut rows) = ([0; 3], Vec::new());
    for issue in missing.chain(once).chain(tokens) {
        counts[match issue.kind {
            IssueKind::Missing => 0,
            IssueKind::Status(_) => 1,
            IssueKind::TokenExpiring(_) | IssueKind::TokenExpired(_) => 2,
        }] += 1;
        if rows.len() < MAX_ROWS {
            rows.push(issue);
        }
    }
    let [missing, not_connected, tokens] = counts;
    Issues {
        list: Truncated {
            rows,
            total: missing + not_connected + tokens,
        },
        missing,
        not_connected,
        tokens,
    }
}

/// Returns the connections of a target whose token somebody has to replace now.
fn ending<'a>(
    place: TargetPath<'a>,
    last: &'a LastListing,
    now: Timestamp,
) -> impl Iterator<Item = Issue<'a>> {
    let rows = last.listing.connections().zip(&last.history.connections);
    rows.filter_map(move |(connection, history)| {
        let token = TokenExpiry::of(connection, history, now)?;
        token.needs_attention().then(|| Issue {
            kind: if token.at.is_past() {
                IssueKind::TokenExpired(token.at)
            } else {
                IssueKind::TokenExpiring(token.at)
            },
            connection: Name(connection.id),
            between: None,
            place,
        })
    })
}

/// Returns the two ends of a connection, each by name or else by id.
pub(super) fn between(connection: Row<'_>) -> Option<(Name<'_>, Name<'_>)> {
    let facts = &connection.facts;
    let source = either(facts.source_entity_name, facts.source_entity)?;
    let target = either(facts.target_entity_name, facts.target_entity)?;
    Some((Name(source), Name(target)))
}

fn either<'a>(name: &'a str, id: &'a str) -> Option<&'a str> {
    [name, id].into_iter().find(|text| !text.is_empty())
}
