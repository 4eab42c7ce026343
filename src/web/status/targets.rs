//! Targets, grouped by account.

use std::cmp::Reverse;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tokio::time::Instant;

use super::format::{Count, Date, Name, Number, UrlValue};
use super::health::{Health, TargetFilter};
use super::issues::IssueKind;
use super::natural::natural;
use super::poll_bars::PollBars;
use super::runbooks::Runbook;
use super::tokens::TokenExpiry;
use crate::inventory::AccountSnapshot;
use crate::model::error::PollError;
use crate::model::state::{LastListing, TargetState};
use crate::vendors::System;

/// Number of targets up to which all groups are open, and number of targets that need attention up
/// to which their group is.
const FEW_TARGETS: usize = 25;

/// Maximum number of groups that are open because a target of theirs needs attention.
const MAX_OPEN: usize = 20;

/// System, account and target to which a row belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct TargetPath<'a> {
    pub(super) system: &'static System,
    pub(super) account: Name<'a>,
    pub(super) target: Name<'a>,
}

/// The address of the target's page, relative to the status page.
impl fmt::Display for TargetPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [system, account, target] =
            [self.system.name, self.account.0, self.target.0].map(UrlValue);
        write!(
            f,
            "target?system={system}&account={account}&target={target}"
        )
    }
}

/// Row of the table of targets.
#[derive(Debug)]
pub(super) struct TargetRow<'a> {
    pub(super) health: Health,
    pub(super) place: TargetPath<'a>,
    /// Time of the first failure since the last success.
    pub(super) since: Option<Date>,
    pub(super) connections: Option<Tally>,
    pub(super) recent: PollBars,
    pub(super) listed: Option<Date>,
    pub(super) next: Date,
    pub(super) error: Option<FailureView<'a>>,
    failures: u32,
    /// Whether the filter in the address hides the row at first.
    pub(super) hidden: bool,
    /// The listing, unless it is too old.
    pub(super) last_listing: Option<&'a LastListing>,
}

impl<'a> TargetRow<'a> {
    /// Creates the row of a target of this account.
    pub(super) fn new(
        account: &'a AccountSnapshot,
        (label, state): &'a (String, TargetState),
        now: Timestamp,
        instant: Instant,
    ) -> Self {
        let last_listing = state.last_listing.as_deref();
        let fresh = last_listing.filter(|last| last.is_fresh(instant));
        let date = |at| Date { at, now };
        let last = state.last_attempt.as_ref();
        Self {
            health: Health::of(state, fresh.is_some()),
            place: TargetPath {
                system: account.system,
                account: Name(&account.account),
                target: Name(label),
            },
            since: state.failing_since.map(date),
            connections: fresh.map(|last| Tally::of(last, account.system.healthy_status, now)),
            recent: PollBars::of(&state.recent),
            listed: state.last_success.map(date),
            next: date(state.next_poll_after(account.metrics.pause_ends())),
            error: last
                .and_then(|attempt| attempt.error.as_ref())
                .map(FailureView),
            failures: state.consecutive_failures,
            hidden: false,
            last_listing: fresh,
        }
    }

    /// Number of polls that failed in a row.
    pub(super) fn polls(&self) -> Count {
        Count(self.failures as usize, "poll")
    }
}

/// Counts of a target's connections.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) total: usize,
    /// Number of connections of each type and status, most frequent first.
    pub(super) kinds: Vec<(Number, &'static str, &'static str)>,
    pub(super) not_connected: usize,
    pub(super) missing: usize,
    /// Number of tokens that somebody has to replace now.
    pub(super) to_replace: usize,
}

impl Tally {
    fn of(last_listing: &LastListing, connected: Option<&str>, now: Timestamp) -> Self {
        let mut tally = Self::default();
        let rows = last_listing.listing.connections();
        for (connection, history) in rows.zip(&last_listing.history.connections) {
            let token = TokenExpiry::of(connection, history, now);
            match IssueKind::of(connection, connected, token) {
                Some(IssueKind::Status(_)) => tally.not_connected += 1,
                Some(_) => tally.to_replace += 1,
                None => {}
            }
            let what = (connection.kind, connection.status);
            // Only a handful of pairs exist, so a linear search is faster than a map.
            match tally
                .kinds
                .iter_mut()
                .find(|known| (known.1, known.2) == what)
            {
                Some(known) => known.0.0 += 1,
                None => tally.kinds.push((Number(1), what.0, what.1)),
            }
        }
        tally
            .kinds
            .sort_unstable_by_key(|(count, kind, status)| (Reverse(count.0), *kind, *status));
        tally.total = last_listing.listing.connections().len();
        tally.missing = last_listing
            .expected
            .iter()
            .filter(|(_, there)| !there)
            .count();
        tally
    }

    pub(super) fn count(&self) -> Number {
        Number(self.total as u64)
    }

    pub(super) fn tokens(&self) -> Count {
        Count(self.to_replace, "token")
    }
}

/// Error, and its remedy.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailureView<'a>(pub(super) &'a PollError);

impl<'a> FailureView<'a> {
    pub(super) fn reason(self) -> &'static str {
        self.0.reason.label()
    }

    pub(super) fn runbook(self) -> Runbook {
        Runbook::of(self.0.reason)
    }

    pub(super) fn remedy(self) -> &'a str {
        self.0.remedy()
    }

    /// Describes the error, with the status and the request id for the vendor's support.
    pub(super) fn sentence(self) -> String {
        let mut sentence = Name(&self.0.to_string()).to_string();
        let status = self.0.status.map(|status| format!("HTTP {status}"));
        // The error's text may already contain the status.
        if let Some(status) = status.filter(|status| !sentence.contains(status)) {
            let _ = write!(sentence, ", {status}");
        }
        if let Some(id) = &self.0.request_id {
            let _ = write!(sentence, ", request id {}", Name(id));
        }
        sentence
    }
}

/// Targets of one account.
#[derive(Debug)]
pub(super) struct AccountTargets<'a> {
    pub(super) system: &'static str,
    pub(super) account: Name<'a>,
    /// Number of targets in each state that occurs, worst state first.
    pub(super) by_health: Vec<(Health, Number)>,
    /// Targets, worst first.
    pub(super) rows: Vec<TargetRow<'a>>,
    /// Whether the group is shown open.
    pub(super) open: bool,
    /// Whether the filter selects a target of the group.
    pub(super) selected: bool,
}

impl<'a> AccountTargets<'a> {
    fn of(account: &'a AccountSnapshot, now: Timestamp, instant: Instant) -> Option<Self> {
        let states = account.targets.iter().flatten();
        let mut rows: Vec<_> = states
            .map(|target| TargetRow::new(account, target, now, instant))
            .collect();
        rows.sort_by(|a, b| {
            let names = || natural(a.place.target.0, b.place.target.0);
            a.health.cmp(&b.health).then_with(names)
        });
        if rows.is_empty() {
            return None;
        }
        let problems = rows.iter().filter(|row| row.health.is_problem()).count();
        let by_health = rows.chunk_by(|a, b| a.health == b.health);
        Some(Self {
            system: account.system.name,
            account: Name(&account.account),
            by_health: by_health
                .map(|rows| (rows[0].health, Number(rows.len() as u64)))
                .collect(),
            open: (1..=FEW_TARGETS).contains(&problems),
            selected: true,
            rows,
        })
    }
}

/// Returns the targets by account: accounts with the worst state first, then by system and name.
///
/// Groups are open if a few of their targets need attention, if there are few targets, or if the
/// filter selects some of their targets. Many targets that need attention are a card above, from
/// which a link sets the filter.
pub(super) fn targets<'a>(
    seen: &'a [AccountSnapshot],
    now: Timestamp,
    filter: &TargetFilter,
) -> Vec<AccountTargets<'a>> {
    let instant = Instant::now();
    let mut groups: Vec<_> = seen
        .iter()
        .filter_map(|account| AccountTargets::of(account, now, instant))
        .collect();
    groups.sort_by(|a, b| {
        let key = |group: &AccountTargets<'_>| (group.rows[0].health, group.system);
        let names = || natural(a.account.0, b.account.0);
        key(a).cmp(&key(b)).then_with(names)
    });
    let total: usize = groups.iter().map(|group| group.rows.len()).sum();
    for (index, group) in groups.iter_mut().enumerate() {
        group.open = total <= FEW_TARGETS || (group.open && index < MAX_OPEN);
        if !filter.selects_all() {
            for row in &mut group.rows {
                row.hidden = !filter.selects(row.health, row.place);
            }
            group.selected = group.rows.iter().any(|row| !row.hidden);
            group.open = group.selected;
        }
    }
    groups
}
