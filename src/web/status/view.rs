//! What the page says of targets and accounts.

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

/// How a target is; the worst first, as the page orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// Its listing grew too old and was dropped.
    Stale,
    /// The last poll failed.
    Failing,
    /// No poll ended yet.
    Waiting,
    /// Its listing comes from the state folder.
    Restored,
    /// The last poll gave a listing.
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
            _ if state.held.is_some() && !fresh => Self::Stale,
            Some(true) => Self::Failing,
            _ if state.restored => Self::Restored,
            Some(false) => Self::Up,
            None => Self::Waiting,
        }
    }

    /// For the filter and the colour.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Failing => "failing",
            Self::Waiting => "waiting",
            Self::Restored => "restored",
            Self::Up => "up",
        }
    }

    /// For people.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Waiting => "not polled yet",
            _ => self.key(),
        }
    }

    /// Its place in the order.
    pub(super) const fn rank(self) -> usize {
        self as usize
    }
}

/// Where something belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct TargetPath<'a> {
    pub(super) system: &'static System,
    pub(super) account: Name<'a>,
    pub(super) target: Name<'a>,
}

/// A row of the targets.
#[derive(Debug)]
pub(super) struct TargetRow<'a> {
    pub(super) health: Health,
    pub(super) place: TargetPath<'a>,
    /// When the first of the failures ended that are not over.
    pub(super) since: Option<Date>,
    pub(super) connections: Option<Tally>,
    pub(super) listed: Option<Date>,
    pub(super) next: Date,
    pub(super) error: Option<FailureView<'a>>,
    failures: u32,
    /// The listing, unless it is too old.
    pub(super) held: Option<&'a LastListing>,
}

impl TargetRow<'_> {
    /// How many polls failed in a row.
    pub(super) fn polls(&self) -> Count {
        Count(self.failures as usize, "poll")
    }
}

/// Connections of a target.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) total: usize,
    /// How many there are of each type and status, the most first.
    pub(super) kinds: Vec<(Number, &'static str, &'static str)>,
    pub(super) not_connected: usize,
    pub(super) missing: usize,
}

impl Tally {
    fn of(held: &LastListing, connected: Option<&str>) -> Self {
        let mut tally = Self::default();
        for connection in held.listing.connections() {
            let what = (connection.kind, connection.status);
            // There are a handful, so looking through them is faster than a map.
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
        tally.total = held.listing.connections().len();
        tally.missing = held.expected.iter().filter(|(_, there)| !there).count();
        tally
    }

    pub(super) fn count(&self) -> Number {
        Number(self.total as u64)
    }
}

/// A failure, and what to do about it.
#[derive(Debug)]
pub(super) struct FailureView<'a>(pub(super) &'a PollError);

impl FailureView<'_> {
    pub(super) fn reason(&self) -> &'static str {
        self.0.reason.label()
    }

    pub(super) fn remedy(&self) -> &str {
        self.0.remedy()
    }

    /// What happened, and what the vendor's support asks for.
    pub(super) fn sentence(&self) -> String {
        let mut sentence = Name(&self.0.to_string()).to_string();
        let status = self.0.status.map(|status| format!("HTTP {status}"));
        // Where our own words say it already, that is enough.
        if let Some(status) = status.filter(|status| !sentence.contains(status)) {
            let _ = write!(sentence, ", {status}");
        }
        if let Some(id) = &self.0.request_id {
            let _ = write!(sentence, ", request id {}", Name(id));
        }
        sentence
    }
}

/// A row of the accounts.
#[derive(Debug)]
pub(super) struct AccountRow<'a> {
    pub(super) system: &'static str,
    pub(super) account: Name<'a>,
    /// `None` until it is known which there are.
    pub(super) targets: Option<Number>,
    /// How the last look for targets failed.
    pub(super) undiscovered: Option<FailureView<'a>>,
    pub(super) usage: Usage,
    pub(super) paused: Option<Date>,
    pub(super) quotas: Vec<QuotaLeft>,
}

/// What is left of a quota, in words.
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
    /// Whether the budget was halved and has not grown back.
    pub(super) fn is_reduced(&self) -> bool {
        self.usage.effective + f64::EPSILON < self.usage.configured
    }

    /// As configured.
    pub(super) fn budget(&self) -> Rate {
        Rate(self.usage.configured)
    }

    /// As it is now.
    pub(super) fn budget_now(&self) -> Rate {
        Rate(self.usage.effective)
    }

    /// What the schedule needs of the budget as it is now, in percent.
    pub(super) fn used(&self) -> String {
        format!("{:.0}", 100.0 * self.usage.planned / self.usage.effective)
    }
}

/// All targets, the worst first.
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
            let fresh = state.held.as_deref().filter(|held| held.is_fresh(instant));
            let date = |at| Date { at, now };
            TargetRow {
                health: Health::of(state, fresh.is_some()),
                place: TargetPath {
                    system: account.system,
                    account: Name(&account.account),
                    target: Name(label),
                },
                since: state.failing_since.map(date),
                connections: fresh.map(|held| Tally::of(held, account.system.healthy_status)),
                listed: state.last_success.map(date),
                next: date(state.next_poll_after(account.metrics.pause_ends())),
                error: state
                    .last_attempt
                    .as_ref()
                    .and_then(|attempt| attempt.error.as_ref())
                    .map(FailureView),
                failures: state.consecutive_failures,
                held: fresh,
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

/// All accounts, in the order of the configuration's systems and their names.
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
        undiscovered: seen.undiscovered.as_ref().map(FailureView),
        paused: usage.paused_until.map(|at| Date { at, now }),
        quotas: quotas.collect(),
        usage,
    }
}
