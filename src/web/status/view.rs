//! Rows of the status page for targets and accounts.

use std::cmp::Reverse;
use std::fmt::Write as _;

use jiff::Timestamp;
use tokio::time::Instant;

use super::format::{Count, Date, Name, Number, Rate};
use crate::inventory::AccountSnapshot;
use crate::metrics::Usage;
use crate::model::error::PollError;
use crate::model::state::{LastListing, TargetState};
use crate::vendors::System;

/// State of a target. The page sorts targets by it, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// The listing is too old, and is no longer served.
    Stale,
    /// The last poll failed.
    Failing,
    /// No poll has finished yet.
    Waiting,
    /// The listing comes from the state directory.
    Restored,
    /// The last poll produced a listing.
    Up,
}

impl Health {
    pub(super) const ALL: [Self; 5] = [
        Self::Stale,
        Self::Failing,
        Self::Waiting,
        Self::Restored,
        Self::Up,
    ];

    fn of(state: &TargetState, fresh: bool) -> Self {
        let failed = state
            .last_attempt
            .as_ref()
            .map(|attempt| attempt.error.is_some());
        match failed {
            _ if state.last_listing.is_some() && !fresh => Self::Stale,
            Some(true) => Self::Failing,
            _ if state.restored => Self::Restored,
            Some(false) => Self::Up,
            None => Self::Waiting,
        }
    }

    /// Key in the page's filter and style sheet.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Failing => "failing",
            Self::Waiting => "waiting",
            Self::Restored => "restored",
            Self::Up => "up",
        }
    }

    /// Text on the page.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Waiting => "not polled yet",
            _ => self.key(),
        }
    }

    /// Position in the order of states.
    pub(super) const fn rank(self) -> usize {
        self as usize
    }
}

/// System, account and target to which a row belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct TargetPath<'a> {
    pub(super) system: &'static System,
    pub(super) account: Name<'a>,
    pub(super) target: Name<'a>,
}

/// Row of the table of targets.
#[derive(Debug)]
pub(super) struct TargetRow<'a> {
    pub(super) health: Health,
    pub(super) place: TargetPath<'a>,
    /// Time of the first failure since the last success.
    pub(super) since: Option<Date>,
    pub(super) connections: Option<Tally>,
    pub(super) listed: Option<Date>,
    pub(super) next: Date,
    pub(super) error: Option<FailureView<'a>>,
    failures: u32,
    /// The listing, unless it is too old.
    pub(super) last_listing: Option<&'a LastListing>,
}

impl TargetRow<'_> {
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
}

impl Tally {
    fn of(last_listing: &LastListing, connected: Option<&str>) -> Self {
        let mut tally = Self::default();
        for connection in last_listing.listing.connections() {
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
            if connected.is_some_and(|well| connection.status != well) {
                tally.not_connected += 1;
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
}

/// Error, and its remedy.
#[derive(Debug)]
pub(super) struct FailureView<'a>(pub(super) &'a PollError);

impl FailureView<'_> {
    pub(super) fn reason(&self) -> &'static str {
        self.0.reason.label()
    }

    pub(super) fn remedy(&self) -> &str {
        self.0.remedy()
    }

    /// Describes the error, with the status and the request id for the vendor's support.
    pub(super) fn sentence(&self) -> String {
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

/// Row of the table of accounts.
#[derive(Debug)]
pub(super) struct AccountRow<'a> {
    pub(super) system: &'static str,
    pub(super) account: Name<'a>,
    /// Number of targets; `None` before the first discovery.
    pub(super) targets: Option<Number>,
    /// Error of the last discovery, if it failed.
    pub(super) discovery_error: Option<FailureView<'a>>,
    pub(super) usage: Usage,
    pub(super) paused: Option<Date>,
    pub(super) quotas: Vec<QuotaLeft>,
}

/// Remaining quota, formatted for the page.
#[derive(Debug)]
pub(super) struct QuotaLeft {
    pub(super) window: String,
    pub(super) left: String,
    pub(super) whole: Option<Date>,
}

impl QuotaLeft {
    /// Whether the window is a number of seconds.
    pub(super) fn is_seconds(&self) -> bool {
        self.window.bytes().all(|b| b.is_ascii_digit())
    }
}

impl AccountRow<'_> {
    /// Whether the budget was halved and has not recovered.
    pub(super) fn is_reduced(&self) -> bool {
        self.usage.effective + f64::EPSILON < self.usage.configured
    }

    /// Configured budget.
    pub(super) fn budget(&self) -> Rate {
        Rate(self.usage.configured)
    }

    /// Current budget.
    pub(super) fn budget_now(&self) -> Rate {
        Rate(self.usage.effective)
    }

    /// Share of the current budget that the schedule needs, in percent.
    pub(super) fn used(&self) -> String {
        format!("{:.0}", 100.0 * self.usage.planned / self.usage.effective)
    }
}

/// Returns all targets, worst first.
pub(super) fn targets(seen: &[AccountSnapshot], now: Timestamp) -> Vec<TargetRow<'_>> {
    let instant = Instant::now();
    let mut rows: Vec<_> = seen
        .iter()
        .flat_map(|account| {
            account
                .targets
                .iter()
                .flatten()
                .map(move |target| (account, target))
        })
        .map(|(account, (label, state))| {
            let fresh = state
                .last_listing
                .as_deref()
                .filter(|last| last.is_fresh(instant));
            let date = |at| Date { at, now };
            TargetRow {
                health: Health::of(state, fresh.is_some()),
                place: TargetPath {
                    system: account.system,
                    account: Name(&account.account),
                    target: Name(label),
                },
                since: state.failing_since.map(date),
                connections: fresh
                    .map(|last_listing| Tally::of(last_listing, account.system.healthy_status)),
                listed: state.last_success.map(date),
                next: date(state.next_poll_after(account.metrics.pause_ends())),
                error: state
                    .last_attempt
                    .as_ref()
                    .and_then(|attempt| attempt.error.as_ref())
                    .map(FailureView),
                failures: state.consecutive_failures,
                last_listing: fresh,
            }
        })
        .collect();
    rows.sort_by(|a, b| order(a).cmp(&order(b)));
    rows
}

fn order<'a>(row: &TargetRow<'a>) -> (Health, &'static str, &'a str, &'a str) {
    let TargetPath {
        system,
        account,
        target,
    } = row.place;
    (row.health, system.name, account.0, target.0)
}

/// Returns all accounts, by system and name.
pub(super) fn accounts(seen: &[AccountSnapshot], now: Timestamp) -> Vec<AccountRow<'_>> {
    let row = |account| row(account, now);
    seen.iter().map(row).collect()
}

fn row(seen: &AccountSnapshot, now: Timestamp) -> AccountRow<'_> {
    let usage = seen.metrics.usage(now);
    let quotas = usage.quotas.iter().map(|quota| {
        let limit = quota
            .limit
            .map(|limit| format!(" of {limit}"))
            .unwrap_or_default();
        let whole = quota.reset.and_then(|seconds| {
            let at =
                Timestamp::from_duration(jiff::SignedDuration::try_from_secs_f64(seconds).ok()?)
                    .ok()?;
            Some(Date { at, now })
        });
        QuotaLeft {
            window: quota.window.clone(),
            left: quota
                .remaining
                .map_or_else(|| "unknown".to_owned(), |left| left.to_string())
                + &limit,
            whole,
        }
    });
    AccountRow {
        system: seen.system.name,
        account: Name(&seen.account),
        targets: seen
            .targets
            .as_ref()
            .map(|targets| Number(targets.len() as u64)),
        discovery_error: seen.discovery_error.as_ref().map(FailureView),
        paused: usage.paused_until.map(|at| Date { at, now }),
        quotas: quotas.collect(),
        usage,
    }
}
