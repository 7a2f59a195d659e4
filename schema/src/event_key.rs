//! The content of an event of which its id is the hash.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::decimal::Decimal;
use crate::event::{Body, Event, Header, LongShortRatio};
use crate::event_id::EventId;

/// Separates the hashed parts; no part contains it.
const UNIT_SEPARATOR: &[u8] = &[0x1f];

impl EventId {
    /// The id of an event. The `event_id` in its header is not looked at: whoever has the event can recognize a wrong one.
    pub fn of(event: &Event<'_>) -> Self {
        EventKey::default().id_of(event, false)
    }

    /// The high half of the ids of an epoch's deltas or of a stream's quotes; none of other types.
    pub fn shared_half(header: &Header<'_>, body: &Body<'_>) -> Option<u64> {
        if !matches!(body, Body::OrderBookDelta(_) | Body::Quote(_)) {
            return None;
        }
        let mut key = Vec::with_capacity(128);
        stream_key(header, body, &mut key);
        shared_key(header, body, &mut key)
    }
}

/// Content that the id of an event is the hash of, in one piece: the state of a hash in parts costs more than the hash. For events that come one
/// after the other it is one buffer, in which what they share is written once.
#[derive(Debug, Default)]
pub(crate) struct EventKey {
    bytes: Vec<u8>,
    /// Length of the part that all events of the stream share.
    stream: usize,
}

impl EventKey {
    /// `is_same_stream`: data type, exchange, market type and venue symbol are those of the last event that was given here.
    pub(crate) fn id_of(&mut self, event: &Event<'_>, is_same_stream: bool) -> EventId {
        let Self { bytes: key, stream } = self;
        if is_same_stream {
            key.truncate(*stream);
        } else {
            key.clear();
            key.reserve(192);
            stream_key(&event.header, &event.body, key);
            *stream = key.len();
        }
        let shared = shared_key(&event.header, &event.body, key);
        natural_key(event, key);
        let id = EventId(xxh3_128(key));
        shared.map_or(id, |shared| id.with_high_half(shared))
    }
}

fn stream_key(header: &Header<'_>, body: &Body<'_>, key: &mut Vec<u8>) {
    let market_type = header.market_type.as_str();
    for part in [body.data_type().as_str(), &header.exchange, market_type, &header.venue_symbol] {
        key.extend_from_slice(part.as_bytes());
        key.extend_from_slice(UNIT_SEPARATOR);
    }
}

/// Appends to the stream's key what else the events share that have a half of their ids in common: gives the hash of it.
fn shared_key(header: &Header<'_>, body: &Body<'_>, key: &mut Vec<u8>) -> Option<u64> {
    match body {
        Body::OrderBookDelta(delta) => {
            key.extend_from_slice(header.edge.as_bytes());
            key.extend_from_slice(UNIT_SEPARATOR);
            integer(key, delta.epoch_started_ns);
        }
        Body::Quote(_) => {}
        _ => return None,
    }
    Some(xxh3_64(key))
}

fn natural_key(event: &Event<'_>, key: &mut Vec<u8>) {
    match &event.body {
        Body::Trade(trade) => key.extend_from_slice(trade.trade_id.as_bytes()),
        Body::OrderBook(book) => {
            // Venues count from the start again after a maintenance, and some give no update ids.
            integer(key, book.last_update_id);
            integer(key, event.header.timestamp_us);
            // Where a venue numbers nothing, two states may have one time.
            if let Some(checksum) = book.checksum {
                integer(key, checksum);
            }
        }
        Body::FundingRate(rate) => {
            integer(key, event.header.timestamp_us);
            decimals(key, &[Some(rate.funding_rate), rate.mark_price, rate.index_price]);
            integer(key, rate.next_funding_time_us.or(rate.funding_time_us).unwrap_or_default());
        }
        Body::OpenInterest(interest) => {
            integer(key, event.header.timestamp_us);
            decimals(
                key,
                &[interest.open_interest, interest.open_interest_contracts, interest.open_interest_value],
            );
        }
        Body::Liquidation(order) => {
            integer(key, order.liquidation_time_us.unwrap_or(event.header.timestamp_us));
            key.extend_from_slice(order.side.as_str().as_bytes());
            decimals(key, &[Some(order.price), Some(order.quantity)]);
            key.extend_from_slice(order.liquidation_id.as_bytes());
        }
        Body::LsrTopPosition(ratio) | Body::LsrAllAccount(ratio) => ratio_key(event, ratio, key),
        Body::VolatilityIndex(index) => {
            integer(key, event.header.timestamp_us);
            decimals(key, &[Some(index.index_value)]);
        }
        Body::OrderBookDelta(delta) => {
            integer(key, delta.number);
            integer(key, delta.last_update_id);
        }
        Body::Quote(quote) => {
            integer(key, quote.last_update_id);
            integer(key, event.header.timestamp_us);
            for level in quote.decimals() {
                decimals(key, &level.map_or([None; 2], |numbers| numbers.map(Some)));
            }
        }
    }
}

fn ratio_key(event: &Event<'_>, ratio: &LongShortRatio<'_>, key: &mut Vec<u8>) {
    integer(key, event.header.timestamp_us);
    key.extend_from_slice(ratio.period.as_bytes());
    decimals(key, &[Some(ratio.long), Some(ratio.short)]);
}

fn integer(key: &mut Vec<u8>, value: impl itoa::Integer) {
    key.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    key.extend_from_slice(UNIT_SEPARATOR);
}

fn decimals(key: &mut Vec<u8>, values: &[Option<Decimal>]) {
    for value in values {
        if let Some(decimal) = value {
            decimal.write(key);
        }
        key.extend_from_slice(UNIT_SEPARATOR);
    }
}
