//! Test harness: daemon and simulator in this process, each on its own port.

use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use connections_exporter::clock::Clock;
use connections_exporter::commands::daemon::{Web, run};
use connections_exporter::config::Config;
use connections_exporter::polling::reload::Configuration;
use connections_exporter::polling::shard::Shard;
use connections_exporter::web::ServerLimits;
use connections_simulator::{Fault, Simulator, Sizes, World};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::configurations::taken;

/// Settings that poll immediately, and then at the shortest interval that a configuration allows.
///
/// The timeout is long enough for a busy machine.
pub(crate) const OFTEN: &str =
    "  interval: 1s\n  first_poll_within: 0s\n  request_timeout: 30s\n  stale_after: 1h\n";
/// Settings that poll immediately, and not again during a test.
pub(crate) const ONCE: &str = "  interval: 1h\n  first_poll_within: 0s\n  request_timeout: 30s\n";

/// Time that a test waits for an event; long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Interval at which a test checks for an event.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Values of environment variables by name.
pub(crate) type Env = std::collections::BTreeMap<String, String>;

pub(crate) struct Harness {
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) vendor: SocketAddr,
    pub(crate) address: SocketAddr,
    pub(crate) daemon: Option<JoinHandle<anyhow::Result<()>>>,
    pub(crate) shutdown: CancellationToken,
    client: reqwest::Client,
    _end: DropGuard,
    _vendor: AbortOnDropHandle<()>,
}

impl Harness {
    pub(crate) async fn start(sizes: Sizes, poll: &str) -> Self {
        Self::start_with(
            World::new(sizes, 1, Timestamp::now()),
            poll,
            ServerLimits::default(),
        )
        .await
    }

    pub(crate) async fn start_with(world: World, poll: &str, limits: ServerLimits) -> Self {
        Self::new(world, Vec::new(), None, poll, limits).await
    }

    pub(crate) async fn start_failing(world: World, faults: Vec<Fault>, poll: &str) -> Self {
        Self::new(world, faults, None, poll, ServerLimits::default()).await
    }

    /// Starts a harness whose vendors limit the requests per minute.
    pub(crate) async fn start_limited(sizes: Sizes, per_minute: u32, poll: &str) -> Self {
        let world = World::new(sizes, 1, Timestamp::now());
        Self::new(
            world,
            Vec::new(),
            Some(per_minute),
            poll,
            ServerLimits::default(),
        )
        .await
    }

    async fn new(
        world: World,
        faults: Vec<Fault>,
        per_minute: Option<u32>,
        poll: &str,
        limits: ServerLimits,
    ) -> Self {
        Self::configured(world, faults, per_minute, poll, limits, |text, env| {
            (text, env)
        })
        .await
    }

    /// Starts a harness; `configure` changes the simulator's configuration and environment.
    pub(crate) async fn configured(
        world: World,
        faults: Vec<Fault>,
        per_minute: Option<u32>,
        poll: &str,
        limits: ServerLimits,
        configure: impl FnOnce(String, Env) -> (String, Env),
    ) -> Self {
        let clock = Clock::system();
        let simulator = Simulator::new(world, faults, per_minute, {
            let clock = clock.clone();
            move || clock.now()
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let vendor = listener.local_addr().unwrap();
        let (text, env) = simulator.configuration(vendor, poll);
        let (text, env) = configure(text, env);
        let config = taken(&text, move |name| env.get(name).cloned()).await;
        let simulated = AbortOnDropHandle::new(tokio::spawn(simulator.clone().serve(listener)));
        let (address, daemon, shutdown) = serve(config, limits, clock).await;
        Self {
            simulator,
            vendor,
            address,
            daemon: Some(daemon),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            _end: shutdown.clone().drop_guard(),
            shutdown,
            _vendor: simulated,
        }
    }

    /// Sends a GET to the daemon.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.client
            .get(format!("http://{}{path}", self.address))
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn page(&self) -> Page {
        Page(self.get("/metrics").await.text().await.unwrap())
    }

    /// Waits for a page that satisfies `what`.
    pub(crate) async fn page_when(&self, what: impl Fn(&Page) -> bool) -> Page {
        page_when(self.address, what).await
    }

    /// Waits until the daemon is ready.
    pub(crate) async fn ready(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.get("/-/ready").await.status() != 200 {
            assert!(tokio::time::Instant::now() < deadline, "not ready");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Runs a daemon on this configuration until the guard is dropped; every secret is `t`.
pub(crate) async fn serve_text(text: &str) -> (SocketAddr, DropGuard) {
    let config = taken(text, |_| Some("t".to_owned())).await;
    let (address, _, shutdown) = serve(config, ServerLimits::default(), Clock::system()).await;
    (address, shutdown.drop_guard())
}

/// Waits for a page at this address that satisfies `what`.
pub(crate) async fn page_when(address: SocketAddr, what: impl Fn(&Page) -> bool) -> Page {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = client
            .get(format!("http://{address}/metrics"))
            .send()
            .await
            .unwrap();
        let page = Page(answer.text().await.unwrap());
        if what(&page) {
            return page;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "it did not come:\n{}",
            page.0
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Runs a daemon on its own port.
pub(crate) async fn serve(
    config: Config,
    limits: ServerLimits,
    clock: Clock,
) -> (
    SocketAddr,
    JoinHandle<anyhow::Result<()>>,
    CancellationToken,
) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let web = Web {
        listeners: vec![listener],
        telemetry_path: "/metrics".to_owned(),
        reload: None,
        config_file: None,
        shard: Shard::default(),
        limits,
        config: Arc::default(),
    };
    let (configuration, _) = Configuration::load(move || ready(Ok(config.clone())))
        .await
        .unwrap();
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    let daemon = tokio::spawn(async move { run(configuration, web, clock, None, token).await });
    begun(address).await;
    (address, daemon, shutdown)
}

/// Waits until all accounts are open.
pub(crate) async fn begun(address: SocketAddr) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = client.get(format!("http://{address}/-/ready")).send().await;
        if let Ok(answer) = answer
            && let Ok(said) = answer.text().await
            && !said.contains("still being opened")
        {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "it does not begin");
    }
}

/// Text of a metrics page.
pub(crate) struct Page(pub(crate) String);

impl Page {
    /// Returns the samples whose lines contain all of these parts.
    pub(crate) fn samples(&self, parts: &[&str]) -> Vec<(&str, f64)> {
        let lines = self
            .0
            .lines()
            .filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    pub(crate) fn sum(&self, parts: &[&str]) -> f64 {
        self.samples(parts).iter().map(|(_, value)| value).sum()
    }

    /// Returns the value of the only sample with all of these parts; `None` if no sample has them.
    pub(crate) fn value(&self, parts: &[&str]) -> Option<f64> {
        match self.samples(parts)[..] {
            [] => None,
            [(_, value)] => Some(value),
            ref many => panic!("{parts:?} is ambiguous: {many:?}"),
        }
    }
}
