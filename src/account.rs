//! One account: which targets it has, and a poller for each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::board::{AccountBoard, Board};
use crate::client::{Client, Pace};
use crate::clock::Clock;
use crate::config::{self, Discovery, Poll, Target};
use crate::listing::cut;
use crate::log::ForLog;
use crate::metrics::AccountMetrics;
use crate::poller::Poller;
use crate::schedule::Schedule;
use crate::state::State;
use crate::upstream::{Found, Source};

/// How often the vendor is asked which targets there are, and how they are called.
const DISCOVERY_INTERVAL: Duration = Duration::from_hours(1);

/// An account that is ready to be polled.
pub struct Account {
    config: config::Account,
    schedule: Arc<Schedule>,
    source: Arc<dyn Source>,
    metrics: Arc<AccountMetrics>,
    board: AccountBoard,
    clock: Clock,
    /// What the vendor last called each target.
    names: BTreeMap<String, String>,
    /// Discoveries that were refused since one succeeded, and the credential of the last.
    refusals: u32,
    refused_credential: Option<u64>,
    running: BTreeMap<String, AbortHandle>,
    pollers: JoinSet<()>,
}

impl Account {
    /// Makes the account's client and gives it its place on the board. Fails if the platform's
    /// certificates cannot be loaded.
    pub fn open(
        config: config::Account,
        poll: &Poll,
        board: &Arc<Board>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let system = config.system.name;
        let pace = Arc::new(Pace::new(config.requests_per_minute, fastrand::u64(..)));
        let durations = board.own().durations();
        let metrics = Arc::new(AccountMetrics::new(
            system,
            &config.name,
            pace.clone(),
            durations,
        ));
        let client = Client::new(&config, poll, pace, metrics.clone(), clock.clone())?;
        let source = Arc::from(config.connect.connect(client));
        Ok(Self::with_source(
            config, poll, board, metrics, source, clock,
        ))
    }

    fn with_source(
        config: config::Account,
        poll: &Poll,
        board: &Arc<Board>,
        metrics: Arc<AccountMetrics>,
        source: Arc<dyn Source>,
        clock: Clock,
    ) -> Self {
        let board = board.open(config.system, metrics.clone());
        let schedule = Arc::new(Schedule::new(&config, poll, metrics.clone()));
        Self {
            config,
            schedule,
            source,
            metrics,
            board,
            clock,
            names: BTreeMap::new(),
            refusals: 0,
            refused_credential: None,
            running: BTreeMap::new(),
            pollers: JoinSet::new(),
        }
    }

    /// Asks for targets once an hour, and polls each of them. Ends only by being dropped.
    pub async fn run(mut self) {
        let started = Instant::now();
        if self.config.discovery == Discovery::Never {
            self.poll(self.config.targets.clone(), started);
            return std::future::pending().await;
        }
        // The first poll comes after the first answer, whatever that is: so a name that can be had is there
        // from the first listing on, and no target changes its label at each start.
        let mut first = Some(started);
        let mut due = started + self.schedule.phase("");
        loop {
            self.until_discovery(due).await;
            // First polls are spread from the start on; those of targets found later, from then on.
            let reference = first.take().unwrap_or_else(Instant::now);
            let found = self.discover().await;
            due = Instant::now() + self.discover_again_after(found.is_some());
            let targets = match self.config.discovery {
                Discovery::Targets => found.map(|ids| {
                    ids.into_iter()
                        .map(|id| Target {
                            id,
                            name: None,
                            expect: Vec::new(),
                        })
                        .collect()
                }),
                Discovery::Names | Discovery::Never => Some(self.config.targets.clone()),
            };
            if let Some(targets) = targets {
                self.poll(targets, reference);
            }
        }
    }

    /// Waits; after a refusal at each interval also for another credential to try.
    async fn until_discovery(&self, due: Instant) {
        if self.refusals == 0 {
            return sleep_until(due).await;
        }
        while Instant::now() < due && self.source.credential("") == self.refused_credential {
            sleep_until(due.min(Instant::now() + self.schedule.interval())).await;
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

    /// Asks the vendor; a failure or an empty list is logged and counted, and changes nothing.
    async fn discover(&mut self) -> Option<Vec<String>> {
        let follows = self.config.discovery == Discovery::Targets;
        let (system, account) = self.metrics.account();
        let credential = self.source.credential("");
        let result = self.source.discover().await;
        let found = match result {
            Ok(found) if found.is_empty() => {
                tracing::warn!(
                    system,
                    account,
                    "the vendor listed no target: the earlier ones are kept"
                );
                None
            }
            Ok(found) => {
                self.refusals = 0;
                self.refused_credential = None;
                Some(found)
            }
            Err(error) => {
                self.metrics.failed(&error);
                if error.reason.is_refusal() {
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
                None
            }
        };
        if follows {
            self.metrics.discovered(found.is_some(), self.clock.now());
        }
        let mut ids = Vec::new();
        for Found { id, name } in found? {
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                self.names.insert(id.clone(), name);
            }
            ids.push(id);
        }
        Some(ids)
    }

    /// Starts pollers for new targets, ends those of targets that are gone, and shows all of them.
    ///
    /// First polls are spread from `reference` on; what is past by now is due now.
    fn poll(&mut self, targets: Vec<Target>, reference: Instant) {
        self.schedule
            .set_targets(targets.iter().map(|target| target.id.as_str()));
        let new = |id: &str| {
            let wait =
                (reference + self.schedule.phase(id)).saturating_duration_since(Instant::now());
            State::new(self.schedule.interval(), self.clock.now() + wait)
        };
        self.board.set_targets(&labels(&targets, &self.names), new);
        let (system, account) = (self.config.system.name, self.config.name.clone());
        self.running.retain(|id, poller| {
            let stays = targets.iter().any(|target| target.id == *id);
            if !stays {
                tracing::info!(system, account, target_id = %ForLog(id), "target is gone");
                poller.abort();
            }
            stays
        });
        // The set keeps what has ended until it is asked for it.
        while self.pollers.try_join_next().is_some() {}
        for target in targets {
            if self.running.contains_key(&target.id) {
                continue;
            }
            let id = target.id.clone();
            let first = (reference + self.schedule.phase(&id)).max(Instant::now());
            let poller = Poller {
                target,
                source: self.source.clone(),
                board: self.board.clone(),
                metrics: self.metrics.clone(),
                clock: self.clock.clone(),
                schedule: self.schedule.clone(),
            };
            self.running
                .insert(id, self.pollers.spawn(poller.run(first)));
        }
    }
}

/// The label of each target by its id: the configured name, else the vendor's, else the id. A name that
/// several targets share is followed by the id.
fn labels(targets: &[Target], names: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let name = |target: &Target| {
        target
            .name
            .clone()
            .or_else(|| names.get(&target.id).cloned())
            .unwrap_or_else(|| target.id.clone())
    };
    let mut labels: BTreeMap<String, String> = targets
        .iter()
        .map(|t| (t.id.clone(), cut(&name(t)).into()))
        .collect();
    loop {
        let mut uses: BTreeMap<&str, u32> = BTreeMap::new();
        for label in labels.values() {
            *uses.entry(label).or_default() += 1;
        }
        let shared: Vec<_> = labels
            .iter()
            .filter(|(_, label)| uses[label.as_str()] > 1)
            .map(|(id, _)| id.clone())
            .collect();
        if shared.is_empty() {
            return labels;
        }
        // Ends: a label that got its id is shared again only with one that was called so from the start.
        for id in shared {
            if let Some(label) = labels.get_mut(&id) {
                *label = cut(&format!("{label} ({id})")).into();
            }
        }
    }
}

#[cfg(test)]
mod tests;
