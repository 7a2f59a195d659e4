//! Pull subscription of one stream, and acknowledgements.

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::consumer::pull::Stream as Pull;
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::jetstream::{AckKind, ErrorCode};
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
    /// Every message up to here is acknowledged, or the consumer began after it.
    pub acknowledged: u64,
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
    // The start of this process has created all of them.
    if init::ensure_stream(&shared.broker.jetstream, stream, false).await? == init::ObjectResult::Created {
        tracing::error!(
            stream = name,
            "the stream was deleted at the broker; it is created again, messages that it held are lost"
        );
    }
    let handle = shared.broker.jetstream.get_stream(name).await?;
    let consumer_name = init::consumer_name(name);
    let consumer: Consumer<pull::Config> = match handle.consumer_info(&consumer_name).await {
        Ok(_) => within("open the consumer", handle.get_consumer(&consumer_name))
            .await?
            .map_err(|error| anyhow!("cannot open consumer {consumer_name}: {error}"))?,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            tracing::error!(
                stream = name,
                consumer = consumer_name,
                "the consumer was deleted at the broker; it is created again, known messages are recognized"
            );
            create_consumer(shared, stream, DeliverPolicy::All).await?
        }
        Err(error) => return Err(error).with_context(|| format!("cannot query consumer {consumer_name}")),
    };
    let created = handle.cached_info().created.unix_timestamp_nanos();
    let info = consumer.cached_info();
    Ok(Subscription {
        stream_created_ns: i64::try_from(created).context("creation time of the stream is out of range")?,
        consumer_created_ns: info.created.unix_timestamp_nanos(),
        delivered: info.delivered.stream_sequence,
        acknowledged: info.ack_floor.stream_sequence,
        consumer,
    })
}

async fn create_consumer(
    shared: &CentralContext,
    stream: &Stream,
    deliver_policy: DeliverPolicy,
) -> anyhow::Result<Consumer<pull::Config>> {
    let wanted = pull::Config { deliver_policy, ..init::wanted_consumer(stream, shared.config.ack_wait) };
    let name = stream.settings.name;
    within("create the consumer", shared.broker.jetstream.create_consumer_on_stream(wanted, name))
        .await?
        .with_context(|| format!("cannot create the consumer of stream {name}"))
}

/// Makes the broker deliver every message from a sequence on again. No message may be in memory: later acknowledgements would hit others.
pub async fn rewind(shared: &CentralContext, stream: &Stream, from: u64) -> anyhow::Result<()> {
    let name = init::consumer_name(stream.settings.name);
    within("send the last acknowledgements", shared.broker.client.flush()).await??;
    let handle =
        within("query the stream", shared.broker.jetstream.get_stream(stream.settings.name)).await??;
    let deleted = within("delete the consumer", handle.delete_consumer(&name)).await?;
    if let Err(error) = deleted
        && !matches!(error.kind(), ConsumerErrorKind::JetStream(ref answer) if answer.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
    {
        return Err(error).with_context(|| format!("cannot delete consumer {name}"));
    }
    create_consumer(shared, stream, DeliverPolicy::ByStartSequence { start_sequence: from }).await.map(drop)
}

impl Subscription {
    pub async fn messages(&self, stream: &str) -> anyhow::Result<Pull> {
        let (messages, bytes) = prefetch(stream);
        let pull = self
            .consumer
            .stream()
            .max_messages_per_batch(messages)
            .max_bytes_per_batch(bytes)
            .expires(limits::PULL_EXPIRES)
            .heartbeat(limits::PULL_HEARTBEAT)
            .messages();
        within("open the pull", pull).await?.context("cannot pull messages")
    }
}

/// Messages and bytes of a pull request.
fn prefetch(stream: &str) -> (usize, usize) {
    use marketprism_schema::{DataType, stream_of};
    match stream {
        name if name == stream_of(DataType::OrderBook) => {
            (limits::PREFETCH_EVENTS, limits::PREFETCH_ORDER_BOOK_BYTES)
        }
        name if name == stream_of(DataType::Trade) => (limits::PREFETCH_EVENTS, limits::PREFETCH_BYTES),
        _ => (limits::PREFETCH_AUDITS, limits::PREFETCH_BYTES),
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
