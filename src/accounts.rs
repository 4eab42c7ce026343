//! Every account that is polled: begun, changed and ended as the configuration says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{spawn_blocking, yield_now};
use tokio_util::task::AbortOnDropHandle;

use crate::account::{Account, Change};
use crate::board::Board;
use crate::client::{Network, Trust};
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
    /// With another client, if what the source is made from changed; `same`, if nothing did.
    Change {
        network: Option<Network>,
        same: bool,
    },
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
    /// be loaded. What did not change goes on as it was. What is kept of new accounts is on the board afterwards.
    pub async fn take_up(&mut self, config: Config) -> anyhow::Result<Difference> {
        let (mut steps, mut trust) = (BTreeMap::new(), Trust::default());
        for account in config.accounts {
            let step = self.step(&account, &config.poll, &mut trust)?;
            steps.insert(key(&account), (account, step));
            // A client takes a while to make, and there may be a thousand: scrapes come in between.
            yield_now().await;
        }
        let mut difference = Difference {
            removed: self.end_all_but(&steps).await,
            ..Difference::default()
        };
        let names = steps.keys();
        self.store
            .keep_accounts(names.map(|(system, account)| (*system, account.as_str())));
        let mut under_way = Vec::new();
        for (account, step) in steps.into_values() {
            match step {
                Step::Begin(network) => {
                    difference.added += 1;
                    self.begin(account, network, config.poll).await?;
                }
                Step::Change { network, same } => {
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
    fn step(
        &self,
        account: &config::Account,
        poll: &Poll,
        trust: &mut Trust,
    ) -> anyhow::Result<Step> {
        let mut network = || Network::new(account, poll, trust);
        let running = self
            .running
            .get(&key(account))
            .map(|running| &running.config);
        let Some(before) = running.filter(|before| before.base_url == account.base_url) else {
            return Ok(Step::Begin(network()?));
        };
        let same_source = before.written == account.written
            && self.poll.request_timeout == poll.request_timeout
            && self.poll.max_connections == poll.max_connections;
        Ok(Step::Change {
            network: if same_source { None } else { Some(network()?) },
            same: same_source
                && self.poll == *poll
                && before.requests_per_minute == account.requests_per_minute
                && before.interval == account.interval
                && before.targets == account.targets,
        })
    }

    /// Ends the accounts that do not stay, and takes them off the board. Returns how many are gone for good.
    async fn end_all_but(&mut self, steps: &BTreeMap<Key, (config::Account, Step)>) -> usize {
        let stays = |key: &Key| matches!(steps.get(key), Some((_, Step::Change { .. })));
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
                self.board.close(key.0, &key.1);
            }
        }
        gone.iter().filter(|key| !steps.contains_key(*key)).count()
    }

    /// Begins to poll an account; a disk that hangs holds up only this.
    async fn begin(
        &mut self,
        config: config::Account,
        network: Network,
        poll: Poll,
    ) -> anyhow::Result<()> {
        let (board, store, clock) = (self.board.clone(), self.store.clone(), self.clock.clone());
        let account = config.clone();
        let open = move || Account::open(Arc::new(network), account, &poll, &board, &store, clock);
        let mut account = spawn_blocking(open).await?;
        let due = account.start().await;
        let (changes, received) = mpsc::channel(1);
        let running = Running {
            task: AbortOnDropHandle::new(tokio::spawn(account.run(due, received))),
            config,
            changes,
        };
        self.running.insert(key(&running.config), running);
        Ok(())
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
