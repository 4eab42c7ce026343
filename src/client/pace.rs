//! The one place that paces an account: its limiter, its pauses, and the order of those who wait.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep_until};

/// No pause is longer, whatever the vendor says: a date a year ahead would end the polling in silence.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_mins(1);

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
pub struct Pace {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>,
    clock: TokioClock,
    /// Held by whoever is next. tokio's mutex is first come, first served: so a target with hundreds of
    /// pages takes turns with the others of its account.
    turn: tokio::sync::Mutex<()>,
    pauses: Mutex<Pauses>,
}

#[derive(Debug)]
struct Pauses {
    until: Option<Instant>,
    /// 429 answers in a row.
    refused: u32,
    random: fastrand::Rng,
}

impl Pace {
    /// A pace of this many requests a minute, with no burst; `seed` draws the jitter.
    #[must_use]
    pub fn new(requests_per_minute: NonZeroU32, seed: u64) -> Self {
        let clock = TokioClock(Instant::now());
        // per_minute allows a burst of a whole minute, which is what a shared quota must not see.
        let quota = Quota::per_minute(requests_per_minute).allow_burst(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
            turn: tokio::sync::Mutex::new(()),
            pauses: Mutex::new(Pauses {
                until: None,
                refused: 0,
                random: fastrand::Rng::with_seed(seed),
            }),
        }
    }

    fn pauses(&self) -> MutexGuard<'_, Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent, and says how long that took.
    pub async fn turn(&self) -> Duration {
        let begun = Instant::now();
        let _turn = self.turn.lock().await;
        loop {
            // A pause can begin or grow while one waits for it.
            if let Some(until) = self.paused_until() {
                sleep_until(until).await;
                continue;
            }
            match self.limiter.check() {
                Ok(()) => return begun.elapsed(),
                Err(not_until) => {
                    let wait: Duration = not_until
                        .earliest_possible()
                        .duration_since(self.clock.now())
                        .into();
                    sleep_until(Instant::now() + wait).await;
                }
            }
        }
    }

    /// When the running pause ends; `None` if there is none.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.pauses().until.filter(|until| *until > Instant::now())
    }

    /// Pauses the account for at least this long, and returns how long that is after the cap.
    pub fn pause(&self, wait: Duration) -> Duration {
        let until = Instant::now() + wait.min(LONGEST_PAUSE);
        let mut pauses = self.pauses();
        let until = pauses.until.map_or(until, |earlier| earlier.max(until));
        pauses.until = Some(until);
        until - Instant::now()
    }

    /// Pauses the account after a 429: for as long as the vendor said, else for a random part of a time
    /// that doubles with each 429 in a row.
    pub fn back_off(&self, wait: Option<Duration>) -> Duration {
        let wait = {
            let mut pauses = self.pauses();
            let ceiling = FIRST_BACK_OFF
                .saturating_mul(1 << pauses.refused.min(6))
                .min(LONGEST_BACK_OFF);
            pauses.refused = pauses.refused.saturating_add(1);
            wait.unwrap_or_else(|| ceiling.mul_f64(pauses.random.f64()))
        };
        self.pause(wait)
    }

    /// Notes an answer that was not a 429.
    pub fn answered(&self) {
        self.pauses().refused = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pace(requests_per_minute: u32) -> Pace {
        Pace::new(NonZeroU32::new(requests_per_minute).unwrap(), 1)
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_sees_more_than_the_budget() {
        let pace = pace(30);
        let mut sent = Vec::new();
        for _ in 0..200 {
            pace.turn().await;
            sent.push(Instant::now());
        }
        for window in sent.windows(31) {
            assert!(window[30] - window[0] >= Duration::from_mins(1));
        }
        assert!(
            sent[199] - sent[0] <= Duration::from_secs(2 * 199 + 1),
            "and the budget can be used up"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_back_everybody_and_a_longer_one_wins() {
        let pace = pace(6000);
        pace.pause(Duration::from_secs(10));
        pace.pause(Duration::from_secs(5));
        let begun = Instant::now();
        pace.turn().await;
        assert!(begun.elapsed() >= Duration::from_secs(10));
        assert!(pace.paused_until().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_pause_is_longer_than_an_hour() {
        assert_eq!(
            pace(60).back_off(Some(Duration::from_hours(8760))),
            Duration::from_hours(1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_word_from_the_vendor_the_wait_doubles_up_to_a_minute() {
        let pace = pace(60);
        let mut ceiling = FIRST_BACK_OFF;
        for _ in 0..10 {
            tokio::time::advance(LONGEST_BACK_OFF).await;
            assert!(pace.back_off(None) <= ceiling);
            ceiling = (ceiling * 2).min(LONGEST_BACK_OFF);
        }
        assert_eq!(pace.pauses().refused, 10);
        pace.answered();
        assert_eq!(pace.pauses().refused, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_first_goes_first() {
        let pace = Arc::new(pace(60));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for target in ["many pages", "one page", "another"] {
            let (pace, order) = (pace.clone(), order.clone());
            tasks.spawn(async move {
                for _ in 0..if target == "many pages" { 10 } else { 1 } {
                    pace.turn().await;
                    order.lock().unwrap().push(target);
                }
            });
            tokio::task::yield_now().await;
        }
        tasks.join_all().await;
        // The first task got its first turn before the others came, and waits for its second.
        let expected = [
            "many pages",
            "many pages",
            "one page",
            "another",
            "many pages",
        ];
        assert_eq!(order.lock().unwrap()[..5], expected);
    }
}
