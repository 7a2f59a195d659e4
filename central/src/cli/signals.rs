//! Signals of commands that run for a while.

use marketprism_service::cancel_on_signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Cancelled at the first signal; the second one ends the process. The task lives as long as its handle.
pub fn stop_on_signal() -> (CancellationToken, AbortOnDropHandle<()>) {
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    let task = tokio::spawn(async move {
        let Err(error) = cancel_on_signal(|| cancelled.cancel()).await;
        tracing::warn!(%error, "signals cannot be received: Ctrl-C ends the command without its figures");
    });
    (stop, AbortOnDropHandle::new(task))
}
