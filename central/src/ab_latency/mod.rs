//! `ab-latency`: the same live events over JetStream and over the edges' mirror on core NATS, side by side.
//!
//! It only reads: a subscription, and an ephemeral consumer per stream that acknowledges nothing and takes no message from central.

mod comparison;
mod histogram;

pub use comparison::{LatencyPeriod, WayLatency};

use std::time::Duration;

use anyhow::Context as _;
use async_nats::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures_util::stream::{BoxStream, select_all};
use futures_util::{StreamExt as _, TryStreamExt as _};
use marketprism_schema::{SubjectFilter, core_mirror_subject};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::broker::Broker;
use crate::clock;
use crate::ingest::{decode, split};
use crate::limits;

use comparison::{Comparison, EventArrival};

/// DeliveryPath of an event to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryPath {
    Core,
    JetStream,
}

pub struct AbLatency<'a> {
    pub broker: &'a Broker,
    pub filter: SubjectFilter,
    pub length: Duration,
    /// Periods begin at whole multiples of it.
    pub every: Duration,
    /// Ends it early.
    pub stop: CancellationToken,
}

/// A message and the time at which it came.
struct Stamped {
    way: DeliveryPath,
    at_ns: i64,
    message: Message,
}

impl AbLatency<'_> {
    /// `each` gets every period when it is over, the last one at the end; `on_progress` the time so far.
    pub async fn run(
        self,
        on_progress: &(dyn Fn(Duration) + Sync),
        mut each: impl FnMut(&LatencyPeriod) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let (sender, mut stamped) = mpsc::channel(limits::AB_MESSAGES);
        // JetStream first: what the mirror sends before its consumer exists has no pair.
        let streams = self.streams().await?;
        let core = self.broker.client.subscribe(core_mirror_subject(self.filter.as_str())).await;
        let core = core.context("cannot subscribe to the mirror")?;
        self.broker.client.flush().await.context("the broker does not answer")?;
        let _core = read(DeliveryPath::Core, core.map(Ok).boxed(), sender.clone());
        let _streams = read(DeliveryPath::JetStream, streams, sender);
        let (began, began_ns) = (Instant::now(), clock::now_ns());
        let mut comparison = Comparison::new(began_ns, self.every);
        let (mut pairs, mut failed) = (0, None);
        while failed.is_none() && began.elapsed() < self.length && !self.stop.is_cancelled() {
            let left = self.length.saturating_sub(began.elapsed()).min(limits::MEASURE_TICK);
            tokio::select! {
                received = timeout(left, stamped.recv()) => match received {
                    Ok(Some(Ok(message))) => arrivals(&message).iter().for_each(|one| comparison.add(one)),
                    Ok(Some(Err(error))) => failed = Some(error),
                    Ok(None) => failed = Some(anyhow::anyhow!("both subscriptions ended")),
                    Err(_elapsed) => {}
                },
                () = self.stop.cancelled() => {}
            }
            on_progress(began.elapsed());
            if let Some(period) = comparison.ended(clock::now_ns()) {
                pairs += period.pairs;
                each(&period)?;
            }
        }
        let last = comparison.close(clock::now_ns());
        pairs += last.pairs;
        // Also after a failure: the figures so far hold.
        each(&last)?;
        failed.map_or(Ok(pairs), Err)
    }

    /// New messages of every stream that has events of the filter.
    async fn streams(&self) -> anyhow::Result<BoxStream<'static, anyhow::Result<Message>>> {
        let mut all = Vec::new();
        for name in self.filter.streams() {
            let what = || format!("stream {name}");
            let stream = self.broker.jetstream.get_stream(name).await.with_context(what)?;
            let config = pull::OrderedConfig {
                filter_subject: self.filter.as_str().to_owned(),
                deliver_policy: DeliverPolicy::New,
                ..pull::OrderedConfig::default()
            };
            let consumer = stream.create_consumer(config).await.with_context(what)?;
            let messages = consumer.messages().await.with_context(what)?;
            let message = messages
                .map_ok(|message| message.message)
                .map_err(move |error| anyhow::Error::new(error).context(format!("stream {name}")));
            all.push(message.boxed());
        }
        Ok(select_all(all).boxed())
    }
}

/// Stamps messages as they come. When the comparison is slower, it waits, and latencies rise on both ways.
fn read(
    way: DeliveryPath,
    mut messages: BoxStream<'static, anyhow::Result<Message>>,
    sender: mpsc::Sender<anyhow::Result<Stamped>>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let stamped = message.map(|message| Stamped { way, at_ns: clock::now_ns(), message });
            if sender.send(stamped).await.is_err() {
                return;
            }
        }
    }))
}

/// The events of a message, all of which came with it; nothing in place of one that cannot be read.
fn arrivals(stamped: &Stamped) -> Vec<Option<EventArrival>> {
    let Ok(events) = split(&stamped.message) else { return vec![None] };
    let arrival = |place| {
        let event = decode(&events, place).ok()?;
        let header = &event.header;
        Some(EventArrival {
            way: stamped.way,
            event_id: header.event_id,
            at_ns: stamped.at_ns,
            latency_ns: stamped.at_ns.saturating_sub(header.received_at_ns),
        })
    };
    (0..events.len()).map(arrival).collect()
}
