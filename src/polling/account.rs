//! One account: discovery of its targets, and a poller for each.

mod discovery;
mod labels;
mod recorder;
mod reload;
mod restart;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::clock::Clock;
use crate::inventory::{AccountHandle, Inventory};
use crate::metrics::AccountMetrics;
use crate::polling::background_jobs::BackgroundJobs;
use crate::polling::poller::{Poller, Setup, SharedSetup};
use crate::polling::schedule::Schedule;
use crate::sanitize::{ForLog, MAX_NAMES};
use crate::state_dir::{AccountStateDir, StateDir};
use crate::vendors::Source;
use crate::vendors::account::{AccountConfig, DiscoveryMode, PollConfig, TargetConfig};
use crate::vendors::http::{Client, ClientObserver, RequestLimiter, Transport};
use discovery::Discovery;
use labels::labels;
use recorder::Recorder;
pub use reload::AccountChange;
#[cfg(any(test, fuzzing))]
pub(crate) use restart::time_left;

/// Account that is ready to be polled.
pub struct Account {
    config: AccountConfig,
    schedule: Arc<Schedule>,
    setup: SharedSetup,
    limiter: Arc<RequestLimiter>,
    metrics: Arc<AccountMetrics>,
    inventory: AccountHandle,
    state_dir: AccountStateDir,
    /// Observer besides the account's own, if somebody watches it.
    observer: Option<Arc<dyn ClientObserver>>,
    clock: Clock,
    discovery: Discovery,
    /// Start of the spread of first polls; `None` once they are scheduled.
    first: Option<Instant>,
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

/// What an account uses besides its source.
struct AccountParts {
    limiter: Arc<RequestLimiter>,
    metrics: Arc<AccountMetrics>,
    state_dir: AccountStateDir,
    observer: Option<Arc<dyn ClientObserver>>,
    clock: Clock,
}

impl Account {
    /// Creates the account's client, and adds the account to the inventory. Reads no file.
    ///
    /// `observer` hears of everything that the client reports.
    pub fn open(
        transport: Arc<dyn Transport>,
        config: AccountConfig,
        poll: &PollConfig,
        inventory: &Arc<Inventory>,
        state_dir: &StateDir,
        observer: Option<Arc<dyn ClientObserver>>,
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
                also: observer.clone(),
            }),
            clock.clone(),
        );
        let source = Arc::from(config.connect.connect(client));
        let parts = AccountParts {
            limiter,
            metrics,
            state_dir,
            observer,
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
            observer,
            clock,
        } = parts;
        let inventory = inventory.open(config.system, metrics.clone());
        let schedule = Arc::new(Schedule::new(&config, poll, metrics.clone()));
        let jobs = BackgroundJobs::new(source.clone(), schedule.clone(), metrics.clone());
        let jobs = Arc::new(jobs.observed_by(observer.clone()));
        let setup = Setup::new(source, jobs, &config.targets);
        Self {
            config,
            schedule,
            setup: Arc::new(Mutex::new(Arc::new(setup))),
            limiter,
            metrics,
            inventory,
            state_dir,
            observer,
            clock,
            discovery: Discovery::default(),
            first: Some(Instant::now()),
            max_connections: poll.max_connections,
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

    /// Restores the saved state, polls each target, discovers targets once an hour, and applies
    /// reloads.
    ///
    /// `shown` is dropped once the inventory shows the saved state. Ends only by being dropped.
    ///
    /// What happens seldom is boxed: otherwise each account would have memory for it all the time.
    pub async fn run(
        mut self,
        mut changes: mpsc::Receiver<Box<AccountChange>>,
        shown: TaskTrackerToken,
    ) {
        Box::pin(self.start()).await;
        drop(shown);
        self.run_jobs();
        let mut discovery = Box::pin(self.discover());
        loop {
            tokio::select! {
                // A fixed order makes tests reproducible.
                biased;
                discovered = &mut discovery => {
                    Box::pin(self.apply_discovery(discovered)).await;
                    discovery = Box::pin(self.discover());
                }
                () = self.names_overdue() => Box::pin(self.reconcile_known_targets()).await,
                Some(change) = changes.recv() => {
                    let (due, another_source) = (self.discovery.due, change.transport.is_some());
                    Box::pin(self.apply(*change)).await;
                    // With the same source and due time, a discovery in flight continues.
                    if another_source || self.discovery.due != due {
                        discovery = Box::pin(self.discover());
                    }
                }
            }
        }
    }

    /// Restores the saved state, and starts pollers for the targets that are known by then.
    ///
    /// The inventory shows these targets afterwards.
    async fn start(&mut self) {
        self.resume().await;
        if self.config.discovery == DiscoveryMode::Never {
            return self.reconcile_pollers(self.config.targets.clone()).await;
        }
        let now = Instant::now();
        let wait = self.restore().await;
        self.discovery.due = Some(now + wait.unwrap_or_else(|| self.schedule.phase("")));
        // Without a saved state, polls wait for the first discovery, so that the first listings
        // have the names. A discovery of names alone delays them only until it fails or takes too
        // long.
        if wait.is_some() {
            self.reconcile_known_targets().await;
        }
    }

    /// Starts pollers for the configured targets, or for those that the vendor listed last.
    async fn reconcile_known_targets(&mut self) {
        let targets: Vec<_> = match self.config.discovery {
            DiscoveryMode::Targets => self
                .discovery
                .known
                .found
                .iter()
                .map(|id| TargetConfig::found(id))
                .collect(),
            DiscoveryMode::Names | DiscoveryMode::Never => self.config.targets.clone(),
        };
        // An empty list means that the vendor never listed its targets, not that none exist.
        if !targets.is_empty() {
            self.reconcile_pollers(targets).await;
        }
    }

    /// Starts pollers for new targets, stops those of removed targets, and shows all targets.
    ///
    /// First polls are spread from the account's start on. For targets found later, the spread
    /// begins now. A first poll that would be in the past is due now.
    async fn reconcile_pollers(&mut self, targets: Vec<TargetConfig>) {
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
                if gone <= MAX_NAMES {
                    tracing::info!(system, account, target_id = %ForLog(id), "target is gone");
                }
                poller.task.abort();
            }
            stays
        });
        if let more @ 1.. = gone.saturating_sub(MAX_NAMES) {
            tracing::info!(system, account, more, "more targets are gone");
        }
        self.setup.lock().jobs.keep_targets(&targets);
        // The aborted pollers queue no more writes, and queued ones end before this removal.
        self.state_dir
            .keep_targets(targets.iter().map(|target| target.id.as_str()));
        let new: Vec<_> = targets
            .iter()
            .filter(|target| !self.running.contains_key(&target.id))
            .collect();
        let ids = new.iter().map(|target| target.id.clone()).collect();
        let snapshots = self.snapshots(ids).await;
        for (target, snapshot) in new.iter().zip(&snapshots) {
            if let Some((_, Some(restored))) = snapshot {
                self.schedule
                    .record_pages(&target.id, restored.listing.pages);
            }
        }
        let initial = new.into_iter().zip(snapshots);
        let mut initial: BTreeMap<_, _> = initial
            .map(|(target, snapshot)| {
                (
                    target.id.clone(),
                    self.initial_state(target, reference, snapshot),
                )
            })
            .collect();
        let labels = labels(&targets, &self.discovery.known.names);
        // Called only for targets that are new to the inventory, and `initial` contains those.
        self.inventory
            .set_targets(&labels, |id| initial[id].0.clone());
        // A `JoinSet` keeps finished tasks until they are joined.
        while self.pollers.try_join_next().is_some() {}
        for target in targets {
            let id = target.id.clone();
            let Some((state, first)) = initial.remove(&id) else {
                continue;
            };
            let reloaded = Arc::new(Notify::new());
            let poller = Poller {
                id: target.id,
                setup: self.setup.clone(),
                reloaded: reloaded.clone(),
                system: self.config.system,
                inventory: self.inventory.clone(),
                state_dir: self.state_dir.clone(),
                metrics: self.metrics.clone(),
                clock: self.clock.clone(),
                schedule: self.schedule.clone(),
                written: Mutex::default(),
            };
            let task = self.pollers.spawn(poller.run(first, state));
            self.running.insert(id, RunningPoller { task, reloaded });
        }
    }
}

#[cfg(test)]
mod tests;
