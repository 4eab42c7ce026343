//! Outcomes of a target's most recent polls, in compact form.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::error::Reason;
use crate::model::history::Second;
use crate::model::state::PollOutcome;

/// Number of polls that are kept for each target.
const KEPT_POLLS: usize = 20;

/// Outcomes of the last `KEPT_POLLS` polls, from the oldest to the latest.
///
/// Clones share the memory: a poller, the inventory and a snapshot hold it once. It is 176 bytes
/// for each target.
#[derive(Debug, Clone, Default)]
pub struct RecentPolls(Option<Arc<[RecentPoll]>>);

/// Outcome of one poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecentPoll {
    /// End of the poll.
    pub(crate) at: Second,
    /// Duration in hundredths of a second, at most [`MAX_DURATION`](Self::MAX_DURATION).
    hundredths: u16,
    /// Reason of the failure; `None` if the poll succeeded.
    pub(crate) reason: Option<Reason>,
}

impl RecentPolls {
    /// Returns the polls after one more.
    #[must_use]
    pub(crate) fn with(&self, poll: &PollOutcome) -> Self {
        let poll = RecentPoll {
            at: poll.at.into(),
            hundredths: u16::try_from(poll.duration.as_millis() / 10).unwrap_or(u16::MAX),
            reason: poll.error.as_ref().map(|error| error.reason),
        };
        let before = self.polls();
        let kept = &before[(before.len() + 1).saturating_sub(KEPT_POLLS)..];
        Self(Some(kept.iter().copied().chain([poll]).collect()))
    }

    /// Returns the polls, from the oldest to the latest.
    #[must_use]
    pub(crate) fn polls(&self) -> &[RecentPoll] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl RecentPoll {
    /// Longest duration that is recorded: almost 11 minutes.
    pub(crate) const MAX_DURATION: Duration = Duration::from_millis(10 * u16::MAX as u64);

    /// Returns the duration, rounded down to a hundredth of a second.
    #[must_use]
    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(10 * u64::from(self.hundredths))
    }

    /// Returns the end of the poll.
    #[must_use]
    pub(crate) fn date(self) -> Timestamp {
        self.at.date()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::PollError;

    fn outcome(second: i64, duration: Duration, reason: Option<Reason>) -> PollOutcome {
        PollOutcome {
            at: Timestamp::from_second(second).unwrap(),
            duration,
            error: reason.map(|reason| PollError::new(reason, "e", "d")),
        }
    }

    #[test]
    fn the_last_polls_are_kept_in_order_and_small() {
        let mut recent = RecentPolls::default();
        for second in 1..=25 {
            let reason = (second == 24).then_some(Reason::Timeout);
            recent = recent.with(&outcome(second, Duration::from_millis(1234), reason));
        }
        let polls = recent.polls();
        let seconds: Vec<_> = polls.iter().map(|poll| poll.date().as_second()).collect();
        assert_eq!(seconds, (6..=25).collect::<Vec<_>>());
        let failed: Vec<_> = polls.iter().map(|poll| poll.reason).collect();
        assert_eq!(failed[18..], [Some(Reason::Timeout), None]);
        assert_eq!(polls[0].duration(), Duration::from_millis(1230));
        assert_eq!(size_of::<RecentPoll>(), 8);
    }

    #[test]
    fn a_very_long_poll_has_the_longest_duration() {
        let recent = RecentPolls::default();
        let recent = recent.with(&outcome(1, Duration::from_hours(1), None));
        assert_eq!(recent.polls()[0].duration(), RecentPoll::MAX_DURATION);
    }
}
