//! Interface through which a client reports its requests, quotas and pauses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode, Version};
use jiff::Timestamp;

use super::{LimiterSnapshot, Quota};
use crate::model::entity::TenantEntity;
use crate::model::error::{PollError, Reason};
use crate::model::listing::UnknownValues;
use crate::vendors::account::AccountConfig;

/// A request and what came back.
///
/// It does not implement `Debug`, because both can hold credentials.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// Name of the call, as in the `endpoint` label.
    pub endpoint: &'static str,
    /// The request, with its credential.
    pub request: &'a reqwest::Request,
    /// Time from sending the request to the end of the body.
    pub took: Duration,
    /// The response, or why there was none.
    pub outcome: Result<RawResponse<'a>, Reason>,
}

/// A response as it was received, of any status.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "each field is what HTTP calls it")]
pub struct RawResponse<'a> {
    pub status: StatusCode,
    pub version: Version,
    pub headers: &'a HeaderMap,
    /// Decompressed body, up to its maximum size.
    pub body: &'a [u8],
    /// Whether the body could not be read to its end.
    pub is_cut_off: bool,
}

/// Adds an observer to each account. Only `check --report` does.
pub trait ObserveAccounts: fmt::Debug + Send + Sync {
    /// Returns the observer of an account that is about to start.
    fn observer(&self, account: &AccountConfig) -> Arc<dyn ClientObserver>;
}

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

    /// Returns whether [`exchanged`](Self::exchanged) is to be called.
    fn wants_exchanges(&self) -> bool {
        false
    }

    /// Called with each request and its response. Whatever it keeps can hold secrets.
    fn exchanged(&self, _exchange: Exchange<'_>) {}

    /// Called when a background job of a target is planned for the first time.
    fn job_planned(&self) {}

    /// Called when a background job has run for the first time.
    fn job_ended(&self, _job: &'static str, _error: Option<&PollError>) {}
}

/// Observer that ignores everything.
impl ClientObserver for () {}
