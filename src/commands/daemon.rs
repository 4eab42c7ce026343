//! The daemon: polls and serves until it is stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::load::{self, some_configuration};
use super::signals;
use crate::cli::DaemonFlags;
use crate::clock::Clock;
use crate::inventory::Inventory;
use crate::metrics::ExporterMetrics;
use crate::polling::reload::{Configuration, ReloadHandle, ReloadWebConfig};
use crate::polling::shard::Shard;
use crate::polling::supervisor::Supervisor;
use crate::state_dir::{OpenError, StateDir};
use crate::systemd;
use crate::web::config::WebConfig;
use crate::web::status::About;
use crate::web::{self, Server, ServerLimits};

/// Time in which an error of the state directory can end the start before the server accepts.
const BEFORE_SERVING: Duration = Duration::from_millis(500);

/// Status text for the service manager of a process that polls and serves.
const SERVING: &str = "serving";

/// Time for pending writes to the state directory at the end.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// Configuration of the HTTP server.
#[derive(Debug)]
pub struct Web {
    /// Listeners that are already bound.
    pub listeners: Vec<TcpListener>,
    /// Path of the metrics page.
    pub telemetry_path: String,
    /// Handle for `/-/reload`; `None` if that is disabled.
    pub reload: Option<ReloadHandle>,
    /// Configuration file that the status page names; `None` if there is none.
    pub config_file: Option<String>,
    /// Shard of this process, among those with the same configuration.
    pub shard: Shard,
    /// Limits for clients.
    pub limits: ServerLimits,
    /// TLS, passwords and headers.
    pub config: Arc<WebConfig>,
}

/// Where state is kept.
#[derive(Debug, Clone, Copy)]
pub struct StateOptions<'a> {
    /// The state directory.
    pub directory: &'a Path,
    /// Whether to wait while another process uses it.
    pub wait: bool,
}

/// Polls and serves until `shutdown` is cancelled.
///
/// The server starts within half a second, while accounts are still being opened. With
/// [`StateOptions::wait`], that is also so while another process uses the state directory: until
/// that process ends, this one is standby and polls nothing.
///
/// Fails only at the start: if certificates cannot be loaded, or if the state directory cannot be
/// used. After `shutdown` it ends within [`ServerLimits::drain`] or 3 s, whichever is longer,
/// even if the disk hangs.
pub async fn run(
    configuration: Configuration,
    mut web: Web,
    clock: Clock,
    state: Option<StateOptions<'_>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    web.limits.fit(web::raise_descriptors());
    let wait = state.is_some_and(|state| state.wait);
    let own = ExporterMetrics::new(clock.now());
    own.sharded(web.shard.index(), web.shard.total());
    let web_config_gauge = own.web_config_gauge();
    let state_dir = state.map_or_else(StateDir::default, |state| {
        StateDir::new(state.directory, own.state_write_failures())
    });
    let inventory = Arc::new(Inventory::new(own, clock.clone()));
    inventory.opening(configuration.accounts());
    let begun = CancellationToken::new();
    let opening = open(wait, state_dir.clone(), inventory.clone(), begun.clone());
    let mut opening = Box::pin(opening);
    let opened = timeout(BEFORE_SERVING, &mut opening);
    let opening = match shutdown.run_until_cancelled(opened).await {
        Some(Ok(opened)) => {
            opened?;
            None
        }
        _ => Some(opening),
    };
    let accounts = Supervisor::new(inventory.clone(), state_dir.clone(), clock.clone());
    let reload_web_config: ReloadWebConfig = {
        let (config, gauge) = (web.config.clone(), web_config_gauge.clone());
        Box::new(move || {
            let (config, gauge) = (config.clone(), gauge.clone());
            Box::pin(async move { config.reload(&gauge).await })
        })
    };
    let polling = {
        let (inventory, begun) = (inventory.clone(), begun.clone());
        let mut configuration = configuration;
        async move {
            if let Some(opening) = opening {
                let opened = configuration.until(opening, &reload_web_config, &inventory, &clock);
                opened.await?;
            }
            let beginning = configuration.begin(accounts, reload_web_config, inventory, clock);
            let reloading = beginning.await?;
            begun.cancel();
            anyhow::Ok(reloading.run().await)
        }
    };
    let mut polling = AbortOnDropHandle::new(tokio::spawn(polling));
    for listener in &web.listeners {
        let address = listener
            .local_addr()
            .map(|address| address.to_string())
            .unwrap_or_default();
        tracing::info!(
            address,
            path = web.telemetry_path,
            tls = web.config.current().tls.is_some(),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
    }
    let _watch = AbortOnDropHandle::new(tokio::spawn(web.config.clone().watch(web_config_gauge)));
    let about = About {
        telemetry_path: web.telemetry_path,
        config_file: web.config_file,
    };
    let server = Server::new(inventory.clone(), about, web.reload, web.limits, web.config);
    let told = CancellationToken::new();
    let supervisor = async {
        // Not earlier, so that the service manager sees a failed start as a failure.
        let begun = shutdown.run_until_cancelled(begun.cancelled()).await;
        if begun.is_none() {
            told.cancel();
            return std::future::pending().await;
        }
        let standby = inventory.exporter_metrics().is_standby();
        let text = if standby { "standby" } else { SERVING };
        systemd::serving(text, &shutdown, &told).await
    };
    let serving = async {
        server.serve(web.listeners, shutdown.clone()).await;
        // The service manager is notified before the process ends.
        told.cancelled().await;
        Ok(())
    };
    // Runs concurrently with the responses in flight, so that neither waits for the other.
    let polling = async {
        tokio::select! {
            ended = &mut polling => match ended? {
                Err(error) => return Err(error),
                Ok(never) => match never {},
            },
            () = shutdown.cancelled() => {}
        }
        polling.abort();
        // This also ends the accounts, which may queue writes until then.
        let _ = polling.await;
        // A disk that hangs must not keep the process alive.
        if timeout(LAST_WRITES, state_dir.flush()).await.is_err() {
            tracing::warn!("not all could be written to the state directory in time");
        }
        Ok(())
    };
    tokio::select! {
        // It may notify that the daemon is ready before the first accept. The listeners were bound
        // before `run`, so an earlier connection waits in the backlog.
        never = supervisor => match never {},
        ended = async { tokio::try_join!(serving, polling) } => ended.map(|((), ())| ()),
    }
}

/// Opens the state directory. With `wait`, the process is standby while another one uses it.
///
/// A standby process is what was started, so that is when it has `begun`.
async fn open(
    wait: bool,
    state_dir: StateDir,
    inventory: Arc<Inventory>,
    begun: CancellationToken,
) -> Result<(), OpenError> {
    if !wait {
        return state_dir.open().await;
    }
    let own = inventory.exporter_metrics();
    let locked = state_dir.lock(|path| {
        tracing::info!(
            state_dir = %path.display(),
            "standby: another process uses the state directory"
        );
        own.set_standby(true);
        begun.cancel();
    });
    locked.await?;
    if own.is_standby() {
        tracing::info!("no other process uses the state directory any more: taking over");
        own.set_standby(false);
        systemd::status(SERVING).await;
    }
    Ok(())
}

/// Runs the daemon with these flags.
pub async fn command(flags: &DaemonFlags, shard: Shard) -> anyhow::Result<()> {
    let shutdown = signals::shutdown()?;
    let hangups = signals::hangups()?;
    let begin = async {
        some_configuration(flags).await?;
        let file = flags.config_file.clone();
        let (configuration, reload) =
            Configuration::load(move || load::load(file.clone(), shard)).await?;
        let web = Web {
            config_file: Some(flags.config_file.display().to_string()),
            shard,
            ..load::web(flags, &reload).await?
        };
        anyhow::Ok((configuration, reload, web))
    };
    let Some(ready) = shutdown.run_until_cancelled(begin).await else {
        return Ok(());
    };
    let (configuration, reload, web) = ready?;
    let _hangups = AbortOnDropHandle::new(tokio::spawn(signals::reload_on(hangups, reload)));
    let state = flags.state_dir.as_deref().map(|directory| StateOptions {
        directory,
        wait: flags.state_wait,
    });
    run(configuration, web, Clock::system(), state, shutdown).await
}
