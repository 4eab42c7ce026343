//! Host name look-ups on dedicated threads.
//!
//! A look-up that hangs delays only the requests that need that host.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::blocking::{BlockingPool, addresses_of};

/// Maximum number of concurrent look-ups.
const THREADS: usize = 16;
/// Time that a request waits for a look-up.
///
/// It is shorter than the connect timeout, so that the error names the look-up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(8);
/// Deadline of the look-up itself.
///
/// A look-up keeps its thread until the system's resolver gives up, which happens within minutes.
const LONGEST: Duration = Duration::from_mins(10);

type LookupResult = Result<Arc<[SocketAddr]>, LookupError>;
type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Resolver of all accounts.
///
/// Concurrent requests for one host share a look-up.
#[derive(Clone)]
pub(super) struct DnsResolver(Arc<ResolverState>);

struct ResolverState {
    pool: BlockingPool,
    lookup: Lookup,
    under_way: Mutex<HashMap<String, watch::Sender<Option<LookupResult>>>>,
}

/// Error of a look-up, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LookupError(String);

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LookupError {}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DnsResolver")
    }
}

impl Default for DnsResolver {
    fn default() -> Self {
        Self::new(addresses_of)
    }
}

impl DnsResolver {
    fn new(lookup: Lookup) -> Self {
        Self(Arc::new(ResolverState {
            pool: BlockingPool::new(THREADS),
            lookup,
            under_way: Mutex::default(),
        }))
    }

    async fn look_up(self, host: String) -> LookupResult {
        let mut answer = self.answer(&host);
        let answer = timeout(LOOKUP_TIMEOUT, answer.wait_for(Option::is_some)).await;
        match answer.map(|answer| answer.ok().and_then(|answer| answer.clone())) {
            Ok(Some(answer)) => answer,
            // It timed out, or the pool gave up.
            Ok(None) | Err(_) => Err(LookupError(format!(
                "the name look-up of {host} did not answer within {LOOKUP_TIMEOUT:?}"
            ))),
        }
    }

    /// Subscribes to the running look-up of a host, or to a new one.
    fn answer(&self, host: &str) -> watch::Receiver<Option<LookupResult>> {
        let mut under_way = self.0.under_way.lock();
        if let Some(known) = under_way.get(host) {
            return known.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(host.to_owned(), sender);
        let (names, host) = (self.clone(), host.to_owned());
        tokio::spawn(async move {
            let (shared, name) = (names.0.clone(), host.clone());
            let looked_up = names.0.pool.run(LONGEST, move || {
                {
                    // While the look-up waited for a thread, all its requests may have given up. A
                    // later request starts a new look-up.
                    let mut under_way = shared.under_way.lock();
                    if under_way.get(&name)?.receiver_count() == 0 {
                        under_way.remove(&name);
                        return None;
                    }
                }
                Some((shared.lookup)(&name))
            });
            let answer = match looked_up.await {
                Ok(Some(Ok(list))) if !list.is_empty() => Some(Ok(list.into())),
                Ok(Some(Ok(_))) => Some(Err(LookupError(format!("{host} has no address")))),
                Ok(Some(Err(error))) => Some(Err(LookupError(format!(
                    "the name look-up of {host} failed: {error}"
                )))),
                Ok(None) => return,
                Err(_) => None,
            };
            if let Some(sender) = names.0.under_way.lock().remove(&host) {
                sender.send_replace(answer);
            }
        });
        receiver
    }
}

impl Resolve for DnsResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let look_up = self.clone().look_up(name.as_str().to_owned());
        Box::pin(async move {
            let list = look_up.await?;
            let list: Vec<_> = list.to_vec();
            Ok(Box::new(list.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::{Condvar, Mutex as StdMutex};

    use futures_util::future::join_all;

    use super::*;

    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static HELD: (StdMutex<bool>, Condvar) = (StdMutex::new(true), Condvar::new());

    /// `held.…` hangs until it is released, `missing.…` does not exist.
    fn lookup(host: &str) -> io::Result<Vec<SocketAddr>> {
        ASKED.fetch_add(1, Relaxed);
        if host.starts_with("held") {
            let mut held = HELD.0.lock().unwrap();
            while *held {
                held = HELD.1.wait(held).unwrap();
            }
        }
        if host.starts_with("missing") {
            return Err(io::Error::other("no such name"));
        }
        Ok(vec![([192, 0, 2, 1], 0).into()])
    }

    /// This is one test, because the look-up is a plain function that counts in a static.
    #[tokio::test]
    async fn accounts_of_one_host_cost_one_look_up_and_one_that_hangs_holds_up_no_other() {
        let names = DnsResolver::new(lookup);
        let ask = |host: &str| names.clone().look_up(host.to_owned());
        tokio::time::pause();
        // Half of them give up, which must not start another look-up for the rest.
        let leaving = (0..1000).map(|_| timeout(Duration::from_secs(1), ask("held.test")));
        let leaving = tokio::spawn(join_all(leaving));
        let staying = tokio::spawn(join_all((0..1000).map(|_| ask("held.test"))));
        while ASKED.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        // While a blocking thread runs, the paused clock does not advance by itself.
        tokio::time::advance(Duration::from_millis(1010)).await;
        assert!(leaving.await.unwrap().iter().all(Result::is_err));
        tokio::time::advance(LOOKUP_TIMEOUT).await;
        for answer in staying.await.unwrap() {
            let error = answer.unwrap_err().to_string();
            assert_eq!(
                error,
                "the name look-up of held.test did not answer within 8s"
            );
        }
        assert_eq!(ASKED.load(Relaxed), 1);
        tokio::time::resume();
        let other = ask("other.test").await.unwrap();
        assert_eq!(other[..], [([192, 0, 2, 1], 0).into()]);
        let missing = ask("missing.test").await.unwrap_err().to_string();
        assert_eq!(
            missing,
            "the name look-up of missing.test failed: no such name"
        );
        *HELD.0.lock().unwrap() = false;
        HELD.1.notify_all();
        // This uses the running look-up, or the one after it.
        ask("held.test").await.unwrap();
    }
}
