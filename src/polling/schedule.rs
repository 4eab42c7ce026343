//! Schedule of an account: the spread of first polls, and the interval that the budget allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::metrics::AccountMetrics;
use crate::vendors::account::{AccountConfig, PollConfig};

/// Longest wait after refusals, unless the poll interval is longer.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// Schedule of one account, which its pollers share.
#[derive(Debug)]
pub(crate) struct Schedule {
    identity: String,
    metrics: Arc<AccountMetrics>,
    plan: Mutex<Load>,
}

#[derive(Debug)]
struct Load {
    configured: Configured,
    /// Pages of each target's last listing, by target id.
    pages: BTreeMap<String, u32>,
    /// Sum of `pages`, kept because every poll of every target needs it.
    all_pages: u64,
    /// Whether a warning was logged that the listings exceed the budget.
    warned: bool,
}

/// Values that the configuration sets.
#[derive(Debug)]
struct Configured {
    interval: Duration,
    first_poll_within: Duration,
    stale_after: Option<Duration>,
    /// Budget, in requests per second.
    budget: f64,
    /// Requests per second that are not for listings.
    besides: f64,
}

impl Configured {
    fn new(account: &AccountConfig, poll: &PollConfig) -> Self {
        Self {
            interval: account.interval,
            first_poll_within: account.first_poll_within(poll),
            stale_after: account.stale_after,
            budget: f64::from(account.requests_per_minute.get()) / 60.0,
            besides: account.besides_listings_per_day() / 86_400.0,
        }
    }
}

impl Schedule {
    /// Creates the schedule of an account without targets.
    #[must_use]
    pub(crate) fn new(
        account: &AccountConfig,
        poll: &PollConfig,
        metrics: Arc<AccountMetrics>,
    ) -> Self {
        let plan = Load {
            configured: Configured::new(account, poll),
            pages: BTreeMap::new(),
            all_pages: 0,
            warned: false,
        };
        Self {
            identity: format!("{}/{}", account.system.name, account.name),
            metrics,
            plan: Mutex::new(plan),
        }
    }

    /// Applies another configuration.
    pub(crate) fn configure(&self, account: &AccountConfig, poll: &PollConfig) {
        self.plan().configured = Configured::new(account, poll);
    }

    fn plan(&self) -> MutexGuard<'_, Load> {
        self.plan.lock()
    }

    /// Returns the place of a target in the spread of first polls.
    ///
    /// It is the same at each start, and differs between targets. The empty id stands for the
    /// account's own discovery.
    #[must_use]
    pub(crate) fn phase(&self, id: &str) -> Duration {
        let hash = crc32fast::hash(format!("{}/{id}", self.identity).as_bytes());
        let within = self.plan().configured.first_poll_within;
        within.mul_f64(f64::from(hash) / f64::from(u32::MAX))
    }

    /// Sets the targets. A new target counts as one page.
    pub(crate) fn set_targets<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        let mut plan = self.plan();
        let pages: BTreeMap<_, _> = ids
            .map(|id| (id.to_owned(), plan.pages.get(id).copied().unwrap_or(1)))
            .collect();
        plan.all_pages = pages.values().map(|pages| u64::from(*pages)).sum();
        plan.pages = pages;
        self.update_metrics(&mut plan);
    }

    /// Records the number of pages of a target's listing.
    pub(crate) fn record_pages(&self, id: &str, pages: u32) {
        let mut plan = self.plan();
        if let Some(known) = plan.pages.get_mut(id) {
            let before = std::mem::replace(known, pages);
            plan.all_pages = plan.all_pages - u64::from(before) + u64::from(pages);
            self.update_metrics(&mut plan);
        }
    }

    /// Updates the planned requests in the metrics, and logs once if they exceed the budget.
    fn update_metrics(&self, plan: &mut Load) {
        self.metrics
            .planned(plan.listings() + plan.configured.besides);
        let stretch = plan.stretch();
        let (system, account) = self.metrics.account();
        if stretch > 1.0 && !plan.warned {
            let interval = plan.interval().as_secs_f64();
            tracing::warn!(
                system,
                account,
                interval,
                "the listings need more requests than the budget allows: every interval is \
                    stretched"
            );
        } else if stretch <= 1.0 && plan.warned {
            tracing::info!(system, account, "the listings fit into the budget again");
        }
        plan.warned = stretch > 1.0;
    }

    /// Returns the interval of polls: the configured one, stretched to what the budget allows.
    #[must_use]
    pub(crate) fn interval(&self) -> Duration {
        self.plan().interval()
    }

    /// Returns the maximum age of a listing: the configured one, or three intervals and the longest
    /// poll.
    ///
    /// Without the longest poll, a target whose polls take more than three intervals would lose
    /// each listing before the next one arrives.
    #[must_use]
    pub(crate) fn stale_after(&self, longest_poll: Duration) -> Duration {
        let configured = self.configured_stale_after();
        configured.unwrap_or_else(|| self.interval() * 3 + longest_poll)
    }

    /// Returns the configured maximum age of a listing.
    #[must_use]
    pub(crate) fn configured_stale_after(&self) -> Option<Duration> {
        self.plan().configured.stale_after
    }

    /// Returns the next planned time after `now`: whole intervals after the last one.
    ///
    /// Intervals are counted from start to start, so a poll that takes longer skips some.
    #[must_use]
    pub(crate) fn next(&self, last: Instant, now: Instant) -> Instant {
        let interval = self.interval();
        let past = now.saturating_duration_since(last).as_nanos() / interval.as_nanos();
        // Only an interval of one second over more than a century would not fit.
        last + interval * u32::try_from(past + 1).unwrap_or(u32::MAX)
    }

    /// Returns the wait after this many consecutive refusals or failures.
    ///
    /// It is twice the interval, then four times, and so on up to an hour.
    #[must_use]
    pub(crate) fn backoff_after(&self, failures: u32) -> Duration {
        let doubled = self.interval().saturating_mul(1 << failures.min(16));
        doubled.min(MAX_WAIT).max(self.interval())
    }
}

impl Load {
    /// Returns the requests per second for listings, at the configured interval.
    fn listings(&self) -> f64 {
        self.all_pages as f64 / self.configured.interval.as_secs_f64()
    }

    fn stretch(&self) -> f64 {
        let Configured {
            budget, besides, ..
        } = self.configured;
        // If tokens alone would use up the budget, a tenth of it remains for listings.
        let left = (budget - besides).max(budget / 10.0);
        (self.listings() / left).max(1.0)
    }

    fn interval(&self) -> Duration {
        self.configured.interval.mul_f64(self.stretch())
    }
}
