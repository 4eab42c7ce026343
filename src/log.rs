//! How somebody else's text looks in a line of ours.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Reason;

/// The most connections or targets that are named one by one, each in a line of its own.
pub const MOST_NAMES: usize = 20;

/// How often a failure that goes on is logged.
const LOG_AGAIN: Duration = Duration::from_hours(1);

/// Failures in a row of something that is tried again and again.
#[derive(Debug, Default)]
pub struct Repeated {
    failures: u64,
    /// When each reason was logged last.
    logged: BTreeMap<Reason, Instant>,
}

impl Repeated {
    /// Counts a failure. `Some` with the number in a row if it is to be logged: once an hour for each reason.
    pub fn failed(&mut self, reason: Reason) -> Option<u64> {
        let now = Instant::now();
        self.failures += 1;
        let recently = |at: &Instant| now - *at < LOG_AGAIN;
        if self.logged.get(&reason).is_some_and(recently) {
            return None;
        }
        self.logged.insert(reason, now);
        Some(self.failures)
    }

    /// Ends the row, and returns how many failures it had.
    pub fn succeeded(&mut self) -> u64 {
        std::mem::take(self).failures
    }
}

/// A vendor's text for a log line: control characters escaped, and not longer than people read.
pub struct ForLog<'a>(pub &'a str);

impl fmt::Display for ForLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut: String = self.0.chars().take(100).collect();
        write!(
            f,
            "{}{}",
            cut.escape_debug(),
            if cut.len() < self.0.len() { "…" } else { "" }
        )
    }
}

/// A sentence that may quote somebody's file: control characters escaped, so that it stays one line.
pub struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(f, "{}", c.escape_debug()),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_goes_on_is_logged_once_an_hour_and_another_reason_at_once() {
        let mut repeated = Repeated::default();
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

    #[test]
    fn a_name_in_the_log_is_one_line_and_short() {
        assert_eq!(ForLog("a\nb\u{1b}[31m").to_string(), "a\\nb\\u{1b}[31m");
        assert_eq!(OneLine("\"a\"\nb").to_string(), "\"a\"\\nb");
        assert_eq!(ForLog(&"é".repeat(200)).to_string().chars().count(), 101);
    }
}
