//! Transport of requests to a vendor over the network, and its errors.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use http::{Extensions, HeaderMap, HeaderValue, Method, header};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpInfo;
use parking_lot::Mutex;
use reqwest::{RequestBuilder, Response, Url, redirect};
use tokio_util::task::AbortOnDropHandle;

use super::dns::{DnsResolver, LookupError};
use super::proxy::Proxy;
use super::tls_error;
use super::trust::{Anchors, Trust};
use crate::model::error::{PollError, Reason};
use crate::vendors::account::{AccountConfig, PollConfig};

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time to connect, as a fraction of the request timeout.
///
/// It is less than 1, so that an error can tell a missing connection from a missing response.
const CONNECT_FRACTION: f64 = 0.75;
/// Idle time after which a pooled connection is closed.
///
/// Load balancers usually close one after 60 s and nginx after 75 s, perhaps just when it is used
/// again.
const KEPT_IDLE: Duration = Duration::from_secs(50);
/// Interval of HTTP/2 pings while a response is pending, unless the request timeout is short.
const PING_AFTER: Duration = Duration::from_secs(10);
/// Time to acknowledge a ping, unless the request timeout is short.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of connections per account that are remembered because they carried a response.
///
/// It is larger than the number of requests in flight.
const REMEMBERED: usize = 16;

/// Sends the requests of one account, over the network or to a fake in tests.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync {
    /// Starts a request.
    fn begin(&self, method: Method, url: Url) -> RequestBuilder;

    /// Sends the request once, and waits for the head of its response.
    async fn send(&self, request: RequestBuilder) -> Result<Response, TransportError>;
}

/// Error of a request without a complete response.
///
/// The text is the exporter's own, because reqwest's errors contain the URL.
#[derive(Debug, Clone)]
pub struct TransportError {
    /// Reason of the failure.
    pub reason: Reason,
    /// What happened.
    pub detail: String,
    /// What to do about it, if that is more specific than [`Reason::remedy`].
    pub remedy: Option<&'static str>,
    /// Whether the request may be sent once more.
    ///
    /// It may if the vendor certainly did not process it. A safe request also may if a reused
    /// connection ended before the response began.
    pub retryable: bool,
}

impl TransportError {
    /// Creates an error that has only a reason and a sentence.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            remedy: None,
            retryable: false,
        }
    }

    /// Converts this to the error of a call.
    #[must_use]
    pub(crate) fn into_poll_error(self, endpoint: &'static str) -> PollError {
        PollError {
            remedy: self.remedy.map(Into::into),
            ..PollError::new(self.reason, endpoint, self.detail)
        }
    }
}

/// Network resources that all accounts share.
#[derive(Debug, Default)]
pub struct TransportFactory {
    trust: Arc<Trust>,
    names: DnsResolver,
    watch: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl TransportFactory {
    /// Creates the HTTP transport of an account.
    ///
    /// Fails if the platform's certificates cannot be loaded, or if the environment names an
    /// invalid proxy.
    pub fn transport(
        &self,
        account: &AccountConfig,
        poll: &PollConfig,
    ) -> anyhow::Result<HttpTransport> {
        let whose = || {
            format!(
                "making the HTTP client of {} {}",
                account.system.name, account.name
            )
        };
        let anchors = self.trust.of(account).map_err(|error| anyhow!(error));
        let env = |name: &str| {
            let value = std::env::var_os(name)?;
            Some(value.to_string_lossy().into_owned())
        };
        let proxy = Proxy::of(&account.base_url, &env).map_err(|error| anyhow!(error));
        let settings = ClientSettings {
            anchors: anchors.with_context(whose)?,
            names: self.names.clone(),
            proxy: proxy.with_context(whose)?,
            request_timeout: poll.request_timeout,
            https_only: account.base_url.scheme() == "https",
        };
        let made = ActiveClient::new(&settings).with_context(whose)?;
        Ok(HttpTransport {
            settings,
            made: Mutex::new(made),
        })
    }

    /// Starts checking the certificates for changes, until this is dropped.
    pub fn watch(&self) {
        self.watch.lock().get_or_insert_with(|| {
            AbortOnDropHandle::new(tokio::spawn(self.trust.clone().watch()))
        });
    }
}

/// HTTP transport of one account, with its client.
#[derive(Debug)]
pub struct HttpTransport {
    settings: ClientSettings,
    made: Mutex<ActiveClient>,
}

/// Settings of the account's HTTP client.
#[derive(Debug)]
struct ClientSettings {
    anchors: Arc<Anchors>,
    names: DnsResolver,
    proxy: Option<Proxy>,
    request_timeout: Duration,
    https_only: bool,
}

/// An HTTP client and its open connections.
///
/// It is replaced when other certificates are trusted, or when a request on one of its connections
/// timed out. Its requests in flight continue.
#[derive(Debug)]
struct ActiveClient {
    client: reqwest::Client,
    generation: u64,
    /// Whether a request on one of its connections timed out.
    timed_out: bool,
    /// Local addresses of the connections that carried a response.
    answered: VecDeque<SocketAddr>,
}

impl ActiveClient {
    fn new(settings: &ClientSettings) -> reqwest::Result<Self> {
        let (tls, generation) = settings.anchors.settings();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let third = settings.request_timeout / 3;
        let to_connect = settings.request_timeout.mul_f64(CONNECT_FRACTION);
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("connections-exporter/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // A retry by reqwest would bypass the rate limiter. A request that was never sent,
            // because its connection closed first, may still be sent on another one by hyper-util.
            .retry(reqwest::retry::never())
            .referer(false)
            // `body` decompresses: all members, up to a maximum size, for any status.
            .no_gzip()
            .timeout(settings.request_timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(to_connect))
            .pool_idle_timeout(KEPT_IDLE)
            .http2_keep_alive_interval(PING_AFTER.min(third))
            .http2_keep_alive_timeout(PING_TIMEOUT.min(third))
            .dns_resolver(settings.names.clone())
            .tls_backend_preconfigured(tls)
            .https_only(settings.https_only)
            .no_proxy();
        if let Some(proxy) = &settings.proxy {
            builder = builder.proxy(proxy.rule()?);
        }
        Ok(Self {
            client: builder.build()?,
            generation,
            timed_out: false,
            answered: VecDeque::new(),
        })
    }
}

impl HttpTransport {
    /// Returns the client for the next request.
    fn client(&self) -> reqwest::Client {
        let mut made = self.made.lock();
        if (made.timed_out || made.generation != self.settings.anchors.generation())
            && let Ok(another) = ActiveClient::new(&self.settings)
        {
            *made = another;
        }
        made.client.clone()
    }

    fn failure(&self, error: &reqwest::Error, is_safe: bool) -> TransportError {
        let mut failure = TransportError::from(error);
        let mut made = self.made.lock();
        if error.is_timeout() && !error.is_connect() {
            // Over HTTP/2 the next request would share the silent connection.
            made.timed_out = true;
        }
        let reused = local_addr(error).is_some_and(|own| made.answered.contains(&own));
        drop(made);
        failure.retryable =
            was_not_processed(error) || (is_safe && reused && connection_ended(error));
        if let Some(proxy) = self.settings.proxy.as_ref().filter(|_| error.is_connect()) {
            failure = through(proxy, error, failure);
        }
        failure
    }
}

#[async_trait]
impl Transport for HttpTransport {
    fn begin(&self, method: Method, url: Url) -> RequestBuilder {
        self.made.lock().client.request(method, url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, TransportError> {
        // This may not be the client that started the request: it can be replaced during the wait
        // for the rate limiter.
        let client = self.client();
        let request = request
            .build()
            .map_err(|error| TransportError::from(&error))?;
        let is_safe = request.method().is_safe();
        match client.execute(request).await {
            Ok(response) => {
                if let Some(info) = response.extensions().get::<HttpInfo>() {
                    let answered = &mut self.made.lock().answered;
                    if !answered.contains(&info.local_addr()) {
                        answered.truncate(REMEMBERED - 1);
                        answered.push_front(info.local_addr());
                    }
                }
                Ok(response)
            }
            Err(error) => Err(self.failure(&error, is_safe)),
        }
    }
}

/// Returns the local address of the connection that carried the request.
fn local_addr(error: &reqwest::Error) -> Option<SocketAddr> {
    let mut extras = Extensions::new();
    find::<legacy::Error>(error)?
        .connect_info()?
        .get_extras(&mut extras);
    Some(extras.get::<HttpInfo>()?.local_addr())
}

/// Returns whether the vendor certainly did not process the request (RFC 9113, 8.7).
fn was_not_processed(error: &reqwest::Error) -> bool {
    if let Some(h2) = find::<h2::Error>(error) {
        let nothing_done = if h2.is_go_away() {
            // A GOAWAY concerns the streams above its last stream id. With NO_ERROR only those fail
            // with it, because the others still get a response.
            h2.reason() == Some(h2::Reason::NO_ERROR)
        } else {
            h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM)
        };
        return h2.is_remote() && nothing_done;
    }
    // The request was never passed to the connection.
    find::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled)
}

/// Returns whether the connection ended before the response began.
///
/// RFC 9110, 9.2.2, allows a retry of idempotent requests. The caller allows one only for a safe
/// request that failed on a reused connection. On a new one this is a sign of another problem.
fn connection_ended(error: &reqwest::Error) -> bool {
    if error.is_timeout() && find::<hyper::Error>(error).is_none() {
        return false;
    }
    let lost = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected
                | io::ErrorKind::UnexpectedEof
        )
    };
    find::<hyper::Error>(error).is_some_and(|http| {
        // hyper reports an unacknowledged ping as a timeout.
        http.is_incomplete_message() || http.is_timeout()
    }) || find::<io::Error>(error).is_some_and(lost)
}

/// Returns the error of a failure on the way through a proxy.
///
/// hyper-util does not export the type of its error, so its text is compared.
fn through(proxy: &Proxy, error: &reqwest::Error, failure: TransportError) -> TransportError {
    const PROXY: &str =
        "check the proxy in HTTPS_PROXY or ALL_PROXY, or exclude the host by NO_PROXY";
    const NO_USER: &str = "the proxy requires a user and a password: put them into HTTPS_PROXY \
        (http://user:password@host:port), or exclude the host by NO_PROXY";
    const WRONG_USER: &str = "the proxy refuses the user and the password in HTTPS_PROXY or \
        ALL_PROXY: correct them, with special characters percent-encoded, or exclude the host by \
        NO_PROXY";
    let has_user = proxy.has_user();
    let proxy = proxy.name();
    // The host of the vendor is looked up by the proxy.
    let remedy = failure
        .remedy
        .filter(|_| find::<LookupError>(error).is_none());
    let detail = match tunnel_error(error).as_deref() {
        Some("proxy authorization required") => {
            return TransportError {
                remedy: Some(if has_user { WRONG_USER } else { NO_USER }),
                ..TransportError::new(
                    Reason::Unreachable,
                    format!("the proxy {proxy} answered 407"),
                )
            };
        }
        Some("unsuccessful") => {
            format!("the proxy {proxy} opened no tunnel: it answered neither 200 nor 407")
        }
        Some("proxy response headers too long") => {
            format!("the proxy {proxy} answered with too many headers")
        }
        Some("unexpected end of file" | "io error establishing tunnel") => {
            format!("the proxy {proxy} closed the connection and opened no tunnel")
        }
        // Inside the tunnel, TLS is that of the vendor.
        None if failure.reason == Reason::Tls => return failure,
        _ if error.is_timeout() => format!("no connection in time through the proxy {proxy}"),
        _ => format!("through the proxy {proxy}: {}", failure.detail),
    };
    TransportError {
        detail,
        remedy: remedy.or(Some(PROXY)),
        ..failure
    }
}

fn tunnel_error(error: &reqwest::Error) -> Option<String> {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(words) = cause.to_string().strip_prefix("tunnel error: ") {
            return Some(words.to_owned());
        }
        next = cause.source();
    }
    None
}

impl From<&reqwest::Error> for TransportError {
    fn from(error: &reqwest::Error) -> Self {
        if let Some(lookup) = find::<LookupError>(error) {
            return Self {
                remedy: Some("check the host of base_url, and this machine's DNS"),
                ..Self::new(Reason::Unreachable, lookup.to_string())
            };
        }
        if let Some(tls) = find::<rustls::Error>(error) {
            let (detail, remedy) = tls_error::explain(tls);
            return Self {
                remedy: Some(remedy),
                ..Self::new(Reason::Tls, detail)
            };
        }
        let (reason, detail) = if error.is_timeout() && error.is_connect() {
            (Reason::Unreachable, "no connection in time".to_owned())
        } else if error.is_timeout() {
            (Reason::Timeout, "no complete answer in time".to_owned())
        } else if let Some(http) = find::<hyper::Error>(error).filter(|http| http.is_parse()) {
            let reason = if http.is_parse_too_large() {
                Reason::TooLarge
            } else {
                Reason::Decode
            };
            (
                reason,
                format!("the response head is not valid HTTP: {http}"),
            )
        } else if error.is_connect() {
            let detail = find::<io::Error>(error).map_or("no connection".to_owned(), |e| {
                format!("no connection: {e}")
            });
            (Reason::Unreachable, detail)
        } else if find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::InvalidInput)
        {
            let detail = "the response body is not valid HTTP";
            (Reason::Decode, detail.to_owned())
        } else {
            (
                Reason::Unreachable,
                "the connection ended before the answer did".to_owned(),
            )
        };
        Self::new(reason, detail)
    }
}

/// Returns the first cause of this type.
///
/// It also looks inside an `io::Error`, whose `source` skips the error that it holds.
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
