//! Recent polls of a target, as a row of bars.

use std::fmt::Write as _;

use super::format::Count;
use crate::model::recent::RecentPolls;

/// Width of a bar with the gap after it, and without it, in pixels.
const STEP: usize = 5;
const BAR: usize = 3;

/// Recent polls as the paths of an inline SVG, from the oldest to the latest.
///
/// Each run of equal outcomes is one line, which the style sheet dashes into bars: that is short,
/// and the page has one such image for each target.
#[derive(Debug)]
pub(super) struct PollBars {
    /// Path of the successful polls.
    pub(super) good: String,
    /// Path of the failed polls.
    pub(super) bad: String,
    polls: usize,
    pub(super) failed: usize,
}

impl PollBars {
    pub(super) fn of(recent: &RecentPolls) -> Self {
        let polls = recent.polls();
        let (mut good, mut bad, mut failed) = (String::new(), String::new(), 0);
        let mut begin = 0;
        for run in polls.chunk_by(|a, b| a.reason.is_some() == b.reason.is_some()) {
            let is_bad = run[0].reason.is_some();
            let path = if is_bad { &mut bad } else { &mut good };
            failed += if is_bad { run.len() } else { 0 };
            let length = (run.len() - 1) * STEP + BAR;
            let _ = write!(path, "M{} 8h{length}", begin * STEP);
            begin += run.len();
        }
        Self {
            good,
            bad,
            polls: polls.len(),
            failed,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.polls == 0
    }

    /// Text alternative of the bars.
    pub(super) fn label(&self) -> String {
        match (self.failed, self.polls) {
            (0, 1) => "the last poll succeeded".to_owned(),
            (1, 1) => "the last poll failed".to_owned(),
            (0, polls) => format!("the last {} succeeded", Count(polls, "poll")),
            (failed, polls) => format!("{failed} of the last {} failed", Count(polls, "poll")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::model::error::{PollError, Reason};
    use crate::model::state::PollOutcome;

    #[test]
    fn runs_of_polls_are_lines_from_the_oldest_to_the_latest() {
        let mut recent = RecentPolls::default();
        for failed in [false, false, true, false] {
            recent = recent.with(&PollOutcome {
                at: Timestamp::UNIX_EPOCH,
                duration: Duration::ZERO,
                error: failed.then(|| PollError::new(Reason::Tls, "e", "d")),
            });
        }
        let bars = PollBars::of(&recent);
        assert_eq!(bars.good, "M0 8h8M15 8h3");
        assert_eq!(bars.bad, "M10 8h3");
        assert_eq!(bars.label(), "1 of the last 4 polls failed");
        assert!(PollBars::of(&RecentPolls::default()).is_empty());
    }
}
