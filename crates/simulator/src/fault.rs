//! How the simulated APIs fail, and when.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;

use super::Call;

/// One way to fail. Written as a query string: `kind=429&retry_after=30&endpoint=connections_all&times=2`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// Only to this call: `oauth_token`, `entities`, `entity_connections` or `connections_all`.
    pub endpoint: Option<String>,
    /// Only to this entity or integration.
    pub target: Option<String>,
    /// Only to this page, from 1.
    pub page: Option<u32>,
    /// Only so many times.
    pub times: Option<u32>,
    /// With a 429 or a 503: `30`, `date:30`, `epoch:30` (a date in seconds since 1970) or `reset:30` (in
    /// `ratelimit-reset`), in seconds.
    #[serde(default, deserialize_with = "retry_after")]
    pub retry_after: Option<RetryAfter>,
    /// With `refuse`: Zuora's code; default 50000030. With `html`: the status; default 200.
    pub code: Option<u32>,
}

/// What happens.
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
    /// No answer at all.
    Hang,
    /// The connection is reset.
    Reset,
    /// A byte now and then.
    Drip,
    /// Half of the body, and the end of the connection.
    Truncate,
    /// A proxy's or a firewall's page.
    Html,
    /// JSON whose types are wrong.
    WrongTypes,
    /// Zuora's `success: false`, with 200.
    Refuse,
    /// A `nextPage` on another host, though there is none.
    ForeignNextPage,
    /// The page before, again and again.
    RepeatCursor,
    /// New rows without end.
    Endless,
    /// 401: the token ended early.
    ExpiredToken,
    /// 401: the token was revoked.
    RevokedToken,
}

/// When to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// `Retry-After` in seconds.
    Seconds(u64),
    /// `Retry-After` as a date, so many seconds ahead.
    Date(u64),
    /// `Retry-After` as a date in seconds since 1970, so many seconds ahead.
    Epoch(u64),
    /// Only `ratelimit-reset`.
    Reset(u64),
}

impl Fault {
    /// This kind of fault, at every request.
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
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_urlencoded::from_str(text).map_err(|error| {
            format!("expected a fault such as kind=429&retry_after=30&times=2: {error}")
        })
    }
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

/// The first fault that concerns the call, used once.
pub(super) fn take(faults: &mut [Fault], call: &Call<'_>) -> Option<Fault> {
    let fault = faults.iter_mut().find(|fault| fault.concerns(call))?;
    fault.times = fault.times.map(|times| times - 1);
    Some(fault.clone())
}

pub(super) fn http_date(now: Timestamp, seconds: u64) -> String {
    // No further than the year 9999, where such dates end.
    httpdate::fmt_http_date(
        SystemTime::from(now) + Duration::from_secs(seconds.min(250_000_000_000)),
    )
}
