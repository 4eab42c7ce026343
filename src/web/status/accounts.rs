//! Rows of the table of accounts.

use jiff::Timestamp;

use super::format::{Date, Name, Number, Rate};
use super::natural::natural;
use super::targets::FailureView;
use crate::inventory::AccountSnapshot;
use crate::metrics::Usage;

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
    pub(super) resets: Option<Date>,
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

/// Returns all accounts, by system and name.
pub(super) fn accounts(seen: &[AccountSnapshot], now: Timestamp) -> Vec<AccountRow<'_>> {
    let mut rows: Vec<_> = seen.iter().map(|account| row(account, now)).collect();
    rows.sort_by(|a, b| {
        let systems = a.system.cmp(b.system);
        systems.then_with(|| natural(a.account.0, b.account.0))
    });
    rows
}

fn row(seen: &AccountSnapshot, now: Timestamp) -> AccountRow<'_> {
    let usage = seen.metrics.usage(now);
    let quotas = usage.quotas.iter().map(|quota| {
        let limit = quota
            .limit
            .map(|limit| format!(" of {limit}"))
            .unwrap_or_default();
        let resets = quota.reset.and_then(|seconds| {
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
            resets,
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
