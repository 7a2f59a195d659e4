//! The pull of one stream.

use anyhow::anyhow;
use async_nats::jetstream::consumer::pull::Stream as Pull;
use async_nats::jetstream::consumer::{Consumer, pull};
use tokio::time::timeout;

use super::shared::Shared;
use crate::config::Stream;
use crate::{init, limits};

/// A pull that runs.
pub struct Subscription {
    /// The messages.
    pub messages: Pull,
    /// When the consumer was made, nanoseconds: another value means that it delivers everything from the start again.
    pub consumer_created_ns: i128,
}

/// Starts to pull. A stream or consumer that is gone is made anew, as the configuration wants it.
pub async fn open(shared: &Shared, stream: &Stream) -> anyhow::Result<Subscription> {
    let limit = limits::BROKER_TIMEOUT * 4;
    timeout(limit, start(shared, stream))
        .await
        .map_err(|_| anyhow!("the broker did not answer within {} s", limit.as_secs()))?
}

async fn start(shared: &Shared, stream: &Stream) -> anyhow::Result<Subscription> {
    if !shared.broker.is_connected() {
        return Err(anyhow!("no connection to nats at {}", shared.config.nats.shown_urls()));
    }
    let name = stream.settings.name;
    if init::ensure_stream(&shared.broker.jetstream, stream, false).await? == init::Outcome::Created {
        tracing::warn!(stream = name, "the stream was missing and was created");
    }
    let wanted = init::wanted_consumer(stream, shared.config.ack_wait);
    let consumer: Consumer<pull::Config> =
        shared.broker.jetstream.create_consumer_on_stream(wanted, name).await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(prefetch(name))
        .expires(limits::PULL_EXPIRES)
        .heartbeat(limits::PULL_HEARTBEAT)
        .messages()
        .await?;
    let consumer_created_ns = consumer.cached_info().created.unix_timestamp_nanos();
    Ok(Subscription { messages, consumer_created_ns })
}

fn prefetch(stream: &str) -> usize {
    use marketprism_schema::{DataType, stream_of};
    match stream {
        name if name == stream_of(DataType::OrderBook) => limits::PREFETCH_ORDER_BOOKS,
        name if name == stream_of(DataType::Trade) => limits::PREFETCH_MARKET_DATA,
        _ => limits::PREFETCH_AUDITS,
    }
}
