//! Worker of one owned partition of a stream: takes messages, fills batches, starts inserts.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use async_nats::jetstream::AckKind;
use futures_util::FutureExt as _;
use marketprism_schema::DataType;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::ack_window::AckWindow;
use super::batch::Batch;
use super::dedup::Deduplicator;
use super::gap_scan::{self, ScanVerdict};
use super::insert::InsertGuard;
use super::insert_task::{InsertResult, store_batch};
use super::message::{Delivery, NOT_FROM_A_STREAM};
use super::other_partitions::{OtherPartitions, no_insert_runs};
use super::put_back;
use super::stream_progress::StreamProgress;
use super::subscription::{self, Subscription, acknowledge};
use super::table_pulls::{PulledMessage, TablePulls};
use crate::config::{BatchLimits, Partition, Stream};
use crate::context::CentralContext;
use crate::init::ConsumerSpec;
use crate::limits;
use crate::row::Target;
use crate::time::ticks;

pub struct Worker {
    shared: Arc<CentralContext>,
    stream: Stream,
    partition: Partition,
    /// Name of the partition.
    part: String,
    guard: Arc<InsertGuard>,
    dedup: Deduplicator,
    progress: StreamProgress,
    /// Of each consumer, with the type of its events.
    windows: Vec<(Option<DataType>, AckWindow)>,
    /// Batches in flight: of each table at most `batch.max_in_flight` and one more.
    inserts: JoinSet<InsertResult>,
    in_flight: BTreeMap<Target, usize>,
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
    pub fn new(
        shared: Arc<CentralContext>,
        stream: Stream,
        partition: Partition,
        guard: Arc<InsertGuard>,
    ) -> Self {
        let dedup = Deduplicator::new(Arc::clone(&shared), &stream);
        let progress = StreamProgress::new(Arc::clone(&shared), partition);
        let windows = ConsumerSpec::of(&stream.settings, partition).into_iter();
        let windows = windows.map(|spec| (spec.data_type, AckWindow::default())).collect();
        Self {
            shared,
            stream,
            partition,
            part: partition.name(),
            guard,
            dedup,
            progress,
            windows,
            inserts: JoinSet::new(),
            in_flight: BTreeMap::new(),
            is_put_back: false,
        }
    }

    fn stream_name(&self) -> &'static str {
        self.stream.settings.name
    }

    /// Works until `stop`, until another central wants the stream, or until the lease is lost. After an error the state in
    /// memory is unknown: the process must end, and the broker redelivers what was not acknowledged.
    pub async fn run(mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let name = self.part.clone();
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
                    self.shared.status.clear(&name);
                    tracing::info!(stream = name, "pulling messages");
                    backoff.reset();
                    self.shared.metrics.subscriptions_active.inc();
                    let end = self.pull(&mut messages, stop).await;
                    self.shared.metrics.subscriptions_active.dec();
                    match end? {
                        // Prefetched messages come to the next owner, which begins behind the acknowledged ones.
                        PullEnd::Stopped => break,
                        PullEnd::LeaseLost => return Ok(()),
                        PullEnd::Broken(reason) => reason,
                    }
                }
                Err(error) => format!("{error:#}"),
            };
            if self.shared.status.fail(&name, reason.clone()) {
                tracing::warn!(stream = name, reason, "cannot pull messages; retrying, no message is lost");
            }
            // Another central may do better, or recovers the whole stream.
            if guard.lease().is_wanted() {
                break;
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

    async fn start(&mut self) -> anyhow::Result<TablePulls> {
        let mut found = subscription::open(&self.shared, &self.stream, self.partition).await?;
        self.shared.hot_clock.read(&self.shared.storage, limits::QUERY_TIMEOUT).await?;
        // No insert waits for it.
        self.shared.storage.deduplication().await?;
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
            found = subscription::open(&self.shared, &self.stream, self.partition).await?;
        }
        let found = subscription::resume(&self.shared, &self.stream, self.partition, found).await?;
        if self.progress.is_other_consumer(&found) {
            self.dedup.begin_consumer(found.delivered).await?;
        }
        self.progress.begin(&found).await?;
        for ((_, window), consumer) in self.windows.iter_mut().zip(&found.consumers) {
            window.restart(consumer.deliveries + 1);
        }
        found.pulls(&self.shared.broker.client).await.map(TablePulls::new)
    }

    /// The stream was recreated. Messages in memory belong to the earlier one: they are stored, but not acknowledged.
    async fn begin_stream(&mut self) -> anyhow::Result<()> {
        let stream = self.stream_name();
        tracing::warn!(stream, "the stream was deleted and recreated; sequences start at 1 again");
        self.windows.iter_mut().for_each(|(_, window)| window.forget());
        self.store_all().await?;
        if self.partition.is_first() {
            let others = OtherPartitions::take(&self.shared, &self.stream).await?;
            let recorded = self.progress.record_deleted_stream().await;
            others.release().await;
            recorded?;
        }
        self.dedup.begin_stream();
        Ok(())
    }

    async fn recover(&mut self, found: &Subscription) -> anyhow::Result<()> {
        if !self.partition.is_first() {
            if gap_scan::put_back_before(&self.shared, found, self.stream_name()).await?.is_some() {
                bail!("the owner of partition {} recovers it", self.stream_name());
            }
            self.store_all().await?;
        } else {
            put_back::create_missing_tables(&self.shared).await?;
            let others = OtherPartitions::take(&self.shared, &self.stream).await?;
            let recovered = self.recover_stream(found).await;
            others.release().await;
            recovered?;
        }
        self.dedup.forget();
        self.progress.forget().await;
        self.is_put_back = false;
        Ok(())
    }

    /// Nobody else takes messages of the stream.
    async fn recover_stream(&mut self, found: &Subscription) -> anyhow::Result<()> {
        self.store_all().await?;
        no_insert_runs(&self.shared, &self.part).await;
        // The others may have taken more until now.
        let delivered = subscription::open(&self.shared, &self.stream, self.partition).await?.delivered;
        let upto = self.progress.taken().max(found.delivered).max(delivered);
        put_back::recover(&self.shared, &self.stream, found, upto).await
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

    async fn pull(&mut self, messages: &mut TablePulls, stop: &CancellationToken) -> anyhow::Result<PullEnd> {
        let limits = self.shared.config.batch.clone();
        let guard = Arc::clone(&self.guard);
        let mut ticks = ticks(limits::CONFIRM_POLL);
        // A message is kept alive between one and two of these intervals after its delivery.
        let mut keep_alive = crate::time::ticks(self.shared.config.ack_wait / 4);
        loop {
            let is_waited_for = self.has_few_deliveries_left(&limits);
            let deadline = self.dedup.open.deadline(&limits, is_waited_for);
            let may_take = self.tables_to_take(limits.max_in_flight);
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
                    self.close_if(|batch| batch.deadline(&limits, is_waited_for) <= now);
                }
                _ = ticks.tick() => {
                    if guard.lease().is_wanted() {
                        return Ok(PullEnd::Stopped);
                    }
                    let lowest = self.lowest_open();
                    self.progress.start_scan(lowest);
                }
                _ = keep_alive.tick() => self.keep_alive().await,
                first = messages.next(|place| may_take.get(place).copied().unwrap_or_default()) => {
                    if let Err(reason) = self.turn(first, messages, &may_take).await {
                        return Ok(PullEnd::Broken(reason));
                    }
                }
            }
        }
    }

    fn hot_is_put_back(&mut self, reason: &str) {
        let stream = &*self.part;
        tracing::error!(stream, reason, "hot lost rows; they are taken in again from cold and the broker");
        if self.partition.is_first() {
            self.shared.metrics.put_back.with_label_values(&[self.partition.stream]).inc();
        }
        self.is_put_back = true;
    }

    /// Consumers of which messages are taken: a table whose inserts wait holds up no other, unless all share it.
    fn tables_to_take(&self, max_in_flight: usize) -> Vec<bool> {
        let has_room = |target| self.in_flight.get(&target).is_none_or(|&batches| batches < max_in_flight);
        let is_common_free =
            [Target::Copies, Target::CorrectedEvents, Target::DeadLetters].into_iter().all(has_room);
        let is_free = |of: &Option<DataType>| {
            of.is_none_or(|of| has_room(Target::Events(of)) && self.dedup.has_room_for_duplicates(of))
        };
        self.windows.iter().map(|(of, _)| is_common_free && is_free(of)).collect()
    }

    /// Handles the available messages, up to a bound of events. Fails with the reason if a pull failed.
    async fn turn(
        &mut self,
        first: PulledMessage,
        messages: &mut TablePulls,
        may_take: &[bool],
    ) -> Result<(), String> {
        let started = std::time::Instant::now();
        let mut taken = self.take(first);
        while taken.is_ok() && self.dedup.events_of_turn < limits::EVENTS_A_TURN {
            let next = messages.next(|place| may_take.get(place).copied().unwrap_or_default());
            let Some(message) = next.now_or_never() else { break };
            taken = self.take(message);
        }
        messages.end_turn();
        let events = u32::try_from(self.dedup.events_of_turn).unwrap_or(u32::MAX).max(1);
        let seconds = started.elapsed().as_secs_f64() / f64::from(events);
        self.shared.metrics.hops.decode.with_label_values(&[self.stream_name()]).observe(seconds);
        self.dedup.end_turn();
        self.acknowledge_stored().await;
        let limits = self.shared.config.batch.clone();
        let span = limits.span(self.stream.settings.max_ack_pending);
        let spanned: Vec<Target> = self
            .windows
            .iter()
            .filter(|(_, window)| window.since_batch() >= span)
            .filter_map(|(of, _)| of.map(Target::Events))
            .collect();
        self.close_if(|batch| batch.is_full(&limits) || spanned.contains(&batch.target));
        taken
    }

    /// Beside the batches in flight at most an open one fits.
    fn has_few_deliveries_left(&self, limits: &BatchLimits) -> bool {
        let few = limits.span(self.stream.settings.max_ack_pending).saturating_mul(limits.max_in_flight);
        self.windows.iter().any(|(_, window)| window.len() >= few)
    }

    /// Fails if a delivery before this one was lost: an acknowledgement would cover it.
    fn take(&mut self, (place, message): PulledMessage) -> Result<(), String> {
        let message = message?;
        let Some((number, delivery)) = Delivery::numbered(&message) else {
            // A message without an acknowledgement subject did not come from a stream and cannot be acknowledged.
            self.shared.metrics.dead_letters.with_label_values(&[NOT_FROM_A_STREAM]).inc();
            tracing::error!(subject = &*message.message.subject, "dropped a message that no stream sent");
            return Ok(());
        };
        let sequence = delivery.stream_seq;
        let Some((_, window)) = self.windows.get_mut(place) else { return Ok(()) };
        let is_new = window.deliver(number, delivery, message.message.reply.clone());
        let is_new = is_new.map_err(|lost| lost.to_string())?;
        self.progress.take(sequence);
        if !self.partition.has(&message.message.subject) {
            window.finish(sequence, delivery.published_ns);
            self.dedup.events_of_turn += 1;
        } else if is_new {
            self.dedup.take(message, delivery);
        }
        Ok(())
    }

    /// Acknowledges what is stored, with one message for each consumer.
    async fn acknowledge_stored(&mut self) {
        for finished in self.dedup.finished.drain(..) {
            for (_, window) in self.windows.iter_mut().filter(|(of, _)| *of == finished.data_type) {
                window.finish(finished.stream_seq, finished.published_ns);
            }
        }
        // Late ones would reach the consumer of the next owner, with numbers of other deliveries.
        if !self.guard.may_continue() {
            return;
        }
        let due: Vec<_> = self.windows.iter_mut().filter_map(|(_, window)| window.take_ack()).collect();
        if !due.is_empty() {
            let failed = acknowledge(&self.shared.broker.client, due.iter(), AckKind::Ack).await;
            self.shared.metrics.ack_failures.inc_by(u64::try_from(failed).unwrap_or(u64::MAX));
        }
    }

    /// Keeps the broker from delivering again what waits for its insert.
    async fn keep_alive(&mut self) {
        let aged: Vec<_> = self.windows.iter_mut().flat_map(|(_, window)| window.aged()).collect();
        if !aged.is_empty() {
            acknowledge(&self.shared.broker.client, aged.iter(), AckKind::Progress).await;
        }
    }

    fn close_if(&mut self, is_due: impl Fn(&Batch) -> bool) {
        for batch in self.dedup.open.close_if(is_due) {
            *self.in_flight.entry(batch.target).or_default() += 1;
            let (shared, guard) = (Arc::clone(&self.shared), Arc::clone(&self.guard));
            self.inserts.spawn(store_batch(shared, guard, batch, self.progress.stream_created_ns()));
        }
        let open = &self.dedup.open;
        let without_batch =
            self.windows.iter_mut().filter(|(of, _)| of.is_some_and(|of| !open.has(Target::Events(of))));
        without_batch.for_each(|(_, window)| window.begin_batch());
    }

    async fn finish_insert(&mut self, result: Result<InsertResult, JoinError>) -> anyhow::Result<()> {
        match result {
            Ok(result) => {
                if let Some(batches) = self.in_flight.get_mut(&result.target) {
                    *batches = batches.saturating_sub(1);
                }
                self.dedup.apply_result(result);
                self.acknowledge_stored().await;
            }
            Err(error) => {
                // The ids of the batch would stay in flight forever, and redeliveries of its messages be ignored.
                return Err(anyhow!("insert task for stream {} panicked: {error}", self.stream_name()));
            }
        }
        Ok(())
    }

    fn lowest_open(&self) -> Option<u64> {
        self.windows.iter().filter_map(|(_, window)| window.lowest()).min()
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
