//! What needs attention: failures of targets and accounts, grouped by their cause, with the remedy.

use std::collections::BTreeMap;

use super::accounts::AccountRow;
use super::format::{Count, Date, Name, UrlValue};
use super::health::Health;
use super::issues::Truncated;
use super::runbooks::Runbook;
use super::targets::{AccountTargets, FailureView, TargetPath, TargetRow};

/// Number of problems that are always visible; the others can be opened.
pub(super) const VISIBLE_PROBLEMS: usize = 8;

/// Maximum number of targets that a problem names.
const NAMED_TARGETS: usize = 6;

/// Failure of an account, or of targets of one account with the same cause.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    pub(super) health: Health,
    /// Text of the badge.
    pub(super) badge: &'static str,
    pub(super) system: &'static str,
    pub(super) account: Name<'a>,
    /// First targets that have the problem; empty if the account has it.
    pub(super) targets: Vec<TargetPath<'a>>,
    total: usize,
    /// When the first of the targets began to fail.
    pub(super) since: Option<Date>,
    /// Error of the account or of the first target.
    pub(super) error: Option<FailureView<'a>>,
    /// End of a pause.
    pub(super) until: Option<Date>,
    pub(super) runbook: Runbook,
}

impl<'a> Problem<'a> {
    fn of_target(row: &TargetRow<'a>) -> Self {
        Self {
            health: row.health,
            badge: row.health.words(),
            system: row.place.system.name,
            account: row.place.account,
            targets: Vec::new(),
            total: 0,
            since: None,
            error: row.error,
            until: None,
            runbook: match row.error {
                Some(error) => error.runbook(),
                None => Runbook::TARGET_STALE,
            },
        }
    }

    fn of_account(row: &AccountRow<'a>, error: Option<FailureView<'a>>) -> Self {
        Self {
            health: match error {
                Some(_) => Health::Failing,
                None => Health::Stale,
            },
            badge: match error {
                Some(_) => "discovery failed",
                None => "paused",
            },
            system: row.system,
            account: row.account,
            targets: Vec::new(),
            total: 0,
            since: None,
            error,
            until: error.is_none().then_some(row.paused).flatten(),
            runbook: match error {
                Some(_) => Runbook::DISCOVERY_FAILING,
                None => Runbook::ACCOUNT_PAUSED,
            },
        }
    }

    fn add(&mut self, row: &TargetRow<'a>) {
        self.total += 1;
        if self.targets.len() < NAMED_TARGETS {
            self.targets.push(row.place);
        }
        let earlier = |since: &Date| self.since.is_none_or(|known| since.at < known.at);
        if let Some(since) = row.since.filter(earlier) {
            self.since = Some(since);
        }
    }

    pub(super) fn count(&self) -> Count {
        Count(self.total, "target")
    }

    /// Address of the status page that shows all these targets.
    pub(super) fn address(&self) -> String {
        let account = UrlValue(self.account.0);
        format!("?q={account}&state={}#targets-title", self.health.key())
    }

    /// Number of targets that are not named.
    pub(super) fn more(&self) -> usize {
        self.total - self.targets.len()
    }
}

/// Returns the problems: the worst state first, then those that concern most targets.
///
/// Targets of one account that fail for the same reason are one problem, whose error is that of the
/// first of them.
pub(super) fn problems<'a>(
    groups: &[AccountTargets<'a>],
    accounts: &[AccountRow<'a>],
) -> Truncated<Problem<'a>> {
    let mut all = Vec::new();
    for group in groups {
        let mut causes = BTreeMap::new();
        for row in group.rows.iter().filter(|row| row.health.is_problem()) {
            let cause = (row.health, row.error.map(|error| error.0.reason));
            let problem = causes
                .entry(cause)
                .or_insert_with(|| Problem::of_target(row));
            problem.add(row);
        }
        all.extend(causes.into_values());
    }
    for row in accounts {
        if let Some(error) = row.discovery_error {
            all.push(Problem::of_account(row, Some(error)));
        }
        if row.paused.is_some() {
            all.push(Problem::of_account(row, None));
        }
    }
    // Stable: problems of equal weight stay in the order of the accounts. A pause comes last.
    all.sort_by_key(|problem| {
        (
            problem.until.is_some(),
            problem.health,
            usize::MAX - problem.total,
        )
    });
    Truncated::first(all.into_iter())
}

/// Problem of the exporter itself.
#[derive(Debug)]
pub(super) struct OwnProblem {
    pub(super) what: &'static str,
    pub(super) runbook: Runbook,
}

/// Returns the problems of the exporter itself.
pub(super) fn own_problems(reloaded: bool, web_config_loaded: bool) -> Vec<OwnProblem> {
    let reload = OwnProblem {
        what: "the last reload was refused",
        runbook: Runbook::RELOAD_FAILED,
    };
    let web_config = OwnProblem {
        what: "the web configuration’s last edit was refused",
        runbook: Runbook::WEB_CONFIG_FAILED,
    };
    let all = [(reloaded, reload), (web_config_loaded, web_config)];
    let failed = all.into_iter().filter(|(loaded, _)| !loaded);
    failed.map(|(_, problem)| problem).collect()
}
