//! The `check` command: polls every target once and reports the results as a table.

mod report;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::load::{load, some_configuration};
use super::{LAST_LINES, say};
use crate::blocking::new_file::NewFile;
use crate::blocking::output;
use crate::cli::{CheckFlags, CheckFormat, DaemonFlags};
use crate::clock::{Clock, until};
use crate::config::Config;
use crate::inventory::{AccountSnapshot, Inventory};
use crate::metrics::ExporterMetrics;
use crate::model::state::TargetState;
use crate::polling::shard::Shard;
use crate::polling::supervisor::Supervisor;
use crate::sanitize::ForLog;
use crate::shapes::{Recording, ShapeReport};
use crate::state_dir::StateDir;
use crate::vendors::http::ObserveAccounts;
pub use report::{Polled, Report, TargetFailure, Undiscovered};

/// Interval at which the state of all targets is examined.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Smallest extension of a pause that is reported again. Responses that arrive at about the same
/// time imply the same pause.
const SAME_PAUSE: Duration = Duration::from_secs(10);

/// Event during a check, before its report is complete.
#[derive(Debug)]
pub enum CheckEvent<'a> {
    /// Number of targets polled, and number of targets known so far.
    #[expect(missing_docs, reason = "as above")]
    Progress { polled: usize, known: usize },
    /// The vendor pauses an account.
    Paused(Pause<'a>),
}

/// Account that is paused at the vendor's request.
#[derive(Debug)]
pub struct Pause<'a> {
    system: &'static str,
    account: &'a str,
    until: Timestamp,
}

impl fmt::Display for Pause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: the vendor refuses more requests (429): the account is paused until {}",
            self.system,
            ForLog(self.account),
            self.until.strftime("%Y-%m-%dT%H:%M:%SZ")
        )
    }
}

/// Polls each target once, within the rate limit of its account, for at most `timeout`.
///
/// Ends earlier once all remaining targets belong to accounts that are paused beyond the timeout.
pub async fn check(
    config: Config,
    clock: Clock,
    timeout: Duration,
    tell: impl Fn(CheckEvent<'_>),
) -> anyhow::Result<Report> {
    let now = clock.clone();
    let accounts = poll_once(config, clock, timeout, None, tell).await?;
    Ok(Report::of(accounts, now.now()))
}

/// Polls as [`check`] does, and returns the state of all accounts.
///
/// With a recording, it also waits until each background job has run once.
async fn poll_once(
    mut config: Config,
    clock: Clock,
    timeout: Duration,
    recording: Option<&Arc<Recording>>,
    tell: impl Fn(CheckEvent<'_>),
) -> anyhow::Result<Vec<AccountSnapshot>> {
    config.poll.first_poll_within = Duration::ZERO;
    let in_flight = config.poll.request_timeout;
    let inventory = Arc::new(Inventory::new(
        ExporterMetrics::new(clock.now()),
        clock.clone(),
    ));
    let observers = recording.map(|recording| recording.clone() as Arc<dyn ObserveAccounts>);
    let accounts = Supervisor::new(inventory.clone(), StateDir::default(), clock.clone());
    let mut accounts = accounts.observed_by(observers);
    let (_, shown) = accounts.apply(config).await?;
    shown.wait().await;
    let deadline = Instant::now() + timeout;
    // By system and account: end of the pause, and when it was reported.
    let mut pauses: BTreeMap<(&str, String), (Timestamp, Instant)> = BTreeMap::new();
    loop {
        let seen = inventory.snapshot();
        let now = clock.now();
        let targets = || {
            seen.iter()
                .flat_map(|account| account.targets.iter().flatten())
        };
        tell(CheckEvent::Progress {
            polled: targets().filter(|(_, state)| is_polled(state)).count(),
            known: targets().count(),
        });
        for account in &seen {
            let Some(until) = account.metrics.usage(now).paused_until else {
                continue;
            };
            let key = (account.system.name, account.account.clone());
            if pauses
                .get(&key)
                .is_none_or(|(told, _)| *told + SAME_PAUSE < until)
            {
                let (system, account) = (key.0, key.1.as_str());
                tell(CheckEvent::Paused(Pause {
                    system,
                    account,
                    until,
                }));
                pauses.insert(key, (until, Instant::now()));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let waits = |account: &&AccountSnapshot| {
            let key = (account.system.name, account.account.clone());
            // Responses to requests that were sent before the pause may still arrive.
            let pause = pauses.get(&key);
            pause.is_some_and(|(end, told)| until(now, *end) > left && told.elapsed() > in_flight)
        };
        let awaits_jobs = |account: &AccountSnapshot| {
            recording.is_some_and(|all| all.awaits_jobs(account.system.name, &account.account))
        };
        let mut unfinished = seen
            .iter()
            .filter(|account| !is_finished(account) || awaits_jobs(account));
        if left.is_zero() || unfinished.all(|account| waits(&account)) {
            return Ok(seen);
        }
        sleep(CHECK_INTERVAL.min(left)).await;
    }
}

fn is_polled(state: &TargetState) -> bool {
    state.last_attempt.is_some()
}

/// Returns whether every target of an account that can be polled was polled.
fn is_finished(account: &AccountSnapshot) -> bool {
    match &account.targets {
        Some(targets) => targets.iter().all(|(_, state)| is_polled(state)),
        None => account.discovery_error.is_some(),
    }
}

/// Returns what to do with a report that was written.
fn told(path: &Path) -> String {
    format!(
        "{}: the report was written. Read it before you send it. What is in it, and where to send \
            it: {}/blob/main/docs/first-contact.md\n",
        path.display(),
        env!("CARGO_PKG_REPOSITORY"),
    )
}

/// Runs the command. It fails after its report if a condition of `--fail-on` is met.
pub async fn command(flags: &DaemonFlags, shard: Shard, how: &CheckFlags) -> anyhow::Result<()> {
    some_configuration(flags).await?;
    let config = load(flags.config_file.clone(), shard).await?;
    let file = match &how.report {
        Some(path) => {
            let file = NewFile::prepare(path).await;
            let file = file.map_err(|problem| anyhow!("{} {problem}", path.display()))?;
            Some((path, file))
        }
        None => None,
    };
    let clock = Clock::system();
    let recording = file
        .as_ref()
        .map(|_| Arc::new(Recording::new(clock.clone())));
    let shown = output::is_watched();
    // Clears the progress line before anything else is written.
    let clear = if shown { "\r\u{1b}[K" } else { "" };
    let tell = |news: CheckEvent<'_>| match news {
        CheckEvent::Progress { polled, known } if shown => {
            output::progress(&format!("\r{polled} of {known} targets polled "));
        }
        CheckEvent::Progress { .. } => {}
        CheckEvent::Paused(pause) => output::tell(&format!("{clear}{pause}\n")),
    };
    let recording = recording.as_ref();
    let accounts = poll_once(config, clock.clone(), how.timeout, recording, tell).await?;
    let shapes = recording.map(|recording| ShapeReport::new(recording, &accounts));
    let report = Report::of(accounts, clock.now());
    output::finish(clear, Some(LAST_LINES));
    match how.format {
        CheckFormat::Table => say(&report.to_string())?,
        CheckFormat::Json => say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?,
    }
    if let (Some((path, file)), Some(shapes)) = (file, shapes) {
        let text = format!("{}\n", serde_json::to_string_pretty(&shapes)?);
        let written = file.write(text.into_bytes()).await;
        written.map_err(|problem| anyhow!("{} {problem}", path.display()))?;
        output::finish(&told(path), Some(LAST_LINES));
    }
    match report.problem(&how.fail_on) {
        Some(problem) => bail!(problem),
        None => Ok(()),
    }
}
