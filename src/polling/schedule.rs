//! When the targets of an account are polled: spread at the start, and no more often than its budget bears.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::metrics::AccountMetrics;
use crate::vendors::account::{AccountConfig, PollConfig};

/// After refusals, nothing is asked for less often than this.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The schedule of one account, which its pollers share.
#[derive(Debug)]
pub struct Schedule {
    identity: String,
    metrics: Arc<AccountMetrics>,
    plan: Mutex<Load>,
}

#[derive(Debug)]
struct Load {
    configured: Configured,
    /// By target, the pages of its last listing.
    pages: BTreeMap<String, u32>,
    /// All of them together: looked at with each poll of each target.
    all_pages: u64,
    /// Whether it was said that the budget does not bear them.
    warned: bool,
}

/// What the configuration wishes.
#[derive(Debug)]
struct Configured {
    interval: Duration,
    first_poll_within: Duration,
    stale_after: Option<Duration>,
    /// Requests a second: the budget, and what of it is spent on other things than listings.
    budget: f64,
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
    /// The schedule of an account without targets.
    #[must_use]
    pub fn new(account: &AccountConfig, poll: &PollConfig, metrics: Arc<AccountMetrics>) -> Self {
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

    /// From now on, as this configuration says.
    pub fn configure(&self, account: &AccountConfig, poll: &PollConfig) {
        self.plan().configured = Configured::new(account, poll);
    }

    fn plan(&self) -> MutexGuard<'_, Load> {
        self.plan.lock()
    }

    /// Where in the spread of first polls a target has its place: the same at each start, and another one
    /// for each target. The empty id is the account's own discovery.
    #[must_use]
    pub fn phase(&self, id: &str) -> Duration {
        let hash = crc32fast::hash(format!("{}/{id}", self.identity).as_bytes());
        let within = self.plan().configured.first_poll_within;
        within.mul_f64(f64::from(hash) / f64::from(u32::MAX))
    }

    /// Sets which targets there are. A new one is taken to need one page.
    pub fn set_targets<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        let mut plan = self.plan();
        let pages: BTreeMap<_, _> = ids
            .map(|id| (id.to_owned(), plan.pages.get(id).copied().unwrap_or(1)))
            .collect();
        plan.all_pages = pages.values().map(|pages| u64::from(*pages)).sum();
        plan.pages = pages;
        self.update_metrics(&mut plan);
    }

    /// Notes how many pages a target's listing took.
    pub fn record_pages(&self, id: &str, pages: u32) {
        let mut plan = self.plan();
        if let Some(known) = plan.pages.get_mut(id) {
            let before = std::mem::replace(known, pages);
            plan.all_pages = plan.all_pages - u64::from(before) + u64::from(pages);
            self.update_metrics(&mut plan);
        }
    }

    /// Tells the account's metrics what the schedule needs, and once the operator that it is too much.
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
                "the listings need more requests than the budget allows: every interval is stretched"
            );
        } else if stretch <= 1.0 && plan.warned {
            tracing::info!(system, account, "the listings fit into the budget again");
        }
        plan.warned = stretch > 1.0;
    }

    /// How often each target is polled: the configured interval, stretched to what the budget bears.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.plan().interval()
    }

    /// How old a listing may become before it is dropped: as configured, or three intervals and what the target's longest
    /// poll took. Without that, one that takes longer than three intervals would come too late each time.
    #[must_use]
    pub fn stale_after(&self, longest_poll: Duration) -> Duration {
        let configured = self.configured_stale_after();
        configured.unwrap_or_else(|| self.interval() * 3 + longest_poll)
    }

    /// What the configuration says of that.
    #[must_use]
    pub fn configured_stale_after(&self) -> Option<Duration> {
        self.plan().configured.stale_after
    }

    /// The next planned time after `now`: whole intervals after the last, start to start, so an overrun
    /// skips.
    #[must_use]
    pub fn next(&self, last: Instant, now: Instant) -> Instant {
        let interval = self.interval();
        let past = now.saturating_duration_since(last).as_nanos() / interval.as_nanos();
        // Only an interval of a second over more than a century would not fit.
        last + interval * u32::try_from(past + 1).unwrap_or(u32::MAX)
    }

    /// How long to wait after so many refusals or failures in a row: twice the interval, four times, up to an hour.
    #[must_use]
    pub fn after_refusals(&self, refusals: u32) -> Duration {
        let doubled = self.interval().saturating_mul(1 << refusals.min(16));
        doubled.min(LONGEST_WAIT).max(self.interval())
    }
}

impl Load {
    /// Requests a second for listings, at the configured interval.
    fn listings(&self) -> f64 {
        self.all_pages as f64 / self.configured.interval.as_secs_f64()
    }

    fn stretch(&self) -> f64 {
        let Configured {
            budget, besides, ..
        } = self.configured;
        // A budget that tokens alone would use up leaves a tenth for what they are for.
        let left = (budget - besides).max(budget / 10.0);
        (self.listings() / left).max(1.0)
    }

    fn interval(&self) -> Duration {
        self.configured.interval.mul_f64(self.stretch())
    }
}
