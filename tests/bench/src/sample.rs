//! Numbered events in an edge's wire forms (the same number gives the same event id), and a bare publisher and consumer of them:
//! async-nats with the same payload, headers and bounds. The references for edge and central; the publisher also fills the streams.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use marketprism_schema::{
    Body, BookLevels, DataSource, Decimal, Event, EventId, Header, MarketType, OrderBook, Side, StreamId,
    Trade, WireForm, split_packed_header,
};

/// Sample events are received so much later than they are published. Memory of a central that has just started excludes that they are stored, as that of one
/// that runs for long does; otherwise each would be looked up in hot, as events of the first ten seconds of a backlog are.
const AHEAD: Duration = Duration::from_secs(30);

/// BookLevels per side of a sample book: the depth of most venues' streams.
const BOOK_LEVELS: i64 = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    Trades,
    /// 200 levels per side.
    Books,
}

impl Sample {
    /// Name in the table of figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Books => "books",
        }
    }

    pub const fn table(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Books => "orderbooks",
        }
    }

    pub const fn stream(self) -> &'static str {
        marketprism_schema::stream_of(match self {
            Self::Trades => marketprism_schema::DataType::Trade,
            Self::Books => marketprism_schema::DataType::OrderBook,
        })
    }

    /// Default rows per insert of central.
    pub const fn rows_an_insert(self) -> u64 {
        match self {
            Self::Trades => 50_000,
            Self::Books => 2_000,
        }
    }

    /// Messages that central requests ahead, and the bare consumer acknowledges together.
    pub const fn asked_for_ahead(self) -> usize {
        match self {
            Self::Trades => 5_000,
            // More than the broker holds for a client would end the connection.
            Self::Books => 400,
        }
    }

    pub fn subject(self) -> anyhow::Result<String> {
        let event = self.event(0);
        Ok(StreamId::new(event.body.data_type(), "bench", MarketType::Spot, "BTC-USDT")?.to_string())
    }

    pub fn event(self, number: u64) -> Event<'static> {
        let body = match self {
            Self::Trades => trade(number),
            Self::Books => book(number),
        };
        let mut event = Event { header: header(), body };
        event.header.event_id = EventId::of(&event);
        event
    }
}

fn header() -> Header<'static> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default() + AHEAD;
    Header {
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
        data_source: DataSource::Live,
    }
}

fn trade(number: u64) -> Body<'static> {
    Body::Trade(Trade {
        trade_id: number.to_string().into(),
        price: Decimal { mantissa: 6_400_010 + whole(number % 1000), scale: 2 },
        quantity: Decimal { mantissa: 1_234_567, scale: 8 },
        side: if number.is_multiple_of(2) { Side::Buy } else { Side::Sell },
    })
}

fn book(number: u64) -> Body<'static> {
    // Quantities that differ from level to level and from book to book, so that nothing compresses as real books would not.
    let quantity = |level: i64| {
        let mixed = (number ^ level.unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 34;
        1 + whole(mixed)
    };
    let middle = 6_400_000 + whole(number % 1000);
    let bids: Vec<[i64; 2]> = (0..BOOK_LEVELS).map(|i| [middle - i, quantity(i)]).collect();
    let asks: Vec<[i64; 2]> = (0..BOOK_LEVELS).map(|i| [middle + 1 + i, quantity(-1 - i)]).collect();
    Body::OrderBook(OrderBook {
        last_update_id: whole(number),
        checksum: None,
        levels: BookLevels { price_scale: 2, quantity_scale: 8, bids: bids.into(), asks: asks.into() },
        depth: 400,
        epoch: 1,
    })
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or_default()
}

/// Acknowledgements in flight: the edge's default.
pub const WINDOW: usize = 4096;

/// Publishes events numbered from `first`, so many in a message; returns the time from the first publish to the last acknowledgement.
pub async fn publish(
    url: &str,
    sample: Sample,
    (form, per_message): (WireForm, u64),
    first: u64,
    events: u64,
) -> Result<Duration> {
    publish_on(&async_nats::connect(url).await?, sample, (form, per_message), first, events).await
}

pub async fn publish_on(
    client: &Client,
    sample: Sample,
    (form, per_message): (WireForm, u64),
    first: u64,
    events: u64,
) -> Result<Duration> {
    let context = async_nats::jetstream::ContextBuilder::new()
        .timeout(Duration::from_secs(30))
        .ack_timeout(Duration::from_secs(30))
        .max_ack_inflight(WINDOW)
        .backpressure_on_inflight(true)
        .build(client.clone());
    let subject = sample.subject()?;
    let mut acks = FuturesUnordered::new();
    let started = Instant::now();
    let mut number = first;
    while number < first + events {
        let end = (first + events).min(number + per_message);
        let (id, payload) = message(sample, form, number..end)?;
        number = end;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id.to_string());
        if let Some(content_type) = form.header() {
            headers.insert("Content-Type", content_type);
        }
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

/// A message as an edge forms it. Several events have the header of the first.
pub fn message(sample: Sample, form: WireForm, numbers: std::ops::Range<u64>) -> Result<(EventId, Vec<u8>)> {
    let (mut payload, mut one, mut ids) = (Vec::with_capacity(512), Vec::new(), Vec::new());
    for number in numbers {
        let event = sample.event(number);
        ids.push(event.header.event_id);
        if ids.len() == 1 {
            form.encode(&event, &mut payload);
        } else {
            one.clear();
            form.encode(&event, &mut one);
            payload.extend_from_slice(split_packed_header(&one)?.1);
        }
    }
    Ok((EventId::of_message(ids), payload))
}

/// Consumes and acknowledges messages of a stream without decoding; returns the total time.
pub async fn take(url: &str, sample: Sample, events: u64) -> Result<Duration> {
    let ahead = sample.asked_for_ahead();
    let client = async_nats::connect(url).await?;
    let stream = async_nats::jetstream::new(client.clone()).get_stream(sample.stream()).await?;
    let config = pull::Config {
        durable_name: Some("bench-bare".to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 100_000,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let started = Instant::now();
    let mut messages = consumer.stream().max_messages_per_batch(ahead).messages().await?;
    let mut replies = Vec::with_capacity(ahead);
    for taken in 1..=events {
        let message = messages.next().await.context("the pull ended")??;
        replies.extend(message.message.reply);
        if replies.len() == ahead || taken == events {
            for reply in replies.drain(..) {
                client.publish(reply, AckKind::Ack.into()).await?;
            }
        }
    }
    client.flush().await?;
    let time = started.elapsed();
    stream.delete_consumer("bench-bare").await?;
    Ok(time)
}
