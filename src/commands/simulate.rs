//! `simulate`: the simulator of both APIs, without a daemon.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use connections_simulator::{Simulator, World};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::LAST_LINES;
use super::signals::{hangups, shutdown};
use crate::blocking::files::{self, FileKind};
use crate::blocking::output;
use crate::cli::SimulatorFlags;

/// Runs the simulator until a signal is received, and prints a configuration that polls it.
pub(super) async fn simulate(flags: &SimulatorFlags, address: SocketAddr) -> anyhow::Result<()> {
    let shutdown = shutdown()?;
    // There is nothing to reload. A SIGHUP to all processes with this name must not end it.
    let _hangups = hangups()?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| {
        format!("listening on {address}: choose another --simulator.listen-address")
    })?;
    let address = listener.local_addr().context("listening")?;
    let simulator = make(flags).await?;
    let (text, env) = simulator.configuration(address, "  interval: 10s\n");
    let env: Vec<_> = env
        .iter()
        .map(|(name, value)| format!("#   export {name}={value}\n"))
        .collect();
    let env = env.concat();
    let printing = output::print_beside(format!(
        "# The simulator's API is at http://{address}; what it holds: http://{address}/simulator\n\
         # Polled by this configuration, with these variables in the environment:\n\
         {env}{text}"
    ));
    shutdown
        .run_until_cancelled(simulator.serve(listener))
        .await;
    // Waits until the output is written, but only briefly in case it is not read.
    let _ = timeout(LAST_LINES, printing).await;
    Ok(())
}

/// Makes the simulator. Fails if a report cannot be replayed, or a fault would never happen.
pub(super) async fn make(flags: &SimulatorFlags) -> anyhow::Result<Arc<Simulator>> {
    if let Some(path) = &flags.replay {
        let report = files::read(FileKind::Configuration, path).await;
        let report = report.map_err(|error| anyhow!("{} {error}", path.display()))?;
        let replayed = Simulator::replay(&report, flags.fault.clone(), Timestamp::now);
        return replayed.map_err(|problem| anyhow!("{} {problem}", path.display()));
    }
    let now = Timestamp::now();
    let mut world = World::new(flags.sizes(), flags.seed, now);
    if let Some(tokens) = flags.integration_tokens {
        world.deal_tokens(tokens, now);
    }
    let simulator = Simulator::new(
        world,
        flags.fault.clone(),
        flags.requests_per_minute,
        Timestamp::now,
    );
    for fault in &flags.fault {
        let checked = simulator.check(fault);
        checked.map_err(|problem| anyhow!("--simulator.fault: {problem}"))?;
    }
    Ok(simulator)
}

/// Returns a function that looks up variables in `env` instead of the environment.
pub(super) fn variables(env: &BTreeMap<String, String>) -> impl Fn(&str) -> Option<String> {
    |name| env.get(name).cloned()
}
