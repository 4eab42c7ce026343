//! The page of one target: its connections, their history, and its recent polls.

use std::time::Duration;

use askama::Template;
use jiff::Timestamp;
use tokio::time::Instant;

use super::format::{Date, Name, Number, Span, Took};
use super::health::Health;
use super::issues::{IssueKind, MAX_ROWS, Truncated, between};
use super::natural::natural;
use super::runbooks::Runbook;
use super::targets::TargetRow;
use super::tokens::TokenExpiry;
use super::{About, REVISION, SCRIPT, STYLE, VERSION};
use crate::inventory::{AccountSnapshot, Inventory};
use crate::model::history::{ConnectionHistory, Second};
use crate::model::listing::{GrantType, Row};
use crate::model::recent::RecentPoll;
use crate::model::state::{LastListing, TargetState};

/// Maximum number of events.
const MAX_EVENTS: usize = 50;

#[derive(Template)]
#[template(path = "target.html", config = "src/web/status/askama.toml")]
struct TargetPage<'a> {
    about: &'a About,
    now: Date,
    row: TargetRow<'a>,
    state: &'a TargetState,
    /// Recent polls, the latest first.
    polls: Vec<PollRow>,
    /// When the listing shown was completed, if it is too old to be exported.
    outdated: bool,
    /// Expected connections that the listing does not contain.
    missing: Truncated<Name<'a>>,
    connections: Truncated<ConnectionRow<'a>>,
    columns: Columns,
    events: Truncated<EventRow<'a>>,
}

/// Columns of the table of connections that have a value in some row.
struct Columns {
    status: bool,
    token: bool,
    changed: bool,
}

impl Columns {
    fn of(rows: &[ConnectionRow<'_>]) -> Self {
        Self {
            status: rows.iter().any(|row| !row.status.is_empty()),
            token: rows.iter().any(|row| row.token.is_some()),
            changed: rows.iter().any(|row| row.updated.or(row.created).is_some()),
        }
    }

    /// Classes of the table, which set the widths of its columns.
    fn classes(&self) -> &'static str {
        match (self.status, self.token) {
            (true, false) => "connections no-token",
            (false, true) => "connections no-status",
            (false, false) => "connections no-token no-status",
            (true, true) => "connections",
        }
    }
}

/// A recent poll.
struct PollRow {
    at: Date,
    duration: Took,
    /// Whether the poll took longer than can be recorded.
    longer: bool,
    failure: Option<(&'static str, Runbook)>,
}

/// A connection of the target.
struct ConnectionRow<'a> {
    connection: Name<'a>,
    kind: &'static str,
    status: &'static str,
    /// What is wrong with it.
    issue: Option<IssueKind>,
    token: Option<TokenExpiry>,
    last_renewal: Option<Date>,
    first_seen: Date,
    status_changed: Option<Date>,
    last_connected: Option<Date>,
    created: Option<Date>,
    updated: Option<Date>,
    /// Ends of the connection, or its other facts.
    between: Option<(Name<'a>, Name<'a>)>,
    facts: Vec<(&'static str, Name<'a>)>,
}

impl ConnectionRow<'_> {
    /// Class of the status, as in the list of what needs attention.
    fn badge(&self) -> &'static str {
        match self.issue {
            Some(issue @ IssueKind::Status(_)) => issue.badge(),
            _ => Health::Up.key(),
        }
    }

    /// Whether the status is another one than connected.
    fn is_bad(&self) -> bool {
        matches!(self.issue, Some(IssueKind::Status(_)))
    }
}

/// What a listing first showed at some time.
struct EventRow<'a> {
    at: Date,
    what: String,
    connection: Name<'a>,
}

/// Renders the page of a target as of now; `None` if the query names no target that exists.
///
/// # Errors
///
/// Only if the template fails.
pub(crate) fn render_target(
    inventory: &Inventory,
    about: &About,
    query: &str,
) -> Option<askama::Result<String>> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    let value = |name| {
        let pair = pairs.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    };
    let seen = inventory.snapshot_of(value("system")?, value("account")?, value("target")?)?;
    let target = seen.targets.as_ref()?.first()?;
    Some(TargetPage::new(&seen, target, about, inventory.date()).render())
}

#[derive(Template)]
#[template(path = "unknown.html", config = "src/web/status/askama.toml")]
struct UnknownTargetPage<'a> {
    about: &'a About,
}

/// Renders the page for a target that does not exist.
///
/// # Errors
///
/// Only if the template fails.
pub(crate) fn render_unknown_target(about: &About) -> askama::Result<String> {
    UnknownTargetPage { about }.render()
}

impl<'a> TargetPage<'a> {
    fn new(
        seen: &'a AccountSnapshot,
        target: &'a (String, TargetState),
        about: &'a About,
        now: Timestamp,
    ) -> Self {
        let row = TargetRow::new(seen, target, now, Instant::now());
        let state = &target.1;
        let date = |at| Date { at, now };
        let polls = state.recent.polls().iter().rev();
        let last = state.last_listing.as_deref();
        let missing = last.into_iter().flat_map(|last| {
            let expected = last.expected.iter().filter(|(_, there)| !there);
            expected.map(|(name, _)| Name(name))
        });
        let connections = connections(last, seen.system.healthy_status, now);
        Self {
            about,
            now: date(now),
            polls: polls
                .map(|poll| PollRow {
                    at: date(poll.date()),
                    duration: Took(poll.duration()),
                    longer: poll.duration() == RecentPoll::MAX_DURATION,
                    failure: poll
                        .reason
                        .map(|reason| (reason.label(), Runbook::of(reason))),
                })
                .collect(),
            outdated: last.is_some() && row.last_listing.is_none(),
            missing: Truncated::first(missing),
            columns: Columns::of(&connections.rows),
            connections,
            events: events(last, now),
            row,
            state,
        }
    }

    fn duration(&self) -> Option<Took> {
        let last = self.state.last_attempt.as_ref();
        last.map(|attempt| Took(attempt.duration))
    }

    fn interval(&self) -> Span {
        Span(self.state.interval)
    }

    fn successes(&self) -> Number {
        Number(self.state.successes)
    }

    fn failures(&self) -> Number {
        Number(self.state.failures)
    }

    fn stale_after(&self) -> Option<Span> {
        let last = self.state.last_listing.as_ref();
        last.map(|last| Span(last.stale_after))
    }
}

/// Returns the connections of a listing: those with a problem first, then by name.
fn connections<'a>(
    last: Option<&'a LastListing>,
    healthy: Option<&str>,
    now: Timestamp,
) -> Truncated<ConnectionRow<'a>> {
    let rows = last.into_iter().flat_map(|last| {
        let rows = last.listing.connections();
        rows.zip(&last.history.connections)
    });
    let mut rows: Vec<_> = rows
        .map(|(connection, history)| {
            let token = TokenExpiry::of(connection, history, now);
            let issue = IssueKind::of(connection, healthy, token);
            (
                issue.map_or(usize::MAX, IssueKind::rank),
                connection,
                history,
            )
        })
        .collect();
    let total = rows.len();
    let order = |a: &(usize, Row<'a>, _), b: &(usize, Row<'a>, _)| {
        a.0.cmp(&b.0).then_with(|| natural(a.1.id, b.1.id))
    };
    if total > MAX_ROWS {
        rows.select_nth_unstable_by(MAX_ROWS, order);
        rows.truncate(MAX_ROWS);
    }
    rows.sort_by(order);
    let rows = rows.into_iter();
    Truncated {
        rows: rows
            .map(|(_, connection, history)| row(connection, history, healthy, now))
            .collect(),
        total,
    }
}

fn row<'a>(
    connection: Row<'a>,
    history: &ConnectionHistory,
    healthy: Option<&str>,
    now: Timestamp,
) -> ConnectionRow<'a> {
    let date = |at| Date { at, now };
    let second = |at: Second| date(at.date());
    let facts = &connection.facts;
    let token = TokenExpiry::of(connection, history, now);
    let named = [
        ("grant", connection.grant_type.map_or("", GrantType::label)),
        ("header", facts.header_name),
        ("domain", facts.allowed_domain),
        ("scope", facts.permission_scope),
        ("uuid", facts.uuid),
    ];
    let named = named.into_iter().filter(|(_, value)| !value.is_empty());
    ConnectionRow {
        connection: Name(connection.id),
        kind: connection.kind,
        status: connection.status,
        issue: IssueKind::of(connection, healthy, token),
        token,
        last_renewal: history.renewal.map(|renewal| second(renewal.at)),
        first_seen: second(history.first_seen),
        status_changed: history.status_changed.map(second),
        last_connected: history.last_connected.map(second),
        created: connection.created.map(date),
        updated: connection.updated.map(date),
        between: between(connection),
        facts: named.map(|(name, value)| (name, Name(value))).collect(),
    }
}

/// Returns what changed, the latest first: connections that came or went, renewals, and changes of
/// the status. Of each kind only the last one of a connection is known.
fn events(last: Option<&LastListing>, now: Timestamp) -> Truncated<EventRow<'_>> {
    /// Kind of an event: with the lead of a renewal, or the status.
    #[derive(Clone, Copy)]
    enum Event {
        Added,
        Renewed(i32),
        Status(&'static str),
        Gone,
    }
    let Some(last) = last else {
        return Truncated {
            rows: Vec::new(),
            total: 0,
        };
    };
    let history = &last.history;
    // What the first listing contained did not come then.
    let first = history.connections.iter().map(|known| known.first_seen);
    let first = first.min();
    let mut all = Vec::new();
    for (connection, known) in last.listing.connections().zip(&history.connections) {
        if Some(known.first_seen) > first {
            all.push((known.first_seen, Event::Added, connection.id));
        }
        if let Some(renewal) = known.renewal {
            all.push((renewal.at, Event::Renewed(renewal.lead), connection.id));
        }
        if let Some(at) = known.status_changed.filter(|at| *at > known.first_seen) {
            all.push((at, Event::Status(connection.status), connection.id));
        }
    }
    let gone = history.gone.iter();
    all.extend(gone.map(|gone| (gone.at, Event::Gone, &*gone.id)));
    let total = all.len();
    let latest = |event: &(Second, Event, &str)| std::cmp::Reverse(event.0);
    if total > MAX_EVENTS {
        all.select_nth_unstable_by_key(MAX_EVENTS, latest);
        all.truncate(MAX_EVENTS);
    }
    all.sort_by_key(latest);
    let row = |(at, event, id): (Second, Event, _)| EventRow {
        at: Date { at: at.date(), now },
        what: match event {
            Event::Added => "added".to_owned(),
            Event::Gone => "no longer listed".to_owned(),
            Event::Status(status) => format!("status changed to {status}"),
            Event::Renewed(lead) => {
                let distance = Span(Duration::from_secs(lead.unsigned_abs().into()));
                let side = if lead < 0 { "after" } else { "before" };
                format!("token renewed, {distance} {side} its expiry")
            }
        },
        connection: Name(id),
    };
    Truncated {
        rows: all.into_iter().map(row).collect(),
        total,
    }
}
