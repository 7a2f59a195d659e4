//! Task of one poll. A round is the request with all further pages that its answers request, bounded per
//! round; the next round waits for its end.

mod schedule;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use marketprism_adapter_host::SourceIndex;
use marketprism_adapter_host::contract::{Poll, Request};
use marketprism_service::clock::now_ns;
use marketprism_service::{Backoff, jitter, mask};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::schedule::{CoveredTime, Schedule};
use crate::context::ReferencePending;
use crate::counters::{Counters, SocketCounter};
use crate::error::CommandError;
use crate::limits::{PAGE_GRACE, PAGES_PER_ROUND_MAX, POLL_RETRY_MAX};
use crate::request_runner::{RequestOutcome, RequestRunner};

pub(crate) struct PollTask {
    requester: Arc<RequestRunner>,
    source: SourceIndex,
    plan: Poll,
    schedule: Schedule,
    covered: Option<CoveredTime>,
    pages: mpsc::Receiver<Request>,
    round: Arc<PollRound>,
    /// Cancelled with the feed, or for this poll alone.
    stop: CancellationToken,
    /// Of a reference poll, until its first answer or failure.
    pending: Option<ReferencePending>,
    /// Of a reference poll, until its first answer.
    unknown: Option<Backoff>,
    /// Start of the next round.
    at: Instant,
}

struct FeedStopped;

impl PollTask {
    pub(crate) fn new(
        requester: Arc<RequestRunner>,
        source: SourceIndex,
        plan: Poll,
        (index, count): (usize, usize),
        (pages, round, stop): (mpsc::Receiver<Request>, Arc<PollRound>, CancellationToken),
        pending: ReferencePending,
    ) -> Self {
        let now = Instant::now();
        let schedule = Schedule::new(now, period_of(&plan), index, count);
        Self {
            covered: plan.window.clone().map(CoveredTime::new),
            pending: plan.reference.then_some(pending),
            unknown: plan.reference.then(|| requester.feed.options.backoff.start()),
            at: now,
            requester,
            source,
            plan,
            schedule,
            pages,
            round,
            stop,
        }
    }

    pub(crate) async fn run(mut self) {
        let feed = Arc::clone(&self.requester.feed);
        if !self.plan.reference {
            // Its answers may depend on the reference polls.
            let requested = Instant::now();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = feed.references.opened() => self.schedule.delay(requested.elapsed()),
            }
            self.at = self.schedule.at();
        }
        while self.pages_until_next().await.is_ok() && self.run_round().await.is_ok() {}
    }

    /// Requests further pages until the next round is due.
    async fn pages_until_next(&mut self) -> Result<(), FeedStopped> {
        let feed = Arc::clone(&self.requester.feed);
        loop {
            let page = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(FeedStopped),
                Some(page) = self.pages.recv() => page,
                () = sleep_until(self.at) => return Ok(()),
            };
            match self.requester.run(self.source, &page, &mut |_| {}).await {
                RequestOutcome::Answered => feed.counters.count(SocketCounter::FollowUpsAnswered),
                RequestOutcome::Failed { .. } => {
                    feed.counters.count(SocketCounter::FollowUpsFailed);
                    self.round.set_incomplete();
                }
                RequestOutcome::Stopped => return Err(FeedStopped),
            }
            self.wait_for_page();
        }
    }

    /// The pipeline needs time to read an answer that names another page.
    fn wait_for_page(&mut self) {
        let grace = PAGE_GRACE.min(period_of(&self.plan) / 4);
        self.at = self.at.max(Instant::now() + grace);
    }

    async fn run_round(&mut self) -> Result<(), FeedStopped> {
        if self.round.begin()
            && let Some(covered) = &mut self.covered
        {
            covered.incomplete();
        }
        let covered = &mut self.covered;
        let mut stamp = |url: &mut url::Url| {
            if let Some(covered) = covered {
                covered.stamp(url, now_ns() / 1_000_000);
            }
        };
        let outcome = self.requester.run(self.source, &self.plan.request, &mut stamp).await;
        let counters = &self.requester.feed.counters;
        let now = Instant::now();
        counters.add(SocketCounter::PollsSkippedLate, self.schedule.advance(now));
        match outcome {
            RequestOutcome::Stopped => return Err(FeedStopped),
            RequestOutcome::Answered => {
                counters.count(SocketCounter::PollsAnswered);
                if let Some(hole) = self.covered.as_mut().and_then(CoveredTime::answered) {
                    counters.count(SocketCounter::PollWindowHoles);
                    tracing::error!(source = %self.source, ?hole, "time window without an answer: earlier rounds failed for too long");
                }
                self.unknown = None;
                self.at = self.schedule.at();
                self.wait_for_page();
            }
            RequestOutcome::Failed { blocked } => {
                counters.count(SocketCounter::PollsFailed);
                self.at = self.after_failure(now, blocked);
            }
        }
        self.pending = None;
        Ok(())
    }

    fn after_failure(&mut self, now: Instant, blocked: Option<Duration>) -> Instant {
        if let Some(blocked) = blocked {
            let passed = self.schedule.pass_until(now + blocked);
            self.requester.feed.counters.add(SocketCounter::PollsSkippedBlocked, passed);
            return self.schedule.at().min(now + blocked + POLL_RETRY_MAX);
        }
        let wait = match &mut self.unknown {
            // Frames cannot be read without this answer, so retry soon.
            Some(backoff) => backoff.pause(),
            None => POLL_RETRY_MAX / 2 + jitter(POLL_RETRY_MAX / 2),
        };
        self.schedule.at().min(now + wait)
    }
}

fn period_of(plan: &Poll) -> Duration {
    Duration::from_millis(u64::from(plan.period_ms))
}

#[derive(Debug)]
pub(crate) struct PageQueue {
    queue: mpsc::Sender<Request>,
    round: Arc<PollRound>,
    counters: Arc<Counters>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
pub(crate) struct PollRound {
    pages: AtomicU32,
    incomplete: AtomicBool,
}

impl PageQueue {
    pub(crate) fn new(
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> (Self, mpsc::Receiver<Request>, Arc<PollRound>) {
        let (queue, receiver) = mpsc::channel(PAGES_PER_ROUND_MAX as usize);
        let round = Arc::new(PollRound::default());
        (Self { queue, round: Arc::clone(&round), counters, stop }, receiver, round)
    }

    pub(crate) const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Bounded per round, against venues and adapters that never finish.
    pub(crate) fn request(&self, request: Request) -> Result<(), CommandError> {
        let before = self.round.pages.fetch_add(1, Ordering::Relaxed);
        if before >= PAGES_PER_ROUND_MAX {
            self.round.pages.store(PAGES_PER_ROUND_MAX, Ordering::Relaxed);
            if !self.round.incomplete.load(Ordering::Relaxed) {
                tracing::warn!(
                    url = %mask(&request.url),
                    max = PAGES_PER_ROUND_MAX,
                    "poll requests too many pages in a round"
                );
            }
            return Err(self.refuse(CommandError::TooManyPages));
        }
        self.queue.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.refuse(CommandError::QueueFull),
            mpsc::error::TrySendError::Closed(_) => CommandError::Stopping,
        })
    }

    /// Counts a page that will not be requested.
    pub(crate) fn refuse(&self, why: CommandError) -> CommandError {
        self.counters.count(SocketCounter::FollowUpsRefused);
        self.round.set_incomplete();
        why
    }

    /// The answer of the round gave nothing.
    pub(crate) fn unusable(&self) {
        self.round.set_incomplete();
    }
}

impl PollRound {
    pub(crate) fn set_incomplete(&self) {
        self.incomplete.store(true, Ordering::Relaxed);
    }

    /// Begins the next round; true if the last one's answer or a page of it is missing.
    pub(crate) fn begin(&self) -> bool {
        self.pages.store(0, Ordering::Relaxed);
        self.incomplete.swap(false, Ordering::Relaxed)
    }
}
