//! The one place that paces an account: its limiter, its pauses, and the order of those who wait.

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

/// No pause is longer, whatever the vendor says: a date a year ahead would end the polling in silence.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_mins(1);
/// Requests of one account that are under way at once.
const MOST_IN_FLIGHT: usize = 4;
/// How often to look whether a quota that is spoken for has become free.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After so long behind others, a request in the background waits in line with them: an account that uses its whole budget
/// would else never send it.
const LONGEST_BEHIND: Duration = Duration::from_mins(10);
/// Requests a minute that a storm of 429 leaves.
const LOWEST_RATE: f64 = 1.0;
/// After so long without a 429 the rate grows back, by this part of the configured one a minute.
const GROW_AFTER: Duration = Duration::from_secs(30);
const GROW_PER_MINUTE: f64 = 0.1;

/// governor's clock over tokio's time, which tests can pause; its own `until_ready` cannot be paused.
#[derive(Debug, Clone)]
struct TokioClock(Instant);

impl GovernorClock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

/// Lets one request after another through, never more than the budget, and none during a pause.
#[derive(Debug)]
pub struct RequestLimiter {
    clock: TokioClock,
    in_flight: Semaphore,
    /// Held by whoever is next. tokio's mutex is first come, first served: so a target with hundreds of
    /// pages takes turns with the others of its account.
    turn: tokio::sync::Mutex<()>,
    /// How many wait in line. Requests in the background wait until nobody does.
    waiting: watch::Sender<usize>,
    budget: Mutex<Budget>,
}

/// A place in line.
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
    /// Requests a minute.
    configured: f64,
    paused_until: Option<Instant>,
    /// 429 answers in a row.
    refused: u32,
    /// The rate that the last 429 left, and when that was.
    reduced: Option<(f64, Instant)>,
    /// The limiter, and the rate that it is made for.
    limiter: Limiter,
    rate: f64,
    /// When the last request was let through: a limiter for another rate takes this over.
    last: Option<Instant>,
    /// Requests that were let through and are not over.
    under_way: u64,
    /// What is left of the vendor's quota, less what is under way, and when it is whole again.
    left: Option<(u64, Instant)>,
    random: fastrand::Rng,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

/// What of a pace outlives the process: dates, since the clock that waits does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimiterSnapshot {
    paused_until: Option<Timestamp>,
    /// Requests a minute, and when a 429 left that.
    reduced: Option<(f64, Timestamp)>,
    /// 429 answers in a row.
    refused: u32,
}

/// A request that may be sent now; the place in flight is free again once this is dropped.
#[derive(Debug)]
pub struct Permit<'a> {
    /// How long it waited.
    pub waited: Duration,
    /// When it was let through.
    pub since: Instant,
    pace: &'a RequestLimiter,
    _in_flight: Option<SemaphorePermit<'a>>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.pace.budget().under_way -= 1;
    }
}

impl RequestLimiter {
    /// A pace of this many requests a minute, with no burst; `seed` draws the jitter.
    #[must_use]
    pub fn new(requests_per_minute: NonZeroU32, seed: u64) -> Self {
        let clock = TokioClock(Instant::now());
        let configured = f64::from(requests_per_minute.get());
        let budget = Budget {
            configured,
            paused_until: None,
            refused: 0,
            reduced: None,
            limiter: limiter(configured, &clock),
            rate: configured,
            last: None,
            under_way: 0,
            left: None,
            random: fastrand::Rng::with_seed(seed),
        };
        Self {
            clock,
            in_flight: Semaphore::new(MOST_IN_FLIGHT),
            turn: tokio::sync::Mutex::new(()),
            waiting: watch::Sender::new(0),
            budget: Mutex::new(budget),
        }
    }

    /// From now on, this many requests a minute. What a 429 left of the budget grows back as before.
    pub fn configure(&self, requests_per_minute: NonZeroU32) {
        self.budget().configured = f64::from(requests_per_minute.get());
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock()
    }

    /// Waits until a request may be sent.
    pub async fn acquire(&self) -> Permit<'_> {
        let begun = Instant::now();
        let _waits = QueuePlace::begin(&self.waiting);
        // The place in flight first: one that had its turn and then waited would be sent too late, and
        // the next one too soon after it. The semaphore is never closed.
        let in_flight = self.in_flight.acquire().await.ok();
        let _turn = self.turn.lock().await;
        // A pause can begin or grow, and the rate can change, while one waits.
        while let Err(not_before) = self.try_now() {
            sleep_until(not_before).await;
        }
        Permit {
            waited: begun.elapsed(),
            since: Instant::now(),
            pace: self,
            _in_flight: in_flight,
        }
    }

    /// Waits until a request may be sent and no other one waits for that. It takes no place in flight, so one that hangs keeps
    /// no listing from being sent; an account has one such request at a time.
    pub async fn acquire_in_background(&self) -> Permit<'_> {
        let begun = Instant::now();
        let mut turn = match timeout(LONGEST_BEHIND, self.alone()).await {
            Ok(()) => Permit {
                waited: Duration::ZERO,
                since: Instant::now(),
                pace: self,
                _in_flight: None,
            },
            Err(_) => self.acquire().await,
        };
        turn.waited = begun.elapsed();
        turn
    }

    /// Lets a request through at a moment at which no other one waits.
    async fn alone(&self) {
        let mut waiting = self.waiting.subscribe();
        loop {
            // The sender is ours, so it is never gone.
            let _ = waiting.wait_for(|waiting| *waiting == 0).await;
            match self.try_now() {
                Ok(()) => return,
                Err(not_before) => sleep_until(not_before).await,
            }
        }
    }

    /// Lets a request through now, or says when to ask again.
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
        budget.left = budget.left.filter(|(_, whole_again)| *whole_again > now);
        if let Some((0, whole_again)) = budget.left {
            // Those under way may come back with better news.
            return Err(whole_again.min(now + LOOK_AGAIN));
        }
        match budget.limiter.check() {
            Ok(()) => {
                budget.last = Some(now);
                budget.under_way += 1;
                if let Some((left, _)) = &mut budget.left {
                    *left -= 1;
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

    /// The budget in requests a second: as configured, and as it is now.
    #[must_use]
    pub fn per_second(&self) -> (f64, f64) {
        let budget = self.budget();
        (budget.configured / 60.0, budget.rate(Instant::now) / 60.0)
    }

    /// Notes what an answer, whose request is still under way, told of the vendor's quota. The others under
    /// way are not in that number yet.
    pub fn quota_left(&self, remaining: u64, reset: Duration) {
        let mut budget = self.budget();
        let others = budget.under_way.saturating_sub(1);
        budget.left = Some((
            remaining.saturating_sub(others),
            Instant::now() + reset.min(LONGEST_PAUSE),
        ));
    }

    /// Pauses the account for at least this long, and returns how long that is after the cap.
    pub fn pause(&self, wait: Duration) -> Duration {
        self.budget().pause(wait)
    }

    /// Pauses the account after a 429: for as long as the vendor said, else for a random part of a time
    /// that doubles with each 429 in a row. And halves the rate, once for all who were under way with the
    /// refused request, which was let through at `since`.
    pub fn back_off(&self, since: Instant, wait: Option<Duration>) -> Duration {
        let now = Instant::now();
        let mut budget = self.budget();
        let rate = budget.rate(|| now);
        let halved = budget.reduced.is_some_and(|(_, at)| since <= at);
        let rate = if halved {
            rate
        } else {
            (rate / 2.0).max(LOWEST_RATE)
        };
        budget.reduced = Some((rate, now));
        let ceiling = FIRST_BACK_OFF
            .saturating_mul(1 << budget.refused.min(6))
            .min(LONGEST_BACK_OFF);
        budget.refused = budget.refused.saturating_add(1);
        let wait = wait.unwrap_or_else(|| ceiling.mul_f64(budget.random.f64()));
        budget.pause(wait)
    }

    /// What outlives the process, as of this date.
    #[must_use]
    pub fn snapshot(&self, date: Timestamp) -> LimiterSnapshot {
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
            refused: budget.refused,
        }
    }

    /// Goes on where an earlier process ended, and returns how long the account is still paused.
    ///
    /// When that one sent its last request is not known: it may have been killed, and the date may have been
    /// set since. So the first request waits for a whole period.
    pub fn resume(&self, snapshot: Option<&LimiterSnapshot>, date: Timestamp) -> Duration {
        let now = Instant::now();
        let mut budget = self.budget();
        budget.last = Some(now);
        let Some(snapshot) = snapshot else {
            return Duration::ZERO;
        };
        budget.refused = snapshot.refused;
        budget.reduced = snapshot
            .reduced
            .filter(|(rate, _)| rate.is_finite())
            .map(|(rate, at)| {
                let at = now.checked_sub(until(at, date)).unwrap_or(now);
                (
                    rate.clamp(LOWEST_RATE, budget.configured.max(LOWEST_RATE)),
                    at,
                )
            });
        let left = snapshot.paused_until.map(|end| until(date, end));
        left.filter(|left| !left.is_zero())
            .map_or(Duration::ZERO, |left| budget.pause(left))
    }

    /// Notes an answer that was not a 429.
    pub fn reset_backoff(&self) {
        self.budget().refused = 0;
    }
}

impl Budget {
    /// Requests a minute, as of now: what the last 429 left, and what grew back since.
    fn rate(&self, now: impl FnOnce() -> Instant) -> f64 {
        let Some((left, at)) = self.reduced else {
            return self.configured;
        };
        let grows = now()
            .saturating_duration_since(at)
            .saturating_sub(GROW_AFTER);
        (left + self.configured * GROW_PER_MINUTE * grows.as_secs_f64() / 60.0).min(self.configured)
    }

    fn pause(&mut self, wait: Duration) -> Duration {
        let now = Instant::now();
        let until = now + wait.min(LONGEST_PAUSE);
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

/// One request each period: `Quota::per_minute` would allow a burst of a whole minute, which is what a
/// shared quota must not see.
fn limiter(rate: f64, clock: &TokioClock) -> Limiter {
    // A rate is at least one a minute and at most a million, so the period is never 0.
    let quota = Quota::with_period(period(rate)).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
    RateLimiter::direct_with_clock(quota.allow_burst(NonZeroU32::MIN), clock.clone())
}

#[cfg(test)]
mod tests;
