//! The HTTP server: its routes, its limits and its graceful shutdown.

mod auth;
mod client_connection;
pub mod config;
mod connection;
mod deadline;
mod descriptors;
mod http_sd;
mod listen;
mod negotiation;
mod refused;
mod request;
mod response;
mod slots;
pub(crate) mod status;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use descriptors::raise_descriptors;
pub use listen::bind;
pub(crate) use listen::{from_systemd, listen_address, loopback_of};
use response::{HttpResponse, page, text};

use crate::invalid::Invalid;
use crate::inventory::{Inventory, Selector};
use crate::polling::reload::ReloadHandle;
use crate::web::status::About;
use config::{Checks, WebConfig};
use http_sd::ServiceDiscovery;
use slots::{Slot, SlotHolder, Slots};

/// Path of HTTP service discovery.
const DISCOVERY: &str = "/sd";

/// Path of the page of one target.
const TARGET: &str = "/target";

/// Path that requests a reload.
const RELOAD: &str = "/-/reload";

/// Limits and deadlines of the server.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Maximum number of responses in flight. A further request takes the slot of a stalled
    /// response, or gets 503.
    pub requests: usize,
    /// Longest wait for a response slot.
    pub slot_wait: Duration,
    /// Maximum number of connections. A further one takes the slot of an idle or stalled one.
    pub connections: usize,
    /// Deadline of a TLS handshake.
    pub handshake: Duration,
    /// Deadline of the first request's headers, counted from the start of the connection or the end
    /// of its TLS handshake. Shorter than `next_request`, because a client that connects is about
    /// to send a request.
    pub first_request: Duration,
    /// Time from one response to the end of the next request's headers.
    ///
    /// It includes the idle time of a connection that is kept open. Longer than common scrape
    /// intervals, so that Prometheus keeps its connection. Short enough to close a connection that
    /// is never used.
    pub next_request: Duration,
    /// Time to send a whole response, counted from the first write that has to wait for the client.
    /// Over HTTP/2 each response also has this time from its request on.
    pub write: Duration,
    /// Time for responses in flight after shutdown begins.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            requests: 40,
            slot_wait: Duration::from_secs(2),
            connections: 512,
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            next_request: Duration::from_mins(2),
            write: Duration::from_mins(1),
            // The process must end within 5 s of SIGTERM.
            drain: Duration::from_millis(4_500),
        }
    }
}

/// HTTP server that serves the inventory.
#[derive(Debug)]
pub struct Server {
    inventory: Arc<Inventory>,
    about: About,
    reload: Option<ReloadHandle>,
    limits: ServerLimits,
    in_flight: Arc<Slots>,
    refusals: refused::RefusedConnections,
    web_config: Arc<WebConfig>,
    checks: Checks,
}

impl Server {
    /// Creates a server of this inventory.
    ///
    /// Without `reload`, a request for a reload gets 403.
    #[must_use]
    pub fn new(
        inventory: Arc<Inventory>,
        about: About,
        reload: Option<ReloadHandle>,
        limits: ServerLimits,
        web_config: Arc<WebConfig>,
    ) -> Self {
        let in_flight = Slots::new(limits.requests);
        Self {
            inventory,
            about,
            reload,
            limits,
            in_flight,
            refusals: refused::RefusedConnections::default(),
            web_config,
            checks: Checks::default(),
        }
    }

    /// Serves until `shutdown` is cancelled, then waits for responses in flight.
    ///
    /// That wait is at most [`ServerLimits::drain`].
    pub async fn serve(self, listeners: Vec<TcpListener>, shutdown: CancellationToken) {
        let server = Arc::new(self);
        let connections = Slots::new(server.limits.connections);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(connection::accept(
                server.clone(),
                listener,
                connections.clone(),
                shutdown.clone(),
            ));
        }
        accepting.join_all().await;
    }

    /// Returns the response to a request that passed access control.
    ///
    /// Only a reload and a free response slot are awaited. All other content is already in memory.
    async fn answer(&self, request: &Request<Incoming>, path: &str) -> HttpResponse {
        let allowed: &[Method] = match path {
            RELOAD => &[Method::POST, Method::PUT],
            _ => &[Method::GET, Method::HEAD],
        };
        let answer = match path {
            "*" => response::options(),
            _ if !self.paths().any(|known| known == path) => {
                let paths = self.paths().collect::<Vec<_>>().join(", ");
                text(
                    StatusCode::NOT_FOUND,
                    format!("There is nothing at this path. There is something at {paths}.\n"),
                )
            }
            _ if !allowed.contains(request.method()) => response::not_allowed(allowed),
            "/-/healthy" => text(StatusCode::OK, "connections-exporter is healthy.\n"),
            "/-/ready" => self.ready(),
            // A reload takes no response slot, so one that waits for a slow disk blocks no scrape.
            RELOAD => self.reload(request).await,
            _ => match self.slot().await {
                Some(slot) if path == self.about.telemetry_path => self.metrics(request, slot),
                Some(slot) if path == DISCOVERY => self.discovery(request, slot),
                Some(slot) if path == TARGET => self.target(request, slot),
                Some(slot) => self.status(request, slot),
                None => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Too many answers are in flight; see --web.max-requests.\n",
                ),
            },
        };
        if *request.method() == Method::HEAD {
            response::without_body(answer)
        } else {
            answer
        }
    }

    /// Waits for a response slot; `None` after [`ServerLimits::slot_wait`].
    ///
    /// The holder of the slot is the sender of the response. Eviction cancels the sender, which
    /// ends the response.
    async fn slot(&self) -> Option<Slot> {
        let holder = SlotHolder::new(deadline::sender());
        // A response counts as busy from its beginning, and is never idle.
        holder.begin();
        let slot = self.in_flight.acquire(holder.into());
        timeout(self.limits.slot_wait, slot).await.ok()
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        [
            self.about.telemetry_path.as_str(),
            "/",
            TARGET,
            "/-/healthy",
            "/-/ready",
            RELOAD,
            DISCOVERY,
        ]
        .into_iter()
    }

    async fn reload(&self, request: &Request<Incoming>) -> HttpResponse {
        let Some(reload) = &self.reload else {
            return text(
                StatusCode::FORBIDDEN,
                "Reloading by request is off; see --web.enable-lifecycle. SIGHUP does the same.\n",
            );
        };
        if response::is_from_elsewhere(request) {
            return text(
                StatusCode::FORBIDDEN,
                "A page of another origin may not ask for this.\n",
            );
        }
        match reload.request().await {
            Some(outcome) if outcome.is_good() => text(StatusCode::OK, outcome.to_string()),
            Some(outcome) => text(StatusCode::INTERNAL_SERVER_ERROR, outcome.to_string()),
            None => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many reloads wait already, or the process is ending.\n",
            ),
        }
    }

    fn ready(&self) -> HttpResponse {
        match self.inventory.pending() {
            None => text(
                StatusCode::OK,
                "connections-exporter is ready: every account had its first attempt.\n",
            ),
            Some(missing) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("Not ready: {missing}.\n"),
            ),
        }
    }

    fn metrics(&self, request: &Request<Incoming>, slot: Slot) -> HttpResponse {
        let (representation, content_type) = negotiation::representation(request.headers());
        match Selector::parse(request.uri().query().unwrap_or_default()) {
            Ok(part) => {
                let part = self.inventory.part(&part, representation);
                page(part, content_type, representation.encoding, slot)
            }
            Err(problem) => text(StatusCode::BAD_REQUEST, String::from(problem)),
        }
    }

    fn discovery(&self, request: &Request<Incoming>, slot: Slot) -> HttpResponse {
        let discovery = ServiceDiscovery {
            // Prometheus scrapes over a connection of its own, which uses the current TLS settings.
            tls: self.web_config.current().tls.is_some(),
            telemetry_path: &self.about.telemetry_path,
        };
        let Some(names) = self.inventory.names() else {
            // Prometheus keeps its targets on an error. A partial list would remove the others.
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "The accounts are not all there yet.\n",
            );
        };
        match discovery.groups(request, &names) {
            Ok(groups) => response::json(groups, negotiation::encoding(request.headers()), slot),
            Err(problem) => text(StatusCode::BAD_REQUEST, String::from(problem)),
        }
    }

    fn status(&self, request: &Request<Incoming>, slot: Slot) -> HttpResponse {
        let query = request.uri().query().unwrap_or_default();
        html(
            request,
            status::render(&self.inventory, &self.about, query),
            slot,
        )
    }

    fn target(&self, request: &Request<Incoming>, slot: Slot) -> HttpResponse {
        let query = request.uri().query().unwrap_or_default();
        if let Some(page) = status::render_target(&self.inventory, &self.about, query) {
            return html(request, page, slot);
        }
        let mut answer = html(request, status::render_unknown_target(&self.about), slot);
        if answer.status() == StatusCode::OK {
            *answer.status_mut() = StatusCode::NOT_FOUND;
        }
        answer
    }
}

/// Creates the response with a rendered page.
fn html(request: &Request<Incoming>, rendered: askama::Result<String>, slot: Slot) -> HttpResponse {
    match rendered {
        Ok(html) => response::html(html, negotiation::encoding(request.headers()), slot),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("The page could not be rendered: {error}.\n"),
        ),
    }
}

/// Validates the path of the metrics page.
///
/// The path appears in a link, and it must not hide another route. The error describes the expected
/// form.
pub fn telemetry_path(path: &str) -> Result<String, Invalid> {
    let plain = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b));
    if !plain
        || !path.starts_with('/')
        || path == "/"
        || path == DISCOVERY
        || path == TARGET
        || path.starts_with("/-/")
        || path.starts_with("//")
        || request::normal(path).as_deref() != Some(path)
    {
        return Err(
            "expected a path such as /metrics: letters, digits and /-_.~, beginning with /, \
            without . and .. as parts, not /, /sd or /target themselves, nor below /-/"
                .into(),
        );
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_cannot_hide_another_route_nor_leave_its_link() {
        assert!(telemetry_path("/metrics").is_ok() && telemetry_path("/a/b-c").is_ok());
        for bad in [
            "",
            "/",
            "metrics",
            "/sd",
            "/target",
            "/-/healthy",
            "/\"><script>",
            "//host",
            "/a/../b",
            "/a/.",
            "/a b",
            "/ä",
            "/a?b",
        ] {
            assert!(telemetry_path(bad).is_err(), "{bad}");
        }
    }
}
