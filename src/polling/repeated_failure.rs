//! Limit on how often a failure that continues is logged.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::error::Reason;

/// Time between two log lines for one reason.
const LOG_AGAIN: Duration = Duration::from_hours(1);

/// Consecutive failures of an operation that is retried.
#[derive(Debug, Default)]
pub(super) struct RepeatedFailure {
    failures: u64,
    /// When each reason was last logged.
    logged: BTreeMap<Reason, Instant>,
}

impl RepeatedFailure {
    /// Counts a failure.
    ///
    /// Returns the number of consecutive failures if this one is to be logged: once an hour for
    /// each reason.
    pub(super) fn failed(&mut self, reason: Reason) -> Option<u64> {
        let now = Instant::now();
        self.failures += 1;
        let recently = |at: &Instant| now - *at < LOG_AGAIN;
        if self.logged.get(&reason).is_some_and(recently) {
            return None;
        }
        self.logged.insert(reason, now);
        Some(self.failures)
    }

    /// Resets the count, and returns it.
    pub(super) fn succeeded(&mut self) -> u64 {
        std::mem::take(self).failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_goes_on_is_logged_once_an_hour_and_another_reason_at_once() {
        let mut repeated = RepeatedFailure::default();
        let mut logged = Vec::new();
        for minute in 0..180 {
            let reason = match minute {
                30..40 => Reason::Timeout,
                _ => Reason::ServerError,
            };
            if repeated.failed(reason).is_some() {
                logged.push(minute);
            }
            tokio::time::advance(Duration::from_mins(1)).await;
        }
        assert_eq!(logged, [0, 30, 60, 120]);
        assert_eq!(repeated.succeeded(), 180);
        assert_eq!(repeated.succeeded(), 0);
        assert_eq!(repeated.failed(Reason::Timeout), Some(1));
    }
}
