//! Connections that need attention, and lists that are limited to [`MAX_ROWS`].

use std::collections::HashSet;

use jiff::Timestamp;

use super::format::{Count, Date, Name, Number};
use super::health::Health;
use super::runbooks::Runbook;
use super::targets::{TargetPath, TargetRow};
use super::tokens::TokenExpiry;
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
    /// Returns what is wrong with a connection that is listed; `None` if nothing is.
    pub(super) fn of(
        connection: Row<'_>,
        healthy: Option<&str>,
        token: Option<TokenExpiry>,
    ) -> Option<Self> {
        if healthy.is_some_and(|healthy| connection.status != healthy) {
            return Some(Self::Status(connection.status));
        }
        let token = token.filter(|token| token.needs_attention())?;
        Some(if token.at.is_past() {
            Self::TokenExpired(token.at)
        } else {
            Self::TokenExpiring(token.at)
        })
    }

    /// Whether it is an error, and not only a warning.
    pub(super) fn is_error(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::TokenExpired(_) | Self::Status("disconnected")
        )
    }

    /// Class of the badge.
    pub(super) fn badge(self) -> &'static str {
        if self.is_error() {
            Health::Failing.key()
        } else {
            Health::Stale.key()
        }
    }

    /// Text of the badge.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Status(status) => status,
            Self::TokenExpiring(_) => "token expires",
            Self::TokenExpired(_) => "token expired",
        }
    }

    /// Place in the order of issues: errors first, of each a connection before a token.
    pub(super) fn rank(self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Status(_) if self.is_error() => 1,
            Self::TokenExpired(_) => 2,
            Self::Status(_) => 3,
            Self::TokenExpiring(_) => 4,
        }
    }

    /// Expiry of the token, if that is the issue.
    pub(super) fn expiry(self) -> Option<Date> {
        match self {
            Self::TokenExpiring(at) | Self::TokenExpired(at) => Some(at),
            Self::Missing | Self::Status(_) => None,
        }
    }

    /// What an operator can do about it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Missing => "create it at the vendor, or correct expect in the configuration",
            Self::Status("pending") => "accept or deny it in the target entity",
            Self::Status("disconnected") => "find out whether that was intended, or reconnect",
            Self::Status(_) => "find out why, and connect the two again if they should be",
            Self::TokenExpiring(_) => "connect it again before that",
            Self::TokenExpired(_) => "connect it again, or delete it if nothing uses it",
        }
    }

    pub(super) fn runbook(self) -> Runbook {
        match self {
            Self::Missing => Runbook::EXPECTED_MISSING,
            Self::Status("pending") => Runbook::PENDING,
            Self::Status(_) => Runbook::DISCONNECTED,
            Self::TokenExpiring(_) => Runbook::TOKEN_EXPIRING,
            Self::TokenExpired(_) => Runbook::TOKEN_EXPIRED,
        }
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

/// Connections that need attention, and how many there are of each kind.
#[derive(Debug)]
pub(super) struct Issues<'a> {
    pub(super) list: Truncated<Issue<'a>>,
    /// Number of issues by [`IssueKind::rank`].
    counts: [usize; 5],
}

/// Number of issues of one kind, for the page.
#[derive(Debug)]
pub(super) struct IssueCount {
    pub(super) class: &'static str,
    pub(super) words: String,
}

impl Issues<'_> {
    /// Number of connections that are missing or not connected.
    pub(super) fn connections(&self) -> usize {
        self.missing() + self.not_connected()
    }

    pub(super) fn missing(&self) -> usize {
        self.counts[0]
    }

    pub(super) fn not_connected(&self) -> usize {
        self.counts[1] + self.counts[3]
    }

    /// Class of the tile with the connections that are missing or not connected.
    pub(super) fn connections_class(&self) -> &'static str {
        class(self.missing() + self.counts[1], self.counts[3])
    }

    /// Class of the tile with the tokens.
    pub(super) fn tokens_class(&self) -> &'static str {
        class(self.counts[2], self.counts[4])
    }

    pub(super) fn count(&self) -> Count {
        Count(self.list.total, "connection")
    }

    /// Returns what there is of each kind, in the order of the list.
    pub(super) fn by_kind(&self) -> impl Iterator<Item = IssueCount> {
        let [missing, disconnected, expired, others, expiring] = self.counts;
        let connections = |count, words| format!("{} {words}", Number::from(&count));
        let tokens = |count, words| format!("{} {words}", Count(count, "token"));
        let all = [
            (missing, Health::Failing, connections(missing, "missing")),
            (
                disconnected,
                Health::Failing,
                connections(disconnected, "disconnected"),
            ),
            (expired, Health::Failing, tokens(expired, "expired")),
            (others, Health::Stale, connections(others, "not connected")),
            (expiring, Health::Stale, tokens(expiring, "to replace")),
        ];
        let some = all.into_iter().filter(|(count, ..)| *count > 0);
        some.map(|(_, health, words)| IssueCount {
            class: health.key(),
            words,
        })
    }
}

/// Returns the class of a tile with this number of errors and of warnings.
fn class(errors: usize, warnings: usize) -> &'static str {
    match (errors, warnings) {
        (0, 0) => "none",
        (0, _) => Health::Stale.key(),
        _ => Health::Failing.key(),
    }
}

/// Returns the connections that need attention: errors before warnings, of each those that are
/// missing or not connected before those whose token somebody has to replace, in the order of their
/// expiry.
///
/// A connection between two polled targets is in the listings of both, but is returned once.
pub(super) fn issues<'a: 'b, 'b>(
    targets: impl Iterator<Item = &'b TargetRow<'a>>,
    now: Timestamp,
) -> Issues<'a> {
    let mut all = Vec::new();
    let mut known = HashSet::new();
    for row in targets {
        let (Some(last), place) = (row.last_listing, row.place) else {
            continue;
        };
        let missing = last.expected.iter().filter(|(_, there)| !there);
        all.extend(missing.map(|(name, _)| Issue {
            kind: IssueKind::Missing,
            connection: Name(name),
            between: None,
            place,
        }));
        let rows = last.listing.connections().zip(&last.history.connections);
        for (connection, history) in rows {
            let token = TokenExpiry::of(connection, history, now);
            let TargetPath {
                system, account, ..
            } = place;
            let kind = IssueKind::of(connection, system.healthy_status, token);
            let Some(kind) = kind else { continue };
            let is_status = matches!(kind, IssueKind::Status(_));
            if !is_status || known.insert((system.name, account.0, connection.id)) {
                all.push(Issue {
                    kind,
                    connection: Name(connection.id),
                    between: between(connection),
                    place,
                });
            }
        }
    }
    let mut counts = [0; 5];
    for issue in &all {
        counts[issue.kind.rank()] += 1;
    }
    let total = all.len();
    // Stable: issues of one kind stay in the order of the targets.
    all.sort_by_key(|issue| (issue.kind.rank(), issue.kind.expiry().map(|date| date.at)));
    all.truncate(MAX_ROWS);
    Issues {
        list: Truncated { rows: all, total },
        counts,
    }
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
