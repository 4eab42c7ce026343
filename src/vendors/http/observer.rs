//! What a client tells whoever counts its requests and keeps its pauses.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::{LimiterSnapshot, Quota};
use crate::model::listing::UnknownValues;

/// Is told what happens to the requests and the tokens of one account.
pub trait ClientObserver: fmt::Debug + Send + Sync {
    /// A request waited for this long before it could be sent.
    fn waited(&self, _time: Duration) {}

    /// A request was sent, and its answer ended, or did not come; without an answer there is no status.
    fn requested(&self, _endpoint: &'static str, _status: Option<u16>, _took: Duration) {}

    /// An answer told of a quota.
    fn quota(&self, _quota: &Quota, _now: Timestamp) {}

    /// An answer had the status 429.
    fn rate_limited(&self) {}

    /// The account pauses until then; the snapshot is what has to outlive the process.
    fn paused(&self, _until: Timestamp, _snapshot: LimiterSnapshot) {}

    /// An answer beside the listings held values that no document of the vendor's knows.
    fn unknown(&self, _values: &UnknownValues) {}

    /// A token that we use expires then; `renewable` if we renew it.
    fn credential_expires(&self, _credential: &str, _at: Timestamp, _renewable: bool) {}

    /// A token is no longer used.
    fn credential_gone(&self, _credential: &str) {}
}

/// Observes nothing.
impl ClientObserver for () {}
