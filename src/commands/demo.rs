//! `demo`: the daemon, polling the built-in simulator.

mod story;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::daemon::run;
use super::load::web as load_web;
use super::signals::{hangups, reload_on, shutdown};
use super::simulate::{make, variables};
use crate::blocking::output;
use crate::cli::{DaemonFlags, SimulatorFlags};
use crate::clock::Clock;
use crate::config::Config;
use crate::polling::reload::Configuration;
use crate::settings::ConfigErrors;
use crate::web;

/// Time at the end for a reader of standard output.
const PRINTING: Duration = Duration::from_secs(1);

/// Poll settings with a short interval, so that changes can be watched.
const DEMO_POLL: &str = "  interval: 10s\n  first_poll_within: 0s\n  request_timeout: 5s\n";

/// Runs the simulator, and a daemon that polls it, until a signal is received.
///
/// Unless it is `still`, the simulated vendors change for two minutes.
pub(super) async fn demo(
    flags: &DaemonFlags,
    simulator: &SimulatorFlags,
    still: bool,
) -> anyhow::Result<()> {
    let shutdown = shutdown()?;
    let hangups = hangups()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("listening on loopback")?;
    let address = listener.local_addr().context("listening on loopback")?;
    let simulator = make(simulator).await?;
    let (text, env) = simulator.configuration(address, DEMO_POLL);
    let (configuration, reload) = Configuration::load(move || {
        let problems = ConfigErrors::new("the simulator's configuration");
        std::future::ready(Config::parse(
            &text,
            "".as_ref(),
            &variables(&env),
            problems,
        ))
    })
    .await?;
    let Some(web) = shutdown.run_until_cancelled(load_web(flags, &reload)).await else {
        return Ok(());
    };
    let web = web?;
    let _hangups = AbortOnDropHandle::new(tokio::spawn(reload_on(hangups, reload)));
    let shown = web::loopback_of(&flags.web_listen_address[0]).await?;
    let port = web.listeners[0].local_addr().context("listening")?.port();
    let seen = SocketAddr::new(shown.ip(), port);
    let scheme = match web.config.current().tls {
        Some(_) => "https",
        None => "http",
    };
    let path = &flags.web_telemetry_path;
    // Does not wait for the output to be read.
    let printing = output::print_beside(format!(
        "The simulator holds both systems' connections: http://{address}/simulator\n\
         The exporter polls it every 10 s:              {scheme}://{seen}{path}\n\
         Its status page, for people:                   {scheme}://{seen}/\n\
         The log tells what happens in the first two minutes. Ctrl-C ends both.\n"
    ));
    let _story =
        (!still).then(|| AbortOnDropHandle::new(tokio::spawn(story::tell(simulator.clone()))));
    tokio::spawn(simulator.serve(listener));
    let ended = run(configuration, web, Clock::system(), None, shutdown).await;
    // On a busy machine, a signal may come before the text was written.
    let _ = timeout(PRINTING, printing).await;
    ended
}
