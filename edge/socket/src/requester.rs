//! Requests whose answers go to the pipeline.

use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::contract::Request;
use tokio::sync::Semaphore;
use url::Url;

use crate::clock::wall_ns;
use crate::context::FeedContext;
use crate::counters::Counted;
use crate::error::{BudgetError, RequestFailure};
use crate::input::{Frame, Input};
use crate::rest::{RestClient, Stamp};

/// Sends a plan's requests: a bounded number at once.
#[derive(Debug)]
pub(crate) struct Requester {
    pub(crate) feed: Arc<FeedContext>,
    pub(crate) client: RestClient,
    /// Answers may be large: their number in memory is bounded.
    pub(crate) at_once: Semaphore,
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Failed {
        /// How much longer the venue wants us to stay away.
        blocked: Option<Duration>,
    },
    /// The feed stops.
    Stopped,
}

impl Requester {
    /// Fetches and hands the answer, or the failure, to the pipeline.
    pub(crate) async fn run(&self, source: u32, request: &Request, stamp: Stamp<'_>) -> Outcome {
        let feed = &self.feed;
        let mut asked = None;
        let mut stamp_and_keep = |url: &mut Url| {
            stamp(url);
            asked = feed.options.report_sent.then(|| url.to_string());
        };
        let fetch = self.client.fetch_in_turn(&feed.budgets, request, &self.at_once, &mut stamp_and_keep);
        let fetched = tokio::select! {
            biased;
            () = feed.stop.cancelled() => return Outcome::Stopped,
            fetched = fetch => fetched,
        };
        let (data, _turn) = match fetched {
            Ok(answer) => answer,
            Err(reason) => return self.failed(source, reason).await,
        };
        let received_at_ns = wall_ns();
        if let Some(url) = asked {
            // Whoever does not take it does not take the frame either, and that is counted.
            let _ = feed.deliver(Input::Asked { source, url, at_ns: received_at_ns }).await;
        }
        let frame = Frame { source, generation: 0, received_at_ns, data };
        if feed.deliver(Input::Frame(frame)).await.is_err() {
            feed.counters.count(Counted::DiscardedAnswerStopping);
            return Outcome::Stopped;
        }
        Outcome::Answered
    }

    async fn failed(&self, source: u32, reason: RequestFailure) -> Outcome {
        tracing::warn!(source, %reason, "request given up for now");
        let blocked = match &reason {
            RequestFailure::Budget(BudgetError::Blocked { remaining, .. }) => Some(*remaining),
            _ => None,
        };
        let failed = Input::RequestFailed { source, reason, at_ns: wall_ns() };
        match self.feed.deliver(failed).await {
            Ok(_) => Outcome::Failed { blocked },
            Err(_) => Outcome::Stopped,
        }
    }
}
