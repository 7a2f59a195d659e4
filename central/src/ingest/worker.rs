//! The worker of one stream: takes messages, fills batches, sends them on their way.

use std::sync::Arc;

use anyhow::anyhow;
use async_nats::jetstream::consumer::pull::Stream as Pull;
use async_nats::jetstream::{self, AckKind};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::ack::acknowledge;
use super::batch::Batch;
use super::deliver::{Delivered, deliver};
use super::shared::{Backoff, Shared};
use super::sort::Sorter;
use super::subscription::{self, Subscription};
use crate::config::Stream;
use crate::limits;

/// The worker of one stream.
pub struct Worker {
    shared: Arc<Shared>,
    stream: Stream,
    sorter: Sorter,
    /// Batches on their way, at most `batch.max_in_flight` and one more a table.
    deliveries: JoinSet<Delivered>,
}

/// Why pulling ended.
enum End {
    /// We were told to stop.
    Stopped,
    /// The pull broke and must be made anew.
    Lost(String),
}

impl Worker {
    /// A worker that has not begun.
    pub fn new(shared: Arc<Shared>, stream: Stream) -> Self {
        let sorter = Sorter::new(Arc::clone(&shared), &stream);
        Self { shared, stream, sorter, deliveries: JoinSet::new() }
    }

    /// Name of the stream, and of its part of the status.
    pub fn stream_name(&self) -> &'static str {
        self.stream.settings.name
    }

    /// Works until told to stop, then flushes. An error means that the state of memory is not known any more: the process must end, and
    /// the broker delivers again what was not acknowledged.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let name = self.stream_name();
        let mut consumer_seen = None;
        let mut backoff = Backoff::new();
        while !shutdown.is_cancelled() {
            let started = tokio::select! {
                () = shutdown.cancelled() => break,
                started = self.start(&mut consumer_seen) => started,
            };
            let reason = match started {
                Ok(mut messages) => {
                    self.shared.status.clear(name);
                    tracing::info!(stream = name, "taking messages");
                    backoff = Backoff::new();
                    self.shared.metrics.subscriptions_active.inc();
                    let end = self.pull(&mut messages, &shutdown).await;
                    self.shared.metrics.subscriptions_active.dec();
                    match end? {
                        End::Stopped => {
                            self.give_back(&mut messages).await;
                            break;
                        }
                        End::Lost(reason) => reason,
                    }
                }
                Err(error) => format!("{error:#}"),
            };
            if self.shared.status.fail(name, reason.clone()) {
                tracing::warn!(stream = name, reason, "not taking messages; trying again, nothing is lost");
            }
            // What is at hand must not wait for the broker.
            self.close_if(|_| true);
            sleep(backoff.pause()).await;
        }
        self.flush().await
    }

    async fn start(&mut self, consumer_seen: &mut Option<i128>) -> anyhow::Result<Pull> {
        let Subscription { messages, consumer_created_ns } =
            subscription::open(&self.shared, &self.stream).await?;
        if *consumer_seen != Some(consumer_created_ns) {
            self.sorter.read_high_marks().await?;
            *consumer_seen = Some(consumer_created_ns);
        }
        Ok(messages)
    }

    async fn pull(&mut self, messages: &mut Pull, shutdown: &CancellationToken) -> anyhow::Result<End> {
        let limits = self.shared.config.batch.clone();
        loop {
            let deadline = self.sorter.deadline(limits.max_age);
            let may_take = self.deliveries.len() < limits.max_in_flight;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(End::Stopped),
                Some(delivered) = self.deliveries.join_next() => self.settle(delivered)?,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    let now = std::time::Instant::now();
                    self.close_if(|batch| batch.deadline(limits.max_age) <= now);
                }
                item = messages.next(), if may_take => match item {
                    Some(Ok(message)) => {
                        if let Some(reason) = self.turn(message, messages).await {
                            return Ok(End::Lost(reason));
                        }
                    }
                    Some(Err(error)) => return Ok(End::Lost(error.to_string())),
                    None => return Ok(End::Lost("the pull ended".to_owned())),
                },
            }
        }
    }

    /// Handles the messages that are there, up to a bound. Returns why the pull broke, if it did.
    async fn turn(&mut self, first: jetstream::Message, messages: &mut Pull) -> Option<String> {
        let started = std::time::Instant::now();
        let mut count = 1_u32;
        let mut broken = None;
        self.sorter.take(first);
        while usize::try_from(count).is_ok_and(|count| count < limits::MESSAGES_A_TURN) {
            match messages.next().now_or_never() {
                Some(Some(Ok(message))) => self.sorter.take(message),
                Some(Some(Err(error))) => {
                    broken = Some(error.to_string());
                    break;
                }
                Some(None) | None => break,
            }
            count += 1;
        }
        let seconds = started.elapsed().as_secs_f64() / f64::from(count);
        self.shared.metrics.hops.decode.with_label_values(&[self.stream_name()]).observe(seconds);
        self.sorter.end_turn().await;
        let limits = self.shared.config.batch.clone();
        self.close_if(|batch| batch.is_full(&limits));
        broken
    }

    fn close_if(&mut self, is_due: impl Fn(&Batch) -> bool) {
        for batch in self.sorter.close_if(is_due) {
            self.deliveries.spawn(deliver(Arc::clone(&self.shared), batch));
        }
    }

    fn settle(&mut self, delivered: Result<Delivered, JoinError>) -> anyhow::Result<()> {
        match delivered {
            Ok(delivered) => self.sorter.settle(delivered),
            Err(error) => {
                // Ids of the batch would count as in flight for ever, and their messages be passed over.
                return Err(anyhow!("a delivery of stream {} broke off: {error}", self.stream_name()));
            }
        }
        Ok(())
    }

    /// Messages asked for ahead go back, so that whoever comes next gets them at once.
    async fn give_back(&mut self, messages: &mut Pull) {
        let mut replies = Vec::new();
        while let Some(Some(Ok(message))) = messages.next().now_or_never() {
            replies.extend(message.message.reply);
        }
        acknowledge(&self.shared.broker.client, replies.iter(), AckKind::Nak(None)).await;
    }

    /// Brings what is at hand into hot, within the deadline. What is left is delivered again.
    async fn flush(mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + limits::FLUSH_DEADLINE;
        loop {
            self.close_if(|_| true);
            match timeout_at(deadline, self.deliveries.join_next()).await {
                Ok(Some(delivered)) => self.settle(delivered)?,
                Ok(None) => return Ok(()),
                Err(_) => {
                    let (stream, batches) = (self.stream_name(), self.deliveries.len());
                    tracing::warn!(stream, batches, "not flushed in time; the messages are delivered again");
                    self.deliveries.shutdown().await;
                    return Ok(());
                }
            }
        }
    }
}
