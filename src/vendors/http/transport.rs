//! What carries requests to a vendor and answers back: the network.

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

/// How long a connection may take to be made; part of the request's own time, and less than all of it, so that
/// who did not answer can be told.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PART_TO_CONNECT: f64 = 0.75;
/// Shorter than the usual 60 s of load balancers and 75 s of nginx, after which they close a kept connection:
/// perhaps just when it is used again.
const KEPT_IDLE: Duration = Duration::from_secs(50);
/// How often a peer is asked for a sign of life while an answer is awaited over HTTP/2, and how long it has for
/// that; less where a request has less time.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of one account that are remembered to have answered: more than requests that are under way at once.
const REMEMBERED: usize = 16;

/// Carries one request at a time to its end. The network, or what a test puts in its place.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync {
    /// Begins a request.
    fn begin(&self, method: Method, url: Url) -> RequestBuilder;

    /// Sends it, once, and waits for the head of its answer.
    async fn send(&self, request: RequestBuilder) -> Result<Response, TransportError>;
}

/// Why there was no answer, or only half of one, in our own words: reqwest's name the URL.
#[derive(Debug, Clone)]
pub struct TransportError {
    /// Why.
    pub reason: Reason,
    /// What happened.
    pub detail: String,
    /// What to do about it, where that is more than the reason tells.
    pub remedy: Option<&'static str>,
    /// Whether the request may be sent once more: the vendor surely did nothing for it, or nothing that asking
    /// again changes.
    pub repeatable: bool,
}

impl TransportError {
    /// One of which no more is known.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            remedy: None,
            repeatable: false,
        }
    }

    /// The error of the call that it happened to.
    #[must_use]
    pub fn blame(self, endpoint: &'static str) -> PollError {
        PollError {
            remedy: self.remedy.map(Into::into),
            ..PollError::new(self.reason, endpoint, self.detail)
        }
    }
}

/// What all accounts share on their way to the vendors.
#[derive(Debug, Default)]
pub struct Networks {
    trust: Arc<Trust>,
    names: DnsResolver,
    watch: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Networks {
    /// Makes an account's connections. Fails if the machine's certificates cannot be loaded, or if the environment
    /// names a proxy that is none.
    pub fn network(&self, account: &AccountConfig, poll: &PollConfig) -> anyhow::Result<Network> {
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
        Ok(Network {
            settings,
            made: Mutex::new(made),
        })
    }

    /// From now on looks whether certificates change, until this is dropped.
    pub fn watch(&self) {
        self.watch.lock().get_or_insert_with(|| {
            AbortOnDropHandle::new(tokio::spawn(self.trust.clone().watch()))
        });
    }
}

/// One account's connections.
#[derive(Debug)]
pub struct Network {
    settings: ClientSettings,
    made: Mutex<ActiveClient>,
}

/// What its client is made from.
#[derive(Debug)]
struct ClientSettings {
    anchors: Arc<Anchors>,
    names: DnsResolver,
    proxy: Option<Proxy>,
    request_timeout: Duration,
    https_only: bool,
}

/// A client with its open connections, and how long it serves: until other certificates are trusted, or one of its
/// connections fell silent. Requests that are under way with it go on.
#[derive(Debug)]
struct ActiveClient {
    client: reqwest::Client,
    generation: u64,
    silent: bool,
    /// Our ends of the connections that have answered.
    answered: VecDeque<SocketAddr>,
}

impl ActiveClient {
    fn new(settings: &ClientSettings) -> reqwest::Result<Self> {
        let (tls, generation) = settings.anchors.settings();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let third = settings.request_timeout / 3;
        let to_connect = settings.request_timeout.mul_f64(PART_TO_CONNECT);
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("connections-exporter/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // A request that the library sends again would pass the limiter by. One that was never sent, because
            // its connection closed first, it may send by another.
            .retry(reqwest::retry::never())
            .referer(false)
            // Decompressed by `body`: all members, up to a cap, and whatever the status.
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
            silent: false,
            answered: VecDeque::new(),
        })
    }
}

impl Network {
    /// The client by which a request goes out now.
    fn client(&self) -> reqwest::Client {
        let mut made = self.made.lock();
        if (made.silent || made.generation != self.settings.anchors.generation())
            && let Ok(another) = ActiveClient::new(&self.settings)
        {
            *made = another;
        }
        made.client.clone()
    }

    fn failure(&self, error: &reqwest::Error, asks_only: bool) -> TransportError {
        let mut failure = TransportError::from(error);
        let mut made = self.made.lock();
        if error.is_timeout() && !error.is_connect() {
            // Over HTTP/2 the next request would share the connection, and its silence.
            made.silent = true;
        }
        let kept = own_end(error).is_some_and(|own| made.answered.contains(&own));
        drop(made);
        failure.repeatable = was_not_processed(error) || (asks_only && kept && ended(error));
        if let Some(proxy) = self.settings.proxy.as_ref().filter(|_| error.is_connect()) {
            failure = through(&proxy.name(), error, failure);
        }
        failure
    }
}

#[async_trait]
impl Transport for Network {
    fn begin(&self, method: Method, url: Url) -> RequestBuilder {
        self.made.lock().client.request(method, url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, TransportError> {
        // Not by the client that it began with: that may have been replaced while it waited for its turn.
        let client = self.client();
        let request = request
            .build()
            .map_err(|error| TransportError::from(&error))?;
        let asks_only = request.method().is_safe();
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
            Err(error) => Err(self.failure(&error, asks_only)),
        }
    }
}

/// Our end of the connection that the request went over.
fn own_end(error: &reqwest::Error) -> Option<SocketAddr> {
    let mut extras = Extensions::new();
    find::<legacy::Error>(error)?
        .connect_info()?
        .get_extras(&mut extras);
    Some(extras.get::<HttpInfo>()?.local_addr())
}

/// Whether the vendor says, or it is certain, that nothing was done for the request (RFC 9113, 8.7).
fn was_not_processed(error: &reqwest::Error) -> bool {
    if let Some(h2) = find::<h2::Error>(error) {
        let nothing_done = if h2.is_go_away() {
            // Only for streams above the last that it names; those below are answered.
            h2.reason() == Some(h2::Reason::NO_ERROR)
        } else {
            h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM)
        };
        return h2.is_remote() && nothing_done;
    }
    // It was never given to the connection.
    find::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled)
}

/// Whether the connection ended before the answer began. Asking once more is what RFC 9110, 9.2.2, allows for
/// requests that change nothing; over a new connection it would be a sign of something else.
fn ended(error: &reqwest::Error) -> bool {
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
        // `is_timeout` is what an unanswered ping is.
        http.is_incomplete_message() || http.is_timeout()
    }) || find::<io::Error>(error).is_some_and(lost)
}

/// What a failure on the way through a proxy is. hyper-util does not show the type of its error, only its words.
fn through(proxy: &str, error: &reqwest::Error, failure: TransportError) -> TransportError {
    const PROXY: &str =
        "check the proxy in HTTPS_PROXY or ALL_PROXY, or exclude the host by NO_PROXY";
    let detail = match tunnel_error(error).as_deref() {
        Some("proxy authorization required") => {
            return TransportError {
                remedy: Some(
                    "the proxy wants a user and a password: put them into HTTPS_PROXY (http://user:password@host:port), or exclude the host by NO_PROXY",
                ),
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
        // Inside the tunnel it is the vendor.
        None if failure.reason == Reason::Tls => return failure,
        _ if error.is_timeout() => format!("no connection in time through the proxy {proxy}"),
        _ => format!("through the proxy {proxy}: {}", failure.detail),
    };
    TransportError {
        detail,
        remedy: failure.remedy.or(Some(PROXY)),
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
                format!("the answer's head is not HTTP that we take: {http}"),
            )
        } else if error.is_connect() {
            let detail = find::<io::Error>(error).map_or("no connection".to_owned(), |e| {
                format!("no connection: {e}")
            });
            (Reason::Unreachable, detail)
        } else if find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::InvalidInput)
        {
            let detail = "the answer's body is not HTTP that we take";
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
