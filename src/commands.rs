//! Commands of the program, one module each, and what they share.

pub mod check;
mod config_check;
pub mod daemon;
#[cfg(feature = "demo")]
mod demo;
mod healthcheck;
mod load;
mod signals;
#[cfg(feature = "demo")]
mod simulate;

use std::time::Duration;

use anyhow::Context as _;

use crate::blocking::output;
use crate::cli::{Cli, Command};
use crate::web;

/// Time that a command waits at its end for output that is still being written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Returns whether the command runs until it receives a signal.
#[must_use]
pub fn runs_until_signal(cli: &Cli) -> bool {
    match &cli.command {
        None => !cli.daemon.config_check,
        #[cfg(feature = "demo")]
        Some(Command::Demo { .. } | Command::Simulate { .. }) => true,
        Some(Command::Check { .. } | Command::Healthcheck) => false,
    }
}

/// Runs the command that the arguments name.
pub async fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        None if cli.daemon.config_check => {
            config_check::config_check(&cli.daemon, cli.shard()?).await
        }
        None => daemon::command(&cli.daemon, cli.shard()?).await,
        Some(Command::Check(how)) => check::command(&cli.daemon, cli.shard()?, how).await,
        #[cfg(feature = "demo")]
        Some(Command::Demo { simulator, still }) => {
            demo::demo(&cli.daemon, simulator, *still).await
        }
        #[cfg(feature = "demo")]
        Some(Command::Simulate {
            simulator,
            listen_address,
        }) => simulate::simulate(simulator, *listen_address).await,
        Some(Command::Healthcheck) => {
            let address = web::loopback_of(&cli.daemon.web_listen_address[0]).await?;
            healthcheck::ask(address, cli.daemon.web_config_file.as_deref()).await
        }
    }
}

/// Writes the output of a command. It blocks, so nothing else may be running.
fn say(text: &str) -> anyhow::Result<()> {
    output::print(text).context("writing to standard output")
}
