//! The wall clock as an argument: it returns dates, while waiting is left to tokio.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Source of the current date.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Creates a clock that returns what `now` returns.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the system clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// Returns a clock that starts at `start` and advances with tokio's time, paused or not.
    #[must_use]
    pub fn from_tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        Self::new(move || start + origin.elapsed())
    }

    /// Returns the current date.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Returns the time from `now` to `then`; zero if `then` is not later.
#[must_use]
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    then.duration_since(now).try_into().unwrap_or_default()
}

/// Returns the seconds since 1970, the unit of dates in Prometheus samples.
#[must_use]
pub fn seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}
