//! Signals.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal, as shells give for an interrupt.
const EXIT_INTERRUPTED: i32 = 130;

/// Cancels the token at the first SIGTERM or SIGINT and ends the process at the second. Returns only by error.
pub async fn watch(token: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if token.is_cancelled() {
            tracing::warn!("second signal, exiting at once; unacknowledged messages will be redelivered");
            std::process::exit(EXIT_INTERRUPTED);
        }
        tracing::info!("stopping: flushing batches");
        token.cancel();
    }
}
