//! HTTP client of one account: rate limit, pauses, headers, and responses or [`PollError`]s.

mod body;
mod dns;
mod gzip;
mod html;
mod limiter;
mod observer;
mod proxy;
mod quota;
mod response;
mod retry_after;
mod tls_error;
mod transport;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use reqwest::{RequestBuilder, Url};
use tokio::time::{Instant, timeout};

pub use limiter::{LimiterSnapshot, RequestLimiter};
pub use observer::{ClientObserver, Exchange, ObserveAccounts, RawResponse};
pub use quota::{Quota, number, ratelimit};
pub(crate) use response::offload;
pub use response::{NewToken, VendorError, VendorResponse};
#[cfg(any(test, fuzzing))]
pub(crate) use retry_after::from_headers as retry_after;
pub use retry_after::reset;
pub(crate) use tls_error::explain;
pub(crate) use transport::find;
pub use transport::{HttpTransport, Transport, TransportError, TransportFactory};

use crate::clock::Clock;
use crate::model::error::{PollError, Reason};
use crate::sanitize::harmless;
use crate::vendors::System;
use crate::vendors::account::{AccountConfig, PollConfig};

/// Maximum size of a response body in bytes, after decompression.
///
/// It is far more than a full page of either vendor.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Maximum size of an error body, in bytes.
///
/// The body only adds vendor codes; the status is enough for the rest.
const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;
/// Maximum time to read an error body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends the requests of one account.
///
/// It is the only place that applies the account's rate limiter, headers and metrics.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    base_url: Url,
    system: &'static System,
    /// Name of the account, for the log.
    account: Arc<str>,
    limiter: Arc<RequestLimiter>,
    observer: Arc<dyn ClientObserver>,
    max_connections: usize,
    clock: Clock,
    in_background: bool,
}

impl Client {
    /// Creates the client of an account.
    #[must_use]
    pub fn new(
        transport: Arc<dyn Transport>,
        account: &AccountConfig,
        poll: &PollConfig,
        limiter: Arc<RequestLimiter>,
        observer: Arc<dyn ClientObserver>,
        clock: Clock,
    ) -> Self {
        Self {
            transport,
            base_url: account.base_url.clone(),
            system: account.system,
            account: account.name.as_str().into(),
            limiter,
            observer,
            max_connections: poll.max_connections,
            clock,
            in_background: false,
        }
    }

    /// Returns this client for requests that no listing waits for.
    ///
    /// Each of them yields to other requests that wait for the rate limiter.
    #[must_use]
    pub(crate) fn in_background(&self) -> Self {
        Self {
            in_background: true,
            ..self.clone()
        }
    }

    /// Returns the maximum number of connections in a listing.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// Returns the observer of this client's requests.
    #[must_use]
    pub(crate) fn observer(&self) -> &dyn ClientObserver {
        &*self.observer
    }

    /// Returns the wall clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Starts a GET request for a path on the account's host.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.transport.begin(Method::GET, self.url(path))
    }

    /// Starts a POST request for a path on the account's host.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.transport.begin(Method::POST, self.url(path))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(path);
        url
    }

    /// Sends the request, and retries it once after a transport error that allows it.
    ///
    /// Each attempt waits for the rate limiter.
    async fn send_with_retry(
        &self,
        endpoint: &'static str,
        request: RequestBuilder,
    ) -> Result<Received, PollError> {
        let again = request.try_clone();
        match (self.send_once(endpoint, request).await, again) {
            (Err((true, _)), Some(again)) => self.send_once(endpoint, again).await,
            (result, _) => result,
        }
        .map_err(|(_, error)| error)
    }

    /// Waits for a permit, sends the request, and reads the response, for any status.
    ///
    /// A 429 or an exhausted quota pauses the account, and so does a 503 with `Retry-After` or
    /// `ratelimit-reset`. The error includes whether the request may be retried.
    async fn send_once(
        &self,
        endpoint: &'static str,
        request: RequestBuilder,
    ) -> Result<Received, (bool, PollError)> {
        let permit = if self.in_background {
            self.limiter.acquire_in_background().await
        } else {
            self.limiter.acquire().await
        };
        self.observer.waited(permit.waited);
        let observed = self.observer.wants_exchanges();
        let asked = observed
            .then(|| request.try_clone()?.build().ok())
            .flatten();
        let begun = Instant::now();
        let (code, result) = match self.transport.send(request).await {
            Ok(incoming) => {
                let status = incoming.status();
                let asked = asked.as_ref().map(|asked| (asked, begun));
                let result = self.read_response(endpoint, incoming, permit.since, asked);
                let result = result.await;
                (Some(status), result.map_err(|error| (false, error)))
            }
            Err(failure) => {
                if let Some(request) = &asked {
                    self.observer.exchanged(Exchange {
                        endpoint,
                        request,
                        took: begun.elapsed(),
                        outcome: Err(failure.reason),
                    });
                }
                let retryable = failure.retryable;
                (None, Err((retryable, failure.into_poll_error(endpoint))))
            }
        };
        self.observer
            .requested(endpoint, code.map(|c| c.as_u16()), begun.elapsed());
        result
    }

    /// Reads the body, up to its maximum size.
    ///
    /// If the body of an error response cannot be read, only the vendor's error codes are missing.
    /// `asked` is the request and when it was sent, for an observer that wants them.
    async fn read_response(
        &self,
        endpoint: &'static str,
        mut incoming: reqwest::Response,
        since: Instant,
        asked: Option<(&reqwest::Request, Instant)>,
    ) -> Result<Received, PollError> {
        let status = incoming.status();
        self.apply_rate_limit_headers(status, incoming.headers(), since);
        let request_id = incoming
            .headers()
            .get(self.system.request_id_header)
            .and_then(|v| v.to_str().ok())
            .and_then(harmless);
        let mut body = Vec::new();
        let (failure, is_cut_off) = if is_good(status) {
            let read = body::read(&mut incoming, &mut body, MAX_BODY_BYTES).await;
            let is_cut_off = read.is_err();
            (read.err(), is_cut_off)
        } else {
            let read = body::read(&mut incoming, &mut body, MAX_ERROR_BODY_BYTES);
            let read = timeout(ERROR_BODY_TIMEOUT, read).await;
            (None, !matches!(read, Ok(Ok(()))))
        };
        if let Some((request, begun)) = asked {
            self.observer.exchanged(Exchange {
                endpoint,
                request,
                took: begun.elapsed(),
                outcome: Ok(RawResponse {
                    status,
                    version: incoming.version(),
                    headers: incoming.headers(),
                    body: &body,
                    is_cut_off,
                }),
            });
        }
        let html_error = html::error_text(incoming.headers(), &body);
        let response = VendorResponse {
            endpoint,
            status,
            // The id of a page is not the vendor's, and the error's text has it.
            request_id: request_id.filter(|_| html_error.is_none()),
            body,
        };
        match failure {
            Some(failure) => Err(response.with_response_context(failure.into_poll_error(endpoint))),
            None => Ok(Received {
                response,
                html_error,
            }),
        }
    }

    fn apply_rate_limit_headers(&self, status: StatusCode, headers: &HeaderMap, since: Instant) {
        let now = self.clock.now();
        let date = retry_after::date(headers, now);
        let quotas = (self.system.quotas)(headers, date);
        for quota in &quotas {
            self.observer.quota(quota, now);
        }
        let wait = retry_after::from_headers(headers, date);
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                self.observer.rate_limited();
                let pause = self.limiter.back_off(since, wait);
                return self.paused(pause, wait, "the vendor answered 429");
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                if let Some(wait) = wait {
                    let why = "the vendor answered 503 and said when to come back";
                    self.paused(self.limiter.pause(wait), Some(wait), why);
                }
            }
            _ => self.limiter.reset_backoff(),
        }
        let left = quotas
            .iter()
            .filter_map(|quota| Some((quota.remaining?, quota.reset?)))
            .min();
        if let Some((remaining, reset)) = left {
            self.limiter.record_quota(remaining, reset);
            if remaining == 0 {
                self.paused(
                    self.limiter.pause(reset),
                    Some(reset),
                    "the quota is used up",
                );
            }
        }
    }

    /// Reports a pause of the account, and the pause that the vendor requested.
    ///
    /// The latter can be longer: no pause exceeds one hour.
    fn paused(&self, wait: Duration, asked: Option<Duration>, why: &str) {
        let now = self.clock.now();
        self.observer.paused(now + wait, self.limiter.snapshot(now));
        tracing::warn!(
            system = self.system.name,
            account = &*self.account,
            seconds = wait.as_secs_f64(),
            asked = asked.map(|asked| asked.as_secs_f64()),
            why,
            "account paused"
        );
    }

    /// Sends a request that succeeds with status 200 or 201.
    ///
    /// `refusal` reads the vendor's error bodies.
    pub async fn send(
        &self,
        endpoint: &'static str,
        request: RequestBuilder,
        refusal: fn(&VendorResponse) -> VendorError,
    ) -> Result<VendorResponse, PollError> {
        let Received {
            response,
            html_error,
        } = self.send_with_retry(endpoint, request).await?;
        let status = response.status;
        if let Some(html_error) = html_error {
            let (reason, detail) = if is_good(status) {
                (Reason::Decode, html_error)
            } else {
                let detail = format!("HTTP {}: {html_error}", status.as_u16());
                (html::reason(status), detail)
            };
            return Err(response.error(reason, detail, Vec::new()));
        }
        if is_good(status) {
            return Ok(response);
        }
        let VendorError { reason, codes } = refusal(&response);
        let reason = reason.unwrap_or_else(|| by_status(status));
        Err(response.error(reason, format!("HTTP {}", status.as_u16()), codes))
    }
}

/// A response, and the error text if an HTML page came in its place.
struct Received {
    response: VendorResponse,
    html_error: Option<String>,
}

fn is_good(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::CREATED)
}

fn by_status(status: StatusCode) -> Reason {
    match status.as_u16() {
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        404 => Reason::NotFound,
        429 => Reason::RateLimited,
        500..=599 => Reason::ServerError,
        _ => Reason::UnexpectedStatus,
    }
}
