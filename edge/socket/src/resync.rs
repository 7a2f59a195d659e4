//! Requests for new starting states, when the pipeline asks.

use std::sync::Arc;

use marketprism_adapter_host::contract::Request;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connection::UnderWay;
use crate::counters::Counted;
use crate::requester::{Outcome, Requester};

/// A resync request to carry out.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) source: u32,
    pub(crate) request: Arc<Request>,
    /// Released when the answer has been handed over.
    pub(crate) under_way: UnderWay,
}

/// Carries out resync requests until the feed stops. Each kind is asked for once at a time, so their number
/// is bounded by the plan.
pub(crate) async fn run(requester: Arc<Requester>, mut asks: mpsc::Receiver<Ask>) {
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

async fn carry_out(requester: &Requester, ask: Ask) {
    let counters = &requester.feed.counters;
    match requester.run(ask.source, &ask.request, &mut |_| {}).await {
        Outcome::Answered => counters.count(Counted::ResyncsAnswered),
        Outcome::Failed { .. } => counters.count(Counted::ResyncsFailed),
        Outcome::Stopped => {}
    }
    drop(ask.under_way);
}
