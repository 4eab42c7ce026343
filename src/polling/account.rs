//! One account: discovery of its targets, and a poller for each.

mod labels;
mod recorder;
mod reload;
mod restart;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::inventory::{AccountHandle, Inventory};
use crate::metrics::AccountMetrics;
use crate::model::error::{PollError, Reason};
use crate::polling::background_jobs::BackgroundJobs;
use crate::polling::poller::{Poller, Setup, SharedSetup};
use crate::polling::repeated_failure::RepeatedFailure;
use crate::polling::schedule::Schedule;
use crate::sanitize::{ForLog, MOST_NAMES};
use crate::state_dir::{AccountStateDir, StateDir, StateFile};
use crate::vendors::account::{AccountConfig, DiscoveryMode, PollConfig, TargetConfig};
use crate::vendors::http::{Client, RequestLimiter, Transport};
use crate::vendors::{DiscoveredTarget, Source};
use labels::labels;
use recorder::Recorder;
pub use reload::AccountChange;
use restart::DiscoveryState;
#[cfg(any(test, fuzzing))]
pub(crate) use restart::time_left;

/// Time between two discoveries of targets and their names.
const DISCOVERY_INTERVAL: Duration = Duration::from_hours(1);

/// Time that first listings wait for the names of their targets, if these are requested.
///
/// Ordinary responses arrive sooner. The wait of two requests for the budget is added: one request
/// for a token, one for the names.
const NAMES_WITHIN: Duration = Duration::from_secs(10);

/// Result of a discovery, after the credential that it used.
type Discovered = (Option<u64>, Result<Vec<DiscoveredTarget>, PollError>);

/// Account that is ready to be polled.
pub struct Account {
    config: AccountConfig,
    schedule: Arc<Schedule>,
    setup: SharedSetup,
    limiter: Arc<RequestLimiter>,
    metrics: Arc<AccountMetrics>,
    inventory: AccountHandle,
    state_dir: AccountStateDir,
    clock: Clock,
    known: DiscoveryState,
    /// Start of the spread of first polls; `None` once they are scheduled.
    first: Option<Instant>,
    /// Failed discoveries since the last success that count towards the back-off.
    hopeless: u32,
    /// Credential of the last of these discoveries.
    refused_credential: Option<u64>,
    failed_discoveries: RepeatedFailure,
    max_connections: usize,
    running: BTreeMap<String, RunningPoller>,
    pollers: JoinSet<()>,
    jobs: Option<AbortOnDropHandle<()>>,
}

/// Poller of one target.
struct RunningPoller {
    task: AbortHandle,
    reloaded: Arc<Notify>,
}

/// What an account uses beside its source.
struct AccountParts {
    limiter: Arc<RequestLimiter>,
    metrics: Arc<AccountMetrics>,
    state_dir: AccountStateDir,
    clock: Clock,
}

impl Account {
    /// Creates the account's client, and adds the account to the inventory. Reads no file.
    pub fn open(
        transport: Arc<dyn Transport>,
        config: AccountConfig,
        poll: &PollConfig,
        inventory: &Arc<Inventory>,
        state_dir: &StateDir,
        clock: Clock,
    ) -> Self {
        let system = config.system.name;
        let limiter = Arc::new(RequestLimiter::new(
            config.requests_per_minute,
            fastrand::u64(..),
        ));
        let durations = inventory.exporter_metrics().durations();
        let metrics = Arc::new(AccountMetrics::new(
            system,
            &config.name,
            limiter.clone(),
            durations,
        ));
        let state_dir = state_dir.account(system, &config.name, config.base_url.as_str());
        let client = Client::new(
            transport,
            &config,
            poll,
            limiter.clone(),
            Arc::new(Recorder {
                metrics: metrics.clone(),
                state_dir: state_dir.clone(),
            }),
            clock.clone(),
        );
        let source = Arc::from(config.connect.connect(client));
        let parts = AccountParts {
            limiter,
            metrics,
            state_dir,
            clock,
        };
        Self::with_source(config, poll, inventory, source, parts)
    }

    fn with_source(
        config: AccountConfig,
        poll: &PollConfig,
        inventory: &Arc<Inventory>,
        source: Arc<dyn Source>,
        parts: AccountParts,
    ) -> Self {
        let AccountParts {
            limiter,
            metrics,
            state_dir,
            clock,
        } = parts;
        let inventory = inventory.open(config.system, metrics.clone());
        let schedule = Arc::new(Schedule::new(&config, poll, metrics.clone()));
        let jobs = Arc::new(BackgroundJobs::new(
            source.clone(),
            schedule.clone(),
            metrics.clone(),
        ));
        let setup = Setup::new(source, jobs, &config.targets);
        Self {
            config,
            schedule,
            setup: Arc::new(Mutex::new(Arc::new(setup))),
            limiter,
            metrics,
            inventory,
            state_dir,
            clock,
            known: DiscoveryState::default(),
            first: Some(Instant::now()),
            max_connections: poll.max_connections,
            hopeless: 0,
            refused_credential: None,
            failed_discoveries: RepeatedFailure::default(),
            running: BTreeMap::new(),
            pollers: JoinSet::new(),
            jobs: None,
        }
    }

    fn source(&self) -> Arc<dyn Source> {
        self.setup.lock().source.clone()
    }

    /// Starts the background jobs of the current source, and stops those of the previous one.
    fn run_jobs(&mut self) {
        let jobs = self.setup.lock().jobs.clone();
        let run = async move { jobs.run().await };
        let some = !self.source().jobs().is_empty();
        self.jobs = some.then(|| AbortOnDropHandle::new(tokio::spawn(run)));
    }

    /// Discovers targets once an hour, polls each of them, and applies reloads.
    ///
    /// `due` is the time of the first discovery. Ends only by being dropped.
    pub async fn run(
        mut self,
        mut due: Option<Instant>,
        mut changes: mpsc::Receiver<AccountChange>,
    ) {
        self.run_jobs();
        let mut discovery = Box::pin(self.discovery(due));
        loop {
            tokio::select! {
                // A fixed order makes tests reproducible.
                biased;
                (credential, result) = &mut discovery => {
                    due = Some(self.discovered(credential, result).await);
                    discovery = Box::pin(self.discovery(due));
                }
                () = self.names_overdue(due) => self.poll_known().await,
                Some(change) = changes.recv() => {
                    let another_source = change.transport.is_some();
                    let next = self.apply(change, due).await;
                    // With the same source and due time, a discovery in flight continues.
                    if another_source || next != due {
                        due = next;
                        discovery = Box::pin(self.discovery(due));
                    }
                }
            }
        }
    }

    /// Restores the saved state, and starts to poll the targets it contains.
    ///
    /// The inventory shows these targets afterwards. Returns when the first discovery is due;
    /// `None` if nothing is to be discovered.
    pub async fn start(&mut self) -> Option<Instant> {
        self.resume().await;
        if self.config.discovery == DiscoveryMode::Never {
            self.poll(self.config.targets.clone()).await;
            return None;
        }
        // First polls start after the first discovery, even if it fails. If names are available,
        // the first listing already has them, and no target changes its label at each start.
        let now = Instant::now();
        let Some(wait) = self.restore().await else {
            return Some(now + self.schedule.phase(""));
        };
        self.poll_known().await;
        Some(now + wait)
    }

    /// Completes once the first listings of configured targets have waited long enough for names.
    ///
    /// `due` is when the names are requested. Never completes if no listing waits.
    fn names_overdue(&self, due: Option<Instant>) -> impl Future<Output = ()> + use<> {
        let waits = self.config.discovery == DiscoveryMode::Names
            && self.first.is_some()
            && !self.config.targets.is_empty();
        let for_the_budget = Duration::from_mins(2) / self.config.requests_per_minute.get();
        let late = due
            .filter(|_| waits)
            .map(|due| due + NAMES_WITHIN + for_the_budget);
        async move {
            match late {
                Some(late) => sleep_until(late).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Polls the configured targets, or those that the vendor listed last.
    async fn poll_known(&mut self) {
        let targets: Vec<_> = match self.config.discovery {
            DiscoveryMode::Targets => self
                .known
                .found
                .iter()
                .map(|id| TargetConfig::found(id))
                .collect(),
            DiscoveryMode::Names | DiscoveryMode::Never => self.config.targets.clone(),
        };
        // An empty list means that the vendor never listed its targets, not that none exist.
        if !targets.is_empty() {
            self.poll(targets).await;
        }
    }

    /// Waits until a discovery is due, and runs it.
    ///
    /// During a back-off, the credential is checked at each interval. If it has changed, the
    /// discovery runs at once.
    fn discovery(&self, due: Option<Instant>) -> impl Future<Output = Discovered> + use<> {
        let (source, schedule) = (self.source(), self.schedule.clone());
        let refused = (self.hopeless > 0).then_some(self.refused_credential);
        async move {
            let Some(due) = due else {
                return std::future::pending().await;
            };
            match refused {
                None => sleep_until(due).await,
                Some(refused) => {
                    while Instant::now() < due && source.credential("").await == refused {
                        sleep_until(due.min(Instant::now() + schedule.interval())).await;
                    }
                }
            }
            let credential = source.credential("").await;
            (credential, source.discover().await)
        }
    }

    /// Returns the time from one discovery to the next.
    ///
    /// A failure that may pass is retried at the poll interval, others with back-off up to an hour.
    fn discover_again_after(&self, found: bool) -> Duration {
        if found {
            DISCOVERY_INTERVAL
        } else {
            self.schedule
                .after_refusals(self.hopeless)
                .min(DISCOVERY_INTERVAL)
        }
    }

    /// Applies the result of a discovery, and returns when the next one is due.
    ///
    /// A failure or an empty list is logged and counted, but changes no target.
    async fn discovered(
        &mut self,
        credential: Option<u64>,
        result: Result<Vec<DiscoveredTarget>, PollError>,
    ) -> Instant {
        let nothing = || {
            let detail = "the vendor listed no target";
            Err(PollError::new(Reason::NotFound, "discovery", detail))
        };
        let result = result.and_then(|found| match found[..] {
            [] => nothing(),
            _ => Ok(found),
        });
        let error = match result {
            Ok(found) => {
                self.found(found);
                None
            }
            Err(error) => {
                self.not_found(credential, &error);
                Some(error)
            }
        };
        let up = error.is_none();
        let wait = self.discover_again_after(up);
        self.known.up = up;
        self.known.last_attempt = self.clock.now();
        self.known.next = self.known.last_attempt + wait;
        self.known.memory = self.source().export_state();
        self.state_dir
            .write(StateFile::Discovery, self.known.clone());
        if self.config.discovery == DiscoveryMode::Targets {
            self.metrics.discovered(up, self.known.last_success);
        }
        if up || self.config.discovery == DiscoveryMode::Names {
            self.poll_known().await;
        }
        // Set after the targets are shown: an error without targets means that none are to be
        // waited for.
        self.inventory.discovered(error);
        Instant::now() + wait
    }

    /// Stores the result of a successful discovery.
    fn found(&mut self, found: Vec<DiscoveredTarget>) {
        let follows = self.config.discovery == DiscoveryMode::Targets;
        self.hopeless = 0;
        self.refused_credential = None;
        let failures = self.failed_discoveries.succeeded();
        if failures > 0 {
            let (system, account) = self.metrics.account();
            tracing::info!(system, account, failures, "discovery succeeded again");
        }
        self.known.last_success = Some(self.clock.now());
        self.known.found.clear();
        for DiscoveredTarget { id, name } in found {
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                self.known.names.insert(id.clone(), name);
            }
            if follows {
                self.known.found.push(id);
            }
        }
    }

    /// Counts a failure, and logs it: once an hour while it lasts.
    fn not_found(&mut self, credential: Option<u64>, error: &PollError) {
        self.metrics.failed(error);
        let cost = match self.config.discovery {
            DiscoveryMode::Targets if self.known.found.is_empty() => {
                "no target of the account is polled until it succeeds"
            }
            DiscoveryMode::Targets => "the earlier targets are kept",
            DiscoveryMode::Names | DiscoveryMode::Never => {
                "targets without a configured name show their last known name or their id"
            }
        };
        // Names are not worth a request at each poll interval, whatever the error is.
        if !error.reason.may_pass() || self.config.discovery == DiscoveryMode::Names {
            self.hopeless += 1;
            self.refused_credential = credential;
        }
        let (system, account) = self.metrics.account();
        if let Some(failures) = self.failed_discoveries.failed(error.reason) {
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
    }

    /// Starts pollers for new targets, stops those of removed targets, and shows all targets.
    ///
    /// First polls are spread from the account's start, those of targets found later from now. A
    /// first poll that would be in the past is due now.
    async fn poll(&mut self, targets: Vec<TargetConfig>) {
        let reference = self.first.take().unwrap_or_else(Instant::now);
        self.schedule
            .set_targets(targets.iter().map(|target| target.id.as_str()));
        let (system, account) = (self.config.system.name, self.config.name.clone());
        let ids: BTreeSet<_> = targets.iter().map(|target| target.id.as_str()).collect();
        let mut gone = 0_usize;
        self.running.retain(|id, poller| {
            let stays = ids.contains(id.as_str());
            if !stays {
                gone += 1;
                if gone <= MOST_NAMES {
                    tracing::info!(system, account, target_id = %ForLog(id), "target is gone");
                }
                poller.task.abort();
            }
            stays
        });
        if let more @ 1.. = gone.saturating_sub(MOST_NAMES) {
            tracing::info!(system, account, more, "more targets are gone");
        }
        self.setup.lock().jobs.keep_targets(&targets);
        // Done after the last write of the removed targets.
        self.state_dir
            .keep_targets(targets.iter().map(|target| target.id.as_str()));
        let new: Vec<_> = targets
            .iter()
            .filter(|target| !self.running.contains_key(&target.id))
            .collect();
        let ids = new.iter().map(|target| target.id.clone()).collect();
        let snapshots = self.snapshots(ids).await;
        for (target, snapshot) in new.iter().zip(&snapshots) {
            if let Some((_, Some(listing))) = snapshot {
                self.schedule.record_pages(&target.id, listing.pages);
            }
        }
        let begun = new.into_iter().zip(snapshots);
        let mut begun: BTreeMap<_, _> = begun
            .map(|(target, snapshot)| (target.id.clone(), self.begin(target, reference, snapshot)))
            .collect();
        let labels = labels(&targets, &self.known.names);
        self.inventory
            .set_targets(&labels, |id| begun[id].0.clone());
        // A `JoinSet` keeps finished tasks until they are joined.
        while self.pollers.try_join_next().is_some() {}
        for target in targets {
            let id = target.id.clone();
            let Some((state, first)) = begun.remove(&id) else {
                continue;
            };
            let reloaded = Arc::new(Notify::new());
            let poller = Poller {
                id: target.id,
                setup: self.setup.clone(),
                reloaded: reloaded.clone(),
                inventory: self.inventory.clone(),
                state_dir: self.state_dir.clone(),
                metrics: self.metrics.clone(),
                clock: self.clock.clone(),
                schedule: self.schedule.clone(),
            };
            let task = self.pollers.spawn(poller.run(first, state));
            self.running.insert(id, RunningPoller { task, reloaded });
        }
    }
}

#[cfg(test)]
mod tests;
