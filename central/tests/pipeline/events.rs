//! Events to publish, each derived from its number; a publisher that runs until the test ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use marketprism_schema::{
    Body, BookLevels, DataSource, Decimal, Event, EventId, FundingRate, Header, Liquidation, LongShortRatio,
    MarketType, OpenInterest, OrderBook, OrderBookDelta, Quote, Side, Trade, VolatilityIndex, encode_json,
};
use tokio::task::{JoinHandle, JoinSet};

const IN_FLIGHT: usize = 256;

pub fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

pub fn event(venue_symbol: &'static str, timestamp_us: i64, body: Body<'static>) -> Event<'static> {
    let header = Header {
        exchange: "sim_spot".into(),
        market_type: MarketType::Spot,
        symbol: "BTC-USDT".into(),
        venue_symbol: venue_symbol.into(),
        timestamp_us,
        received_at_ns: timestamp_us * 1_000 + 123_456,
        event_id: EventId::default(),
        edge: "edge-test".into(),
        region: "test".into(),
        adapter: "sim@1.0.0+0123456789ab".into(),
        data_source: DataSource::Live,
    };
    let mut event = Event { header, body };
    event.header.event_id = EventId::of(&event);
    event
}

/// Every number has its own price, quantity and side.
pub fn trade(number: u64, base_us: i64) -> Event<'static> {
    let n = i64::try_from(number).unwrap();
    let trade = Trade {
        trade_id: number.to_string().into(),
        price: Decimal { mantissa: 6_000_000_000_001 + n * 7, scale: 8 }.normalized(),
        quantity: Decimal { mantissa: 1 + n, scale: 18 }.normalized(),
        side: if number.is_multiple_of(3) { Side::Sell } else { Side::Buy },
    };
    event("BTCUSDT", base_us + n, Body::Trade(trade))
}

/// The trade of a number in one of so many markets.
pub fn trade_in(markets: u64, number: u64, base_us: i64) -> Event<'static> {
    let mut event = trade(number, base_us);
    let coin = number % markets;
    event.header.symbol = format!("C{coin}-USDT").into();
    event.header.venue_symbol = format!("C{coin}USDT").into();
    event.header.event_id = EventId::of(&event);
    event
}

/// A book with `depth` levels per side.
pub fn book(update: u64, depth: i64, base_us: i64) -> Event<'static> {
    let n = i64::try_from(update).unwrap();
    let side = |direction: i64| -> Vec<[i64; 2]> {
        (0..depth)
            .map(|i| [6_000_000 + n % 1_000 + direction * (i + 1), 1 + (n * 31 + i * 17) % 99_999_999])
            .collect()
    };
    let levels =
        BookLevels { price_scale: 2, quantity_scale: 8, bids: side(-1).into(), asks: side(1).into() };
    let depth = u32::try_from(depth).unwrap();
    event(
        "BTCUSDT",
        base_us + n,
        Body::OrderBook(OrderBook { last_update_id: n, checksum: None, levels, depth, epoch: 1 }),
    )
}

pub fn one_of_each(base_us: i64) -> Vec<Event<'static>> {
    let decimal = |mantissa, scale| Decimal { mantissa, scale };
    let ratio = || LongShortRatio {
        long: decimal(6, 1),
        short: decimal(4, 1),
        ratio: Some(decimal(15, 1)),
        period: "5m".into(),
    };
    let bodies = [
        Body::FundingRate(FundingRate {
            funding_rate: decimal(-1, 4),
            funding_time_us: None,
            next_funding_time_us: Some(base_us + 1),
            interval_hours: Some(8),
            mark_price: Some(decimal(i64::MAX, 0)),
            index_price: Some(decimal(i64::MAX, 18)),
        }),
        Body::OpenInterest(OpenInterest {
            open_interest: Some(decimal(5, 0)),
            open_interest_contracts: None,
            open_interest_value: Some(decimal(300_000, 0)),
        }),
        Body::Liquidation(Liquidation {
            side: Side::Sell,
            price: decimal(59_999, 0),
            quantity: decimal(14, 3),
            liquidation_time_us: Some(base_us),
            liquidation_id: "x-1".into(),
        }),
        Body::LsrTopPosition(ratio()),
        Body::LsrAllAccount(ratio()),
        Body::VolatilityIndex(VolatilityIndex {
            index_value: decimal(12_936, 2),
            underlying_asset: "BTC".into(),
        }),
        Body::OrderBookDelta(OrderBookDelta {
            epoch: 2,
            epoch_started_ns: base_us * 1_000 + 1,
            number: 5,
            is_snapshot: false,
            parts_left: 0,
            first_update_id: 8,
            previous_update_id: None,
            last_update_id: 9,
            checksum: Some(4_294_967_295),
            is_bids_partial: true,
            is_asks_partial: false,
            levels: BookLevels {
                price_scale: 2,
                quantity_scale: 8,
                bids: vec![[i64::MAX, 1], [5, 0]].into(),
                asks: Vec::new().into(),
            },
        }),
        Body::Quote(Quote {
            epoch: 2,
            last_update_id: 9,
            price_scale: 2,
            quantity_scale: 9,
            bid: Some([6_400_011, i64::MAX]),
            ask: None,
        }),
    ];
    let mut events: Vec<_> = bodies.into_iter().map(|body| event("BTCUSDT", base_us, body)).collect();
    events.push(trade(1, base_us));
    events.push(book(1, 3, base_us));
    events
}

pub fn message(event: &Event<'_>) -> (String, Vec<u8>) {
    let header = &event.header;
    let (data_type, market_type) = (event.body.data_type(), header.market_type);
    let subject = format!("{data_type}.{}.{market_type}.{}", header.exchange, header.symbol);
    let mut payload = Vec::new();
    encode_json(event, &mut payload);
    (subject, payload)
}

/// Id by which the broker recognizes duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageId {
    Event,
    Other,
    Missing,
}

/// The event as another edge receives it, a little later.
pub fn heard_by(mut event: Event<'static>, edge: &'static str) -> Event<'static> {
    event.header.edge = edge.into();
    event.header.received_at_ns += 1_000_000 * i64::try_from(edge.len()).unwrap();
    event
}

/// As an edge does; returns when the broker has acknowledged all.
pub async fn publish(jetstream: &Context, events: impl Iterator<Item = Event<'static>>) {
    publish_with(jetstream, events, MessageId::Event).await;
}

pub async fn publish_with(jetstream: &Context, events: impl Iterator<Item = Event<'static>>, id: MessageId) {
    let mut sends = JoinSet::new();
    for event in events {
        if sends.len() >= IN_FLIGHT {
            sends.join_next().await;
        }
        sends.spawn(publish_one(jetstream.clone(), event, id));
    }
    while let Some(sent) = sends.join_next().await {
        sent.unwrap();
    }
}

async fn publish_one(jetstream: Context, event: Event<'static>, id: MessageId) {
    let (subject, payload) = message(&event);
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    match id {
        MessageId::Event => headers.insert("Nats-Msg-Id", event.header.event_id.to_string()),
        MessageId::Other => headers.insert("Nats-Msg-Id", format!("again-{}", event.header.event_id)),
        MessageId::Missing => {}
    }
    publish_bytes(&jetstream, &subject, headers, payload).await;
}

/// Repeats until the broker acknowledges.
pub async fn publish_bytes(jetstream: &Context, subject: &str, headers: HeaderMap, payload: Vec<u8>) {
    loop {
        let sent =
            jetstream.publish_with_headers(subject.to_owned(), headers.clone(), payload.clone().into());
        if let Ok(ack) = sent.await
            && ack.await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub struct Publisher {
    goes_on: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Publisher {
    /// `step` trades per 100 ms, numbered from zero.
    pub fn start(jetstream: Context, step: u64) -> Self {
        Self::of(jetstream, step, trade)
    }

    /// Trades of so many markets in turn.
    pub fn of_markets(jetstream: Context, step: u64, markets: u64) -> Self {
        Self::of(jetstream, step, move |number, base_us| trade_in(markets, number, base_us))
    }

    fn of(
        jetstream: Context,
        step: u64,
        trade: impl Fn(u64, i64) -> Event<'static> + Send + Sync + 'static,
    ) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn(run(jetstream, step, Arc::clone(&goes_on), trade));
        Self { goes_on, task }
    }

    /// Returns the number of trades that the broker has.
    pub async fn end(self) -> u64 {
        self.goes_on.store(false, Ordering::Release);
        self.task.await.unwrap()
    }
}

async fn run(
    jetstream: Context,
    step: u64,
    goes_on: Arc<AtomicBool>,
    trade: impl Fn(u64, i64) -> Event<'static> + Send + Sync,
) -> u64 {
    let base_us = now_us();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut published = 0;
    while goes_on.load(Ordering::Acquire) {
        ticks.tick().await;
        publish(&jetstream, (published..published + step).map(|n| trade(n, base_us))).await;
        published += step;
    }
    published
}
