//! HTTP: routes, limits, drain.

mod auth;
mod client_connection;
pub mod config;
mod connection;
mod deadline;
mod descriptors;
mod http_sd;
mod listen;
mod refused;
mod request;
mod response;
mod slots;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use descriptors::raise_descriptors;
pub use listen::{bind, from_systemd, listen_address, loopback_of};
use response::{HttpResponse, page, text};

use crate::inventory::{Inventory, Selector};
use crate::polling::reload::ReloadHandle;
use crate::web::status::About;
use config::{Checks, WebConfig};
use http_sd::ServiceDiscovery;
use slots::{Slot, SlotHolder, Slots};

/// Where Prometheus is told what to scrape.
const DISCOVERY: &str = "/sd";

/// Where a reload is asked for.
const RELOAD: &str = "/-/reload";

/// What a client may ask of us.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Answers in flight; a newcomer gets the place of one that stalls, or 503.
    pub requests: usize,
    /// For a place among the answers in flight.
    pub place: Duration,
    /// Connections; a newcomer gets the place of one that is idle or stalls.
    pub connections: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// From the beginning of a connection, or the end of its handshake, to the end of the first request's
    /// headers: whoever connects is about to ask.
    pub first_header: Duration,
    /// From an idle connection to the end of a request's headers. Longer than people scrape, so that a
    /// scraper keeps its connection; and short enough that one who never asks does not keep his.
    pub header: Duration,
    /// For an answer to leave, once the client does not take it as fast as we have it.
    pub write: Duration,
    /// For answers in flight, once the process is told to end.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            requests: 40,
            place: Duration::from_secs(2),
            connections: 512,
            handshake: Duration::from_secs(10),
            first_header: Duration::from_secs(10),
            header: Duration::from_mins(2),
            write: Duration::from_mins(1),
            // The process ends within 5 s, whatever it waits for.
            drain: Duration::from_millis(4_500),
        }
    }
}

/// Answers requests from the inventory.
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
    /// A server of this inventory. Without a `reload`, asking for one is refused.
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

    /// Serves until `shutdown`, then lets answers in flight end.
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

    /// Answers one request that was let in. Nothing here waits but a reload and for a place: all else that is served is
    /// already there.
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
            // Not among the answers in flight: one that waits for a slow disk keeps no scrape out.
            RELOAD => self.reload(request).await,
            _ => match self.place().await {
                Some(place) if path == self.about.telemetry_path => self.metrics(request, place),
                Some(place) if path == DISCOVERY => self.discovery(request, place),
                Some(place) => self.status(request, place),
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

    /// A place among the answers in flight. It is held by what sends the answer: when it goes to another one, that ends.
    async fn place(&self) -> Option<Slot> {
        let holder = SlotHolder::new(deadline::sender());
        // Busy from the beginning: an answer is never idle.
        holder.begin();
        let place = self.in_flight.take(holder.into());
        timeout(self.limits.place, place).await.ok()
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        [
            self.about.telemetry_path.as_str(),
            "/",
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

    fn metrics(&self, request: &Request<Incoming>, place: Slot) -> HttpResponse {
        let encoding = response::encoding(request.headers());
        match Selector::parse(request.uri().query().unwrap_or_default()) {
            Ok(part) => page(self.inventory.part(&part, encoding), encoding, place),
            Err(problem) => text(StatusCode::BAD_REQUEST, problem),
        }
    }

    fn discovery(&self, request: &Request<Incoming>, place: Slot) -> HttpResponse {
        let discovery = ServiceDiscovery {
            // Whoever scrapes comes by a connection of its own, under the settings that hold now.
            tls: self.web_config.current().tls.is_some(),
            telemetry_path: &self.about.telemetry_path,
        };
        let Some(names) = self.inventory.names() else {
            // Prometheus keeps the targets that it knows; a part of the list would end the others.
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "The accounts are not all there yet.\n",
            );
        };
        match discovery.groups(request, &names) {
            Ok(groups) => response::json(groups, response::encoding(request.headers()), place),
            Err(problem) => text(StatusCode::BAD_REQUEST, problem),
        }
    }

    fn status(&self, request: &Request<Incoming>, place: Slot) -> HttpResponse {
        let encoding = response::encoding(request.headers());
        match status::render(&self.inventory, &self.about) {
            Ok(html) => response::html(html, encoding, place),
            Err(error) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("The status page could not be made: {error}.\n"),
            ),
        }
    }
}

/// Checks a path for the page. It stands in a link, and must not hide another route.
pub fn telemetry_path(path: &str) -> Result<String, String> {
    let plain = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b));
    if !plain
        || !path.starts_with('/')
        || path == "/"
        || path == DISCOVERY
        || path.starts_with("/-/")
        || path.starts_with("//")
        || request::normal(path).as_deref() != Some(path)
    {
        return Err("expected a path such as /metrics: letters, digits and /-_.~, beginning with /, without . and .. as parts, not / nor /sd themselves nor below /-/".to_owned());
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
