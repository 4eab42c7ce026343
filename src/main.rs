//! The `connections-exporter` command: arguments, logging, signals, exit code.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use connections_exporter::blocking::output;
use connections_exporter::cli::{Cli, Command, Daemon, LogFormat};
use connections_exporter::settings::ConfigErrors;
use connections_exporter::{commands, log};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tracing_subscriber::filter::LevelFilter;
use zeroizing_alloc::ZeroAlloc;

/// Zeroes what is freed: after a poll no secret of a vendor's answer is left in memory.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

/// How long a process that handles signals waits at its end for standard error to be read.
const LAST_WORDS: Duration = Duration::from_secs(3);
fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    output::report_panics();
    // Its report says what the log would.
    let quiet = matches!(cli.command, Some(Command::Check { .. }));
    start_log(&cli.daemon, quiet);
    if !cli.daemon.debug_core_dumps
        && let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "a core dump of this process would hold credentials");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime.context("starting the runtime").and_then(|runtime| {
        let result = runtime.block_on(commands::run(&cli));
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
    output::finish(
        &last,
        commands::runs_until_signal(&cli).then_some(LAST_WORDS),
    );
    code
}

/// Starts to log. A command that is `quiet` logs below `info` only if another level was asked for.
fn start_log(flags: &Daemon, quiet: bool) {
    // clap accepts only names of levels.
    let level = match flags.log_level.parse().unwrap_or(LevelFilter::INFO) {
        LevelFilter::INFO if quiet => LevelFilter::ERROR,
        level => level,
    };
    log::start(level, flags.log_format == LogFormat::Json);
}
