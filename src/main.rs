//! The `connections-exporter` command: arguments, logging, signals, exit code.

#[cfg(not(target_env = "musl"))]
use std::alloc::System as Memory;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use connections_exporter::blocking::output;
use connections_exporter::cli::{Cli, Command, DaemonFlags, LogFormat};
use connections_exporter::settings::ConfigErrors;
use connections_exporter::{commands, log};
// musl's own allocator makes a poll a third more expensive: docs/performance.md.
#[cfg(target_env = "musl")]
use dlmalloc::GlobalDlmalloc as Memory;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tracing_subscriber::filter::LevelFilter;
use zeroizing_alloc::ZeroAlloc;

/// Zeroes freed memory, so that no secret in a vendor's response stays in memory after a poll.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Memory> = ZeroAlloc(Memory);

/// Time that a process with signal handlers waits at its end for standard error to be read.
const LAST_WORDS: Duration = Duration::from_secs(3);
fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    output::report_panics();
    // The report of `check` contains what the log would.
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
        // Does not wait for a thread that a hanging disk blocks.
        runtime.shutdown_background();
        result
    });
    // Configuration errors are one line each. Any other error is one line.
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
    // No deadline without signal handlers: a signal ends such a command even while it waits here.
    output::finish(
        &last,
        commands::runs_until_signal(&cli).then_some(LAST_WORDS),
    );
    code
}

/// Starts logging. For a `quiet` command, level `info` becomes `error`.
fn start_log(flags: &DaemonFlags, quiet: bool) {
    // clap accepts only names of levels.
    let level = match flags.log_level.parse().unwrap_or(LevelFilter::INFO) {
        LevelFilter::INFO if quiet => LevelFilter::ERROR,
        level => level,
    };
    log::start(level, flags.log_format == LogFormat::Json);
}
