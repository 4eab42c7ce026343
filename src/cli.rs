//! Flags and commands, spelled as Prometheus' own exporters spell them.

mod environment;
mod help;

#[cfg(feature = "demo")]
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize as _;

use crate::invalid::Invalid;
use crate::polling::shard::ShardIndex;
use crate::settings::Period;
use crate::web::{listen_address, telemetry_path};
#[cfg(feature = "demo")]
use connections_simulator::{Fault, Sizes};

/// Polls the connections of Zuora Multi-entity and Zendesk Integration Services on a schedule,
/// within a rate limit, and exports them to Prometheus.
#[derive(Debug, Parser)]
#[command(name = "connections-exporter", version = VERSION, max_term_width = 100, after_long_help = ENDS)]
#[expect(
    missing_docs,
    reason = "the fields of flags are documented for --help, those that others read are below"
)]
pub struct Cli {
    #[command(flatten)]
    pub daemon: DaemonFlags,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Subcommands. Without one, the daemon runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll every target once, within the rate limit, and print a table of the results. Exit with
    /// 1 if a condition of `--fail-on` is met. The log level `info` counts as `error`, because the
    /// table has the failures.
    Check(CheckFlags),
    #[cfg(feature = "demo")]
    /// Run the daemon against the built-in simulator: no credentials, no file.
    Demo {
        #[command(flatten)]
        #[expect(missing_docs, reason = "flags")]
        simulator: SimulatorFlags,
        /// Let nothing happen at the simulated vendors. By default connections, credentials and
        /// quotas change for two minutes.
        #[arg(
            long = "demo.still",
            help_heading = "Simulator",
            env = "CONNECTIONS_EXPORTER_DEMO_STILL"
        )]
        still: bool,
    },
    #[cfg(feature = "demo")]
    /// Run only the simulator of both APIs, and print a configuration that polls it.
    Simulate {
        #[command(flatten)]
        #[expect(missing_docs, reason = "flags")]
        simulator: SimulatorFlags,
        /// Address of the simulator; loopback only.
        #[arg(long = "simulator.listen-address", value_name = "ADDRESS", default_value = "127.0.0.1:9933", env = "CONNECTIONS_EXPORTER_SIMULATOR_LISTEN_ADDRESS", value_parser = loopback)]
        listen_address: SocketAddr,
    },
    /// Ask a running daemon's /-/healthy; exit 0 only for a 200.
    Healthcheck,
}

/// Flags of `check`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Check")]
pub struct CheckFlags {
    /// Format of the results: for people or for programs.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        env = "CONNECTIONS_EXPORTER_FORMAT"
    )]
    pub format: CheckFormat,
    /// How long to poll. A target that was not polled by then counts as failed.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "2m",
        env = "CONNECTIONS_EXPORTER_TIMEOUT",
        value_parser = duration
    )]
    pub timeout: Duration,
    /// Conditions that set exit code 1, separated by commas: unlisted, a target could not be listed
    /// in time; missing, an expected connection is missing.
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "unlisted,missing",
        value_delimiter = ',',
        env = "CONNECTIONS_EXPORTER_FAIL_ON"
    )]
    pub fail_on: Vec<FailOn>,
    /// Write a report of the shapes of all responses to a new file: for the maintainers, without
    /// anything that belongs to the account's owner. See docs/first-contact.md.
    #[arg(long, value_name = "FILE", env = "CONNECTIONS_EXPORTER_REPORT")]
    pub report: Option<PathBuf>,
}

/// Flags of the daemon.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct DaemonFlags {
    /// Configuration file.
    #[arg(
        long = "config.file", help_heading = "Configuration",
        global = true,
        value_name = "FILE",
        default_value = DEFAULT_CONFIG_FILE,
        env = "CONNECTIONS_EXPORTER_CONFIG_FILE"
    )]
    pub config_file: PathBuf,
    /// Load the configuration, report every error, print the request estimate, and exit.
    #[arg(
        long = "config.check",
        help_heading = "Configuration",
        env = "CONNECTIONS_EXPORTER_CONFIG_CHECK"
    )]
    pub config_check: bool,
    /// Address to listen on, host:port or :port; repeatable.
    #[arg(
        long = "web.listen-address", help_heading = "Web",
        global = true,
        value_name = "ADDRESS",
        default_value = ":9932",
        value_delimiter = ',',
        env = "CONNECTIONS_EXPORTER_WEB_LISTEN_ADDRESS",
        value_parser = listen_address
    )]
    pub web_listen_address: Vec<String>,
    /// Path of the metrics page.
    #[arg(long = "web.telemetry-path", help_heading = "Web", global = true, value_name = "PATH", default_value = "/metrics", env = "CONNECTIONS_EXPORTER_WEB_TELEMETRY_PATH", value_parser = telemetry_path)]
    pub web_telemetry_path: String,
    /// File with TLS and authentication settings, in exporter-toolkit's format; see
    /// docs/web-configuration.md.
    #[arg(
        long = "web.config.file",
        help_heading = "Web",
        global = true,
        value_name = "FILE",
        env = "CONNECTIONS_EXPORTER_WEB_CONFIG_FILE"
    )]
    pub web_config_file: Option<PathBuf>,
    /// Listen on the sockets that systemd passes, instead of --web.listen-address.
    #[arg(
        long = "web.systemd-socket",
        help_heading = "Web",
        global = true,
        env = "CONNECTIONS_EXPORTER_WEB_SYSTEMD_SOCKET"
    )]
    pub web_systemd_socket: bool,
    /// Allow POST and PUT to /-/reload, which reloads the configuration. SIGHUP always does.
    #[arg(
        long = "web.enable-lifecycle",
        help_heading = "Web",
        global = true,
        env = "CONNECTIONS_EXPORTER_WEB_ENABLE_LIFECYCLE"
    )]
    pub web_enable_lifecycle: bool,
    /// Maximum number of responses in flight. A further request replaces a response whose client
    /// reads nothing, or gets 503 after two seconds.
    #[arg(long = "web.max-requests", help_heading = "Web", global = true, value_name = "NUMBER", default_value_t = 40, env = "CONNECTIONS_EXPORTER_WEB_MAX_REQUESTS", value_parser = clap::value_parser!(u16).range(1..))]
    pub web_max_requests: u16,
    /// Directory for state that survives a restart; without it, nothing is written.
    #[arg(
        long = "state.dir",
        help_heading = "State",
        value_name = "DIRECTORY",
        env = "CONNECTIONS_EXPORTER_STATE_DIR"
    )]
    pub state_dir: Option<PathBuf>,
    /// Wait while another process uses the state directory, and take over when it ends.
    #[arg(
        long = "state.wait",
        help_heading = "State",
        requires = "state_dir",
        env = "CONNECTIONS_EXPORTER_STATE_WAIT"
    )]
    pub state_wait: bool,
    /// Index of this process among the shards, from 0. `auto` takes the ordinal at the end of the
    /// host name.
    #[arg(
        long = "shard.index",
        help_heading = "Shards",
        global = true,
        value_name = "INDEX",
        default_value = "0",
        env = "CONNECTIONS_EXPORTER_SHARD_INDEX"
    )]
    pub shard_index: ShardIndex,
    /// Number of processes that share the accounts of the configuration. Each account belongs to
    /// one of them.
    #[arg(
        long = "shard.total",
        help_heading = "Shards",
        global = true,
        value_name = "NUMBER",
        default_value = "1",
        env = "CONNECTIONS_EXPORTER_SHARD_TOTAL"
    )]
    pub shard_total: NonZeroU32,
    /// Allow core dumps and debuggers, which expose credentials.
    #[arg(
        long = "debug.core-dumps",
        global = true,
        env = "CONNECTIONS_EXPORTER_DEBUG_CORE_DUMPS"
    )]
    pub debug_core_dumps: bool,
    /// Minimum level to log.
    #[arg(long = "log.level", help_heading = "Log", global = true, value_name = "LEVEL", default_value = "info", env = "CONNECTIONS_EXPORTER_LOG_LEVEL",
          value_parser = PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"]))]
    pub log_level: String,
    /// Format of log lines on standard error.
    #[arg(
        long = "log.format",
        help_heading = "Log",
        global = true,
        value_name = "FORMAT",
        default_value = "logfmt",
        env = "CONNECTIONS_EXPORTER_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
}

/// The configuration file without a flag or a variable.
pub(crate) const DEFAULT_CONFIG_FILE: &str = "config.yaml";

/// Format of the results of `check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// A line for each target.
    Table,
    /// One JSON object.
    Json,
}

/// A condition for `check` to exit with 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// A target that could not be listed, or was not reached in time.
    Unlisted,
    /// An expected connection that is not there.
    Missing,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `key=value`, one line each.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Flags of the simulator.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Simulator")]
pub struct SimulatorFlags {
    /// Zuora entities.
    #[arg(long = "simulator.entities", value_name = "NUMBER", default_value_t = Sizes::default().entities, env = "CONNECTIONS_EXPORTER_SIMULATOR_ENTITIES")]
    entities: usize,
    /// Zuora connections, distributed over pairs of entities.
    #[arg(long = "simulator.entity-connections", value_name = "NUMBER", default_value_t = Sizes::default().entity_connections, env = "CONNECTIONS_EXPORTER_SIMULATOR_ENTITY_CONNECTIONS")]
    entity_connections: usize,
    /// ZIS integrations.
    #[arg(long = "simulator.integrations", value_name = "NUMBER", default_value_t = Sizes::default().integrations, env = "CONNECTIONS_EXPORTER_SIMULATOR_INTEGRATIONS")]
    integrations: usize,
    /// ZIS connections of each integration.
    #[arg(long = "simulator.integration-connections", value_name = "NUMBER", default_value_t = Sizes::default().integration_connections, env = "CONNECTIONS_EXPORTER_SIMULATOR_INTEGRATION_CONNECTIONS")]
    integration_connections: usize,
    /// ZIS connections of each integration that store a token, which expires in 30 days. The others
    /// have none. By default there is every kind of token expiry.
    #[arg(
        long = "simulator.integration-tokens",
        value_name = "NUMBER",
        env = "CONNECTIONS_EXPORTER_SIMULATOR_INTEGRATION_TOKENS"
    )]
    pub integration_tokens: Option<usize>,
    /// Seed of the random data.
    #[arg(
        long = "simulator.seed",
        value_name = "NUMBER",
        default_value_t = 1,
        env = "CONNECTIONS_EXPORTER_SIMULATOR_SEED"
    )]
    pub seed: u64,
    /// Requests per minute that each API allows. Further requests get 429.
    #[arg(
        long = "simulator.requests-per-minute",
        value_name = "NUMBER",
        env = "CONNECTIONS_EXPORTER_SIMULATOR_REQUESTS_PER_MINUTE"
    )]
    pub requests_per_minute: Option<u32>,
    /// Fault that is active from the start, such as `kind=429&retry_after=30&times=2`; repeatable.
    #[arg(
        long = "simulator.fault",
        value_name = "FAULT",
        env = "CONNECTIONS_EXPORTER_SIMULATOR_FAULT",
        value_delimiter = ','
    )]
    pub fault: Vec<Fault>,
    /// Answer with the shapes in a report of `check --report`, in place of random data. It replays
    /// the first account of each system, with the rate limit of the report.
    #[arg(
        long = "simulator.replay",
        value_name = "FILE",
        env = "CONNECTIONS_EXPORTER_SIMULATOR_REPLAY"
    )]
    pub replay: Option<PathBuf>,
}

#[cfg(feature = "demo")]
impl SimulatorFlags {
    /// Sizes of the simulated APIs.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            entities: self.entities,
            entity_connections: self.entity_connections,
            integrations: self.integrations,
            integration_connections: self.integration_connections,
        }
    }
}

#[cfg(feature = "demo")]
fn loopback(text: &str) -> Result<SocketAddr, Invalid> {
    let address: SocketAddr = text.parse().map_err(|_| match listen_address(text) {
        Err(problem) if text.contains(':') => problem,
        _ => "expected an address and a port, such as 127.0.0.1:9933".into(),
    })?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the simulator listens on loopback only".into())
    }
}

/// Parses a duration with the configuration's syntax.
fn duration(text: &str) -> Result<Duration, Invalid> {
    let period = Period::deserialize(serde_yaml::Value::from(text));
    period
        .map(|period| period.0)
        .map_err(|error| error.to_string().into())
}

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("BUILD_REVISION"),
    ", rustc ",
    env!("BUILD_RUSTC"),
    ")"
);

/// The end of `--help`, of the manual page and of `docs/flags.md`.
const ENDS: &str = "\
Exit codes: 0 for success, 1 for a failure, with one line for each error on standard error, \
2 for a wrong flag, argument or environment variable of a flag.

SIGTERM and SIGINT end the daemon. Responses in flight may finish, for 5 s at most. A second \
signal ends it at once. SIGHUP reloads the configuration.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_is_an_environment_variable_of_the_same_name() {
        let mut command = Cli::complete_command();
        command.build();
        let all = std::iter::once(&command)
            .chain(command.get_subcommands())
            .flat_map(clap::Command::get_arguments);
        let mut flags = 0;
        for flag in all.filter(|flag| !["help", "version"].contains(&flag.get_id().as_str())) {
            let Some(long) = flag.get_long() else {
                continue;
            };
            let name = format!(
                "CONNECTIONS_EXPORTER_{}",
                long.to_uppercase().replace(['.', '-'], "_")
            );
            assert_eq!(
                flag.get_env().and_then(std::ffi::OsStr::to_str),
                Some(name.as_str()),
                "--{long}"
            );
            flags += 1;
        }
        assert!(flags > 10);
    }

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert!(
            duration("120")
                .unwrap_err()
                .to_string()
                .starts_with("expected a duration with a unit")
        );
    }

    #[cfg(feature = "demo")]
    #[test]
    fn the_simulator_is_for_loopback_only() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:9933").is_ok());
        assert!(loopback("0.0.0.0:9933").is_err() && loopback("192.168.0.1:1").is_err());
    }
}
