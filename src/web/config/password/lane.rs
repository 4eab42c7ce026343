//! Fair queue of password checks: checks are slow by design, and a client that tries many wrong
//! passwords must not delay other clients.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::blocking::BlockingPool;

/// Maximum number of checks that wait: one for each connection.
const WAITING: usize = 512;

/// Deadline of one check. A check always ends; this only bounds the wait on an overloaded machine.
const DEADLINE: Duration = Duration::from_mins(5);

/// Thread pool for checks of similar cost, with its queue.
#[derive(Debug)]
pub(super) struct Lane {
    pool: BlockingPool,
    queue: Mutex<WaitingChecks>,
}

#[derive(Debug)]
struct WaitingChecks {
    free: usize,
    waiting: Vec<Waiting>,
    /// For each network that waits, the sequence number of its last permit.
    turns: HashMap<IpAddr, u64>,
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    network: IpAddr,
    permit: oneshot::Sender<LanePermit>,
}

/// Permit for a thread of the pool, released when dropped.
#[derive(Debug)]
pub(super) struct LanePermit(Arc<Lane>);

/// Returns the network of an address: the /64 for IPv6, because a client with one IPv6 address has
/// a whole network of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Lane {
    pub(super) fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            pool: BlockingPool::new(threads),
            queue: Mutex::new(WaitingChecks {
                free: threads,
                waiting: Vec::new(),
                turns: HashMap::new(),
                last: 0,
            }),
        })
    }

    /// Waits for a permit; `None` if too many checks wait.
    pub(super) async fn acquire(self: &Arc<Self>, address: IpAddr) -> Option<LanePermit> {
        let (permit, receiver) = oneshot::channel();
        let network = network(address);
        self.queue.lock().enter(Waiting { network, permit });
        self.advance();
        receiver.await.ok()
    }

    /// Runs a check; `None` if it misses its deadline.
    pub(super) async fn run(
        &self,
        permit: LanePermit,
        check: impl FnOnce() -> bool + Send + 'static,
    ) -> Option<bool> {
        let check = self.pool.run(DEADLINE, move || {
            // Held until the check ends, even if its caller is gone.
            let _permit = permit;
            check()
        });
        check.await.ok()
    }

    /// Sends permits to waiting checks while threads are free.
    fn advance(self: &Arc<Self>) {
        loop {
            let next = self.queue.lock().next();
            let Some(next) = next else {
                return;
            };
            // Sent without holding the lock: if the receiver is gone, dropping the permit takes the
            // lock.
            let _ = next.permit.send(LanePermit(self.clone()));
        }
    }
}

impl Drop for LanePermit {
    fn drop(&mut self) {
        self.0.queue.lock().free += 1;
        self.0.advance();
    }
}

impl WaitingChecks {
    /// Adds a check to the queue.
    ///
    /// If too many wait, removes a check of the network that has the most.
    fn enter(&mut self, newcomer: Waiting) {
        self.waiting.retain(|waiting| !waiting.permit.is_closed());
        self.waiting.push(newcomer);
        if self.waiting.len() <= WAITING {
            return;
        }
        let mut numbers = HashMap::<IpAddr, usize>::new();
        for waiting in &self.waiting {
            *numbers.entry(waiting.network).or_default() += 1;
        }
        let most = numbers.into_iter().max_by_key(|(_, number)| *number);
        let Some((network, number)) = most else {
            return;
        };
        let of_it = self.waiting.iter().enumerate();
        let mut of_it = of_it.filter(|(_, waiting)| waiting.network == network);
        // Random, so that a client that keeps retrying has no advantage over checks that already
        // wait.
        if let Some((index, _)) = of_it.nth(fastrand::usize(..number)) {
            self.waiting.remove(index);
        }
    }

    /// Returns the next check, if a thread is free.
    ///
    /// It is the oldest check of the network that got a permit least recently. A check waits only
    /// for earlier checks of its own network and, between those, for one of each other network.
    fn next(&mut self) -> Option<Waiting> {
        self.waiting.retain(|waiting| !waiting.permit.is_closed());
        if self.free == 0 {
            return None;
        }
        let turn = |waiting: &Waiting| self.turns.get(&waiting.network).copied();
        let (index, _) =
            (self.waiting.iter().map(turn).enumerate()).min_by_key(|(_, turn)| *turn)?;
        let next = self.waiting.remove(index);
        self.last += 1;
        self.free -= 1;
        self.turns.insert(next.network, self.last);
        // Networks without waiting checks are removed, so that the map stays small.
        let waiting: HashSet<_> = self.waiting.iter().map(|waiting| waiting.network).collect();
        self.turns.retain(|network, _| waiting.contains(network));
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// Returns the order in which waiting checks get the only thread.
    async fn order(askers: &[IpAddr]) -> Vec<usize> {
        let lane = Lane::new(1);
        let held = lane.acquire(address(0)).await.unwrap();
        let mut all = tokio::task::JoinSet::new();
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (index, asker) in askers.iter().copied().enumerate() {
            let (lane, sender) = (lane.clone(), sender.clone());
            all.spawn(async move {
                let turn = lane.acquire(asker).await.unwrap();
                sender.send(index).unwrap();
                drop(turn);
            });
        }
        while lane.queue.lock().waiting.len() < askers.len() {
            tokio::task::yield_now().await;
        }
        drop((held, sender));
        let mut seen = Vec::new();
        while let Some(index) = order.recv().await {
            seen.push(index);
        }
        seen
    }

    #[tokio::test]
    async fn addresses_have_turns_one_after_the_other() {
        let mut askers = vec![address(1); 40];
        askers.push(address(2));
        let order = order(&askers).await;
        let place = |index| order.iter().position(|one| *one == index).unwrap();
        assert_eq!(order[0], 0, "the first comes first");
        assert_eq!(place(40), 1, "{order:?}");
        assert!(order[2..].is_sorted(), "{order:?}");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3:4:5"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[tokio::test]
    async fn a_flood_of_one_address_displaces_only_its_own() {
        let lane = Lane::new(1);
        let held = lane.acquire(address(0)).await.unwrap();
        let wait = |asker| {
            let (lane, (sender, entered)) = (lane.clone(), oneshot::channel());
            let task = tokio::spawn(async move {
                let turn = lane.acquire(asker);
                tokio::pin!(turn);
                let first = futures_util::poll!(turn.as_mut());
                sender.send(()).unwrap();
                match first {
                    std::task::Poll::Ready(turn) => turn.is_some(),
                    std::task::Poll::Pending => turn.await.is_some(),
                }
            });
            (entered, task)
        };
        let (entered, good) = wait(address(1));
        entered.await.unwrap();
        let mut flood = Vec::new();
        for _ in 0..WAITING + 100 {
            let (entered, task) = wait(address(2));
            entered.await.unwrap();
            flood.push(task);
        }
        assert_eq!(lane.queue.lock().waiting.len(), WAITING);
        drop(held);
        assert!(good.await.unwrap(), "it had its turn");
        let mut turns = 0;
        for one in flood {
            turns += usize::from(one.await.unwrap());
        }
        assert_eq!(turns, WAITING - 1);
    }

    #[tokio::test]
    async fn who_leaves_gives_up_the_turn() {
        let lane = Lane::new(1);
        let held = lane.acquire(address(0)).await.unwrap();
        let mut left = Box::pin(lane.acquire(address(1)));
        assert!(futures_util::poll!(left.as_mut()).is_pending());
        drop(held);
        // The permit was sent, and is never received.
        drop(left);
        assert!(lane.acquire(address(2)).await.is_some());
    }
}
