//! A configuration becomes accounts, each account's client lists its targets, each listing becomes
//! fragments, fragments become a page, and the server hands it to Prometheus.

pub mod cli;
pub mod clock;
pub mod config;
pub mod plan;

pub mod check;

pub mod account;
pub mod client;
pub mod poller;
pub mod schedule;
pub mod token;
pub mod upstream;

pub mod error;
pub mod listing;
pub mod log;
pub mod state;
pub mod store;

pub mod board;
pub mod exposition;
pub mod metrics;
pub mod server;
pub mod web_config;

pub mod healthcheck;

pub mod simulator;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use board::Board;
use clock::Clock;
use config::Config;
use metrics::OwnMetrics;
use server::{Limits, Server};
use store::Store;
use web_config::WebConfig;

/// What is still to be written to the state folder at the end has this long.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Where and how the page is served.
#[derive(Debug)]
pub struct Web {
    /// Sockets that are bound already.
    pub listeners: Vec<TcpListener>,
    /// The path of the page.
    pub telemetry_path: String,
    /// What a client may ask.
    pub limits: Limits,
    /// TLS, passwords and headers.
    pub config: Arc<WebConfig>,
}

/// Polls and serves until `shutdown`; what is known outlives that in `state_dir`, where there is one. Fails only
/// before it begins: if certificates cannot be loaded, or another process uses the folder.
pub async fn run(
    config: Config,
    web: Web,
    clock: Clock,
    state_dir: Option<&Path>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let own = OwnMetrics::new(clock.now());
    let store = match state_dir {
        Some(folder) => Store::open(folder, own.state_write_failures())?,
        None => Store::default(),
    };
    let names = config.accounts.iter();
    store.keep_accounts(names.map(|account| (account.system.name, account.name.as_str())));
    let board = Arc::new(Board::new(own, clock.clone()));
    let accounts = account::start(config, &board, &store, &clock)?;
    for listener in &web.listeners {
        let address = listener
            .local_addr()
            .map(|address| address.to_string())
            .unwrap_or_default();
        tracing::info!(
            address,
            path = web.telemetry_path,
            tls = web.config.current().tls.is_some(),
            accounts = accounts.len(),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
    }
    let _watch = AbortOnDropHandle::new(tokio::spawn(web.config.clone().watch(board.clone())));
    Server::new(board, web.telemetry_path, web.limits, web.config)
        .serve(web.listeners, shutdown)
        .await;
    drop(accounts);
    // A disk that hangs must not keep the process.
    if timeout(LAST_WRITES, store.flush()).await.is_err() {
        tracing::warn!("not all could be written to the state folder in time");
    }
    Ok(())
}
