//! Discovery: which targets an account has, and what they are called.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use super::Account;
use super::restart::time_left;
use crate::model::error::{PollError, Reason};
use crate::polling::backoff::Backoff;
use crate::polling::repeated_failure::RepeatedFailure;
use crate::state_dir::StateFile;
use crate::vendors::DiscoveredTarget;
use crate::vendors::account::DiscoveryMode;

/// Time between two discoveries of targets and their names.
pub(super) const DISCOVERY_INTERVAL: Duration = Duration::from_hours(1);

/// Time that first listings wait for the names of their targets, if these are requested.
///
/// Ordinary responses arrive sooner. The wait of two requests for the budget is added: one request
/// for a token, one for the names.
const NAMES_WITHIN: Duration = Duration::from_secs(10);

/// Fingerprint of the credential that a discovery used, and the result of the discovery.
type Discovered = (Option<u64>, Result<Vec<DiscoveredTarget>, PollError>);

/// Results of discoveries, and when the next one is due.
#[derive(Default)]
pub(super) struct Discovery {
    pub(super) known: DiscoveryState,
    /// When the next discovery is due; `None` if nothing is to be discovered.
    pub(super) due: Option<Instant>,
    pub(super) backoff: Backoff,
    failures: RepeatedFailure,
}

/// Results of discoveries, which survive the process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct DiscoveryState {
    /// Ids of the targets that were found last; empty unless the vendor lists the targets.
    pub(super) found: Vec<String>,
    /// Last name that the vendor gave each target, by id.
    pub(super) names: BTreeMap<String, String>,
    /// Whether the last discovery succeeded.
    up: bool,
    /// When the last successful discovery ended.
    last_success: Option<Timestamp>,
    /// When the last discovery ended.
    last_attempt: Timestamp,
    /// When the next discovery is due.
    next: Timestamp,
    /// State that the source exported after the last discovery.
    #[serde(rename = "memory")]
    source_state: serde_json::Value,
}

impl Account {
    /// Restores the results of discoveries, and returns the time until the next one.
    ///
    /// `None` without a saved state.
    pub(super) async fn restore(&mut self) -> Option<Duration> {
        self.discovery.known = self.state_dir.read(StateFile::Discovery, Ok).await?;
        let known = &self.discovery.known;
        self.source().import_state(known.source_state.clone());
        let phase = self.schedule.phase("");
        if self.config.discovery == DiscoveryMode::Targets {
            self.metrics.discovered(known.up, known.last_success);
            if known.up && known.found.is_empty() {
                // The saved state is from a configuration that named the targets: list them soon.
                return Some(phase);
            }
        }
        let interval = if known.up {
            DISCOVERY_INTERVAL
        } else {
            self.schedule.interval().min(DISCOVERY_INTERVAL)
        };
        let left = time_left(self.clock.now(), known.last_attempt, known.next, interval);
        Some(left.unwrap_or(phase))
    }

    /// Waits until a discovery is due, and runs it.
    ///
    /// During a back-off, the credential is checked at each interval. If it has changed, the
    /// discovery runs at once.
    pub(super) fn discover(&self) -> impl Future<Output = Discovered> + use<> {
        let (source, schedule) = (self.source(), self.schedule.clone());
        let (due, backoff) = (self.discovery.due, self.discovery.backoff);
        async move {
            let Some(due) = due else {
                return std::future::pending().await;
            };
            while Instant::now() < due {
                let again = match backoff.until {
                    None => due,
                    Some(_) if backoff.is_active(Instant::now(), &*source, "").await => {
                        due.min(Instant::now() + schedule.interval())
                    }
                    Some(_) => break,
                };
                sleep_until(again).await;
            }
            let credential = source.credential("").await;
            (credential, source.discover().await)
        }
    }

    /// Applies the result of a discovery, and schedules the next one.
    ///
    /// A failure or an empty list is logged and counted. The known targets stay. If only names were
    /// requested, the pollers of the configured targets are started anyway.
    pub(super) async fn apply_discovery(&mut self, (credential, result): Discovered) {
        let now = Instant::now();
        let result = result.and_then(|found| match found[..] {
            [] => {
                let detail = "the vendor listed no target";
                Err(PollError::new(Reason::NotFound, "discovery", detail))
            }
            _ => Ok(found),
        });
        let (wait, error) = match result {
            Ok(found) => {
                self.discovery_succeeded(found);
                (DISCOVERY_INTERVAL, None)
            }
            Err(error) => (self.discovery_failed(credential, now, &error), Some(error)),
        };
        self.discovery.due = Some(now + wait);
        let (source_state, last_attempt) = (self.source().export_state(), self.clock.now());
        let known = &mut self.discovery.known;
        known.up = error.is_none();
        known.last_attempt = last_attempt;
        known.next = last_attempt + wait;
        known.source_state = source_state;
        self.state_dir.write(StateFile::Discovery, known.clone());
        if self.config.discovery == DiscoveryMode::Targets {
            self.metrics.discovered(known.up, known.last_success);
        }
        if error.is_none() || self.config.discovery == DiscoveryMode::Names {
            self.reconcile_known_targets().await;
        }
        // Set after the targets: an account with an error and no targets counts as attempted, so
        // the process could become ready before these targets are polled.
        self.inventory.set_discovery_error(error);
    }

    /// Stores the result of a successful discovery.
    fn discovery_succeeded(&mut self, found: Vec<DiscoveredTarget>) {
        let follows = self.config.discovery == DiscoveryMode::Targets;
        let Discovery {
            known,
            backoff,
            failures,
            ..
        } = &mut self.discovery;
        *backoff = Backoff::default();
        let failures = failures.succeeded();
        if failures > 0 {
            let (system, account) = self.metrics.account();
            tracing::info!(system, account, failures, "discovery succeeded again");
        }
        known.last_success = Some(self.clock.now());
        known.found.clear();
        for DiscoveredTarget { id, name } in found {
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                known.names.insert(id.clone(), name);
            }
            if follows {
                known.found.push(id);
            }
        }
    }

    /// Counts a failure, and logs it at most once an hour for each reason. Returns the time until
    /// the next attempt.
    ///
    /// A failure that may pass is retried at the poll interval, others with back-off up to an hour.
    fn discovery_failed(
        &mut self,
        credential: Option<u64>,
        now: Instant,
        error: &PollError,
    ) -> Duration {
        self.metrics.failed(error);
        let mode = self.config.discovery;
        let Discovery {
            known,
            backoff,
            failures,
            ..
        } = &mut self.discovery;
        // Names are not worth a request at each poll interval, whatever the error is.
        let counts = !error.reason.may_pass() || mode == DiscoveryMode::Names;
        backoff.record_failure(counts, credential, now, &self.schedule);
        let (system, account) = self.metrics.account();
        if let Some(failures) = failures.failed(error.reason) {
            let cost = match mode {
                DiscoveryMode::Targets if known.found.is_empty() => {
                    "no target of the account is polled until it succeeds"
                }
                DiscoveryMode::Targets => "the earlier targets are kept",
                DiscoveryMode::Names | DiscoveryMode::Never => {
                    "targets without a configured name show their last known name or their id"
                }
            };
            tracing::warn!(
                system,
                account,
                reason = error.reason.label(),
                status = error.status,
                request_id = error.request_id,
                failures,
                %error,
                remedy = error.remedy(),
                cost,
                "discovery failed"
            );
        }
        let wait = match backoff.until {
            Some(until) => until - now,
            None => self.schedule.interval(),
        };
        wait.min(DISCOVERY_INTERVAL)
    }

    /// Completes once the first listings of configured targets have waited long enough for names.
    ///
    /// Never completes if no listing waits.
    pub(super) fn names_overdue(&self) -> impl Future<Output = ()> + use<> {
        let waits = self.config.discovery == DiscoveryMode::Names
            && self.first.is_some()
            && !self.config.targets.is_empty();
        let for_the_budget = Duration::from_mins(2) / self.config.requests_per_minute.get();
        let due = self.discovery.due.filter(|_| waits);
        async move {
            match due {
                Some(due) => sleep_until(due + NAMES_WITHIN + for_the_budget).await,
                None => std::future::pending().await,
            }
        }
    }
}
