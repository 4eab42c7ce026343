//! Every account that is polled: begun, changed and ended as the configuration says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::account::{Account, Change};
use crate::board::Board;
use crate::client::Network;
use crate::clock::Clock;
use crate::config::{self, Config, Poll};
use crate::store::Store;

/// The accounts of a configuration, over the network; they end when this is dropped.
#[derive(Debug)]
pub struct Accounts {
    board: Arc<Board>,
    store: Store,
    clock: Clock,
    poll: Poll,
    running: BTreeMap<Key, Running>,
}

/// System and name. Another base URL is another account: what is known of one tenant is not true of the next.
type Key = (&'static str, String);

#[derive(Debug)]
struct Running {
    config: config::Account,
    changes: mpsc::Sender<Change>,
    task: AbortOnDropHandle<()>,
}

/// What is to be done with an account of a new configuration; all of it that can fail is done.
enum Step {
    Begin(Network),
    Change(Option<Network>),
}

/// How many accounts a configuration changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub struct Difference {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
    pub unchanged: usize,
}

impl Accounts {
    /// No accounts yet.
    #[must_use]
    pub fn new(board: Arc<Board>, store: Store, clock: Clock) -> Self {
        Self {
            board,
            store,
            clock,
            poll: Poll::default(),
            running: BTreeMap::new(),
        }
    }

    /// Makes this configuration the one that is polled: all of it, or nothing if the platform's certificates cannot
    /// be loaded. What did not change goes on as it was.
    pub async fn take_up(&mut self, config: Config) -> anyhow::Result<Difference> {
        let mut steps = Vec::new();
        for account in config.accounts {
            let step = self.step(&account, &config.poll)?;
            steps.push((account, step));
        }
        let mut difference = Difference {
            removed: self.end_all_but(&steps).await,
            ..Difference::default()
        };
        let names = steps.iter();
        let names = names.map(|(account, _)| (account.system.name, account.name.as_str()));
        self.store.keep_accounts(names);
        let mut under_way = Vec::new();
        for (account, step) in steps {
            match step {
                Step::Begin(network) => {
                    difference.added += 1;
                    self.begin(account, network, &config.poll);
                }
                Step::Change(network) => {
                    let same = self.is_same(&account, &config.poll);
                    difference.unchanged += usize::from(same);
                    difference.changed += usize::from(!same);
                    under_way.push(self.change(account, network, config.poll).await);
                }
            }
        }
        for done in under_way {
            // Dropped, not sent: so this is always an error, and always the end of it.
            let _ = done.await;
        }
        self.poll = config.poll;
        Ok(difference)
    }

    /// Finds out what is to be done with an account.
    fn step(&self, account: &config::Account, poll: &Poll) -> anyhow::Result<Step> {
        let network = || Network::new(account, poll);
        let running = self.running.get(&key(account));
        Ok(
            match running.filter(|running| running.config.base_url == account.base_url) {
                None => Step::Begin(network()?),
                Some(running)
                    if running.config.written == account.written
                        && self.poll.request_timeout == poll.request_timeout
                        && self.poll.max_connections == poll.max_connections =>
                {
                    Step::Change(None)
                }
                Some(_) => Step::Change(Some(network()?)),
            },
        )
    }

    fn is_same(&self, account: &config::Account, poll: &Poll) -> bool {
        let before = &self.running[&key(account)].config;
        self.poll == *poll
            && before.written == account.written
            && before.requests_per_minute == account.requests_per_minute
            && before.interval == account.interval
    }

    /// Ends the accounts that do not stay, and takes them off the board. Returns how many are gone for good.
    async fn end_all_but(&mut self, steps: &[(config::Account, Step)]) -> usize {
        let stays = |key: &Key| {
            let mut steps = steps.iter();
            steps.any(|(account, step)| {
                self::key(account) == *key && matches!(step, Step::Change(_))
            })
        };
        let gone: Vec<_> = self
            .running
            .keys()
            .filter(|key| !stays(key))
            .cloned()
            .collect();
        for key in &gone {
            if let Some(account) = self.running.remove(key) {
                account.task.abort();
                // Its pollers end with it; only then nobody publishes for it any more.
                let _ = account.task.await;
                self.board.close(key.0, &key.1);
            }
        }
        let moved = |key: &&Key| steps.iter().any(|(account, _)| self::key(account) == **key);
        gone.len() - gone.iter().filter(moved).count()
    }

    fn begin(&mut self, config: config::Account, network: Network, poll: &Poll) {
        let account = Account::open(
            Arc::new(network),
            config.clone(),
            poll,
            &self.board,
            &self.store,
            self.clock.clone(),
        );
        let (changes, received) = mpsc::channel(1);
        let task = AbortOnDropHandle::new(tokio::spawn(account.run(received)));
        let running = Running {
            config,
            changes,
            task,
        };
        self.running.insert(key(&running.config), running);
    }

    /// Tells an account; what is returned ends when the board shows it.
    async fn change(
        &mut self,
        config: config::Account,
        network: Option<Network>,
        poll: Poll,
    ) -> oneshot::Receiver<()> {
        let (done, ends) = oneshot::channel();
        if let Some(running) = self.running.get_mut(&key(&config)) {
            running.config = config.clone();
            let change = Change {
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

fn key(account: &config::Account) -> Key {
    (account.system.name, account.name.clone())
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            changed,
            removed,
            unchanged,
        } = self;
        write!(
            f,
            "accounts: {added} added, {changed} changed, {removed} removed, {unchanged} unchanged"
        )
    }
}
