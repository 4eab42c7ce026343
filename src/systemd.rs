//! What a supervisor such as systemd is told: that the program serves, that its loop turns, that it ends.

use std::convert::Infallible;
use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::blocking::BlockingPool;

/// How long a word to the supervisor may take.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// Tells the supervisor that this process is ready, with a line for people; from then on that it is alive, twice in
/// the time that the supervisor gives; and once `shutdown` is cancelled, that it is ending, after which `told` is
/// cancelled. Goes on until it is dropped. Where `NOTIFY_SOCKET` is not set, nobody is told.
///
/// Await it on the loop that does all the work, not on a thread of its own: a loop that hangs must tick no more.
pub async fn serving(shutdown: &CancellationToken, told: &CancellationToken) -> Infallible {
    tell(vec![NotifyState::Ready, NotifyState::Status("serving")]).await;
    // Zero has no half to tick in.
    let watchdog = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero());
    shutdown.run_until_cancelled(stay_alive(watchdog)).await;
    let status = NotifyState::Status("letting answers in flight end");
    tell(vec![NotifyState::Stopping, status]).await;
    told.cancel();
    // For as long as that takes.
    stay_alive(watchdog).await
}

async fn stay_alive(watchdog: Option<Duration>) -> Infallible {
    let Some(timeout) = watchdog else {
        return std::future::pending().await;
    };
    let mut ticks = interval(timeout / 2);
    // After a hang one word is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(vec![NotifyState::Watchdog]).await;
    }
}

/// A supervisor that does not read what it is told fills its socket, and the next word waits for it.
async fn tell(states: Vec<NotifyState<'static>>) {
    static SUPERVISOR: LazyLock<BlockingPool> = LazyLock::new(|| BlockingPool::new(1));
    let told = SUPERVISOR.run(TELL_WITHIN, move || sd_notify::notify(&states));
    let told = told.await.map_err(io::Error::other).flatten();
    if let Err(error) = told {
        tracing::warn!(%error, "the supervisor at NOTIFY_SOCKET could not be told");
    }
}
