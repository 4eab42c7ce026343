//! Reload of one account: it applies the differences, and does not restart the account.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Account;
use super::recorder::Recorder;
use crate::polling::background_jobs::BackgroundJobs;
use crate::polling::poller::Setup;
use crate::vendors::Source;
use crate::vendors::account::{AccountConfig, DiscoveryMode, PollConfig, TargetConfig};
use crate::vendors::http::{Client, Transport};

/// Change that a reload makes to an account.
#[derive(Debug)]
pub struct AccountChange {
    /// New configuration of the account.
    pub config: AccountConfig,
    /// New poll settings, which all targets share.
    pub poll: PollConfig,
    /// New transport of its requests.
    ///
    /// `None` if nothing has changed that the source is made from: it then keeps its connections
    /// and its tokens.
    pub transport: Option<Arc<dyn Transport>>,
    /// Dropped once the inventory shows the change.
    pub shown: TaskTrackerToken,
}

impl Account {
    /// Applies another configuration.
    ///
    /// Targets that stay keep their listing, counters and phase. The account keeps its rate limiter
    /// and its pauses.
    ///
    /// Nothing is requested before it is due, except lists of targets and names: those that were
    /// never requested, or only through another source. After refusals, the next discovery and the
    /// next poll are due within one interval.
    pub(super) async fn apply(&mut self, change: AccountChange) {
        let source = match change.transport {
            Some(transport) => {
                let client = Client::new(
                    transport,
                    &change.config,
                    &change.poll,
                    self.limiter.clone(),
                    Arc::new(Recorder {
                        metrics: self.metrics.clone(),
                        state_dir: self.state_dir.clone(),
                        also: self.observer.clone(),
                    }),
                    self.clock.clone(),
                );
                let source: Arc<dyn Source> = Arc::from(change.config.connect.connect(client));
                if change.config.discovery != DiscoveryMode::Never {
                    source.import_state(self.source().export_state());
                }
                self.metrics.credentials_gone();
                source
            }
            None => self.source(),
        };
        let another = !Arc::ptr_eq(&source, &self.source());
        self.limiter.configure(change.config.requests_per_minute);
        self.schedule.configure(&change.config, &change.poll);
        self.max_connections = change.poll.max_connections;
        let before = std::mem::replace(&mut self.config, change.config).discovery;
        let jobs = if another {
            let (schedule, metrics) = (self.schedule.clone(), self.metrics.clone());
            let jobs = BackgroundJobs::new(source.clone(), schedule, metrics);
            Arc::new(jobs.observed_by(self.observer.clone()))
        } else {
            self.setup.lock().jobs.clone()
        };
        *self.setup.lock() = Arc::new(Setup::new(source, jobs, &self.config.targets));
        if another {
            self.run_jobs();
        }
        self.discovery.due = self.rediscover(before, another);
        for poller in self.running.values() {
            poller.reloaded.notify_one();
        }
        self.show(before).await;
    }

    /// Returns when the next discovery is due after a reload; `None` if nothing is to be
    /// discovered.
    fn rediscover(&mut self, before: DiscoveryMode, another: bool) -> Option<Instant> {
        let due = self.discovery.due;
        let refused = std::mem::take(&mut self.discovery.backoff).until.is_some();
        let now = Instant::now();
        if before != self.config.discovery {
            self.metrics.not_discovered();
            self.inventory.set_discovery_error(None);
        }
        match self.config.discovery {
            DiscoveryMode::Never => None,
            discovery if discovery != before => Some(now + self.schedule.phase("")),
            _ if self.first.is_some() => due,
            // The new source may reach other targets.
            _ if another => due.map(|due| due.min(now + self.schedule.phase(""))),
            DiscoveryMode::Names if self.config.targets.iter().any(|t| !self.is_named(t)) => {
                due.map(|due| due.min(now))
            }
            // A reload after a refusal often means that its cause was fixed.
            _ if refused => due.map(|due| due.min(now + self.schedule.interval())),
            _ => due,
        }
    }

    /// Returns whether the label of a target is available without requesting its name.
    fn is_named(&self, target: &TargetConfig) -> bool {
        target.name.is_some()
            || self.discovery.known.names.contains_key(&target.id)
            || self.running.contains_key(&target.id)
    }

    /// Shows the targets of the new configuration, and polls them.
    async fn show(&mut self, before: DiscoveryMode) {
        match self.config.discovery {
            DiscoveryMode::Never => self.reconcile_pollers(self.config.targets.clone()).await,
            // The first discovery, or its deadline, will show all targets.
            _ if self.first.is_some() => {}
            DiscoveryMode::Names => {
                let targets = self.config.targets.iter();
                let named = targets.filter(|t| self.is_named(t)).cloned().collect();
                self.reconcile_pollers(named).await;
            }
            DiscoveryMode::Targets => {
                if before != DiscoveryMode::Targets {
                    // Until the vendor lists its targets, they are those that the configuration
                    // named.
                    self.discovery.known.found = self.running.keys().cloned().collect();
                }
                self.reconcile_known_targets().await;
            }
        }
    }
}
