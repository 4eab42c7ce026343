//! What carries requests to a vendor and answers back: the network.

use std::fmt;
use std::io;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use http::{HeaderMap, Method, header};
use reqwest::{RequestBuilder, Response, Url, redirect};

use super::Trust;
use crate::config::{Account, Poll};
use crate::error::{PollError, Reason};

/// How long a connection may take to be made; part of the request's own time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Carries one request at a time to its end. The network, or what a test puts in its place.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync {
    /// Begins a request.
    fn begin(&self, method: Method, url: Url) -> RequestBuilder;

    /// Sends it, once, and waits for the head of its answer.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure>;
}

/// Why there was no answer, or only half of one, in our own words: reqwest's name the URL.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// What happened.
    pub detail: String,
}

impl Failure {
    /// The error of the call that it happened to.
    #[must_use]
    pub fn blame(self, endpoint: &'static str) -> PollError {
        PollError::new(self.reason, endpoint, self.detail)
    }
}

/// One account's connections.
#[derive(Debug)]
pub struct Network(reqwest::Client);

impl Network {
    /// Fails if the platform's certificates cannot be loaded.
    pub fn new(account: &Account, poll: &Poll, trust: &mut Trust) -> anyhow::Result<Self> {
        let whose = || {
            format!(
                "making the HTTP client of {} {}",
                account.system.name, account.name
            )
        };
        let tls = trust.settings(&account.certificates).with_context(whose)?;
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
            .tls_backend_preconfigured(tls)
            .https_only(account.base_url.scheme() == "https");
        if account.base_url.scheme() == "http" {
            // Plain http is for loopback; a proxy would carry the credential elsewhere in clear.
            builder = builder.no_proxy();
        }
        let client = builder.build().with_context(whose)?;
        Ok(Self(client))
    }
}

#[async_trait]
impl Transport for Network {
    fn begin(&self, method: Method, url: Url) -> RequestBuilder {
        self.0.request(method, url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| Failure::from(&error))
    }
}

impl From<&reqwest::Error> for Failure {
    fn from(error: &reqwest::Error) -> Self {
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
        Self { reason, detail }
    }
}

fn broken_gzip(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    ) && find::<hyper::Error>(error).is_none()
}

/// The first cause of this type; also inside of an `io::Error`, which hides what it holds from `source`.
pub(crate) fn find<'a, E: std::error::Error + 'static>(
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
