//! Supervisor of all accounts: it starts, changes and stops them as the configuration says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::blocking::BlockingPool;
use crate::clock::Clock;
use crate::config::Config;
use crate::inventory::Inventory;
use crate::polling::account::{Account, AccountChange};
use crate::state_dir::StateDir;
use crate::vendors::account::{AccountConfig, PollConfig};
use crate::vendors::http::{HttpTransport, ObserveAccounts, TransportFactory};

/// Accounts of a configuration, with their HTTP clients. They stop when this is dropped.
#[derive(Debug)]
pub(crate) struct Supervisor {
    inventory: Arc<Inventory>,
    state_dir: StateDir,
    clock: Clock,
    factory: Arc<TransportFactory>,
    poll: PollConfig,
    running: BTreeMap<AccountKey, RunningAccount>,
    observers: Option<Arc<dyn ObserveAccounts>>,
    /// Pool of one thread that builds the transports.
    build_pool: BlockingPool,
}

/// Deadline for building all transports of a configuration.
///
/// Building takes seconds at most, unless reading the certificates hangs.
const BUILD_TIMEOUT: Duration = Duration::from_mins(1);

/// System and name of an account.
///
/// An account whose base URL changes keeps its key, but is stopped and started anew: the state of
/// one tenant does not apply to another.
type AccountKey = (&'static str, String);

#[derive(Debug)]
struct RunningAccount {
    config: AccountConfig,
    /// Boxed, because a channel has memory for 32 messages from the start.
    changes: mpsc::Sender<Box<AccountChange>>,
    task: AbortOnDropHandle<()>,
}

/// Number of accounts that a reload added, changed and so on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReloadSummary {
    pub added: usize,
    pub replaced: usize,
    pub changed: usize,
    pub removed: usize,
    pub unchanged: usize,
}

impl Supervisor {
    /// Creates a supervisor without accounts.
    #[must_use]
    pub(crate) fn new(inventory: Arc<Inventory>, state_dir: StateDir, clock: Clock) -> Self {
        Self {
            inventory,
            state_dir,
            clock,
            factory: Arc::default(),
            poll: PollConfig::default(),
            running: BTreeMap::new(),
            observers: None,
            build_pool: BlockingPool::new(1),
        }
    }

    /// Adds an observer to each account that starts from now on.
    #[must_use]
    pub(crate) fn observed_by(self, observers: Option<Arc<dyn ObserveAccounts>>) -> Self {
        Self { observers, ..self }
    }

    /// Makes the HTTP clients as a start would, and returns the same errors.
    pub(crate) async fn check(config: &Config) -> anyhow::Result<()> {
        let (accounts, poll) = (config.accounts.clone(), config.poll);
        let build_pool = BlockingPool::new(1);
        let made = build_pool.run(BUILD_TIMEOUT, move || {
            transports(&TransportFactory::default(), &accounts, &poll).map(drop)
        });
        made.await
            .context("making the HTTP clients of the accounts")?
    }

    /// Applies a configuration whole, or not at all if the HTTP clients cannot be made.
    ///
    /// Making them fails, for example, if the platform's certificates cannot be loaded. Accounts
    /// that did not change are not affected.
    ///
    /// The inventory has new accounts afterwards; each starts once its state was read. The returned
    /// tracker waits until the inventory shows all changes.
    pub(crate) async fn apply(
        &mut self,
        config: Config,
    ) -> anyhow::Result<(ReloadSummary, TaskTracker)> {
        self.factory.watch();
        let poll = config.poll;
        let other_source = config.accounts.iter();
        let other_source = other_source.filter(|account| !self.has_source(account, &poll));
        let other_source: Vec<_> = other_source.cloned().collect();
        // Off the event loop: one transport takes a millisecond, and there may be thousands. The
        // first one also reads certificates.
        let factory = self.factory.clone();
        let build = move || transports(&factory, &other_source, &poll);
        let transports = self.build_pool.run(BUILD_TIMEOUT, build).await;
        let mut transports = transports.context("making the HTTP clients of the accounts")??;
        // From here on, nothing can fail.
        let accounts = config.accounts.into_iter();
        let accounts: BTreeMap<_, _> = accounts.map(|config| (key(&config), config)).collect();
        let mut difference = self.end_all_except(&accounts).await;
        let names = accounts.keys();
        self.state_dir
            .keep_accounts(names.map(|(system, account)| (*system, account.as_str())));
        let shown = TaskTracker::new();
        for (key, config) in accounts {
            let transport = transports.remove(&key).map(Arc::new);
            match (self.running.get_mut(&key), transport) {
                (Some(running), transport) => {
                    let same_poll = self.poll == poll;
                    let change = running.change(config, transport, poll, shown.token());
                    let changed = change.await || !same_poll;
                    difference.changed += usize::from(changed);
                    difference.unchanged += usize::from(!changed);
                }
                (None, Some(transport)) => {
                    difference.added += 1;
                    self.start_account(config, transport, &poll, shown.token());
                }
                (None, None) => unreachable!("an account that does not run has no source"),
            }
            yield_now().await;
        }
        difference.added -= difference.replaced;
        shown.close();
        self.poll = poll;
        Ok((difference, shown))
    }

    /// Returns whether the account runs with the same source that this configuration would make.
    fn has_source(&self, config: &AccountConfig, poll: &PollConfig) -> bool {
        let running = self.running.get(&key(config));
        running.is_some_and(|running| same_source((&running.config, &self.poll), (config, poll)))
    }

    /// Stops the accounts that are gone or have another base URL, and removes them from the
    /// inventory.
    ///
    /// Returns how many were removed and replaced.
    async fn end_all_except(
        &mut self,
        accounts: &BTreeMap<AccountKey, AccountConfig>,
    ) -> ReloadSummary {
        let mut summary = ReloadSummary::default();
        let gone = self.running.extract_if(.., |key, running| {
            let next = accounts.get(key);
            let stays = next.is_some_and(|config| config.base_url == running.config.base_url);
            summary.replaced += usize::from(next.is_some() && !stays);
            summary.removed += usize::from(next.is_none());
            !stays
        });
        for ((system, account), running) in gone.collect::<Vec<_>>() {
            running.task.abort();
            let _ = running.task.await;
            self.inventory.close(system, &account);
        }
        summary
    }

    /// Starts to poll an account. `shown` is dropped when the inventory shows its saved state.
    ///
    /// A disk that hangs delays only that account.
    fn start_account(
        &mut self,
        config: AccountConfig,
        transport: Arc<HttpTransport>,
        poll: &PollConfig,
        shown: TaskTrackerToken,
    ) {
        let account = Account::open(
            transport,
            config.clone(),
            poll,
            &self.inventory,
            &self.state_dir,
            self.observers.as_ref().map(|all| all.observer(&config)),
            self.clock.clone(),
        );
        let (changes, received) = mpsc::channel(1);
        let running = RunningAccount {
            task: AbortOnDropHandle::new(tokio::spawn(account.run(received, shown))),
            config,
            changes,
        };
        self.running.insert(key(&running.config), running);
    }
}

impl RunningAccount {
    /// Sends a configuration to the account, and returns whether its own part of it changed.
    ///
    /// With a transport, the account makes a new source. `shown` is dropped when the inventory
    /// shows the configuration.
    async fn change(
        &mut self,
        config: AccountConfig,
        transport: Option<Arc<HttpTransport>>,
        poll: PollConfig,
        shown: TaskTrackerToken,
    ) -> bool {
        let before = std::mem::replace(&mut self.config, config.clone());
        let changed = transport.is_some() || !same_polls(&before, &config);
        let change = AccountChange {
            config,
            poll,
            transport: transport.map(|transport| transport as _),
            shown,
        };
        // Cannot fail: an account ends only with its supervisor.
        let _ = self.changes.send(Box::new(change)).await;
        changed
    }
}

/// Builds the transports of these accounts.
fn transports(
    factory: &TransportFactory,
    accounts: &[AccountConfig],
    poll: &PollConfig,
) -> anyhow::Result<BTreeMap<AccountKey, HttpTransport>> {
    let transport = |account| Ok((key(account), factory.transport(account, poll)?));
    accounts.iter().map(transport).collect()
}

/// Returns whether two configurations of one account make the same source.
fn same_source(
    (before, poll_before): (&AccountConfig, &PollConfig),
    (after, poll_after): (&AccountConfig, &PollConfig),
) -> bool {
    before.base_url == after.base_url
        && before.written == after.written
        && poll_before.request_timeout == poll_after.request_timeout
        && poll_before.max_connections == poll_after.max_connections
}

/// Returns whether two configurations of one account poll the same targets as often.
fn same_polls(before: &AccountConfig, after: &AccountConfig) -> bool {
    before.requests_per_minute == after.requests_per_minute
        && before.interval == after.interval
        && before.targets == after.targets
}

fn key(account: &AccountConfig) -> AccountKey {
    (account.system.name, account.name.clone())
}

impl ReloadSummary {
    /// Counts what differs between two configurations of which none runs yet, as
    /// [`Supervisor::apply`] does for the one that runs.
    pub(crate) fn between(before: &Config, after: &Config) -> Self {
        let accounts = before.accounts.iter();
        let mut known: BTreeMap<_, _> = accounts.map(|account| (key(account), account)).collect();
        let mut summary = Self::default();
        for account in &after.accounts {
            let count = match known.remove(&key(account)) {
                None => &mut summary.added,
                Some(known) if known.base_url != account.base_url => &mut summary.replaced,
                Some(known)
                    if before.poll == after.poll
                        && same_source((known, &before.poll), (account, &after.poll))
                        && same_polls(known, account) =>
                {
                    &mut summary.unchanged
                }
                Some(_) => &mut summary.changed,
            };
            *count += 1;
        }
        summary.removed = known.len();
        summary
    }
}

impl fmt::Display for ReloadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            replaced,
            changed,
            removed,
            unchanged,
        } = self;
        write!(
            f,
            "accounts: {added} added, {replaced} replaced, {changed} changed, {removed} removed, \
                {unchanged} unchanged"
        )
    }
}
