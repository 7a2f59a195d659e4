//! The identity of an event.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::{Body, Decimal, Event, LongShortRatio};

/// Separates the hashed parts; no part contains it.
const UNIT_SEPARATOR: &[u8] = &[0x1f];

/// A 128-bit hash of data type, exchange, market type, venue symbol and the venue's natural key.
///
/// The natural key is the trade id, or the book's update id with its time, or time and values where a venue gives no id. Neither the edge nor the
/// receive time is part of it: two edges on one venue give one id, so that JetStream and the tables can tell a copy from an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EventId(pub u128);

impl EventId {
    /// The id of an event. The `event_id` in its header is not looked at.
    pub fn of(event: &Event<'_>) -> Self {
        Self::with_venue_id(event, "")
    }

    /// The id of an event that carries no id of its own although the venue gave one: two forced orders of one moment, price and quantity
    /// are two events then. Empty where the venue gives none.
    pub fn with_venue_id(event: &Event<'_>, venue_id: &str) -> Self {
        let mut hash = Xxh3::new();
        let header = &event.header;
        for part in [
            event.body.data_type().as_str(),
            &header.exchange,
            header.market_type.as_str(),
            &header.venue_symbol,
        ] {
            hash.update(part.as_bytes());
            hash.update(UNIT_SEPARATOR);
        }
        let mut key = Vec::with_capacity(96);
        natural_key(event, &mut key);
        key.extend_from_slice(venue_id.as_bytes());
        hash.update(&key);
        Self(hash.digest128())
    }

    /// Reads 32 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

fn natural_key(event: &Event<'_>, key: &mut Vec<u8>) {
    match &event.body {
        Body::Trade(trade) => key.extend_from_slice(trade.trade_id.as_bytes()),
        Body::OrderBook(book) => {
            // Venues count from the start again after a maintenance, and some give no update ids.
            integer(key, book.last_update_id);
            integer(key, event.header.timestamp_us);
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
        }
        Body::LsrTopPosition(ratio) | Body::LsrAllAccount(ratio) => ratio_key(event, ratio, key),
        Body::VolatilityIndex(index) => {
            integer(key, event.header.timestamp_us);
            decimals(key, &[Some(index.index_value)]);
        }
    }
}

fn ratio_key(event: &Event<'_>, ratio: &LongShortRatio<'_>, key: &mut Vec<u8>) {
    integer(key, event.header.timestamp_us);
    key.extend_from_slice(ratio.period.as_bytes());
    decimals(key, &[Some(ratio.long), Some(ratio.short)]);
}

fn integer(key: &mut Vec<u8>, value: i64) {
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

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
