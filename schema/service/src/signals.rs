//! SIGTERM and SIGINT: the first one asks for an orderly stop, the second one ends the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Exit;

/// SIGTERM and SIGINT of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals do not end the process by themselves.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Calls `stop` at the first signal and ends the process at the second. Returns by error only.
pub async fn cancel_on_signal(stop: impl FnOnce()) -> std::io::Result<std::convert::Infallible> {
    let mut signals = Signals::new()?;
    signals.next().await;
    tracing::info!("stopping; a second signal ends the process at once");
    stop();
    signals.next().await;
    tracing::warn!("second signal: the process ends at once");
    Exit::INTERRUPTED.now()
}
