//! Ingest frontier: the time up to which all messages of a stream are stored.

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::consumer::PullConsumer;
use marketprism_schema::DataType;
use tokio::time::timeout;

use crate::broker::Broker;
use crate::ledger::intake::AUDIT;
use crate::{init, limits};

/// Nanoseconds of the broker's clock, per stream; `i64::MAX` when nothing is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestFrontier {
    market_data: i64,
    order_books: i64,
    pub audits: i64,
}

impl IngestFrontier {
    /// Audits must be read before, so that one that arrives in between is not taken for an old one.
    pub async fn read(broker: &Broker) -> anyhow::Result<Self> {
        let stream = |data_type| marketprism_schema::stream_of(data_type);
        let limit = limits::BROKER_TIMEOUT;
        let reading = async {
            let market_data = stored_up_to(broker, stream(DataType::Trade)).await?;
            let order_books = stored_up_to(broker, stream(DataType::OrderBook)).await?;
            let audits = stored_up_to(broker, AUDIT).await?;
            Ok(Self { market_data, order_books, audits })
        };
        timeout(limit, reading)
            .await
            .map_err(|_| anyhow!("the broker did not answer within {} s", limit.as_secs()))?
    }

    pub const fn of(&self, data_type: DataType) -> i64 {
        match data_type {
            DataType::OrderBook => self.order_books,
            _ => self.market_data,
        }
    }
}

/// All messages that the broker received earlier are acknowledged.
async fn stored_up_to(broker: &Broker, stream_name: &str) -> anyhow::Result<i64> {
    let consumer_name = init::consumer_name(stream_name);
    let request = broker.jetstream.get_consumer_from_stream(&consumer_name, stream_name);
    let consumer: PullConsumer = request
        .await
        .with_context(|| format!("cannot read consumer {consumer_name} of stream {stream_name}"))?;
    let info = consumer.cached_info();
    if info.num_pending == 0 && info.num_ack_pending == 0 {
        return Ok(i64::MAX);
    }
    let stream = broker
        .jetstream
        .get_stream(stream_name)
        .await
        .with_context(|| format!("cannot read stream {stream_name}"))?;
    let state = &stream.cached_info().state;
    let nanos = |time: i128| i64::try_from(time).unwrap_or_default();
    let floor = info.ack_floor.stream_sequence;
    if floor < state.first_sequence {
        return Ok(nanos(state.first_timestamp.unix_timestamp_nanos()));
    }
    match stream.direct_get(floor).await {
        Ok(message) => Ok(nanos(message.time.unix_timestamp_nanos())),
        // Deleted or expired in between: certain is only the oldest message.
        Err(_) => Ok(nanos(state.first_timestamp.unix_timestamp_nanos())),
    }
}
