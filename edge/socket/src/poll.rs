//! Requests on a schedule.

use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::contract::{Poll, Request};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::backoff::random_up_to;
use crate::clock::wall_ns;
use crate::context::FeedContext;
use crate::counters::Counted;
use crate::error::RequestFailure;
use crate::input::{Frame, Input};
use crate::rest::RestClient;

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
    Failed,
    /// The feed stops.
    Stopped,
}

impl Requester {
    /// Fetches and hands the answer, or the failure, to the pipeline.
    pub(crate) async fn run(&self, source: u32, request: &Request) -> Outcome {
        let fetched = async {
            let _turn = self.at_once.acquire().await;
            self.client.fetch(&self.feed.budgets, request).await
        };
        let fetched = tokio::select! {
            biased;
            () = self.feed.stop.cancelled() => return Outcome::Stopped,
            fetched = fetched => fetched,
        };
        match fetched {
            Ok(data) => {
                let frame = Frame { source, generation: 0, received_at_ns: wall_ns(), data };
                if self.feed.deliver(Input::Frame(frame)).await.is_err() {
                    self.feed.counters.count(Counted::DiscardedAnswerStopping);
                    return Outcome::Stopped;
                }
                Outcome::Answered
            }
            Err(reason) => self.failed(source, reason).await,
        }
    }

    async fn failed(&self, source: u32, reason: RequestFailure) -> Outcome {
        tracing::warn!(source, %reason, "request given up for now");
        let failed = Input::RequestFailed { source, reason, at_ns: wall_ns() };
        match self.feed.deliver(failed).await {
            Ok(_) => Outcome::Failed,
            Err(_) => Outcome::Stopped,
        }
    }
}

/// The times of a poll: multiples of the period after its first time, each a little late by chance.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: Instant,
    period: Duration,
}

impl Schedule {
    /// The polls of a feed are spread evenly over the period, so that they do not come in bursts.
    pub(crate) fn new(start: Instant, period: Duration, index: usize, count: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        Self { next: start + period / count * index, period }
    }

    /// When to poll.
    fn at(&self) -> Instant {
        self.next + random_up_to(self.period / 20)
    }

    /// Sets the next time after `now` and gives how many were passed over.
    fn advance(&mut self, now: Instant) -> u64 {
        let mut skipped = 0;
        self.next += self.period;
        while self.next < now {
            self.next += self.period;
            skipped += 1;
        }
        skipped
    }
}

/// Repeats a request until the feed stops. The next one begins only when the one before has ended.
pub(crate) async fn run(requester: Arc<Requester>, source: u32, poll: Poll, mut schedule: Schedule) {
    let feed = &requester.feed;
    loop {
        tokio::select! {
            biased;
            () = feed.stop.cancelled() => return,
            () = sleep_until(schedule.at()) => {}
        }
        match requester.run(source, &poll.request).await {
            Outcome::Answered => feed.counters.count(Counted::PollsAnswered),
            Outcome::Failed => feed.counters.count(Counted::PollsFailed),
            Outcome::Stopped => return,
        }
        let skipped = schedule.advance(Instant::now());
        feed.counters.add(Counted::PollsSkippedLate, skipped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a poll that takes too long passes over its missed times and counts them; the phase stays.
    /// Method: a simulated clock.
    #[test]
    fn missed_times_are_passed_over() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(start, second * 10, 1, 4);
        assert_eq!(schedule.next, start + Duration::from_millis(2500));
        assert_eq!(schedule.advance(start + second * 3), 0);
        assert_eq!(schedule.next, start + Duration::from_millis(12_500));
        assert_eq!(schedule.advance(start + second * 45), 3);
        assert_eq!(schedule.next, start + Duration::from_millis(52_500));
    }
}
