//! Report of a check: what was polled, and what could not be.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use jiff::Timestamp;
use serde::Serialize;

use super::{is_finished, is_polled};
use crate::cli::FailOn;
use crate::inventory::AccountSnapshot;
use crate::model::error::{PollError, Reason};
use crate::model::state::TargetState;
use crate::sanitize::ForLog;

/// Result of a check.
#[derive(Debug, Serialize)]
pub struct Report {
    /// All targets that are configured or were discovered.
    pub targets: Vec<Polled>,
    /// Accounts whose targets, or whose targets' names, could not be listed.
    pub discoveries: Vec<Undiscovered>,
}

/// Result of one target's poll.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "each field is the label of the same name")]
pub struct Polled {
    pub system: &'static str,
    pub account: String,
    pub target: String,
    /// Number of connections by type, or by type and status (`inbound connected`).
    pub connections: BTreeMap<String, u64>,
    /// Number of pages of the listing.
    pub pages: u32,
    /// Duration of the poll in seconds, including waits for the rate limiter.
    pub seconds: f64,
    /// Expected connections that are not in the listing.
    pub missing: Vec<String>,
    /// Reason why there is no listing.
    pub failure: Option<TargetFailure>,
}

/// Account whose discovery failed.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "each field is the label of the same name")]
pub struct Undiscovered {
    pub system: &'static str,
    pub account: String,
    /// Whether the targets are known, and only their names are missing.
    pub only_names: bool,
    /// Reason of the failure.
    pub failure: TargetFailure,
}

/// Failure with its remedy.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "each field is as in the log")]
pub struct TargetFailure {
    pub reason: &'static str,
    pub error: String,
    pub status: Option<u16>,
    pub request_id: Option<String>,
    pub remedy: String,
}

impl From<&PollError> for TargetFailure {
    fn from(error: &PollError) -> Self {
        Self {
            reason: error.reason.label(),
            error: error.to_string(),
            status: error.status,
            request_id: error.request_id.clone(),
            remedy: error.remedy().to_owned(),
        }
    }
}

impl Report {
    pub(super) fn of(accounts: Vec<AccountSnapshot>, now: Timestamp) -> Self {
        let mut report = Self {
            targets: Vec::new(),
            discoveries: Vec::new(),
        };
        for seen in accounts {
            let unreached = || TargetFailure::unreached(seen.metrics.usage(now).paused_until);
            if !is_finished(&seen) && seen.targets.is_none() {
                report.discoveries.push(Undiscovered {
                    system: seen.system.name,
                    account: seen.account.clone(),
                    only_names: false,
                    failure: unreached(),
                });
            }
            if let Some(error) = &seen.discovery_error {
                report.discoveries.push(Undiscovered {
                    system: seen.system.name,
                    account: seen.account.clone(),
                    only_names: seen.targets.is_some(),
                    failure: error.into(),
                });
            }
            for (target, state) in seen.targets.into_iter().flatten() {
                let mut polled = Polled::of(seen.system.name, &seen.account, target, &state);
                if !is_polled(&state) {
                    polled.failure = Some(unreached());
                }
                report.targets.push(polled);
            }
        }
        report
    }

    /// Returns the reasons to fail under `fail_on`; `None` if there are none.
    #[must_use]
    pub fn problem(&self, fail_on: &[FailOn]) -> Option<String> {
        let missing: usize = self.targets.iter().map(|target| target.missing.len()).sum();
        let mut problems = Vec::new();
        if fail_on.contains(&FailOn::Unlisted) && !self.is_listed() {
            problems.push("not every target could be listed".to_owned());
        }
        if fail_on.contains(&FailOn::Missing) && missing > 0 {
            let (connections, are) = if missing == 1 {
                ("connection", "is")
            } else {
                ("connections", "are")
            };
            problems.push(format!("{missing} expected {connections} {are} missing"));
        }
        (!problems.is_empty()).then(|| problems.join(", "))
    }

    /// Returns whether every target was listed.
    fn is_listed(&self) -> bool {
        self.targets.iter().all(|target| target.failure.is_none())
            && self.discoveries.iter().all(|account| account.only_names)
    }
}

impl Polled {
    fn of(system: &'static str, account: &str, target: String, state: &TargetState) -> Self {
        let attempt = state.last_attempt.as_ref();
        let last_listing = state.last_listing.as_deref();
        let mut connections = BTreeMap::new();
        for connection in last_listing
            .iter()
            .flat_map(|last| last.listing.connections())
        {
            let what = format!("{} {}", connection.kind, connection.status);
            *connections.entry(what.trim_end().to_owned()).or_default() += 1;
        }
        let expected = last_listing.iter().flat_map(|last| &last.expected);
        Self {
            system,
            account: account.to_owned(),
            target,
            connections,
            pages: last_listing.map_or(0, |last| last.listing.pages),
            seconds: attempt.map_or(0.0, |attempt| attempt.duration.as_secs_f64()),
            missing: expected
                .filter(|(_, there)| !there)
                .map(|(name, _)| name.clone())
                .collect(),
            failure: attempt.and_then(|attempt| Some(attempt.error.as_ref()?.into())),
        }
    }
}

impl fmt::Display for Report {
    #[expect(clippy::too_many_lines, reason = "a table, line by line")]
    /// Writes a line for each target, the totals, and a remedy for each failure.
    ///
    /// Colours are always included: the caller removes them if there is no terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header([
            "SYSTEM",
            "ACCOUNT",
            "TARGET",
            "STATE",
            "CONNECTIONS",
            "PAGES",
            "SECONDS",
            "OF WHICH",
        ]);
        let (mut connections, mut pages, mut missing) = (0, 0, 0);
        for target in &self.targets {
            let count: u64 = target.connections.values().sum();
            let of_which = target
                .connections
                .iter()
                .map(|(what, count)| format!("{count} {what}"));
            let state = match (&target.failure, target.missing.is_empty()) {
                (Some(failure), _) => failure.reason.to_owned(),
                (None, false) => format!("listed, misses {}", target.missing.join(", ")),
                (None, true) => "listed".to_owned(),
            };
            table.add_row([
                target.system.to_owned(),
                ForLog(&target.account).to_string(),
                ForLog(&target.target).to_string(),
                state,
                count.to_string(),
                target.pages.to_string(),
                format!("{:.1}", target.seconds),
                of_which.collect::<Vec<_>>().join(", "),
            ]);
            connections += count;
            pages += target.pages;
            missing += target.missing.len();
        }
        let failed = self
            .targets
            .iter()
            .filter(|target| target.failure.is_some())
            .count();
        table.add_row([
            "total".to_owned(),
            String::new(),
            format!("{}", self.targets.len()),
            match missing {
                0 => format!("{failed} failed"),
                _ => format!("{failed} failed, {missing} missing"),
            },
            connections.to_string(),
            pages.to_string(),
        ]);
        for column in [4, 5, 6] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        // The heading, then one line for each target, then the totals.
        let wrong = |target: &Polled| target.failure.is_some() || !target.missing.is_empty();
        let wrong = std::iter::once(false).chain(self.targets.iter().map(wrong));
        for (line, wrong) in table.lines().zip(wrong.chain([failed + missing > 0])) {
            let (red, off) = if wrong {
                ("\u{1b}[31m", "\u{1b}[0m")
            } else {
                ("", "")
            };
            writeln!(f, "{red}{}{off}", line.trim_end())?;
        }
        for Undiscovered {
            system,
            account,
            only_names,
            failure,
        } in &self.discoveries
        {
            let what = if *only_names {
                "the names of its targets"
            } else {
                "its targets"
            };
            failure.write(
                f,
                &format!("{system} {}: {what} could not be listed", ForLog(account)),
            )?;
        }
        for target in &self.targets {
            if let Some(failure) = &target.failure {
                let Polled {
                    system,
                    account,
                    target,
                    ..
                } = target;
                failure.write(
                    f,
                    &format!("{system} {} {}", ForLog(account), ForLog(target)),
                )?;
            }
        }
        Ok(())
    }
}

impl TargetFailure {
    /// Returns the failure of a target that was not polled in time.
    fn unreached(paused_until: Option<Timestamp>) -> Self {
        let (reason, error, remedy) = match paused_until {
            Some(until) => {
                let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
                let error = format!("not polled: the vendor pauses the account until {until}");
                (Reason::RateLimited, error, "check again after that date")
            }
            None => (
                Reason::Timeout,
                "not polled within the time of this check".to_owned(),
                "raise --timeout, or requests_per_minute where the vendor allows more",
            ),
        };
        Self {
            reason: reason.label(),
            error,
            status: None,
            request_id: None,
            remedy: remedy.to_owned(),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        let Self {
            reason,
            error,
            status,
            request_id,
            remedy,
        } = self;
        let status = status
            .map(|status| format!(" (HTTP {status})"))
            .unwrap_or_default();
        let id = request_id
            .as_ref()
            .map(|id| format!(", the vendor's request id is {id}"))
            .unwrap_or_default();
        writeln!(
            f,
            "\n{what}: {reason}{status}\n  {error}{id}\n  To do: {remedy}"
        )
    }
}
