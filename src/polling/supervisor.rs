//! Every account that is polled: begun, changed and ended as the configuration says.

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

/// The accounts of a configuration, over the network; they end when this is dropped.
#[derive(Debug)]
pub struct Supervisor {
    inventory: Arc<Inventory>,
    state_dir: StateDir,
    clock: Clock,
    networks: Arc<Networks>,
    poll: PollConfig,
    running: BTreeMap<AccountKey, RunningAccount>,
    /// Makes clients.
    making: BlockingPool,
}

/// All clients of a configuration are made in this time: seconds, unless certificates cannot be read.
const MAKING: Duration = Duration::from_mins(1);

/// System and name. Another base URL is another account: what is known of one tenant is not true of the next.
type AccountKey = (&'static str, String);

#[derive(Debug)]
struct RunningAccount {
    config: AccountConfig,
    changes: mpsc::Sender<AccountChange>,
    task: AbortOnDropHandle<()>,
}

/// What is to be done with an account of a new configuration; all of it that can fail is done.
enum Action {
    /// In place of one with another base URL, or anew.
    Begin { network: Network, replaces: bool },
    /// With another client, if what the source is made from changed; `same`, if nothing did.
    Change {
        network: Option<Network>,
        same: bool,
    },
}

/// Accounts that were started or changed, until the inventory shows it.
#[derive(Debug)]
pub struct Applied(Vec<oneshot::Receiver<()>>);

impl Applied {
    /// Waits until the inventory shows all of it.
    pub async fn wait(self) {
        for shown in self.0 {
            // Dropped, not sent: so this is always an error, and always the end of it.
            let _ = shown.await;
        }
    }
}

/// How many accounts a configuration changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub struct ReloadSummary {
    pub added: usize,
    pub replaced: usize,
    pub changed: usize,
    pub removed: usize,
    pub unchanged: usize,
}

impl Supervisor {
    /// No accounts yet.
    #[must_use]
    pub fn new(inventory: Arc<Inventory>, state_dir: StateDir, clock: Clock) -> Self {
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

    /// Makes what a start would make of the accounts, and fails as it would.
    pub async fn check(config: &Config) -> anyhow::Result<()> {
        let (accounts, poll) = (config.accounts.clone(), config.poll);
        let making = BlockingPool::new(1);
        let made = making.run(MAKING, move || {
            networks(&Networks::default(), &accounts, &poll).map(drop)
        });
        made.await
            .context("making the HTTP clients of the accounts")?
    }

    /// Makes this configuration the one that is polled: all of it, or nothing if the platform's certificates cannot
    /// be loaded. What did not change goes on as it was.
    ///
    /// New accounts have their place in the inventory afterwards, and begin once their state is read; what is returned
    /// says when the inventory shows all of it.
    pub async fn apply(&mut self, config: Config) -> anyhow::Result<(ReloadSummary, Applied)> {
        self.networks.watch();
        let poll = config.poll;
        let other_source = config.accounts.iter();
        let other_source = other_source.filter(|account| !self.has_source(account, &poll));
        let other_source: Vec<_> = other_source.cloned().collect();
        // A client takes a millisecond to make, there may be thousands, and the first reads certificates.
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

    /// The account as it runs, if it is the same one.
    fn running(&self, account: &AccountConfig) -> Option<&AccountConfig> {
        let running = self.running.get(&key(account))?;
        Some(&running.config).filter(|before| before.base_url == account.base_url)
    }

    /// Whether the account runs with the source that this would make.
    fn has_source(&self, account: &AccountConfig, poll: &PollConfig) -> bool {
        self.running(account).is_some_and(|before| {
            before.written == account.written
                && self.poll.request_timeout == poll.request_timeout
                && self.poll.max_connections == poll.max_connections
        })
    }

    /// Finds out what is to be done with an account, given its client where it needs another one.
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

    /// Ends the accounts that do not stay, and takes them off the inventory. Returns how many are gone for good.
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

    /// Begins to poll an account; what is returned ends when the inventory shows what is kept of it. A disk that hangs
    /// holds up only that.
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

    /// Tells an account; what is returned ends when the inventory shows it.
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
            // An account ends only with us.
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
            "accounts: {added} added, {replaced} replaced, {changed} changed, {removed} removed, {unchanged} unchanged"
        )
    }
}
