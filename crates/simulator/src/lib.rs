//! Simulator of both vendor APIs, with faults: for `demo`, for tests and for end-to-end tests of
//! alerts.
//!
//! It follows the vendors' documentation, and users' reports where the documentation is silent.
//! `docs/simulator.md` describes how to control it.

mod control;
mod fault;
mod form;
mod http;
mod rejected;
mod replay;
mod world;
mod zis;
mod zuora;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

pub use fault::{Fault, Kind, RetryAfter};
pub use form::Form;
use http::{Manner, Reply, VendorRequest};
pub use rejected::Rejected;
use replay::Replay;
pub use world::{Edge, Entity, Expiry, Integration, Sizes, StoredConnection, Tenant, World};

/// Window of the simulator's own rate limit.
const WINDOW: std::time::Duration = std::time::Duration::from_mins(1);

/// Source of the current date.
struct DateSource(Box<dyn Fn() -> Timestamp + Send + Sync>);

impl DateSource {
    fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for DateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DateSource")
    }
}

/// Both simulated APIs: their contents, their faults and their request counts.
#[derive(Debug)]
pub struct Simulator {
    state: Mutex<State>,
    clock: DateSource,
    requests_per_minute: Option<u32>,
    /// Responses of a report, in place of those of the world.
    replay: Option<Replay>,
}

/// Number of targets that an error names.
const NAMED: usize = 12;

#[derive(Debug)]
struct State {
    world: World,
    faults: Vec<Fault>,
    /// Number of requests by endpoint, since the start.
    requests: BTreeMap<&'static str, u64>,
    /// By system: start of the current window, and number of requests in it.
    windows: BTreeMap<Api, (Instant, u32)>,
    /// Tokens issued by Zuora's endpoint, with their expiry.
    issued: BTreeMap<String, Instant>,
    /// Tokens issued by ZIS endpoints, with their holder and expiry.
    granted: BTreeMap<String, (Holder, Instant)>,
    answered: u64,
    without_header: u64,
}

/// Holder of a ZIS token.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    Admin,
    Integration(String),
}

/// State of the rate limit.
struct RateLimit {
    limit: u32,
    remaining: u32,
    /// Seconds until the window ends.
    reset: u64,
    exceeded: bool,
}

/// API that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Api {
    Zuora,
    Zis,
}

/// API call of a request. `endpoint` is the value of the `endpoint` label.
struct Call<'a> {
    api: Api,
    endpoint: &'static str,
    /// Entity or integration.
    target: String,
    /// Requested page, counted from 1.
    page: u32,
    request: &'a VendorRequest,
}

impl Simulator {
    /// Creates a simulator of this world, with `now` as its clock.
    ///
    /// Above `requests_per_minute` it responds with 429. Each system is counted separately.
    #[must_use]
    pub fn new(
        world: World,
        faults: Vec<Fault>,
        requests_per_minute: Option<u32>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::of(world, faults, requests_per_minute, now))
    }

    /// Creates a simulator that answers with the shapes of a report of `check --report`.
    ///
    /// The error completes a sentence that begins with the name of the report's file.
    pub fn replay(
        report: &[u8],
        faults: Vec<Fault>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Rejected> {
        let replay = Replay::read(report, now())?;
        let nothing = Sizes {
            entities: 0,
            entity_connections: 0,
            integrations: 0,
            integration_connections: 0,
        };
        let simulator = Self::of(World::new(nothing, 1, now()), faults, None, now);
        Ok(Arc::new(Self {
            replay: Some(replay),
            ..simulator
        }))
    }

    fn of(
        world: World,
        faults: Vec<Fault>,
        requests_per_minute: Option<u32>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            world,
            faults,
            requests: BTreeMap::new(),
            windows: BTreeMap::new(),
            issued: BTreeMap::new(),
            granted: BTreeMap::new(),
            answered: 0,
            without_header: 0,
        };
        Self {
            state: Mutex::new(state),
            clock: DateSource(Box::new(now)),
            requests_per_minute,
            replay: None,
        }
    }

    /// Serves requests until the future is dropped. Only loopback peers are accepted.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        http::serve(self, listener).await;
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock())
    }

    /// Changes the contents of the APIs.
    pub fn change<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        self.with(|state| f(&mut state.world))
    }

    /// Refuses a fault that would never happen: its target does not exist, or its calls have none.
    ///
    /// The targets of a replay are those of its report, and are not checked.
    ///
    /// # Errors
    ///
    /// Names some targets that exist.
    pub fn check(&self, fault: &Fault) -> Result<(), Rejected> {
        let Some(target) = fault.target.as_deref().filter(|_| self.replay.is_none()) else {
            return Ok(());
        };
        if let Some(endpoint) = fault.endpoint.as_deref()
            && !fault::WITH_TARGET.contains(&endpoint)
        {
            return Err(format!("requests to {endpoint} have no target").into());
        }
        self.with(|state| {
            if state.world.targets().any(|known| known == target) {
                return Ok(());
            }
            let some: Vec<_> = state.world.targets().take(NAMED).collect();
            let some = some.join(", ");
            Err(format!("there is no target {target}; targets are, for example, {some}").into())
        })
    }

    /// Adds a fault.
    pub fn fail(&self, fault: Fault) {
        self.with(|state| state.faults.push(fault));
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.with(|state| state.faults.clear());
    }

    /// Number of requests to this endpoint, since the start.
    #[must_use]
    pub fn requests(&self, endpoint: &str) -> u64 {
        self.with(|state| state.requests.get(endpoint).copied().unwrap_or(0))
    }

    /// Number of requests for entity connections without an entity header, since the start.
    #[must_use]
    pub fn without_header(&self) -> u64 {
        self.with(|state| state.without_header)
    }

    /// Returns the issued tokens that were not revoked.
    ///
    /// Expired ones are included until the next one is issued.
    #[must_use]
    pub fn tokens(&self) -> Vec<String> {
        self.with(|state| {
            state
                .issued
                .keys()
                .chain(state.granted.keys())
                .cloned()
                .collect()
        })
    }

    /// Returns a configuration that polls this simulator, and the environment with its secrets.
    ///
    /// `poll` is the YAML below the key `poll`.
    #[must_use]
    pub fn configuration(
        &self,
        address: SocketAddr,
        poll: &str,
    ) -> (String, BTreeMap<String, String>) {
        match &self.replay {
            Some(replay) => replay.configuration(address, poll),
            None => self.with(|state| state.world.configuration(address, poll)),
        }
    }

    /// Responds to a request without a socket; `None` if a fault affects how the response is sent.
    pub fn respond(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let reply = self.answer(&VendorRequest::from(request));
        if !matches!(reply.manner, Manner::Normal) {
            return None;
        }
        let mut response = Response::builder().status(reply.status);
        for (name, value) in reply.headers {
            response = response.header(name, value);
        }
        for (name, value) in reply.named {
            response = response.header(name, value);
        }
        response.body(reply.body.into()).ok()
    }

    /// Responds to one request.
    fn answer(&self, request: &VendorRequest) -> Reply {
        if request.path == "/simulator" || request.path.starts_with("/simulator/") {
            return self.control(request);
        }
        let Some(call) = zuora::call(request).or_else(|| zis::call(request, self.replay.is_some()))
        else {
            return Reply::json(StatusCode::NOT_FOUND, &json!({"error": "RecordNotFound"}));
        };
        let now = self.clock.now();
        self.with(|state| {
            *state.requests.entry(call.endpoint).or_default() += 1;
            state.answered += 1;
            state.without_header +=
                u64::from(call.endpoint == "entity_connections" && call.target.is_empty());
            let limit = self.limit(state, call.api);
            let fault = fault::take(&mut state.faults, &call);
            if let (Some(replay), None) = (&self.replay, &fault) {
                return replay.answer(&call);
            }
            let mut reply = match (fault, &limit) {
                (Some(fault), _) => state.faulty(&call, &fault, now),
                (
                    None,
                    Some(RateLimit {
                        exceeded: true,
                        reset,
                        ..
                    }),
                ) => too_many_requests(&call, (call.api == Api::Zis).then_some(*reset)),
                (None, _) => state.api_response(&call, now, None),
            };
            if let Some(limit) = &limit {
                reply.headers.extend(match call.api {
                    Api::Zuora => zuora::limit_headers(call.endpoint, limit),
                    Api::Zis => zis::limit_headers(limit),
                });
            }
            let id = format!("00000000-0000-4000-8000-{:012x}", state.answered);
            reply.headers.push(match call.api {
                Api::Zuora => ("zuora-request-id", id),
                Api::Zis => ("x-request-id", id),
            });
            if let Some(track) = request.header("zuora-track-id") {
                reply.headers.push(("zuora-track-id", track.to_owned()));
            }
            reply
        })
    }

    /// Counts a request, and returns the state of the simulator's own rate limit.
    fn limit(&self, state: &mut State, api: Api) -> Option<RateLimit> {
        let limit = self.requests_per_minute?;
        let window = state
            .windows
            .entry(api)
            .or_insert_with(|| (Instant::now(), 0));
        if window.0.elapsed() >= WINDOW {
            *window = (Instant::now(), 0);
        }
        window.1 += 1;
        let reset = WINDOW.saturating_sub(window.0.elapsed()).as_secs() + 1;
        Some(RateLimit {
            limit,
            remaining: limit.saturating_sub(window.1),
            reset,
            exceeded: window.1 > limit,
        })
    }
}

impl State {
    /// Returns the response of an API, altered by the fault if there is one.
    fn api_response(&mut self, call: &Call<'_>, now: Timestamp, fault: Option<&Fault>) -> Reply {
        let reply = match call.api {
            Api::Zuora => zuora::answer(&self.world.tenant, &mut self.issued, call, fault),
            Api::Zis => zis::answer(&self.world, &mut self.granted, call, now, fault),
        };
        Reply {
            body: self.world.form.apply(reply.body),
            ..reply
        }
    }

    /// Returns the response of an API with a fault. Some faults alter a healthy response.
    fn faulty(&mut self, call: &Call<'_>, fault: &Fault, now: Timestamp) -> Reply {
        let with = |manner, reply: Reply| Reply { manner, ..reply };
        match fault.kind {
            Kind::TooManyRequests => {
                with_retry_after(too_many_requests(call, None), fault.retry_after, now)
            }
            Kind::InternalServerError => {
                Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            }
            Kind::ServiceUnavailable => with_retry_after(
                Reply::text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
                fault.retry_after,
                now,
            ),
            Kind::Html => Reply::html(
                fault
                    .code
                    .and_then(|code| StatusCode::from_u16(code.try_into().ok()?).ok())
                    .filter(|status| !status.is_informational())
                    .unwrap_or(StatusCode::OK),
                "<html><body><h1>Down for maintenance</h1></body></html>",
            ),
            Kind::Hang => with(Manner::Hang, self.api_response(call, now, None)),
            Kind::Reset => with(Manner::Reset, self.api_response(call, now, None)),
            Kind::Drip => with(Manner::Drip, self.api_response(call, now, None)),
            Kind::Truncate => with(Manner::Truncate, self.api_response(call, now, None)),
            Kind::ExpiredToken | Kind::RevokedToken => {
                // Issued tokens are revoked only if one of them was sent. A static token of the
                // configuration does not affect them.
                let token = call.request.bearer().unwrap_or_default();
                if self.issued.contains_key(token) {
                    self.issued.clear();
                }
                if self.granted.contains_key(token) {
                    self.granted.clear();
                }
                self.api_response(call, now, Some(fault))
            }
            Kind::WrongTypes
            | Kind::Refuse
            | Kind::ForeignNextPage
            | Kind::RepeatCursor
            | Kind::Endless => self.api_response(call, now, Some(fault)),
        }
    }
}

/// Adds `Retry-After` or `RateLimit-Reset`, if the fault has one.
fn with_retry_after(reply: Reply, when: Option<RetryAfter>, now: Timestamp) -> Reply {
    match when {
        Some(RetryAfter::Seconds(seconds)) => reply.header("retry-after", seconds.to_string()),
        Some(RetryAfter::Date(seconds)) => {
            reply.header("retry-after", fault::http_date(now, seconds))
        }
        Some(RetryAfter::Epoch(seconds)) => {
            let at = now.as_second().saturating_add_unsigned(seconds);
            reply.header("retry-after", at.to_string())
        }
        Some(RetryAfter::Reset(seconds)) => reply.header("ratelimit-reset", seconds.to_string()),
        None => reply,
    }
}

fn too_many_requests(call: &Call<'_>, retry_after: Option<u64>) -> Reply {
    let body = match call.api {
        Api::Zuora => {
            json!({"success": false, "reasons": [{"code": 50_000_070, "message": "Request exceeded \
                limit"}]})
        }
        Api::Zis => json!({"errors": [{"code": "TooManyRequests", "title": "Too many requests"}]}),
    };
    let reply = Reply::json(StatusCode::TOO_MANY_REQUESTS, &body);
    match retry_after {
        Some(seconds) => reply.header("retry-after", seconds.to_string()),
        None => reply,
    }
}
