//! What all tasks of a feed share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budgets::Budgets;
use crate::counters::{Counted, Counters};
use crate::input::Input;
use crate::options::SocketOptions;
use crate::references::References;
use crate::renewals::Renewals;

/// Shared by all tasks of a feed.
#[derive(Debug)]
pub(crate) struct FeedContext {
    pub(crate) options: Arc<SocketOptions>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) budgets: Budgets,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) counters: Arc<Counters>,
    /// What must be known before connections are opened.
    pub(crate) references: References,
    /// When connections are renewed.
    pub(crate) renewals: Renewals,
    /// Cancelled when the feed stops.
    pub(crate) stop: CancellationToken,
    /// Knows every task of the feed.
    pub(crate) tasks: TaskTracker,
}

/// Nobody took an input.
#[derive(Debug)]
pub(crate) struct NotTaken;

impl FeedContext {
    /// Hands an input to the pipeline, waiting while its queue is full. Gives the time waited.
    ///
    /// While the feed stops, the wait ends after the close timeout; the caller counts what was not taken.
    pub(crate) async fn deliver(&self, input: Input) -> Result<Duration, NotTaken> {
        let input = match self.inputs.try_send(input) {
            Ok(()) => return Ok(Duration::ZERO),
            Err(TrySendError::Closed(_)) => return Err(NotTaken),
            Err(TrySendError::Full(input)) => input,
        };
        self.counters.count(Counted::Stalls);
        let began = Instant::now();
        let given_up = async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.options.close_timeout).await;
        };
        let taken = tokio::select! {
            biased;
            sent = self.inputs.send(input) => sent.map_err(|_| NotTaken),
            () = given_up => Err(NotTaken),
        };
        let waited = began.elapsed();
        let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.counters.add(Counted::StalledMicroseconds, waited_us);
        taken.map(|()| waited)
    }
}
