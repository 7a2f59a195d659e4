//! Worker of one owned stream: takes messages, fills batches, starts inserts.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::consumer::pull::Stream as Pull;
use async_nats::jetstream::{self, AckKind};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::dedup::Deduplicator;
use super::gap_scan::{self, ScanVerdict};
use super::insert::InsertGuard;
use super::insert_task::{InsertResult, store_batch};
use super::put_back;
use super::running_inserts::no_insert_runs;
use super::stream_progress::StreamProgress;
use super::subscription::{self, Subscription, acknowledge};
use crate::config::Stream;
use crate::context::CentralContext;
use crate::limits;
use crate::time::ticks;

pub struct Worker {
    shared: Arc<CentralContext>,
    stream: Stream,
    guard: Arc<InsertGuard>,
    dedup: Deduplicator,
    progress: StreamProgress,
    /// Batches in flight: at most `batch.max_in_flight`, and one more per table.
    inserts: JoinSet<InsertResult>,
    in_flight: BTreeMap<u64, u64>,
    last_number: u64,
    /// Hot was put back to an earlier state, and the stream is not recovered yet.
    is_put_back: bool,
}

enum PullEnd {
    /// Stop requested, or another central wants the stream.
    Stopped,
    /// The lease is lost: nothing may be inserted.
    LeaseLost,
    Broken(String),
}

impl Worker {
    pub fn new(shared: Arc<CentralContext>, stream: Stream, guard: Arc<InsertGuard>) -> Self {
        let dedup = Deduplicator::new(Arc::clone(&shared), &stream);
        let progress = StreamProgress::new(Arc::clone(&shared), stream.settings.name);
        Self {
            shared,
            stream,
            guard,
            dedup,
            progress,
            inserts: JoinSet::new(),
            in_flight: BTreeMap::new(),
            last_number: 0,
            is_put_back: false,
        }
    }

    fn stream_name(&self) -> &'static str {
        self.stream.settings.name
    }

    /// Works until `stop`, until another central wants the stream, or until the lease is lost. After an error the state in
    /// memory is unknown: the process must end, and the broker redelivers what was not acknowledged.
    pub async fn run(mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let name = self.stream_name();
        let guard = Arc::clone(&self.guard);
        let lost = guard.lease().lost();
        let mut backoff = limits::BACKOFF;
        loop {
            let started = tokio::select! {
                biased;
                () = lost.cancelled() => return Ok(()),
                () = stop.cancelled() => break,
                started = self.start() => started,
            };
            let reason = match started {
                Ok(mut messages) => {
                    self.shared.status.clear(name);
                    tracing::info!(stream = name, "pulling messages");
                    backoff.reset();
                    self.shared.metrics.subscriptions_active.inc();
                    let end = self.pull(&mut messages, stop).await;
                    self.shared.metrics.subscriptions_active.dec();
                    match end? {
                        PullEnd::Stopped => {
                            self.return_prefetched(&mut messages).await;
                            break;
                        }
                        PullEnd::LeaseLost => return Ok(()),
                        PullEnd::Broken(reason) => reason,
                    }
                }
                Err(error) => format!("{error:#}"),
            };
            if self.shared.status.fail(name, reason.clone()) {
                tracing::warn!(stream = name, reason, "cannot pull messages; retrying, no message is lost");
            }
            // Rows in memory must not wait for the broker.
            self.close_if(|_| true);
            tokio::select! {
                () = lost.cancelled() => return Ok(()),
                () = stop.cancelled() => break,
                () = sleep(backoff.pause()) => {}
            }
        }
        tokio::select! {
            biased;
            () = lost.cancelled() => Ok(()),
            flushed = self.flush() => flushed,
        }
    }

    async fn start(&mut self) -> anyhow::Result<Pull> {
        let mut found = subscription::open(&self.shared, &self.stream).await?;
        self.shared.hot_clock.read(&self.shared.storage, limits::QUERY_TIMEOUT).await?;
        if self.progress.is_other_stream(&found) {
            self.begin_stream().await?;
        }
        // Before the first message: an event that an edge sends again would be stored beside its row that comes back from cold.
        if !self.is_put_back
            && let Some(reason) = gap_scan::put_back_before(&self.shared, &found, self.stream_name()).await?
        {
            self.hot_is_put_back(&reason);
        }
        if self.is_put_back {
            self.recover(&found).await.context("hot was put back to an earlier state")?;
            found = subscription::open(&self.shared, &self.stream).await?;
        }
        if self.progress.is_other_consumer(&found) {
            self.dedup.begin_consumer(found.delivered).await?;
        }
        self.progress.begin(&found).await?;
        found.messages(self.stream_name()).await
    }

    /// The stream was recreated. Messages in memory belong to the earlier one: they are stored, but not acknowledged.
    async fn begin_stream(&mut self) -> anyhow::Result<()> {
        let stream = self.stream_name();
        tracing::warn!(stream, "the stream was deleted and recreated; sequences start at 1 again");
        let incarnation = self.guard.next_incarnation();
        self.progress.record_deleted_stream().await?;
        self.store_all().await?;
        self.dedup.begin_stream(incarnation);
        Ok(())
    }

    async fn recover(&mut self, found: &Subscription) -> anyhow::Result<()> {
        put_back::create_missing_tables(&self.shared).await?;
        self.store_all().await?;
        no_insert_runs(&self.shared, self.stream_name()).await;
        let upto = self.progress.taken().max(found.delivered);
        put_back::recover(&self.shared, &self.stream, found, upto).await?;
        self.dedup.forget();
        self.progress.forget().await;
        self.is_put_back = false;
        Ok(())
    }

    /// Stores and acknowledges what is in memory, however long that takes.
    async fn store_all(&mut self) -> anyhow::Result<()> {
        self.close_if(|_| true);
        while let Some(result) = self.inserts.join_next().await {
            self.finish_insert(result).await?;
            self.close_if(|_| true);
        }
        Ok(())
    }

    async fn pull(&mut self, messages: &mut Pull, stop: &CancellationToken) -> anyhow::Result<PullEnd> {
        let limits = self.shared.config.batch.clone();
        let guard = Arc::clone(&self.guard);
        let mut ticks = ticks(limits::CONFIRM_POLL);
        loop {
            let deadline = self.dedup.open.deadline(&limits);
            let may_take = self.inserts.len() < limits.max_in_flight;
            tokio::select! {
                biased;
                () = guard.lease().lost().cancelled() => return Ok(PullEnd::LeaseLost),
                () = stop.cancelled() => return Ok(PullEnd::Stopped),
                Some(result) = self.inserts.join_next() => self.finish_insert(result).await?,
                found = self.progress.scan_result() => {
                    match self.progress.apply_scan(found)? {
                        None | Some(ScanVerdict::Done(_)) => {}
                        Some(ScanVerdict::Resubscribe(reason)) => return Ok(PullEnd::Broken(reason)),
                        Some(ScanVerdict::PutBack(reason)) => {
                            self.hot_is_put_back(&reason);
                            return Ok(PullEnd::Broken(reason));
                        }
                    }
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    let now = std::time::Instant::now();
                    self.close_if(|batch| batch.deadline(&limits) <= now);
                }
                _ = ticks.tick() => {
                    if guard.lease().is_wanted() {
                        return Ok(PullEnd::Stopped);
                    }
                    let lowest = self.lowest_open();
                    self.progress.start_scan(lowest);
                }
                item = messages.next(), if may_take => match item {
                    Some(Ok(message)) => {
                        if let Some(reason) = self.turn(message, messages).await {
                            return Ok(PullEnd::Broken(reason));
                        }
                    }
                    Some(Err(error)) => return Ok(PullEnd::Broken(error.to_string())),
                    None => return Ok(PullEnd::Broken("the pull ended".to_owned())),
                },
            }
        }
    }

    fn hot_is_put_back(&mut self, reason: &str) {
        let stream = self.stream_name();
        tracing::error!(stream, reason, "hot lost rows; they are taken in again from cold and the broker");
        self.shared.metrics.put_back.with_label_values(&[stream]).inc();
        self.is_put_back = true;
    }

    /// Handles the available messages, up to a bound of events. Returns the reason if the pull failed.
    async fn turn(&mut self, first: jetstream::Message, messages: &mut Pull) -> Option<String> {
        let started = std::time::Instant::now();
        let mut broken = None;
        self.take(first);
        while self.dedup.events_of_turn < limits::EVENTS_A_TURN {
            match messages.next().now_or_never() {
                Some(Some(Ok(message))) => self.take(message),
                Some(Some(Err(error))) => {
                    broken = Some(error.to_string());
                    break;
                }
                Some(None) | None => break,
            }
        }
        let events = u32::try_from(self.dedup.events_of_turn).unwrap_or(u32::MAX).max(1);
        let seconds = started.elapsed().as_secs_f64() / f64::from(events);
        self.shared.metrics.hops.decode.with_label_values(&[self.stream_name()]).observe(seconds);
        self.dedup.end_turn().await;
        let limits = self.shared.config.batch.clone();
        self.close_if(|batch| batch.is_full(&limits));
        broken
    }

    fn take(&mut self, message: jetstream::Message) {
        if let Some(sequence) = self.dedup.take(message) {
            self.progress.take(sequence);
        }
    }

    fn close_if(&mut self, is_due: impl Fn(&Batch) -> bool) {
        for batch in self.dedup.open.close_if(is_due) {
            self.last_number += 1;
            let number = self.last_number;
            self.in_flight.insert(number, batch.lowest);
            self.inserts.spawn(store_batch(Arc::clone(&self.shared), Arc::clone(&self.guard), number, batch));
        }
    }

    async fn finish_insert(&mut self, result: Result<InsertResult, JoinError>) -> anyhow::Result<()> {
        match result {
            Ok(result) => {
                self.in_flight.remove(&result.number);
                self.dedup.apply_result(result).await;
            }
            Err(error) => {
                // The ids of the batch would stay in flight forever, and redeliveries of its messages be ignored.
                return Err(anyhow!("insert task for stream {} panicked: {error}", self.stream_name()));
            }
        }
        Ok(())
    }

    fn lowest_open(&self) -> Option<u64> {
        self.in_flight.values().copied().chain(self.dedup.lowest_open()).min()
    }

    /// Returns prefetched messages, so that the next owner gets them at once.
    async fn return_prefetched(&mut self, messages: &mut Pull) {
        let mut replies = Vec::new();
        while let Some(Some(Ok(message))) = messages.next().now_or_never() {
            replies.extend(message.message.reply);
        }
        acknowledge(&self.shared.broker.client, replies.iter(), AckKind::Nak(None)).await;
    }

    /// Stores what is in memory, within the deadline. The rest is redelivered.
    async fn flush(mut self) -> anyhow::Result<()> {
        let stream = self.stream_name();
        let deadline = Instant::now() + limits::FLUSH_DEADLINE;
        loop {
            self.close_if(|_| true);
            match timeout_at(deadline, self.inserts.join_next()).await {
                Ok(Some(result)) => self.finish_insert(result).await?,
                Ok(None) => break,
                Err(_) => {
                    let batches = self.inserts.len();
                    tracing::warn!(stream, batches, "flush timed out; unstored messages will be redelivered");
                    self.inserts.shutdown().await;
                    break;
                }
            }
        }
        // The next owner needs the acknowledgements and the confirmed sequence.
        if timeout(limits::CLOSE_DEADLINE, self.shared.broker.client.flush()).await.is_err() {
            tracing::warn!(
                stream,
                "the last acknowledgements may be unsent; their messages would be redelivered"
            );
        }
        let lowest = self.lowest_open();
        self.progress.last_scan(lowest).await;
        Ok(())
    }
}
