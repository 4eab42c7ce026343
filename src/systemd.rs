//! Notifications to a service manager such as systemd: ready, watchdog, stopping.

use std::convert::Infallible;
use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::blocking::BlockingPool;

/// Deadline for sending one notification.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// Sends notifications to the service manager until it is dropped.
///
/// First it sends that the process is ready, with this status text. Then it sends two watchdog
/// notifications in each watchdog timeout. Once `shutdown` is cancelled, it sends that the process
/// is stopping, and then cancels `told`. Without `NOTIFY_SOCKET` nothing is sent.
///
/// Await it on the event loop that does all the work, not on its own thread. The watchdog
/// notifications must stop if that event loop hangs.
pub(crate) async fn serving(
    text: &'static str,
    shutdown: &CancellationToken,
    told: &CancellationToken,
) -> Infallible {
    tell(vec![NotifyState::Ready, NotifyState::Status(text)]).await;
    // A timeout of zero cannot be halved.
    let watchdog = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero());
    shutdown.run_until_cancelled(stay_alive(watchdog)).await;
    let status = NotifyState::Status("finishing requests in progress");
    tell(vec![NotifyState::Stopping, status]).await;
    told.cancel();
    // The watchdog notifications continue for as long as the shutdown takes.
    stay_alive(watchdog).await
}

/// Sends another status text.
pub(crate) async fn status(text: &'static str) {
    tell(vec![NotifyState::Status(text)]).await;
}

async fn stay_alive(watchdog: Option<Duration>) -> Infallible {
    let Some(timeout) = watchdog else {
        return std::future::pending().await;
    };
    let mut ticks = interval(timeout / 2);
    // After a hang, one notification is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(vec![NotifyState::Watchdog]).await;
    }
}

/// Sends a notification from a pool thread.
///
/// If the service manager does not read its socket, the socket fills up, and the next notification
/// blocks.
async fn tell(states: Vec<NotifyState<'static>>) {
    static SUPERVISOR: LazyLock<BlockingPool> = LazyLock::new(|| BlockingPool::new(1));
    let told = SUPERVISOR.run(TELL_WITHIN, move || sd_notify::notify(&states));
    let told = told.await.map_err(io::Error::other).flatten();
    if let Err(error) = told {
        tracing::warn!(%error, "the supervisor at NOTIFY_SOCKET could not be told");
    }
}
