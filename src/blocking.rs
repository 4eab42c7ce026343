//! Blocking work on bounded thread pools with deadlines.
//!
//! The kernel can delay such work without limit. A deadline ensures that the delay affects only the
//! tasks that need the result. `clippy.toml` disallows blocking calls. Exempt are this module, the
//! modules below it, and `state_dir`, which has worker threads of its own.

pub(crate) mod files;
pub(crate) mod new_file;
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

/// Bounded number of threads for one kind of blocking work.
///
/// Each kind has its own pool, so that work of one kind that hangs cannot exhaust the threads of
/// another. The threads are tokio's: it starts them on demand and ends them when idle. The sizes of
/// all pools together must stay below the runtime's limit of blocking threads.
#[derive(Debug, Clone)]
pub struct BlockingPool(Arc<Semaphore>);

/// Error of work that was not done before its deadline. It may still be running on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadlineExceeded(pub Duration);

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done within {:?}", self.0)
    }
}

impl std::error::Error for DeadlineExceeded {}

impl BlockingPool {
    /// Creates a pool of at most `threads` threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// Runs `work` on a thread of the pool. The deadline includes the wait for a thread.
    ///
    /// Work that exceeds its deadline keeps its thread until it returns, because a thread that is
    /// blocked in the kernel cannot be interrupted.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DeadlineExceeded> {
        let done = async {
            // The semaphore is never closed.
            let permit = self.0.clone().acquire_owned().await.ok();
            run_blocking(move || {
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

/// Runs `work` to its end on a blocking thread, without a limit or a deadline.
///
/// Call it directly only for computation that takes too long for the event loop. For anything that
/// can hang, [`BlockingPool::run`] adds a limit and a deadline.
#[expect(
    clippy::disallowed_methods,
    reason = "the caller limits the threads and the time"
)]
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match spawn_blocking(work)
        .await
        .map_err(JoinError::try_into_panic)
    {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime refused the work because it is shutting down. It does not poll this future
        // again.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// Returns the addresses of a host name from the system's resolver.
///
/// The lookup may hang: run it on a pool.
#[expect(clippy::disallowed_methods, reason = "callers run it on a pool")]
pub(crate) fn addresses_of(host: &str) -> io::Result<Vec<SocketAddr>> {
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
