//! Signal handlers of the commands that run until they are stopped.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::polling::reload::ReloadHandle;

/// Returns a token that the first SIGTERM or SIGINT cancels. The second one ends the process at
/// once.
///
/// Call it before the process is visible from outside. A signal is lost if it arrives while its
/// handler is being installed.
pub(super) fn shutdown() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        for count in 0.. {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            if count > 0 {
                std::process::exit(1);
            }
            tracing::info!("shutting down, within 5 s: requests in progress are finished");
            cancel.cancel();
        }
    });
    Ok(token)
}

/// Starts to receive SIGHUP, which otherwise ends the process.
pub(super) fn hangups() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("listening for SIGHUP")
}

/// Requests a reload at each SIGHUP. The reload logs its own result.
pub(super) async fn reload_on(mut hangups: Signal, reload: ReloadHandle) {
    while hangups.recv().await.is_some() {
        let _ = reload.request().await;
    }
}
