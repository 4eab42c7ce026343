//! Supervisor of all accounts: it starts, changes and stops them as the configuration says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio_util::task::AbortOnDropHandle;

use crate::blocking::BlockingPool;
use crate::clock::Clock;
use crate::config::Config;
use crate::inventory::Inventory;
use crate::polling::account::{Account, AccountChange};
use crate::state_dir::StateDir;
use crate::vendors::account::{AccountConfig, PollConfig};
use crate::vendors::http::{Network, Networks};

/// Accounts of a configuration, with their HTTP clients. They stop when this is dropped.
#[derive(Debug)]
pub(crate) struct Supervisor {
    inventory: Arc<Inventory>,
    state_dir: StateDir,
    clock: Clock,
    networks: Arc<Networks>,
    poll: PollConfig,
    running: BTreeMap<AccountKey, RunningAccount>,
    /// Thread that makes the HTTP clients.
    making: BlockingPool,
}

/// Deadline for making all clients of a configuration.
///
/// It takes seconds, unless certificates cannot be read.
const MAKING: Duration = Duration::from_mins(1);

/// System and name of an account.
///
/// With another base URL, it is another account: the state of one tenant does not apply to another.
type AccountKey = (&'static str, String);

#[derive(Debug)]
struct RunningAccount {
    config: AccountConfig,
    changes: mpsc::Sender<AccountChange>,
    task: AbortOnDropHandle<()>,
}

/// Action for an account of a new configuration. Every step that can fail was done before.
enum Action {
    /// Starts an account; with `replaces`, in place of one with another base URL.
    Begin { network: Network, replaces: bool },
    /// Changes a running account; with `same`, nothing has changed.
    ///
    /// It gets a new client if anything changed that the source is made from.
    Change {
        network: Option<Network>,
        same: bool,
    },
}

/// Accounts that were started or changed, until the inventory shows them.
#[derive(Debug)]
pub(crate) struct Applied(Vec<oneshot::Receiver<()>>);

impl Applied {
    /// Waits until the inventory shows all of them.
    pub(crate) async fn wait(self) {
        for shown in self.0 {
            // Always an error, and no failure: the sender signals by being dropped, and sends
            // nothing.
            let _ = shown.await;
        }
    }
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
            networks: Arc::default(),
            poll: PollConfig::default(),
            running: BTreeMap::new(),
            making: BlockingPool::new(1),
        }
    }

    /// Makes the HTTP clients as a start would, and returns the same errors.
    pub(crate) async fn check(config: &Config) -> anyhow::Result<()> {
        let (accounts, poll) = (config.accounts.clone(), config.poll);
        let making = BlockingPool::new(1);
        let made = making.run(MAKING, move || {
            networks(&Networks::default(), &accounts, &poll).map(drop)
        });
        made.await
            .context("making the HTTP clients of the accounts")?
    }

    /// Applies a configuration whole, or not at all if the HTTP clients cannot be made.
    ///
    /// Making them fails, for example, if the platform's certificates cannot be loaded. Accounts
    /// that did not change are not affected.
    ///
    /// The inventory has new accounts afterwards; each starts once its state was read.
    /// [`Applied::wait`] waits until the inventory shows all changes.
    pub(crate) async fn apply(
        &mut self,
        config: Config,
    ) -> anyhow::Result<(ReloadSummary, Applied)> {
        self.networks.watch();
        let poll = config.poll;
        let other_source = config.accounts.iter();
        let other_source = other_source.filter(|account| !self.has_source(account, &poll));
        let other_source: Vec<_> = other_source.cloned().collect();
        // A client takes a millisecond to make, thousands may be needed, and the first reads
        // certificates.
        let maker = self.networks.clone();
        let networks = self
            .making
            .run(MAKING, move || networks(&maker, &other_source, &poll))
            .await;
        let mut networks = networks.context("making the HTTP clients of the accounts")??;
        let mut steps = BTreeMap::new();
        for account in config.accounts {
            let step = self.step(&account, &poll, networks.remove(&key(&account)));
            steps.insert(key(&account), (account, step));
        }
        let mut difference = ReloadSummary {
            removed: self.end_all_except(&steps).await,
            ..ReloadSummary::default()
        };
        let names = steps.keys();
        self.state_dir
            .keep_accounts(names.map(|(system, account)| (*system, account.as_str())));
        let mut under_way = Vec::new();
        for (account, step) in steps.into_values() {
            under_way.push(match step {
                Action::Begin { network, replaces } => {
                    difference.added += usize::from(!replaces);
                    difference.replaced += usize::from(replaces);
                    self.begin(account, network, poll)
                }
                Action::Change { network, same } => {
                    difference.unchanged += usize::from(same);
                    difference.changed += usize::from(!same);
                    self.change(account, network, poll).await
                }
            });
            yield_now().await;
        }
        self.poll = poll;
        Ok((difference, Applied(under_way)))
    }

    /// Returns the running account's configuration; `None` if it has another base URL.
    fn running(&self, account: &AccountConfig) -> Option<&AccountConfig> {
        let running = self.running.get(&key(account))?;
        Some(&running.config).filter(|before| before.base_url == account.base_url)
    }

    /// Returns whether the account runs with the same source that this configuration would make.
    fn has_source(&self, account: &AccountConfig, poll: &PollConfig) -> bool {
        self.running(account).is_some_and(|before| {
            before.written == account.written
                && self.poll.request_timeout == poll.request_timeout
                && self.poll.max_connections == poll.max_connections
        })
    }

    /// Returns the action for an account; `network` is its new client, if it needs one.
    fn step(&self, account: &AccountConfig, poll: &PollConfig, network: Option<Network>) -> Action {
        match (self.running(account), network) {
            (None, Some(network)) => Action::Begin {
                network,
                replaces: self.running.contains_key(&key(account)),
            },
            (None, None) => unreachable!("an account that does not run has no source"),
            (Some(before), network) => Action::Change {
                same: network.is_none()
                    && self.poll == *poll
                    && before.requests_per_minute == account.requests_per_minute
                    && before.interval == account.interval
                    && before.targets == account.targets,
                network,
            },
        }
    }

    /// Stops the accounts that do not stay, and removes them from the inventory.
    ///
    /// Returns the number of those that have no successor.
    async fn end_all_except(
        &mut self,
        steps: &BTreeMap<AccountKey, (AccountConfig, Action)>,
    ) -> usize {
        let stays = |key: &AccountKey| matches!(steps.get(key), Some((_, Action::Change { .. })));
        let gone: Vec<_> = self
            .running
            .keys()
            .filter(|key| !stays(key))
            .cloned()
            .collect();
        for key in &gone {
            if let Some(account) = self.running.remove(key) {
                account.task.abort();
                let _ = account.task.await;
                self.inventory.close(key.0, &key.1);
            }
        }
        gone.iter().filter(|key| !steps.contains_key(*key)).count()
    }

    /// Starts to poll an account. The returned channel closes when the inventory shows its saved
    /// state.
    ///
    /// A disk that hangs delays only that account.
    fn begin(
        &mut self,
        config: AccountConfig,
        network: Network,
        poll: PollConfig,
    ) -> oneshot::Receiver<()> {
        let mut account = Account::open(
            Arc::new(network),
            config.clone(),
            &poll,
            &self.inventory,
            &self.state_dir,
            self.clock.clone(),
        );
        let (shown, ends) = oneshot::channel::<()>();
        let (changes, received) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let due = account.start().await;
            drop(shown);
            account.run(due, received).await;
        });
        let running = RunningAccount {
            task: AbortOnDropHandle::new(task),
            config,
            changes,
        };
        self.running.insert(key(&running.config), running);
        ends
    }

    /// Sends a change to an account. The returned channel closes when the inventory shows it.
    async fn change(
        &mut self,
        config: AccountConfig,
        network: Option<Network>,
        poll: PollConfig,
    ) -> oneshot::Receiver<()> {
        let (done, ends) = oneshot::channel();
        if let Some(running) = self.running.get_mut(&key(&config)) {
            running.config = config.clone();
            let change = AccountChange {
                config,
                poll,
                transport: network.map(|network| Arc::new(network) as _),
                done,
            };
            // Cannot fail: an account ends only with its supervisor.
            let _ = running.changes.send(change).await;
        }
        ends
    }
}

/// Makes the clients of these accounts.
fn networks(
    maker: &Networks,
    accounts: &[AccountConfig],
    poll: &PollConfig,
) -> anyhow::Result<BTreeMap<AccountKey, Network>> {
    let network = |account| Ok((key(account), maker.network(account, poll)?));
    accounts.iter().map(network).collect()
}

fn key(account: &AccountConfig) -> AccountKey {
    (account.system.name, account.name.clone())
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
