//! Faults of the simulated APIs: what happens, and to which requests.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;

use super::Call;
use super::rejected::Rejected;

/// A fault, parsed from a query string.
///
/// Example: `kind=429&retry_after=30&endpoint=connections_all&times=2`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Effect of the fault.
    pub kind: Kind,
    /// Applies only to requests with this `endpoint` label, for example `connections_all`.
    #[serde(default, deserialize_with = "endpoint")]
    pub endpoint: Option<String>,
    /// Applies only to requests for this entity or integration.
    pub target: Option<String>,
    /// Applies only to requests for this page, counted from 1.
    pub page: Option<u32>,
    /// Number of requests that it still applies to; `None` for no limit.
    pub times: Option<u32>,
    /// Delay sent with a 429 or a 503, in seconds.
    ///
    /// Its forms are `30`, `date:30`, `epoch:30` (a date in seconds since 1970) and `reset:30` (in
    /// `ratelimit-reset`).
    #[serde(default, deserialize_with = "retry_after")]
    pub retry_after: Option<RetryAfter>,
    /// For `refuse`: error code of Zuora, default 50000030. For `html`: status, default 200.
    pub code: Option<u32>,
}

/// Effect of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// HTTP 429.
    #[serde(rename = "429")]
    TooManyRequests,
    /// HTTP 500.
    #[serde(rename = "500")]
    InternalServerError,
    /// HTTP 503.
    #[serde(rename = "503")]
    ServiceUnavailable,
    /// No response.
    Hang,
    /// The connection is reset.
    Reset,
    /// One byte of the body every 100 ms.
    Drip,
    /// Half of the body, then the end of the connection.
    Truncate,
    /// An HTML page, as a proxy or a firewall sends it.
    Html,
    /// JSON with values of the wrong types.
    WrongTypes,
    /// Zuora: `success: false` with status 200. ZIS: status 403.
    Refuse,
    /// Zuora: a `nextPage` on another host, even on the last page.
    ForeignNextPage,
    /// The same page again and again.
    RepeatCursor,
    /// New rows without end.
    Endless,
    /// 401: the token expired early.
    ExpiredToken,
    /// 401: the token was revoked.
    RevokedToken,
}

/// Delay that a response asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// `Retry-After` in seconds.
    Seconds(u64),
    /// `Retry-After` as an HTTP date, this many seconds ahead.
    Date(u64),
    /// `Retry-After` in seconds since 1970, this many seconds ahead.
    Epoch(u64),
    /// Only `ratelimit-reset`, in seconds.
    Reset(u64),
}

impl Fault {
    /// Creates a fault of this kind that applies to every request.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            endpoint: None,
            target: None,
            page: None,
            times: None,
            retry_after: None,
            code: None,
        }
    }

    fn concerns(&self, call: &Call<'_>) -> bool {
        self.endpoint
            .as_deref()
            .is_none_or(|endpoint| endpoint == call.endpoint)
            && self
                .target
                .as_deref()
                .is_none_or(|target| target == call.target)
            && self.page.is_none_or(|page| page == call.page)
            && self.times != Some(0)
    }
}

impl FromStr for Fault {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        serde_urlencoded::from_str(text).map_err(|error| {
            format!("expected a fault such as kind=429&retry_after=30&times=2: {error}").into()
        })
    }
}

/// Those of [`ENDPOINTS`] that concern one target.
pub(super) const WITH_TARGET: [&str; 3] =
    ["entity_connections", "connections_all", "oauth_clients"];

/// Values of the `endpoint` label of all calls.
const ENDPOINTS: [&str; 9] = [
    "oauth_token",
    "entities",
    "entity_connections",
    "connections_all",
    "integrations",
    "admin_token",
    "integration_token",
    "current_token",
    "oauth_clients",
];

/// Reads an endpoint. A fault of one that does not exist would never happen.
pub(super) fn endpoint<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    if ENDPOINTS.contains(&text.as_str()) {
        return Ok(Some(text));
    }
    let problem = format!("endpoint is one of {}", ENDPOINTS.join(", "));
    Err(serde::de::Error::custom(problem))
}

fn retry_after<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<RetryAfter>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let (make, number): (fn(u64) -> RetryAfter, _) = match text.split_once(':') {
        Some(("date", number)) => (RetryAfter::Date, number),
        Some(("epoch", number)) => (RetryAfter::Epoch, number),
        Some(("reset", number)) => (RetryAfter::Reset, number),
        _ => (RetryAfter::Seconds, text.as_str()),
    };
    let wrong = || {
        serde::de::Error::custom(
            "retry_after is 30, date:30, epoch:30 or reset:30, of at most ten digits",
        )
    };
    let seconds = number
        .parse()
        .ok()
        .filter(|seconds| *seconds < 10_000_000_000);
    seconds.map(|seconds| Some(make(seconds))).ok_or_else(wrong)
}

/// Returns the first fault that applies to a call, and counts its use.
pub(super) fn take(faults: &mut [Fault], call: &Call<'_>) -> Option<Fault> {
    let fault = faults.iter_mut().find(|fault| fault.concerns(call))?;
    fault.times = fault.times.map(|times| times - 1);
    Some(fault.clone())
}

pub(super) fn http_date(now: Timestamp, seconds: u64) -> String {
    // The limit keeps the date before the year 10000, which HTTP dates cannot express.
    httpdate::fmt_http_date(
        SystemTime::from(now) + Duration::from_secs(seconds.min(250_000_000_000)),
    )
}
