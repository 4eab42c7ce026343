//! One account's HTTP: pace, pauses, headers, answers -> values or [`PollError`].

mod answer;
mod pace;
mod quota;
mod retry_after;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderMap, StatusCode, header};
use reqwest::{RequestBuilder, Url, redirect};
use tokio::time::Instant;

pub use answer::{Answer, Refusal};
pub use pace::{KeptPace, Pace};
pub use quota::{Quota, number, ratelimit};
pub use retry_after::{from_headers as retry_after, reset};

use crate::clock::Clock;
use crate::config::{Account, Poll};
use crate::error::{PollError, Reason, harmless};
use crate::metrics::AccountMetrics;
use crate::store::{AccountStore, Item};
use crate::upstream::System;

/// The most bytes of one answer, after gzip: far more than a full page of either vendor's.
const LARGEST_BODY: usize = 16 * 1024 * 1024;
/// How long a connection may take to be made; part of the request's own time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the requests of one account, one place for its limiter, its headers and its metrics.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: Url,
    system: &'static System,
    pace: Arc<Pace>,
    metrics: Arc<AccountMetrics>,
    store: AccountStore,
    max_connections: usize,
    clock: Clock,
}

impl Client {
    /// Makes the client of an account. Fails if the platform's certificates cannot be loaded.
    pub fn new(
        account: &Account,
        poll: &Poll,
        pace: Arc<Pace>,
        metrics: Arc<AccountMetrics>,
        store: AccountStore,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT,
            header::HeaderValue::from_static("application/json"),
        );
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("connections-exporter/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // A request that the library sends again would pass the limiter by.
            .retry(reqwest::retry::never())
            .referer(false)
            .timeout(poll.request_timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(poll.request_timeout))
            .https_only(account.base_url.scheme() == "https");
        if account.base_url.scheme() == "http" {
            // Plain http is for loopback; a proxy would carry the credential elsewhere in clear.
            builder = builder.no_proxy();
        }
        if !account.certificates.is_empty() {
            builder = builder.tls_certs_merge(account.certificates.clone());
        }
        let http = builder.build().with_context(|| {
            format!(
                "making the HTTP client of {} {}",
                account.system.name, account.name
            )
        })?;
        Ok(Self {
            http,
            base_url: account.base_url.clone(),
            system: account.system,
            pace,
            metrics,
            store,
            max_connections: poll.max_connections,
            clock,
        })
    }

    /// The most connections that a listing may have.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// What the account counts of itself.
    #[must_use]
    pub fn metrics(&self) -> &AccountMetrics {
        &self.metrics
    }

    /// What date it is.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Begins a GET of a path on the account's own host.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    /// Begins a POST to a path on the account's own host.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(self.url(path))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(path);
        url
    }

    /// Waits for the account's turn, sends, and takes the whole answer, whatever its status.
    ///
    /// A 429, and a 503 that says when to come back, pause the account.
    async fn exchange(
        &self,
        endpoint: &'static str,
        request: RequestBuilder,
    ) -> Result<Answer, PollError> {
        let turn = self.pace.turn().await;
        self.metrics.waited(turn.waited);
        let begun = Instant::now();
        let result = match request.send().await {
            Ok(response) => self.take(endpoint, response, turn.since).await,
            Err(error) => Err((None, unanswered(endpoint, &error))),
        };
        let code = match &result {
            Ok((status, _)) => Some(*status),
            Err((status, _)) => *status,
        };
        self.metrics
            .requested(endpoint, code.map(|c| c.as_u16()), begun.elapsed());
        result.map(|(_, answer)| answer).map_err(|(_, error)| error)
    }

    /// Takes the body, up to its cap. A failure comes with the status, which was received all the same.
    async fn take(
        &self,
        endpoint: &'static str,
        mut response: reqwest::Response,
        since: Instant,
    ) -> Result<(StatusCode, Answer), (Option<StatusCode>, PollError)> {
        let status = response.status();
        self.heed(status, response.headers(), since);
        let request_id = response
            .headers()
            .get(self.system.request_id_header)
            .and_then(|v| v.to_str().ok())
            .and_then(harmless);
        let fail = |mut error: PollError| {
            error.status = Some(status.as_u16());
            error.request_id.clone_from(&request_id);
            (Some(status), error)
        };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LARGEST_BODY => {
                    let detail = format!("the answer is larger than {LARGEST_BODY} bytes");
                    return Err(fail(PollError::new(Reason::TooLarge, endpoint, detail)));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Err(fail(unanswered(endpoint, &error))),
            }
        }
        Ok((
            status,
            Answer {
                endpoint,
                status,
                request_id,
                body,
            },
        ))
    }

    fn heed(&self, status: StatusCode, headers: &HeaderMap, since: Instant) {
        let now = self.clock.now();
        let quotas = (self.system.quotas)(headers);
        for quota in &quotas {
            self.metrics.quota(quota, now);
        }
        let wait = retry_after::from_headers(headers, now);
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                self.metrics.rate_limited();
                return self.pause(self.pace.back_off(since, wait), "the vendor answered 429");
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                if let Some(wait) = wait {
                    self.pause(
                        self.pace.pause(wait),
                        "the vendor answered 503 and said when to come back",
                    );
                }
            }
            _ => self.pace.answered(),
        }
        let left = quotas
            .iter()
            .filter_map(|quota| Some((quota.remaining?, quota.reset?)))
            .min();
        if let Some((remaining, reset)) = left {
            self.pace.quota_left(remaining, reset);
            if remaining == 0 {
                self.pause(self.pace.pause(reset), "the quota is used up");
            }
        }
    }

    fn pause(&self, wait: Duration, why: &str) {
        let now = self.clock.now();
        self.metrics.paused_until(now + wait);
        self.store.write(Item::Pace, self.pace.kept(now));
        let (system, account) = self.metrics.account();
        tracing::warn!(
            system,
            account,
            seconds = wait.as_secs_f64(),
            why,
            "account paused"
        );
    }

    /// Sends a request whose good answer is a 200 or a 201; `refusal` reads the vendor's error bodies.
    pub async fn send(
        &self,
        endpoint: &'static str,
        request: RequestBuilder,
        refusal: fn(&Answer) -> Refusal,
    ) -> Result<Answer, PollError> {
        let answer = self.exchange(endpoint, request).await?;
        if matches!(answer.status, StatusCode::OK | StatusCode::CREATED) {
            return Ok(answer);
        }
        let Refusal { reason, codes } = refusal(&answer);
        let reason = reason.unwrap_or_else(|| by_status(answer.status));
        Err(answer.error(reason, format!("HTTP {}", answer.status.as_u16()), codes))
    }
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

/// A request without an answer, or with half of one. reqwest's own text names the URL; ours does not.
fn unanswered(endpoint: &'static str, error: &reqwest::Error) -> PollError {
    let (reason, detail) = if error.is_timeout() {
        (Reason::Timeout, "no complete answer in time".to_owned())
    } else if let Some(tls) = find::<rustls::Error>(error) {
        (Reason::Tls, tls.to_string())
    } else if let Some(gzip) =
        find::<io::Error>(error).filter(|e| error.is_decode() && broken_gzip(e))
    {
        (
            Reason::Decode,
            format!(
                "the answer is not the gzip that it says it is ({})",
                gzip.kind()
            ),
        )
    } else if let Some(http) = find::<hyper::Error>(error).filter(|http| http.is_parse()) {
        let reason = if http.is_parse_too_large() {
            Reason::TooLarge
        } else {
            Reason::Decode
        };
        (
            reason,
            format!("the answer's head is not HTTP that we take: {http}"),
        )
    } else if error.is_connect() {
        let detail = find::<io::Error>(error).map_or("no connection".to_owned(), |e| {
            format!("no connection: {e}")
        });
        (Reason::Unreachable, detail)
    } else {
        (
            Reason::Unreachable,
            "the connection ended before the answer did".to_owned(),
        )
    };
    PollError::new(reason, endpoint, detail)
}

fn broken_gzip(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    ) && find::<hyper::Error>(error).is_none()
}

/// The first cause of this type; also inside of an `io::Error`, which hides what it holds from `source`.
fn find<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<E>() {
            return Some(found);
        }
        next = match cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => cause.source(),
        };
    }
    None
}
