//! Vendors without sockets: the simulator responds, late or not at all, and every request is
//! recorded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connections_exporter::clock::Clock;
use connections_exporter::model::error::Reason;
use connections_exporter::vendors::http::{Transport, TransportError};
use connections_simulator::{Expiry, Simulator, Sizes, World};
use fastrand::Rng;
use http::{HeaderMap, Method, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use reqwest::{RequestBuilder, Response, Url};
use tokio::time::{Instant, sleep};

/// Configured value of `poll.request_timeout`.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum pause of the exporter. A vendor may ask for a longer one.
const LONGEST_SILENCE: Duration = Duration::from_hours(1);
/// Number of rows on a page of the ZIS vendors.
pub(crate) const SHORT_PAGE: usize = 7;
const MINUTE: Duration = Duration::from_mins(1);

/// Both APIs of one simulator: a Zuora tenant and a ZIS subdomain.
pub(crate) struct Vendor {
    pub(crate) simulator: Arc<Simulator>,
    /// Current maximum response time.
    pub(crate) slow: Mutex<Duration>,
    /// End of the last disturbance; `None` during one.
    pub(crate) healthy_since: Mutex<Option<Instant>>,
    random: Mutex<Rng>,
    versions: Mutex<i64>,
    start: Timestamp,
}

/// Requests of one account, and the responses to them.
pub(crate) struct Ledger {
    pub(crate) requests_per_minute: usize,
    last_minute: VecDeque<Instant>,
    /// Start of the last process that could not know of the request before it.
    pub(crate) forgot_at: Option<Instant>,
    /// Time since which all processes know the earlier polls, with dates that can be trusted.
    pub(crate) knows_since: Instant,
    /// End of the pause that the vendor asked for.
    silence_until: Option<Instant>,
    /// By target: version of its last complete listing, and when that was served.
    pub(crate) served: BTreeMap<String, (i64, Instant)>,
    pub(crate) requests: u64,
    /// Hash of all requests with their times.
    pub(crate) trace: u32,
    /// Violated invariants.
    pub(crate) broken: Vec<String>,
}

/// Transport of one account.
pub(crate) struct Line {
    pub(crate) vendor: Arc<Vendor>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) http: reqwest::Client,
    pub(crate) began: Instant,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl Vendor {
    pub(crate) fn new(sizes: Sizes, seed: u64, clock: Clock) -> Arc<Self> {
        let start = clock.now();
        Arc::new(Self {
            simulator: Simulator::new(
                World::new(sizes, seed, start),
                Vec::new(),
                None,
                move || clock.now(),
            ),
            slow: Mutex::new(Duration::from_secs(1)),
            healthy_since: Mutex::new(Some(Instant::now())),
            random: Mutex::new(Rng::with_seed(seed)),
            versions: Mutex::default(),
            start,
        })
    }

    /// Marks all rows of a target with a new version, and returns the version.
    ///
    /// It distinguishes this listing from any other.
    fn mark(&self, target: &str) -> i64 {
        let mut version = self.versions.lock().unwrap();
        *version += 1;
        let date = self.start + SignedDuration::from_secs(*version);
        self.simulator.change(|world| {
            for edge in &mut world.tenant.connections {
                if edge.source == target || edge.target == target {
                    let name = edge.id.split('-').next().unwrap_or_default();
                    edge.id = format!("{name}-{version}");
                }
            }
            let integrations = world.integrations.iter_mut();
            for integration in integrations.filter(|integration| integration.name == target) {
                for stored in &mut integration.connections {
                    stored.created = date;
                    if stored.kind == "oauth" {
                        stored.expiry = Expiry::At(date);
                    }
                }
            }
        });
        *version
    }
}

impl Ledger {
    pub(crate) fn new(requests_per_minute: usize) -> Self {
        Self {
            requests_per_minute,
            silence_until: None,
            last_minute: VecDeque::new(),
            forgot_at: None,
            knows_since: Instant::now(),
            served: BTreeMap::new(),
            requests: 0,
            trace: 0,
            broken: Vec::new(),
        }
    }

    /// Delay that the request budget can cause: tokens and listings of all targets, one after
    /// another.
    pub(crate) fn forced(&self) -> Duration {
        MINUTE.div_f64(self.requests_per_minute as f64) * 50 + TIMEOUT
    }

    /// Marks everything that happened so far as unknown to the daemon.
    pub(crate) fn forget(&mut self) {
        self.knows_since = Instant::now();
        self.silence_until = None;
    }

    /// Records the pause that a response asks for.
    fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        let seconds = |name: &str| headers.get(name)?.to_str().ok()?.parse().ok();
        let wait = match (headers.contains_key("retry-after"), status.as_u16()) {
            (true, 429 | 503) => seconds("retry-after"),
            (false, 429) => seconds("ratelimit-reset"),
            _ => None,
        };
        if let Some(wait) = wait {
            let until = Instant::now() + Duration::from_secs(wait).min(LONGEST_SILENCE);
            self.silence_until = self.silence_until.max(Some(until));
        }
    }

    /// Records a request.
    ///
    /// A request during a pause is a violation, and so are more requests in any minute than the
    /// budget.
    fn sent(&mut self, what: &str, began: Instant) {
        let now = Instant::now();
        self.requests += 1;
        let line = format!("{} {what} {:?}", self.trace, now - began);
        self.trace = crc32fast::hash(line.as_bytes());
        while self
            .last_minute
            .front()
            .is_some_and(|at| now - *at >= MINUTE)
        {
            self.last_minute.pop_front();
        }
        self.last_minute.push_back(now);
        if self.silence_until.is_some_and(|until| now < until) {
            self.broken
                .push(format!("{what} was asked for during a pause"));
        }
        let forgot = self.forgot_at.is_some_and(|at| now - at < MINUTE);
        let allowed = self.requests_per_minute + usize::from(forgot);
        if self.last_minute.len() > allowed {
            let sent = self.last_minute.len();
            self.broken.push(format!(
                "{sent} requests in a minute, and {allowed} were allowed"
            ));
        }
    }
}

#[async_trait]
impl Transport for Line {
    fn begin(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, TransportError> {
        let request = request.build().unwrap();
        let path = request.url().path().to_owned();
        self.ledger.lock().unwrap().sent(&path, self.began);
        let fail = |reason| TransportError::new(reason, "no answer");
        let slow = *self.vendor.slow.lock().unwrap();
        let (takes, hangs) = {
            let mut random = self.vendor.random.lock().unwrap();
            (slow.mul_f64(random.f64()), random.bool())
        };
        sleep(takes.min(TIMEOUT)).await;
        if takes >= TIMEOUT {
            return Err(fail(Reason::Timeout));
        }
        let target = request
            .headers()
            .get("zuora-entity-ids")
            .map(|id| id.to_str().unwrap().replace('-', ""))
            .filter(|_| path == "/v1/entity-connections")
            .or_else(|| {
                let integration = path.strip_suffix("/connections/all")?;
                Some(integration.rsplit('/').next()?.to_owned())
            });
        let first = !request.url().as_str().contains("after")
            && request
                .url()
                .query_pairs()
                .all(|(key, value)| key != "page" || value == "1");
        let version = target
            .as_ref()
            .filter(|_| first)
            .map(|target| self.vendor.mark(target));
        let body = request.body().and_then(|body| body.as_bytes());
        let mut copy = Request::builder()
            .method(request.method())
            .uri(with_short_pages(request.url()))
            .body(Bytes::copy_from_slice(body.unwrap_or_default()))
            .unwrap();
        copy.headers_mut().clone_from(request.headers());
        let Some(response) = self.vendor.simulator.respond(copy) else {
            if hangs {
                sleep(TIMEOUT.saturating_sub(takes)).await;
                return Err(fail(Reason::Timeout));
            }
            return Err(fail(Reason::Unreachable));
        };
        let mut ledger = self.ledger.lock().unwrap();
        ledger.answered(response.status(), response.headers());
        if let (Some(target), Some(version), 200) = (target, version, response.status().as_u16()) {
            ledger.served.insert(target, (version, Instant::now()));
        }
        Ok(response.into())
    }
}

/// Replaces the page size of a ZIS request, so that short listings have several pages.
///
/// Long listings are processed on worker threads, which end in any order.
fn with_short_pages(url: &Url) -> String {
    let mut short = url.clone();
    let pairs: Vec<_> = url
        .query_pairs()
        .map(|(key, value)| match &*key {
            "page[size]" => (key, SHORT_PAGE.to_string().into()),
            _ => (key, value),
        })
        .collect();
    if !pairs.is_empty() {
        short.query_pairs_mut().clear().extend_pairs(pairs);
    }
    short.into()
}
