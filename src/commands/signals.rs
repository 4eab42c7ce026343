//! Signals of the commands that run until they are told to end.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::polling::reload::ReloadHandle;

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once.
///
/// Called before anything can be seen from outside: a signal that comes while its handler is being made
/// is lost.
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
            tracing::info!("ending within 5 s: answers in flight are let out");
            cancel.cancel();
        }
    });
    Ok(token)
}

/// SIGHUP, from now on: without it the process would end by one.
pub(super) fn hangups() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("listening for SIGHUP")
}

/// Asks for a reload at each SIGHUP; what becomes of it is logged there.
pub(super) async fn reload_on(mut hangups: Signal, reload: ReloadHandle) {
    while hangups.recv().await.is_some() {
        let _ = reload.request().await;
    }
}
