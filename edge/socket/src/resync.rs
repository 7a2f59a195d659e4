//! Snapshot requests on demand.

use std::sync::Arc;

use marketprism_adapter_host::SourceIndex;
use marketprism_adapter_host::contract::Request;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connection::ResyncInProgress;
use crate::counters::SocketCounter;
use crate::request_runner::{RequestOutcome, RequestRunner};

#[derive(Debug)]
pub(crate) struct ResyncRequest {
    pub(crate) source: SourceIndex,
    pub(crate) request: Request,
    /// Released when the answer was delivered.
    pub(crate) in_progress: ResyncInProgress,
}

/// Each resync runs once at a time, so their number is bounded by the plan.
pub(crate) async fn run(requester: Arc<RequestRunner>, mut asks: mpsc::Receiver<ResyncRequest>) {
    let mut running = JoinSet::new();
    let stop = requester.feed.stop.clone();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = running.join_next() => {}
            Some(ask) = asks.recv() => {
                let requester = Arc::clone(&requester);
                let tasks = requester.feed.tasks.clone();
                running.spawn(tasks.track_future(async move { carry_out(&requester, ask).await }));
            }
        }
    }
    while running.join_next().await.is_some() {}
}

async fn carry_out(requester: &RequestRunner, ask: ResyncRequest) {
    let counters = &requester.feed.counters;
    match requester.run(ask.source, &ask.request, &mut |_| {}).await {
        RequestOutcome::Answered => counters.count(SocketCounter::ResyncsAnswered),
        RequestOutcome::Failed { .. } => counters.count(SocketCounter::ResyncsFailed),
        RequestOutcome::Stopped => {}
    }
    drop(ask.in_progress);
}
