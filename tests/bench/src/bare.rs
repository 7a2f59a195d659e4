//! A bare publisher: async-nats with the same payload, headers and window, and nothing else. It is what the edge is compared with,
//! and it fills streams for the ingest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use marketprism_schema::{
    Body, DataType, Decimal, Event, EventId, Header, MarketType, Side, Subject, Trade, WireForm, encode_json,
};

/// Acknowledgements in flight: the edge's default.
pub const WINDOW: usize = 4096;

/// Publishes trades with ids from `first` on; gives the time from the first publish to the last acknowledgement.
pub async fn publish(url: &str, first: u64, trades: u64) -> Result<Duration> {
    let client = async_nats::connect(url).await?;
    let context = async_nats::jetstream::ContextBuilder::new()
        .timeout(Duration::from_secs(30))
        .ack_timeout(Duration::from_secs(30))
        .max_ack_inflight(WINDOW)
        .backpressure_on_inflight(true)
        .build(client);
    let subject = Subject::new(DataType::Trade, "bench", MarketType::Spot, "BTC-USDT")?.to_string();
    let mut acks = FuturesUnordered::new();
    let started = Instant::now();
    for id in first..first + trades {
        let (event_id, payload) = trade(id);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", event_id.to_string());
        headers.insert("Content-Type", WireForm::Json.content_type());
        acks.push(
            context.publish_with_headers(subject.clone(), headers, payload.into()).await?.into_future(),
        );
        while acks.len() >= WINDOW {
            acks.next().await.context("no acknowledgement in flight")??;
        }
    }
    while let Some(ack) = acks.next().await {
        ack?;
    }
    Ok(started.elapsed())
}

/// One trade as the edge writes it.
fn trade(id: u64) -> (EventId, Vec<u8>) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut event = Event {
        header: Header {
            exchange: "bench".into(),
            market_type: MarketType::Spot,
            symbol: "BTC-USDT".into(),
            venue_symbol: "BTCUSDT".into(),
            timestamp_us: i64::try_from(now.as_micros()).unwrap_or_default(),
            received_at_ns: i64::try_from(now.as_nanos()).unwrap_or_default(),
            event_id: EventId::default(),
            edge: "edge-bench".into(),
            region: "bench".into(),
            adapter: "bench@1.0.0+0123456789ab".into(),
        },
        body: Body::Trade(Trade {
            trade_id: id.to_string().into(),
            price: Decimal { mantissa: 6_400_010 + i64::try_from(id % 1000).unwrap_or_default(), scale: 2 },
            quantity: Decimal { mantissa: 1_234_567, scale: 8 },
            side: if id.is_multiple_of(2) { Side::Buy } else { Side::Sell },
        }),
    };
    event.header.event_id = EventId::of(&event);
    let mut payload = Vec::with_capacity(512);
    encode_json(&event, &mut payload);
    (event.header.event_id, payload)
}
