//! One poll over all its rounds.

use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::contract::{Poll, Request};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::pages::Round;
use super::schedule::Schedule;
use super::window::CoveredTime;
use crate::backoff::{Backoff, random_up_to};
use crate::clock::wall_ns;
use crate::counters::Counted;
use crate::limits::{PAGE_GRACE, POLL_RETRY_MAX};
use crate::references::Pending;
use crate::requester::{Outcome, Requester};

/// Repeats a request until the feed stops. A round is the request and all pages that its answers ask for; the
/// next begins only when the one before has ended.
pub(crate) struct PollTask {
    requester: Arc<Requester>,
    source: u32,
    plan: Poll,
    schedule: Schedule,
    covered: Option<CoveredTime>,
    pages: mpsc::Receiver<Request>,
    round: Arc<Round>,
    /// Of a reference poll, until its first answer or failure.
    pending: Option<Pending>,
    /// Of a reference poll, until its first answer.
    unknown: Option<Backoff>,
    /// When the next round begins.
    at: Instant,
}

/// The feed stops.
struct Stopped;

impl PollTask {
    /// A poll, the `index`th of `count`. `pending` is for reference polls.
    pub(crate) fn new(
        requester: Arc<Requester>,
        source: u32,
        plan: Poll,
        (index, count): (usize, usize),
        (pages, round): (mpsc::Receiver<Request>, Arc<Round>),
        pending: Pending,
    ) -> Self {
        let now = Instant::now();
        let schedule = Schedule::new(now, period_of(&plan), index, count);
        Self {
            covered: plan.window.clone().map(CoveredTime::new),
            pending: plan.reference.then_some(pending),
            unknown: plan.reference.then(|| Backoff::new(requester.feed.options.backoff)),
            at: now,
            requester,
            source,
            plan,
            schedule,
            pages,
            round,
        }
    }

    /// Runs until the feed stops.
    pub(crate) async fn run(mut self) {
        let feed = Arc::clone(&self.requester.feed);
        if !self.plan.reference {
            // Its answers may have to be read with what the reference polls bring.
            let asked = Instant::now();
            tokio::select! {
                biased;
                () = feed.stop.cancelled() => return,
                () = feed.references.known() => self.schedule.delay(asked.elapsed()),
            }
            self.at = self.schedule.at();
        }
        while self.pages_until_next().await.is_ok() && self.ask().await.is_ok() {}
    }

    /// Carries out the pages that answers ask for until the next round is due.
    async fn pages_until_next(&mut self) -> Result<(), Stopped> {
        let feed = Arc::clone(&self.requester.feed);
        loop {
            let page = tokio::select! {
                biased;
                () = feed.stop.cancelled() => return Err(Stopped),
                Some(page) = self.pages.recv() => page,
                () = sleep_until(self.at) => return Ok(()),
            };
            match self.requester.run(self.source, &page, &mut |_| {}).await {
                Outcome::Answered => feed.counters.count(Counted::FollowUpsAnswered),
                Outcome::Failed { .. } => {
                    feed.counters.count(Counted::FollowUpsFailed);
                    self.round.set_incomplete();
                }
                Outcome::Stopped => return Err(Stopped),
            }
            self.wait_for_page();
        }
    }

    /// The pipeline needs a moment to find out that an answer asks for another page.
    fn wait_for_page(&mut self) {
        let grace = PAGE_GRACE.min(period_of(&self.plan) / 4);
        self.at = self.at.max(Instant::now() + grace);
    }

    /// Begins a round.
    async fn ask(&mut self) -> Result<(), Stopped> {
        if self.round.begin()
            && let Some(covered) = &mut self.covered
        {
            covered.incomplete();
        }
        let covered = &mut self.covered;
        let mut stamp = |url: &mut url::Url| {
            if let Some(covered) = covered {
                covered.stamp(url, wall_ns() / 1_000_000);
            }
        };
        let outcome = self.requester.run(self.source, &self.plan.request, &mut stamp).await;
        let counters = &self.requester.feed.counters;
        let now = Instant::now();
        counters.add(Counted::PollsSkippedLate, self.schedule.advance(now));
        match outcome {
            Outcome::Stopped => return Err(Stopped),
            Outcome::Answered => {
                counters.count(Counted::PollsAnswered);
                if let Some(hole) = self.covered.as_mut().and_then(CoveredTime::answered) {
                    counters.count(Counted::PollWindowHoles);
                    tracing::error!(source = self.source, ?hole, "a stretch of time was never asked for");
                }
                self.unknown = None;
                self.at = self.schedule.at();
                self.wait_for_page();
            }
            Outcome::Failed { blocked } => {
                counters.count(Counted::PollsFailed);
                self.at = self.after_failure(now, blocked);
            }
        }
        self.pending = None;
        Ok(())
    }

    /// When to ask again after a failure at `now`.
    fn after_failure(&mut self, now: Instant, blocked: Option<Duration>) -> Instant {
        if let Some(blocked) = blocked {
            let passed = self.schedule.pass_until(now + blocked);
            self.requester.feed.counters.add(Counted::PollsSkippedBlocked, passed);
            return self.schedule.at().min(now + blocked + POLL_RETRY_MAX);
        }
        let wait = match &mut self.unknown {
            // Other frames cannot be read without it.
            Some(backoff) => backoff.failed(),
            None => POLL_RETRY_MAX / 2 + random_up_to(POLL_RETRY_MAX / 2),
        };
        self.schedule.at().min(now + wait)
    }
}

fn period_of(plan: &Poll) -> Duration {
    Duration::from_millis(u64::from(plan.period_ms))
}
