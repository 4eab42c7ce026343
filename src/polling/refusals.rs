//! Back-off after refusals, for the polls of a target and for the discovery of an account.

use tokio::time::Instant;

use crate::polling::schedule::Schedule;
use crate::vendors::Source;

/// Consecutive refusals, until an attempt succeeds or the credential changes.
///
/// A refused credential is still wrong an interval later, but another one is tried at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refusals {
    count: u32,
    credential: Option<u64>,
    /// End of the back-off; `None` without refusals.
    pub(super) until: Option<Instant>,
}

impl Refusals {
    /// Records that the attempt at `at` failed with this credential.
    ///
    /// A refusal doubles the back-off. Any other failure repeats it.
    pub(super) fn failed(
        &mut self,
        refused: bool,
        credential: Option<u64>,
        at: Instant,
        schedule: &Schedule,
    ) {
        if self.credential != credential {
            self.count = 0;
        }
        self.credential = credential;
        self.count += u32::from(refused);
        self.until = (self.count > 0).then(|| at + schedule.after_refusals(self.count));
    }

    /// Returns whether an attempt at `at` is skipped.
    pub(super) async fn skip(&self, at: Instant, source: &dyn Source, target: &str) -> bool {
        self.until.is_some_and(|until| at < until)
            && source.credential(target).await == self.credential
    }
}
