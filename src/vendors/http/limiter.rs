//! Rate limiter of an account: its rate, its pauses, and the order of waiting requests.
//!
//! No other code throttles the requests of an account.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::clock::until;

/// Maximum pause.
///
/// A date one year ahead in a vendor's response would otherwise silently end polling.
const MAX_PAUSE: Duration = Duration::from_hours(1);
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_mins(1);
/// Maximum number of requests in flight per account, without background requests that hold no slot.
const MAX_IN_FLIGHT: usize = 4;
/// Interval of checks for a quota whose remaining requests are all in flight.
const QUOTA_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time that a background request waits behind others.
///
/// After that it joins their queue. Otherwise an account that uses its whole rate would never send
/// it.
const MAX_BACKGROUND_WAIT: Duration = Duration::from_mins(10);
/// Minimum rate after repeated 429s, in requests per minute.
const MIN_RATE: f64 = 1.0;
/// Time without a 429 after which the rate grows back.
const GROW_AFTER: Duration = Duration::from_secs(30);
/// Part of the configured rate that grows back per minute.
const GROW_PER_MINUTE: f64 = 0.1;

/// governor's clock over tokio's time, which tests can pause.
///
/// `until_ready` of governor is not used: it sleeps in real time, also while tests pause tokio's.
#[derive(Debug, Clone)]
struct TokioClock(Instant);

impl GovernorClock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

/// Grants one permit after another, at most at the configured rate, and none during a pause.
#[derive(Debug)]
pub struct RequestLimiter {
    clock: TokioClock,
    slots: Semaphore,
    /// Held by the request at the head of the queue.
    ///
    /// tokio's mutex is first come, first served. A target with hundreds of pages therefore
    /// alternates with the others of its account.
    turn: tokio::sync::Mutex<()>,
    /// Number of queued requests; background requests wait until it is 0.
    waiting: watch::Sender<usize>,
    budget: Mutex<Budget>,
}

/// A place in the queue, which is left on drop.
struct QueuePlace<'a>(&'a watch::Sender<usize>);

impl<'a> QueuePlace<'a> {
    fn begin(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

#[derive(Debug)]
struct Budget {
    /// Configured rate, in requests per minute.
    configured: f64,
    paused_until: Option<Instant>,
    /// Number of 429s since the last response that was neither a 429 nor a 503.
    consecutive_429s: u32,
    /// Rate after the last 429, and the time of that 429.
    reduced: Option<(f64, Instant)>,
    /// Limiter that grants the permits.
    limiter: Limiter,
    /// Rate that `limiter` was created for, in requests per minute.
    rate: f64,
    /// Time of the last permit. A limiter for another rate continues from it.
    last: Option<Instant>,
    /// Number of requests in flight.
    in_flight_requests: u64,
    /// Remaining quota of the vendor less the requests in flight, and the time of its reset.
    quota: Option<(u64, Instant)>,
    random: fastrand::Rng,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

/// State of a limiter that survives the process.
///
/// It has dates, because the monotonic clock does not survive the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimiterSnapshot {
    paused_until: Option<Timestamp>,
    /// Rate after the last 429 in requests per minute, and the time of that 429.
    reduced: Option<(f64, Timestamp)>,
    /// Number of 429s since the last response that was neither a 429 nor a 503.
    #[serde(rename = "refused")]
    consecutive_429s: u32,
}

/// Permission to send one request.
///
/// It must be held until the request ends. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    /// Time that the request waited.
    pub waited: Duration,
    /// Time at which the permit was granted.
    pub since: Instant,
    limiter: &'a RequestLimiter,
    _slot: Option<SemaphorePermit<'a>>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.limiter.budget().in_flight_requests -= 1;
    }
}

impl RequestLimiter {
    /// Creates a limiter of this many requests per minute, without bursts.
    ///
    /// `seed` seeds the jitter.
    #[must_use]
    pub fn new(requests_per_minute: NonZeroU32, seed: u64) -> Self {
        let clock = TokioClock(Instant::now());
        let configured = f64::from(requests_per_minute.get());
        let budget = Budget {
            configured,
            paused_until: None,
            consecutive_429s: 0,
            reduced: None,
            limiter: limiter(configured, &clock),
            rate: configured,
            last: None,
            in_flight_requests: 0,
            quota: None,
            random: fastrand::Rng::with_seed(seed),
        };
        Self {
            clock,
            slots: Semaphore::new(MAX_IN_FLIGHT),
            turn: tokio::sync::Mutex::new(()),
            waiting: watch::Sender::new(0),
            budget: Mutex::new(budget),
        }
    }

    /// Changes the configured rate.
    ///
    /// A rate that a 429 reduced stays reduced. What it has grown since is computed from the new
    /// configured rate.
    pub fn configure(&self, requests_per_minute: NonZeroU32) {
        self.budget().configured = f64::from(requests_per_minute.get());
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock()
    }

    /// Waits until a request may be sent.
    pub(crate) async fn acquire(&self) -> Permit<'_> {
        let begun = Instant::now();
        let _waits = QueuePlace::begin(&self.waiting);
        // The slot comes first. A request that waited for a slot after its turn would be sent later
        // than the limiter assumes, and the next one too soon after it. The semaphore is never
        // closed.
        let slot = self.slots.acquire().await.ok();
        let _turn = self.turn.lock().await;
        // Meanwhile a pause can begin or grow, and the rate can change.
        while let Err(not_before) = self.try_now() {
            sleep_until(not_before).await;
        }
        Permit {
            waited: begun.elapsed(),
            since: Instant::now(),
            limiter: self,
            _slot: slot,
        }
    }

    /// Waits until a request may be sent, and for up to `MAX_BACKGROUND_WAIT` until no other one
    /// waits.
    ///
    /// A request that is sent within that time holds no slot, so it delays no listing even if it
    /// hangs. After that time it queues and takes a slot like any other request. An account has
    /// only one background request at a time.
    pub(crate) async fn acquire_in_background(&self) -> Permit<'_> {
        let begun = Instant::now();
        let mut permit = match timeout(MAX_BACKGROUND_WAIT, self.alone()).await {
            Ok(()) => Permit {
                waited: Duration::ZERO,
                since: Instant::now(),
                limiter: self,
                _slot: None,
            },
            Err(_) => self.acquire().await,
        };
        permit.waited = begun.elapsed();
        permit
    }

    /// Waits for a permit at a moment at which no other request waits.
    async fn alone(&self) {
        let mut waiting = self.waiting.subscribe();
        loop {
            // The sender is in `self`, so it is not dropped and this cannot fail.
            let _ = waiting.wait_for(|waiting| *waiting == 0).await;
            match self.try_now() {
                Ok(()) => return,
                Err(not_before) => sleep_until(not_before).await,
            }
        }
    }

    /// Lets a request through now, or returns the time to try again.
    fn try_now(&self) -> Result<(), Instant> {
        let now = Instant::now();
        let mut budget = self.budget();
        if let Some(until) = budget.paused_until.filter(|until| *until > now) {
            return Err(until);
        }
        let rate = budget.rate(|| now);
        if (rate - budget.rate).abs() > f64::EPSILON {
            budget.limiter = limiter(rate, &self.clock);
            budget.rate = rate;
        }
        if let Some(next) = budget
            .last
            .map(|last| last + period(rate))
            .filter(|next| *next > now)
        {
            return Err(next);
        }
        budget.quota = budget.quota.filter(|(_, reset_at)| *reset_at > now);
        if let Some((0, reset_at)) = budget.quota {
            // The responses to requests in flight may report a larger quota.
            return Err(reset_at.min(now + QUOTA_CHECK_INTERVAL));
        }
        match budget.limiter.check() {
            Ok(()) => {
                budget.last = Some(now);
                budget.in_flight_requests += 1;
                if let Some((remaining, _)) = &mut budget.quota {
                    *remaining -= 1;
                }
                Ok(())
            }
            Err(not_until) => Err(now
                + Duration::from(
                    not_until
                        .earliest_possible()
                        .duration_since(self.clock.now()),
                )),
        }
    }

    /// Returns the configured and the current rate, in requests per second.
    #[must_use]
    pub(crate) fn per_second(&self) -> (f64, f64) {
        let budget = self.budget();
        (budget.configured / 60.0, budget.rate(Instant::now) / 60.0)
    }

    /// Records the vendor's quota from a response whose request still counts as in flight.
    ///
    /// It may not count the other requests in flight yet, so they are subtracted.
    pub(crate) fn record_quota(&self, remaining: u64, reset: Duration) {
        let mut budget = self.budget();
        let others = budget.in_flight_requests.saturating_sub(1);
        budget.quota = Some((
            remaining.saturating_sub(others),
            Instant::now() + reset.min(MAX_PAUSE),
        ));
    }

    /// Pauses the account for `wait`, at most an hour, and returns how long it is paused from now.
    ///
    /// An earlier pause that ends later is kept.
    pub fn pause(&self, wait: Duration) -> Duration {
        self.budget().pause(wait)
    }

    /// Pauses the account after a 429, halves its rate, and returns the length of the pause.
    ///
    /// The pause is what the vendor requests. Otherwise it is a random part of a time that doubles
    /// with each consecutive 429.
    ///
    /// `since` is when the refused request got its permit. The rate is halved once for all requests
    /// that were in flight with it.
    pub(crate) fn back_off(&self, since: Instant, wait: Option<Duration>) -> Duration {
        let now = Instant::now();
        let mut budget = self.budget();
        let rate = budget.rate(|| now);
        let halved = budget.reduced.is_some_and(|(_, at)| since <= at);
        let rate = if halved {
            rate
        } else {
            (rate / 2.0).max(MIN_RATE)
        };
        budget.reduced = Some((rate, now));
        let ceiling = INITIAL_BACKOFF
            .saturating_mul(1 << budget.consecutive_429s.min(6))
            .min(MAX_BACKOFF);
        budget.consecutive_429s = budget.consecutive_429s.saturating_add(1);
        let wait = wait.unwrap_or_else(|| ceiling.mul_f64(budget.random.f64()));
        budget.pause(wait)
    }

    /// Returns the state that survives the process, as of `date`.
    #[must_use]
    pub(crate) fn snapshot(&self, date: Timestamp) -> LimiterSnapshot {
        let now = Instant::now();
        let budget = self.budget();
        LimiterSnapshot {
            paused_until: budget
                .paused_until
                .filter(|until| *until > now)
                .map(|until| date + (until - now)),
            reduced: budget
                .reduced
                .filter(|_| budget.rate(|| now) < budget.configured)
                .map(|(rate, at)| (rate, date - (now - at))),
            consecutive_429s: budget.consecutive_429s,
        }
    }

    /// Restores the state that an earlier process saved, and returns how long the account is still
    /// paused.
    ///
    /// The first request waits for a whole period, because the time of the last one is unknown. The
    /// earlier process may have been killed, and the machine's date may have changed since.
    pub(crate) fn restore(&self, snapshot: Option<&LimiterSnapshot>, date: Timestamp) -> Duration {
        let now = Instant::now();
        let mut budget = self.budget();
        budget.last = Some(now);
        let Some(snapshot) = snapshot else {
            return Duration::ZERO;
        };
        budget.consecutive_429s = snapshot.consecutive_429s;
        budget.reduced = snapshot
            .reduced
            .filter(|(rate, _)| rate.is_finite())
            .map(|(rate, at)| {
                let at = now.checked_sub(until(at, date)).unwrap_or(now);
                (rate.clamp(MIN_RATE, budget.configured.max(MIN_RATE)), at)
            });
        let pause = snapshot.paused_until.map(|end| until(date, end));
        pause
            .filter(|pause| !pause.is_zero())
            .map_or(Duration::ZERO, |pause| budget.pause(pause))
    }

    /// Resets the count of 429s. Called after each response other than a 429 or a 503.
    pub(crate) fn reset_backoff(&self) {
        self.budget().consecutive_429s = 0;
    }
}

impl Budget {
    /// Returns the current rate in requests per minute.
    ///
    /// It is the rate after the last 429, plus what has grown back since.
    fn rate(&self, now: impl FnOnce() -> Instant) -> f64 {
        let Some((reduced, at)) = self.reduced else {
            return self.configured;
        };
        let grows = now()
            .saturating_duration_since(at)
            .saturating_sub(GROW_AFTER);
        (reduced + self.configured * GROW_PER_MINUTE * grows.as_secs_f64() / 60.0)
            .min(self.configured)
    }

    fn pause(&mut self, wait: Duration) -> Duration {
        let now = Instant::now();
        let until = now + wait.min(MAX_PAUSE);
        let until = self
            .paused_until
            .map_or(until, |earlier| earlier.max(until));
        self.paused_until = Some(until);
        until - now
    }
}

fn period(rate: f64) -> Duration {
    Duration::from_secs_f64(60.0 / rate)
}

/// Creates a limiter of one request per period.
///
/// `Quota::per_minute` takes whole numbers only, but a reduced rate has a fraction. There are no
/// bursts, because others share the quota.
fn limiter(rate: f64, clock: &TokioClock) -> Limiter {
    // A rate is between one and a million per minute, so the period is never 0.
    let quota = Quota::with_period(period(rate)).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
    RateLimiter::direct_with_clock(quota.allow_burst(NonZeroU32::MIN), clock.clone())
}

#[cfg(test)]
mod tests;
