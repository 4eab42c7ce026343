//! The `connections-exporter` command: arguments, logging, signals, exit code.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use connections_exporter::blocking::{files, output};
use connections_exporter::cli::{
    CheckFlags, CheckFormat, Cli, Command, DEFAULT_CONFIG_FILE, Daemon, LogFormat, SimulatorFlags,
};
use connections_exporter::clock::Clock;
use connections_exporter::commands::check;
use connections_exporter::commands::check::CheckEvent;
use connections_exporter::commands::daemon::{Web, run};
use connections_exporter::commands::healthcheck;
use connections_exporter::config::Config;
use connections_exporter::polling::reload::{Configuration, ReloadHandle};
use connections_exporter::polling::request_estimate::RequestEstimate;
use connections_exporter::polling::shard::Shard;
use connections_exporter::polling::supervisor::Supervisor;
use connections_exporter::settings::ConfigErrors;
use connections_exporter::simulator::{Simulator, World};
use connections_exporter::web as server;
use connections_exporter::web::ServerLimits;
use connections_exporter::web::config::WebConfig;
use jiff::Timestamp;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use zeroizing_alloc::ZeroAlloc;

/// Zeroes what is freed: after a poll no secret of a vendor's answer is left in memory.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

/// How the demo polls: so often that one can watch.
const DEMO_POLL: &str = "  interval: 10s\n  first_poll_within: 0s\n  request_timeout: 5s\n";

/// How long a process that handles signals waits at its end for standard error to be read.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long it waits for what else it is writing.
const LAST_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    output::report_panics();
    // Its report says what the log would.
    let quiet = matches!(cli.command, Some(Command::Check { .. }));
    log(&cli.daemon, quiet);
    if !cli.daemon.debug_core_dumps
        && let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "a core dump of this process would hold credentials");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime.context("starting the runtime").and_then(|runtime| {
        let result = runtime.block_on(command(&cli));
        // Not waiting for a thread that a hanging disk holds.
        runtime.shutdown_background();
        result
    });
    // One line for each problem of a configuration; all else is one line.
    let (code, last) = match result {
        Ok(()) => (ExitCode::SUCCESS, String::new()),
        Err(error) => {
            let text = match error.downcast_ref::<ConfigErrors>() {
                Some(problems) if output::has_colours() => format!("{problems:#}\n"),
                _ => format!("{error:#}\n"),
            };
            (ExitCode::FAILURE, text)
        }
    };
    // A command that handles no signal is ended by one, also while it waits for a reader.
    output::finish(&last, serves(&cli).then_some(LAST_WORDS));
    code
}

/// Whether this runs until a signal comes.
fn serves(cli: &Cli) -> bool {
    match &cli.command {
        None => !cli.daemon.config_check,
        Some(Command::Demo { .. } | Command::Simulate { .. }) => true,
        Some(Command::Check { .. } | Command::Healthcheck) => false,
    }
}

async fn command(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        None if cli.daemon.config_check => config_check(&cli.daemon, cli.shard()?).await,
        None => daemon(&cli.daemon, cli.shard()?).await,
        Some(Command::Check(how)) => check_all(&cli.daemon, cli.shard()?, how).await,
        Some(Command::Demo { simulator }) => demo(&cli.daemon, simulator).await,
        Some(Command::Simulate {
            simulator,
            listen_address,
        }) => simulate(simulator, *listen_address).await,
        Some(Command::Healthcheck) => {
            let address = server::loopback_of(&cli.daemon.web_listen_address[0]).await?;
            healthcheck::ask(address, cli.daemon.web_config_file.as_deref()).await
        }
    }
}

/// Logs what this program says, and nothing of what its libraries say: theirs could hold headers.
///
/// A command that is `quiet` logs only what was asked for: more than `info`, or less.
fn log(flags: &Daemon, quiet: bool) {
    // clap lets only names of levels through.
    let level = match flags.log_level.parse().unwrap_or(LevelFilter::INFO) {
        LevelFilter::INFO if quiet => LevelFilter::ERROR,
        level => level,
    };
    let ours = Targets::new().with_target("connections_exporter", level);
    let registry = tracing_subscriber::registry().with(ours);
    match flags.log_format {
        LogFormat::Logfmt => {
            let layer = tracing_logfmt::builder()
                .with_target(false)
                .with_span_name(false)
                .with_span_path(false)
                .layer();
            registry.with(layer.with_writer(output::LogWriter)).init();
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_target(false);
            registry.with(layer.with_writer(output::LogWriter)).init();
        }
    }
}

/// The part of the configuration that is this shard's.
async fn load(file: PathBuf, shard: Shard) -> Result<Config, ConfigErrors> {
    let mut config = Config::load(&file, |name| std::env::var(name).ok()).await?;
    config.accounts.retain(|account| shard.owns(account));
    Ok(config)
}

/// Fails if there is no configuration file and none was named, as when somebody tries the program.
async fn some_configuration(flags: &Daemon) -> anyhow::Result<()> {
    let file = &flags.config_file;
    if file.as_os_str() == DEFAULT_CONFIG_FILE && files::is_missing(file).await {
        bail!(
            "{DEFAULT_CONFIG_FILE}: there is no such file in this folder: name yours with --config.file, or try `connections-exporter demo`, which needs none"
        );
    }
    Ok(())
}

async fn load_web(flags: &Daemon) -> Result<WebConfig, ConfigErrors> {
    match &flags.web_config_file {
        Some(file) => WebConfig::load(file).await,
        None => Ok(WebConfig::default()),
    }
}

async fn config_check(flags: &Daemon, shard: Shard) -> anyhow::Result<()> {
    some_configuration(flags).await?;
    let config = load(flags.config_file.clone(), shard);
    let (config, web) = tokio::join!(config, load_web(flags));
    // What a daemon would wait for is as wrong for who checks.
    let config = config.and_then(|config| {
        if config.hanging.is_empty() {
            Ok(config)
        } else {
            Err(config.hanging)
        }
    });
    let (config, _) = match (config, web) {
        (Err(one), Err(other)) => return Err(one.and(other).into()),
        (config, web) => (config?, web?),
    };
    Supervisor::check(&config).await?;
    let plans = config
        .accounts
        .iter()
        .map(|account| RequestEstimate::of(account).to_string());
    let files = std::iter::once(&flags.config_file).chain(&flags.web_config_file);
    let files = files.map(|file| format!("{}: no problems\n", file.display()));
    say(&plans.chain(files).collect::<String>())
}

/// Writes what a command was asked for; nothing else is going on any more.
fn say(text: &str) -> anyhow::Result<()> {
    output::print(text).context("writing to standard output")
}

/// Polls every target once. Fails, after its report, if that is not as `--fail-on` says.
async fn check_all(flags: &Daemon, shard: Shard, how: &CheckFlags) -> anyhow::Result<()> {
    some_configuration(flags).await?;
    let config = load(flags.config_file.clone(), shard).await?;
    let shown = output::is_watched();
    // The line of the progress is cleared before anything else is written.
    let clear = if shown { "\r\u{1b}[K" } else { "" };
    let tell = |news: CheckEvent<'_>| match news {
        CheckEvent::Progress { polled, known } if shown => {
            output::progress(&format!("\r{polled} of {known} targets polled "));
        }
        CheckEvent::Progress { .. } => {}
        CheckEvent::Paused(pause) => output::tell(&format!("{clear}{pause}\n")),
    };
    let report = check::check(config, Clock::system(), how.timeout, tell).await?;
    output::finish(clear, Some(LAST_LINES));
    match how.format {
        CheckFormat::Table => say(&report.to_string())?,
        CheckFormat::Json => say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?,
    }
    match report.problem(&how.fail_on) {
        Some(problem) => bail!(problem),
        None => Ok(()),
    }
}

async fn daemon(flags: &Daemon, shard: Shard) -> anyhow::Result<()> {
    let shutdown = shutdown()?;
    let hangups = hangups()?;
    let begin = async {
        some_configuration(flags).await?;
        let file = flags.config_file.clone();
        let (configuration, reload) =
            Configuration::load(move || load(file.clone(), shard)).await?;
        let web = Web {
            config_file: Some(flags.config_file.display().to_string()),
            shard,
            ..web(flags, &reload).await?
        };
        anyhow::Ok((configuration, reload, web))
    };
    let Some(ready) = shutdown.run_until_cancelled(begin).await else {
        return Ok(());
    };
    let (configuration, reload, web) = ready?;
    let _hangups = AbortOnDropHandle::new(tokio::spawn(reload_on(hangups, reload)));
    let state_dir = flags.state_dir.as_deref();
    run(configuration, web, Clock::system(), state_dir, shutdown).await
}

async fn demo(flags: &Daemon, simulator: &SimulatorFlags) -> anyhow::Result<()> {
    let shutdown = shutdown()?;
    let hangups = hangups()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("listening on loopback")?;
    let address = listener.local_addr().context("listening on loopback")?;
    let simulator = make(simulator);
    let (text, env) = simulator.configuration(address, DEMO_POLL);
    let (configuration, reload) = Configuration::load(move || {
        let problems = ConfigErrors::new("the simulator's configuration");
        std::future::ready(Config::parse(&text, "".as_ref(), &from(&env), problems))
    })
    .await?;
    let Some(web) = shutdown.run_until_cancelled(web(flags, &reload)).await else {
        return Ok(());
    };
    let web = web?;
    let _hangups = AbortOnDropHandle::new(tokio::spawn(reload_on(hangups, reload)));
    let shown = server::loopback_of(&flags.web_listen_address[0]).await?;
    let port = web.listeners[0].local_addr().context("listening")?.port();
    let seen = SocketAddr::new(shown.ip(), port);
    let scheme = match web.config.current().tls {
        Some(_) => "https",
        None => "http",
    };
    let path = &flags.web_telemetry_path;
    // Whether anybody reads it is not waited for.
    let _printing = output::print_beside(format!(
        "The simulator holds both systems' connections: http://{address}/simulator\n\
         The exporter polls it every 10 s:              {scheme}://{seen}{path}\n\
         Its status page, for people:                   {scheme}://{seen}/\n\
         Ctrl-C ends both.\n"
    ));
    tokio::spawn(simulator.serve(listener));
    run(configuration, web, Clock::system(), None, shutdown).await
}

async fn simulate(flags: &SimulatorFlags, address: SocketAddr) -> anyhow::Result<()> {
    let shutdown = shutdown()?;
    // There is nothing to reload. A SIGHUP to all that have this name must not end it.
    let _hangups = hangups()?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| {
        format!("listening on {address}: choose another --simulator.listen-address")
    })?;
    let address = listener.local_addr().context("listening")?;
    let simulator = make(flags);
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
    // Unless nobody reads it, it is written to its end.
    let _ = timeout(LAST_LINES, printing).await;
    Ok(())
}

fn make(flags: &SimulatorFlags) -> Arc<Simulator> {
    let now = Timestamp::now();
    let mut world = World::new(flags.sizes(), flags.seed, now);
    if let Some(tokens) = flags.integration_tokens {
        world.deal_tokens(tokens, now);
    }
    Simulator::new(
        world,
        flags.fault.clone(),
        flags.requests_per_minute,
        Clock::system(),
    )
}

fn from(env: &BTreeMap<String, String>) -> impl Fn(&str) -> Option<String> {
    |name| env.get(name).cloned()
}

async fn web(flags: &Daemon, reload: &ReloadHandle) -> anyhow::Result<Web> {
    let config = load_web(flags).await?;
    let listeners = if flags.web_systemd_socket {
        server::from_systemd()?
    } else {
        let mut listeners = Vec::new();
        for address in &flags.web_listen_address {
            listeners.push(server::bind(address).await?);
        }
        listeners
    };
    let limits = ServerLimits {
        requests: flags.web_max_requests.into(),
        ..ServerLimits::default()
    };
    Ok(Web {
        listeners,
        telemetry_path: flags.web_telemetry_path.clone(),
        reload: flags.web_enable_lifecycle.then(|| reload.clone()),
        config_file: None,
        shard: Shard::default(),
        limits,
        config: Arc::new(config),
    })
}

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once.
///
/// Called before anything can be seen from outside: a signal that comes while its handler is being made
/// is lost.
fn shutdown() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        for count in 0.. {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            if count > 0 {
                std::process::exit(1);
            }
            tracing::info!("ending within 5 s: answers in flight are let out");
            cancel.cancel();
        }
    });
    Ok(token)
}

/// SIGHUP, from now on: without it the process would end by one.
fn hangups() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("listening for SIGHUP")
}

/// Asks for a reload at each SIGHUP; what becomes of it is logged there.
async fn reload_on(mut hangups: Signal, reload: ReloadHandle) {
    while hangups.recv().await.is_some() {
        let _ = reload.request().await;
    }
}
