//! Interface through which a client reports its requests, quotas and pauses.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::{LimiterSnapshot, Quota};
use crate::model::entity::TenantEntity;
use crate::model::listing::UnknownValues;

/// Observer of the requests and tokens of one account.
pub trait ClientObserver: fmt::Debug + Send + Sync {
    /// Called when a request has waited this long before it is sent.
    fn waited(&self, _time: Duration) {}

    /// Called when a request has ended; without a response there is no status.
    fn requested(&self, _endpoint: &'static str, _status: Option<u16>, _took: Duration) {}

    /// Called when a response reports a quota.
    fn quota(&self, _quota: &Quota, _now: Timestamp) {}

    /// Called when a response has status 429.
    fn rate_limited(&self) {}

    /// Called when the account pauses until this time.
    ///
    /// The snapshot must survive the process.
    fn paused(&self, _until: Timestamp, _snapshot: LimiterSnapshot) {}

    /// Called when a response other than a listing has values that the vendor does not document.
    fn unknown(&self, _values: &UnknownValues) {}

    /// Called with all entities of the tenant.
    ///
    /// `unreached` is the number of entities that are to be polled and that the credential cannot
    /// access; `None` if the configuration names the entities to poll.
    fn entities(&self, _entities: &[TenantEntity], _unreached: Option<usize>) {}

    /// Called with the expiry of a token, and whether the exporter renews it.
    fn credential_expires(&self, _credential: &str, _at: Timestamp, _renewable: bool) {}

    /// Called when a token is no longer used.
    fn credential_gone(&self, _credential: &str) {}
}

/// Observer that ignores everything.
impl ClientObserver for () {}
