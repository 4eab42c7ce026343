//! One account: which targets it has, and a poller for each.

mod labels;
mod reload;
mod restart;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::board::{AccountBoard, Board};
use crate::client::{Client, Pace, Transport};
use crate::clock::Clock;
use crate::config::{self, Discovery, Poll, Target};
use crate::error::{PollError, Reason};
use crate::log::ForLog;
use crate::metrics::AccountMetrics;
use crate::poller::{Poller, Setup, SharedSetup};
use crate::schedule::Schedule;
use crate::store::{AccountStore, Item, Store};
use crate::upstream::{Found, Source};
use labels::labels;
pub use reload::Change;
use restart::Known;
#[cfg(any(test, fuzzing))]
pub(crate) use restart::time_left;

/// How often the vendor is asked which targets there are, and how they are called.
const DISCOVERY_INTERVAL: Duration = Duration::from_hours(1);

/// What a discovery gave, and the credential that it was asked with.
type Discovered = (Option<u64>, Result<Vec<Found>, PollError>);

/// An account that is ready to be polled.
pub struct Account {
    config: config::Account,
    schedule: Arc<Schedule>,
    setup: SharedSetup,
    pace: Arc<Pace>,
    metrics: Arc<AccountMetrics>,
    board: AccountBoard,
    store: AccountStore,
    clock: Clock,
    known: Known,
    /// From when on the first polls are spread, until they are.
    first: Option<Instant>,
    /// Discoveries that were refused since one succeeded, and the credential of the last.
    refusals: u32,
    refused_credential: Option<u64>,
    max_connections: usize,
    running: BTreeMap<String, Running>,
    pollers: JoinSet<()>,
}

/// The poller of one target.
struct Running {
    task: AbortHandle,
    reloaded: Arc<Notify>,
}

impl Account {
    /// Makes the account's client and gives it its place on the board. Reads no file.
    pub fn open(
        transport: Arc<dyn Transport>,
        config: config::Account,
        poll: &Poll,
        board: &Arc<Board>,
        store: &Store,
        clock: Clock,
    ) -> Self {
        let system = config.system.name;
        let pace = Arc::new(Pace::new(config.requests_per_minute, fastrand::u64(..)));
        let durations = board.own().durations();
        let metrics = Arc::new(AccountMetrics::new(
            system,
            &config.name,
            pace.clone(),
            durations,
        ));
        let store = store.account(system, &config.name, config.base_url.as_str());
        let client = Client::new(
            transport,
            &config,
            poll,
            pace.clone(),
            metrics.clone(),
            store.clone(),
            clock.clone(),
        );
        let source = Arc::from(config.connect.connect(client));
        Self::with_source(config, poll, board, pace, metrics, store, source, clock)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts that open makes, or a test"
    )]
    fn with_source(
        config: config::Account,
        poll: &Poll,
        board: &Arc<Board>,
        pace: Arc<Pace>,
        metrics: Arc<AccountMetrics>,
        store: AccountStore,
        source: Arc<dyn Source>,
        clock: Clock,
    ) -> Self {
        let board = board.open(config.system, metrics.clone());
        let schedule = Arc::new(Schedule::new(&config, poll, metrics.clone()));
        let setup = Setup::new(source, &config.targets);
        Self {
            config,
            schedule,
            setup: Arc::new(Mutex::new(Arc::new(setup))),
            pace,
            metrics,
            board,
            store,
            clock,
            known: Known::default(),
            first: Some(Instant::now()),
            max_connections: poll.max_connections,
            refusals: 0,
            refused_credential: None,
            running: BTreeMap::new(),
            pollers: JoinSet::new(),
        }
    }

    fn source(&self) -> Arc<dyn Source> {
        self.setup.lock().source.clone()
    }

    /// Asks for targets once an hour, first when it is due, polls each of them, and takes up what a reload changes. Ends
    /// only by being dropped.
    pub async fn run(mut self, mut due: Option<Instant>, mut changes: mpsc::Receiver<Change>) {
        let mut discovery = Box::pin(self.discovery(due));
        loop {
            tokio::select! {
                // In one order, so that a test can have the same month twice.
                biased;
                (credential, result) = &mut discovery => {
                    due = Some(self.discovered(credential, result).await);
                    discovery = Box::pin(self.discovery(due));
                }
                Some(change) = changes.recv() => {
                    let another_source = change.transport.is_some();
                    let next = self.take_up(change, due).await;
                    // One under way with the same source goes on: it was due.
                    if another_source || next != due {
                        due = next;
                        discovery = Box::pin(self.discovery(due));
                    }
                }
            }
        }
    }

    /// Begins to poll what is known already, which is on the board afterwards, and says when the first discovery is due;
    /// never, where there is nothing to discover.
    pub async fn start(&mut self) -> Option<Instant> {
        self.resume().await;
        if self.config.discovery == Discovery::Never {
            self.poll(self.config.targets.clone()).await;
            return None;
        }
        // The first poll comes after the first answer, whatever that is: so a name that can be had is there
        // from the first listing on, and no target changes its label at each start.
        let now = Instant::now();
        let Some(wait) = self.restore().await else {
            return Some(now + self.schedule.phase(""));
        };
        self.poll_known().await;
        Some(now + wait)
    }

    /// Polls the targets that are known.
    async fn poll_known(&mut self) {
        let targets: Vec<_> = match self.config.discovery {
            Discovery::Targets => self
                .known
                .found
                .iter()
                .map(|id| Target::found(id))
                .collect(),
            Discovery::Names | Discovery::Never => self.config.targets.clone(),
        };
        // A list that was never had is not an empty one.
        if !targets.is_empty() {
            self.poll(targets).await;
        }
    }

    /// Waits until a discovery is due, after a refusal at each interval also for another credential to try, and asks
    /// the vendor.
    fn discovery(&self, due: Option<Instant>) -> impl Future<Output = Discovered> + use<> {
        let (source, schedule) = (self.source(), self.schedule.clone());
        let refused = (self.refusals > 0).then_some(self.refused_credential);
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

    /// What is missing is asked for with the next polls; after refusals less and less often, up to an hour.
    fn discover_again_after(&self, found: bool) -> Duration {
        if found {
            DISCOVERY_INTERVAL
        } else {
            self.schedule
                .after_refusals(self.refusals)
                .min(DISCOVERY_INTERVAL)
        }
    }

    /// Takes a discovery's result over, and says when the next one is due. A failure or an empty list is logged and
    /// counted, and changes nothing.
    async fn discovered(
        &mut self,
        credential: Option<u64>,
        result: Result<Vec<Found>, PollError>,
    ) -> Instant {
        let found = self.found(credential, result);
        let wait = self.discover_again_after(found);
        self.known.last_attempt = self.clock.now();
        self.known.next = self.known.last_attempt + wait;
        self.known.memory = self.source().memory();
        self.store.write(Item::Discovery, self.known.clone());
        if found || self.config.discovery == Discovery::Names {
            self.poll_known().await;
        }
        Instant::now() + wait
    }

    /// Notes what was found; `false` if nothing was.
    fn found(&mut self, credential: Option<u64>, result: Result<Vec<Found>, PollError>) -> bool {
        let follows = self.config.discovery == Discovery::Targets;
        let (system, account) = self.metrics.account();
        let found = match result {
            Ok(found) if found.is_empty() => {
                tracing::warn!(
                    system,
                    account,
                    "the vendor listed no target: the earlier ones are kept"
                );
                let nothing = "the vendor listed no target";
                let error = PollError::new(Reason::NotFound, "discovery", nothing);
                self.board.discovered(Some(error));
                None
            }
            Ok(found) => {
                self.refusals = 0;
                self.refused_credential = None;
                self.board.discovered(None);
                Some(found)
            }
            Err(error) => {
                self.metrics.failed(&error);
                if error.is_refusal() {
                    self.refusals += 1;
                    self.refused_credential = credential;
                }
                tracing::warn!(
                    system,
                    account,
                    reason = error.reason.label(),
                    status = error.status,
                    request_id = error.request_id,
                    %error,
                    remedy = error.reason.remedy(),
                    cost = if follows { "the earlier targets are kept" } else { "targets without a configured name show their last known name or their id" },
                    "discovery failed"
                );
                self.board.discovered(Some(error));
                None
            }
        };
        self.known.up = found.is_some();
        if let Some(found) = found {
            self.known.last_success = Some(self.clock.now());
            self.known.found.clear();
            for Found { id, name } in found {
                if let Some(name) = name.filter(|name| !name.is_empty()) {
                    self.known.names.insert(id.clone(), name);
                }
                if follows {
                    self.known.found.push(id);
                }
            }
        }
        if follows {
            self.metrics
                .discovered(self.known.up, self.known.last_success);
        }
        self.known.up
    }

    /// Starts pollers for new targets, ends those of targets that are gone, and shows all of them.
    ///
    /// First polls are spread from the start on, those of targets found later from now on; what is past by now is due
    /// now.
    async fn poll(&mut self, targets: Vec<Target>) {
        let reference = self.first.take().unwrap_or_else(Instant::now);
        self.schedule
            .set_targets(targets.iter().map(|target| target.id.as_str()));
        let (system, account) = (self.config.system.name, self.config.name.clone());
        let ids: BTreeSet<_> = targets.iter().map(|target| target.id.as_str()).collect();
        self.running.retain(|id, poller| {
            let stays = ids.contains(id.as_str());
            if !stays {
                tracing::info!(system, account, target_id = %ForLog(id), "target is gone");
                poller.task.abort();
            }
            stays
        });
        // After the last write of those that are gone.
        self.store
            .keep_targets(targets.iter().map(|target| target.id.as_str()));
        let new: Vec<_> = targets
            .iter()
            .filter(|target| !self.running.contains_key(&target.id))
            .collect();
        let ids = new.iter().map(|target| target.id.clone()).collect();
        let snapshots = self.snapshots(ids).await;
        for (target, snapshot) in new.iter().zip(&snapshots) {
            if let Some((_, Some(listing))) = snapshot {
                self.schedule.needs_pages(&target.id, listing.pages);
            }
        }
        let begun = new.into_iter().zip(snapshots);
        let mut begun: BTreeMap<_, _> = begun
            .map(|(target, snapshot)| (target.id.clone(), self.begin(target, reference, snapshot)))
            .collect();
        let labels = labels(&targets, &self.known.names);
        self.board.set_targets(&labels, |id| begun[id].0.clone());
        // The set keeps what has ended until it is asked for it.
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
                board: self.board.clone(),
                store: self.store.clone(),
                metrics: self.metrics.clone(),
                clock: self.clock.clone(),
                schedule: self.schedule.clone(),
            };
            let task = self.pollers.spawn(poller.run(first, state));
            self.running.insert(id, Running { task, reloaded });
        }
    }
}

#[cfg(test)]
mod tests;
