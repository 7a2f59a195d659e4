//! Pull subscriptions of a partition, and acknowledgements.

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::consumer::pull::Stream as Pull;
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::jetstream::{AckKind, ErrorCode};
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures_util::future::try_join_all;
use marketprism_schema::DataType;
use tokio::time::timeout;

use crate::broker::within;
use crate::config::{Partition, Stream};
use crate::context::CentralContext;
use crate::init::ConsumerSpec;
use crate::{init, limits};

/// One consumer of a stream, as it was when the subscription began.
pub struct TableConsumer {
    spec: ConsumerSpec,
    consumer: Consumer<pull::Config>,
    /// Number of deliveries so far.
    pub deliveries: u64,
    /// Every message of its subjects up to here is acknowledged, or the consumer began after it.
    pub acknowledged: u64,
    has_unacknowledged: bool,
}

pub struct Subscription {
    /// Creation time of the stream, nanoseconds since 1970. A new value means other messages.
    pub stream_created_ns: i64,
    /// Last sequence of the stream.
    pub last: u64,
    /// Creation times of the consumers, nanoseconds. Other ones mean that everything is delivered again.
    pub consumers_created_ns: Vec<i128>,
    /// Highest sequence delivered to anybody; for the first partition, of all partitions.
    pub delivered: u64,
    /// Highest sequence that some consumer acknowledged, of the same ones.
    pub acknowledged: u64,
    pub consumers: Vec<TableConsumer>,
}

/// Opens the consumers. Recreates a missing stream or consumer from the configuration.
pub async fn open(
    shared: &CentralContext,
    stream: &Stream,
    partition: Partition,
) -> anyhow::Result<Subscription> {
    let limit = limits::BROKER_TIMEOUT * 4;
    timeout(limit, find(shared, stream, partition))
        .await
        .map_err(|_| anyhow!("the broker did not answer within {} s", limit.as_secs()))?
}

async fn find(
    shared: &CentralContext,
    stream: &Stream,
    partition: Partition,
) -> anyhow::Result<Subscription> {
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
    let partitions = init::partitions_of(&handle.cached_info().config);
    if partitions != partition.count {
        return Err(other_partitions(stream, partitions));
    }
    let created = handle.cached_info().created.unix_timestamp_nanos();
    let mut found = Subscription {
        stream_created_ns: i64::try_from(created).context("creation time of the stream is out of range")?,
        last: handle.cached_info().state.last_sequence,
        consumers_created_ns: Vec::new(),
        delivered: 0,
        acknowledged: 0,
        consumers: Vec::new(),
    };
    for spec in ConsumerSpec::of(&stream.settings, partition) {
        let consumer = find_consumer(shared, stream, &handle, &spec).await?;
        let info = consumer.cached_info();
        let acknowledged = info.ack_floor.stream_sequence;
        found.consumers_created_ns.push(info.created.unix_timestamp_nanos());
        found.delivered = found.delivered.max(info.delivered.stream_sequence);
        found.acknowledged = found.acknowledged.max(acknowledged);
        found.consumers.push(TableConsumer {
            deliveries: info.delivered.consumer_sequence,
            acknowledged,
            has_unacknowledged: info.num_ack_pending > 0,
            spec,
            consumer,
        });
    }
    if partition.is_first() {
        let others = Partition::all(stream).skip(1);
        let specs: Vec<_> = others.flat_map(|other| ConsumerSpec::of(&stream.settings, other)).collect();
        for info in
            try_join_all(specs.iter().map(|spec| consumer_info(&handle, &spec.name))).await?.iter().flatten()
        {
            found.delivered = found.delivered.max(info.delivered.stream_sequence);
            found.acknowledged = found.acknowledged.max(info.ack_floor.stream_sequence);
        }
    }
    Ok(found)
}

/// Why a central takes no messages of a stream that others take in another number of partitions.
pub fn other_partitions(stream: &Stream, found: u16) -> anyhow::Error {
    anyhow!(
        "stream {} is taken in {found} partition(s), configured are {} (streams.partitions): configure the same in every central, or run `init --apply`, \
         which changes the stream",
        stream.settings.name,
        stream.partitions
    )
}

/// State of a consumer, `None` if there is none.
pub async fn consumer_info(
    handle: &async_nats::jetstream::stream::Stream,
    name: &str,
) -> anyhow::Result<Option<async_nats::jetstream::consumer::Info>> {
    match within(format!("query consumer {name}"), handle.consumer_info(name)).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot query consumer {name}")),
    }
}

async fn find_consumer(
    shared: &CentralContext,
    stream: &Stream,
    handle: &async_nats::jetstream::stream::Stream,
    spec: &ConsumerSpec,
) -> anyhow::Result<Consumer<pull::Config>> {
    let name = &spec.name;
    match consumer_info(handle, name).await? {
        Some(_) => within("open the consumer", handle.get_consumer(name))
            .await?
            .map_err(|error| anyhow!("cannot open consumer {name}: {error}")),
        None => {
            tracing::error!(
                stream = stream.settings.name,
                consumer = name,
                "the consumer was deleted at the broker; it is created again, behind the confirmed messages"
            );
            let begin =
                init::first_delivery(&shared.broker, shared.config.replicas(), stream.settings.name).await?;
            create_consumer(shared, stream, spec, begin).await
        }
    }
}

async fn create_consumer(
    shared: &CentralContext,
    stream: &Stream,
    spec: &ConsumerSpec,
    deliver_policy: DeliverPolicy,
) -> anyhow::Result<Consumer<pull::Config>> {
    let wanted = pull::Config { deliver_policy, ..spec.wanted(stream, shared.config.ack_wait) };
    let name = stream.settings.name;
    within("create the consumer", shared.broker.jetstream.create_consumer_on_stream(wanted, name))
        .await?
        .with_context(|| format!("cannot create consumer {} of stream {name}", spec.name))
}

/// Makes the broker deliver every message of the stream from a sequence on again. No message may be in memory.
pub async fn rewind(shared: &CentralContext, stream: &Stream, from: u64) -> anyhow::Result<()> {
    within("send the last acknowledgements", shared.broker.client.flush()).await??;
    for spec in ConsumerSpec::all(stream) {
        begin_again(shared, stream, &spec, from).await?;
    }
    Ok(())
}

/// Lets each consumer begin again behind its acknowledged messages, if others were delivered: to a previous owner, or into a connection that broke.
/// Otherwise they would come only after their time, behind newer ones, and be acknowledged with those.
pub async fn resume(
    shared: &CentralContext,
    stream: &Stream,
    partition: Partition,
    found: Subscription,
) -> anyhow::Result<Subscription> {
    let mut is_changed = false;
    for TableConsumer { spec, acknowledged, has_unacknowledged, .. } in &found.consumers {
        if *has_unacknowledged {
            begin_again(shared, stream, spec, acknowledged.saturating_add(1)).await?;
            is_changed = true;
        }
    }
    if !is_changed {
        return Ok(found);
    }
    let delivered = found.delivered;
    let resumed = open(shared, stream, partition).await?;
    Ok(Subscription { delivered: resumed.delivered.max(delivered), ..resumed })
}

async fn begin_again(
    shared: &CentralContext,
    stream: &Stream,
    spec: &ConsumerSpec,
    from: u64,
) -> anyhow::Result<()> {
    let name = &spec.name;
    let handle =
        within("query the stream", shared.broker.jetstream.get_stream(stream.settings.name)).await??;
    let deleted = within("delete the consumer", handle.delete_consumer(name)).await?;
    if let Err(error) = deleted
        && !matches!(error.kind(), ConsumerErrorKind::JetStream(ref answer) if answer.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
    {
        return Err(error).with_context(|| format!("cannot delete consumer {name}"));
    }
    create_consumer(shared, stream, spec, DeliverPolicy::ByStartSequence { start_sequence: from })
        .await
        .map(drop)
}

impl Subscription {
    /// One for each consumer, in their order.
    pub async fn pulls(&self, client: &Client) -> anyhow::Result<Vec<Pull>> {
        // The broker never delivers a message above the bytes of the request, nor any behind it. A limit that is raised by a reload counts
        // from the next connection on.
        let largest = client.server_info().max_payload.saturating_add(limits::ENVELOPE_BYTES);
        let mut pulls = Vec::with_capacity(self.consumers.len());
        for TableConsumer { spec, consumer, .. } in &self.consumers {
            let (messages, bytes) = prefetch(spec.data_type);
            let bytes = bytes.max(largest);
            let pull = consumer
                .stream()
                .max_messages_per_batch(messages)
                .max_bytes_per_batch(bytes)
                .expires(limits::PULL_EXPIRES)
                .heartbeat(limits::PULL_HEARTBEAT)
                .messages();
            pulls.push(within("open the pull", pull).await?.context("cannot pull messages")?);
        }
        Ok(pulls)
    }
}

/// Messages and bytes of a pull request.
fn prefetch(data_type: Option<DataType>) -> (usize, usize) {
    match data_type {
        Some(DataType::Trade | DataType::Quote) => (limits::PREFETCH_EVENTS, limits::PREFETCH_BYTES),
        Some(DataType::OrderBook | DataType::OrderBookDelta) => {
            (limits::PREFETCH_EVENTS, limits::PREFETCH_ORDER_BOOK_BYTES)
        }
        Some(_) => (limits::PREFETCH_EVENTS, limits::PREFETCH_OTHERS_BYTES),
        None => (limits::PREFETCH_AUDITS, limits::PREFETCH_BYTES),
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
