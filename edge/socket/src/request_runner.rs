//! Sends a plan's requests, a bounded number at once, and delivers their answers; runs snapshot requests on
//! demand.

use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::SourceIndex;
use marketprism_adapter_host::contract::Request;
use marketprism_service::clock::now_ns;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use url::Url;

use crate::connection::ResyncInProgress;
use crate::context::FeedContext;
use crate::counters::SocketCounter;
use crate::error::{BudgetError, RequestFailure};
use crate::event::{ReceivedFrame, SocketEvent};
use crate::limits::SPARE_WAIT_MAX;
use crate::rest::{RestClient, StampUrl};

#[derive(Debug)]
pub(crate) struct RequestRunner {
    pub(crate) feed: Arc<FeedContext>,
    pub(crate) client: RestClient,
    /// Bounds the answers in memory.
    pub(crate) at_once: Semaphore,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    Answered,
    Failed {
        /// Remaining block by the venue.
        blocked: Option<Duration>,
    },
    Stopped,
}

impl RequestRunner {
    pub(crate) async fn run(
        &self,
        source: SourceIndex,
        request: &Request,
        stamp: StampUrl<'_>,
    ) -> RequestOutcome {
        let feed = &self.feed;
        let mut requested = None;
        let mut stamp_and_keep = |url: &mut Url| {
            stamp(url);
            requested = feed.options.report_sent.then(|| url.to_string());
        };
        let fetch = self.client.fetch_in_turn(&feed.budgets, request, &self.at_once, &mut stamp_and_keep);
        let fetched = tokio::select! {
            biased;
            () = feed.stop.cancelled() => return RequestOutcome::Stopped,
            fetched = fetch => fetched,
        };
        let (data, _turn) = match fetched {
            Ok(answer) => answer,
            Err(reason) => return self.failed(source, reason).await,
        };
        let received_at_ns = now_ns();
        if let Some(url) = requested {
            // If this is not delivered, neither is the frame, which is counted.
            let _ = feed.deliver(SocketEvent::Requested { source, url, at_ns: received_at_ns }).await;
        }
        let subscribed_at_ns = Some(received_at_ns);
        let frame = ReceivedFrame { source, generation: 0, received_at_ns, subscribed_at_ns, data };
        if feed.deliver(SocketEvent::Frame(frame)).await.is_err() {
            feed.counters.count(SocketCounter::DiscardedAnswerStopping);
            return RequestOutcome::Stopped;
        }
        RequestOutcome::Answered
    }

    async fn failed(&self, source: SourceIndex, reason: RequestFailure) -> RequestOutcome {
        tracing::warn!(%source, %reason, "request failed");
        let blocked = match &reason {
            RequestFailure::Budget(BudgetError::Blocked { remaining, .. }) => Some(*remaining),
            _ => None,
        };
        let failed = SocketEvent::RequestFailed { source, reason, at_ns: now_ns() };
        match self.feed.deliver(failed).await {
            Ok(_) => RequestOutcome::Failed { blocked },
            Err(_) => RequestOutcome::Stopped,
        }
    }
}

#[derive(Debug)]
pub(crate) struct ResyncRequest {
    pub(crate) source: SourceIndex,
    pub(crate) request: Request,
    /// Released when the answer was delivered.
    pub(crate) in_progress: ResyncInProgress,
}

/// Each resync runs once at a time, so their number is bounded by the plan.
pub(crate) async fn run_resyncs(
    requester: Arc<RequestRunner>,
    mut resync_requests: mpsc::Receiver<ResyncRequest>,
) {
    let mut running = JoinSet::new();
    let stop = requester.feed.stop.clone();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = running.join_next() => {}
            Some(request) = resync_requests.recv() => {
                let requester = Arc::clone(&requester);
                let tasks = requester.feed.tasks.clone();
                running.spawn(tasks.track_future(async move { run_resync(&requester, request).await }));
            }
        }
    }
    while running.join_next().await.is_some() {}
}

#[derive(Debug)]
pub(crate) struct BackfillRequest {
    pub(crate) source: SourceIndex,
    pub(crate) request: Request,
}

/// One at a time, when its budgets have room to spare: live requests go first.
pub(crate) async fn run_backfills(requester: RequestRunner, mut asked: mpsc::Receiver<BackfillRequest>) {
    let feed = Arc::clone(&requester.feed);
    loop {
        let BackfillRequest { source, request } = tokio::select! {
            biased;
            () = feed.stop.cancelled() => return,
            Some(asked) = asked.recv() => asked,
            else => return,
        };
        let spare = tokio::select! {
            biased;
            () = feed.stop.cancelled() => return,
            spare = feed.budgets.spare(&request.charges, SPARE_WAIT_MAX) => spare,
        };
        let outcome = match spare {
            Ok(()) => requester.run(source, &request, &mut |_| {}).await,
            Err(scarce) => requester.failed(source, RequestFailure::Budget(scarce)).await,
        };
        match outcome {
            RequestOutcome::Answered => feed.counters.count(SocketCounter::BackfillsAnswered),
            RequestOutcome::Failed { .. } => feed.counters.count(SocketCounter::BackfillsFailed),
            RequestOutcome::Stopped => return,
        }
    }
}

async fn run_resync(requester: &RequestRunner, request: ResyncRequest) {
    let counters = &requester.feed.counters;
    match requester.run(request.source, &request.request, &mut |_| {}).await {
        RequestOutcome::Answered => counters.count(SocketCounter::ResyncsAnswered),
        RequestOutcome::Failed { .. } => counters.count(SocketCounter::ResyncsFailed),
        RequestOutcome::Stopped => {}
    }
    drop(request.in_progress);
}
