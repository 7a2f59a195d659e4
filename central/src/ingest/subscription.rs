//! Pull subscription of one stream, and acknowledgements.

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull::Stream as Pull;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::{Client, Subject};
use bytes::Bytes;
use tokio::time::timeout;

use crate::broker::within;
use crate::config::Stream;
use crate::context::CentralContext;
use crate::{init, limits};

pub struct Subscription {
    consumer: Consumer<pull::Config>,
    /// Creation time of the stream, nanoseconds since 1970. A new value means other messages.
    pub stream_created_ns: i64,
    /// Creation time of the consumer, nanoseconds. A new value means that everything is delivered again.
    pub consumer_created_ns: i128,
    /// Highest sequence delivered to anybody.
    pub delivered: u64,
}

/// Opens the consumer. Recreates a missing stream or consumer from the configuration.
pub async fn open(shared: &CentralContext, stream: &Stream) -> anyhow::Result<Subscription> {
    let limit = limits::BROKER_TIMEOUT * 4;
    timeout(limit, find(shared, stream))
        .await
        .map_err(|_| anyhow!("the broker did not answer within {} s", limit.as_secs()))?
}

async fn find(shared: &CentralContext, stream: &Stream) -> anyhow::Result<Subscription> {
    if !shared.broker.is_connected() {
        return Err(anyhow!("no connection to nats at {}", shared.config.nats.shown_urls()));
    }
    let name = stream.settings.name;
    if init::ensure_stream(&shared.broker.jetstream, stream, false).await? == init::ObjectResult::Created {
        tracing::warn!(stream = name, "created a missing stream");
    }
    let wanted = init::wanted_consumer(stream, shared.config.ack_wait);
    let consumer: Consumer<pull::Config> =
        shared.broker.jetstream.create_consumer_on_stream(wanted, name).await?;
    let handle = shared.broker.jetstream.get_stream(name).await?;
    let created = handle.cached_info().created.unix_timestamp_nanos();
    let info = consumer.cached_info();
    Ok(Subscription {
        stream_created_ns: i64::try_from(created).context("creation time of the stream is out of range")?,
        consumer_created_ns: info.created.unix_timestamp_nanos(),
        delivered: info.delivered.stream_sequence,
        consumer,
    })
}

impl Subscription {
    pub async fn messages(&self, stream: &str) -> anyhow::Result<Pull> {
        let pull = self
            .consumer
            .stream()
            .max_messages_per_batch(prefetch(stream))
            .expires(limits::PULL_EXPIRES)
            .heartbeat(limits::PULL_HEARTBEAT)
            .messages();
        within("open the pull", pull).await?.context("cannot pull messages")
    }
}

fn prefetch(stream: &str) -> usize {
    use marketprism_schema::{DataType, stream_of};
    match stream {
        name if name == stream_of(DataType::OrderBook) => limits::PREFETCH_ORDER_BOOKS,
        name if name == stream_of(DataType::Trade) => limits::PREFETCH_MARKET_DATA,
        _ => limits::PREFETCH_AUDITS,
    }
}

/// Sends one kind of acknowledgement for many messages; returns the number not sent within the timeout.
///
/// The broker does not confirm them: a lost one causes a redelivery, which is recognized.
pub async fn acknowledge<'a>(
    client: &Client,
    replies: impl ExactSizeIterator<Item = &'a Subject>,
    kind: AckKind,
) -> usize {
    let payload = Bytes::from(kind);
    let all = replies.len();
    let mut sent = 0;
    let sending = async {
        for reply in replies {
            if let Err(error) = client.publish(reply.clone(), payload.clone()).await {
                tracing::debug!(%error, "cannot send an acknowledgement");
                return;
            }
            sent += 1;
        }
    };
    if timeout(limits::ACK_TIMEOUT, sending).await.is_err() {
        tracing::warn!(all, "sending acknowledgements timed out; their messages will be redelivered");
    }
    all - sent
}
