//! Back-off of the polls of a target, and of the discovery of an account.

use tokio::time::Instant;

use crate::polling::schedule::Schedule;
use crate::vendors::Source;

/// Failures that count for the back-off, until an attempt succeeds or the credential changes.
///
/// A poll counts rejected credentials. A discovery counts permanent errors and, if it requests only
/// names, all errors. Another credential is tried at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    count: u32,
    credential: Option<u64>,
    /// End of the back-off; `None` if no failure counts.
    pub(super) until: Option<Instant>,
}

impl Backoff {
    /// Records that the attempt at `at` failed with this credential.
    ///
    /// A failure that counts doubles the back-off. Any other failure repeats it.
    pub(super) fn record_failure(
        &mut self,
        counts: bool,
        credential: Option<u64>,
        at: Instant,
        schedule: &Schedule,
    ) {
        if self.credential != credential {
            self.count = 0;
        }
        self.credential = credential;
        self.count += u32::from(counts);
        self.until = (self.count > 0).then(|| at + schedule.backoff_after(self.count));
    }

    /// Returns whether an attempt at `at` is skipped.
    pub(super) async fn is_active(&self, at: Instant, source: &dyn Source, target: &str) -> bool {
        self.until.is_some_and(|until| at < until)
            && source.credential(target).await == self.credential
    }
}
