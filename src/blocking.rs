//! The only module that may block: work that the kernel can hold up runs on threads of bounded pools,
//! with a deadline, so that it costs those who need its result and nobody else.
//!
//! `clippy.toml` disallows elsewhere what blocks.

pub mod files;
pub mod output;
mod permissions;

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

/// A bounded number of threads for one kind of blocking work.
///
/// Each kind has its own pool, so that work of one kind that hangs cannot use up the threads of another.
/// The threads are tokio's: it starts them on demand and ends them when idle. The sizes of all pools
/// together must stay below the runtime's limit of blocking threads.
#[derive(Debug, Clone)]
pub struct BlockingPool(Arc<Semaphore>);

/// The work was not done before its deadline. It may still be running on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadlineExceeded(pub Duration);

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done within {:?}", self.0)
    }
}

impl std::error::Error for DeadlineExceeded {}

impl BlockingPool {
    /// A pool of at most so many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// Runs this on a thread of the pool. The deadline includes the wait for a thread.
    ///
    /// Work that is over its deadline keeps its thread until it returns: a thread that the kernel holds
    /// cannot be taken away from it.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DeadlineExceeded> {
        let done = async {
            // The semaphore is never closed.
            let permit = self.0.clone().acquire_owned().await.ok();
            compute(move || {
                let _permit = permit;
                work()
            })
            .await
        };
        timeout(deadline, done)
            .await
            .map_err(|_| DeadlineExceeded(deadline))
    }
}

/// Runs this on a thread of no pool, to its end: for what only computes, too long for the event loop.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that starts threads of the runtime"
)]
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work)
        .await
        .map_err(JoinError::try_into_panic)
    {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // Refused by a runtime that is shutting down: nobody polls this again.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// The addresses of a host's name, as the machine's resolver gives them. It may hang: run it on a pool.
#[expect(clippy::disallowed_methods, reason = "the one module that may block")]
pub fn addresses_of(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_is_given_up_and_holds_up_only_its_own_pool() {
        let (held, other) = (BlockingPool::new(1), BlockingPool::new(1));
        let (release, wait) = mpsc::channel::<()>();
        let short = Duration::from_millis(10);
        let hung = held.run(short, move || wait.recv()).await;
        assert_eq!(hung, Err(DeadlineExceeded(short)));
        assert_eq!(
            held.run(short, || ()).await,
            Err(DeadlineExceeded(short)),
            "the only thread is still held"
        );
        let long = Duration::from_secs(30);
        assert_eq!(other.run(long, || 1).await, Ok(1));
        release.send(()).unwrap();
        assert_eq!(held.run(long, || 2).await, Ok(2), "and is free again");
    }
}
