//! Ids of events: hashes of what they are.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::decimal::Decimal;
use crate::event::{Body, Event, Header, LongShortRatio};

/// Separates the hashed parts; no part contains it.
const UNIT_SEPARATOR: &[u8] = &[0x1f];

/// A 128-bit hash of data type, exchange, market type, venue symbol and the venue's natural key.
///
/// The natural key is the trade id, or the book's update id with its time and checksum (a quote: its values), or time and values where a venue gives no id.
/// Neither the edge nor the receive time is part of it: two edges on one venue give one id, so that JetStream and the tables can distinguish a copy from an event. A state
/// whose message has no time (a rate, an open interest, an index) has the receive time in its place: two receipts are two states. Order-book
/// deltas are the other exception: each edge numbers its own, because only unbroken numbers prove a state. The high half of their ids is a hash of
/// the epoch, that of a quote's id a hash of its stream: the same for all in it, so that an id takes half of the bytes in a table. The low half is
/// of the whole key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EventId(pub u128);

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

    /// With these 64 bits in place of the high ones.
    pub(crate) const fn with_high_half(self, high: u64) -> Self {
        Self((high as u128) << 64 | self.low_half() as u128)
    }

    /// Id of the message that has these events, in this order: of one event its own, so that the broker knows a copy of it. The same
    /// events in another order or grouping have another one.
    pub fn of_message(events: impl IntoIterator<Item = Self>) -> Self {
        // In one piece: the state of a hash in parts costs more than the hash.
        let mut ids = Vec::with_capacity(256);
        for id in events {
            ids.extend_from_slice(&id.0.to_be_bytes());
        }
        match ids.as_slice().try_into() {
            Ok(only) => Self(u128::from_be_bytes(only)),
            Err(_) => Self(xxh3_128(&ids)),
        }
    }

    /// The low 64 bits: as good as unique among the events of one stream.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    pub const fn low_half(self) -> u64 {
        self.0 as u64
    }

    /// Reads 32 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
        let (high, low) = digits.split_at(16);
        Some(Self(u128::from(hex(high)?) << 64 | u128::from(hex(low)?)))
    }
}

/// The number of 16 hex digits. Without a branch for each, which no processor guesses.
fn hex(digits: &[u8]) -> Option<u64> {
    let (mut number, mut is_hex) = (0, true);
    for digit in digits {
        is_hex &= digit.is_ascii_hexdigit();
        // Letters have bit 6, and `a` and `A` end in 1.
        number = number << 4 | u64::from((digit & 0x0f) + 9 * (digit >> 6));
    }
    is_hex.then_some(number)
}

/// What the id of an event is the hash of, in one piece: the state of a hash in parts costs more than the hash. For events that come one
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

impl FromStr for EventId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or("not 32 hex digits")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself_and_nothing_else_is_one() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            let text = EventId(id).to_string();
            assert_eq!([&text, &text.to_uppercase()].map(|text| EventId::parse(text)), [Some(EventId(id)); 2]);
        }
        let id = EventId(7).to_string();
        for other in ["/", ":", "@", "G", "`", "g", "\u{80}", " ", "-", "+"] {
            for at in [0, 15, 16, 31] {
                let changed = format!("{}{other}{}", &id[..at], &id[at + 1..]);
                assert_eq!(EventId::parse(&changed), None, "{changed}");
            }
        }
        assert_eq!([&id[1..], &format!("0{id}"), ""].map(EventId::parse), [None; 3]);
    }

    /// Of one event it is the event's own, and of several the hash of all in one piece.
    #[test]
    fn the_id_of_a_message_is_that_of_its_events_in_their_order() {
        let ids = [3, 1 << 100, 7].map(EventId);
        assert_eq!(EventId::of_message([ids[1]]), ids[1]);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.0.to_be_bytes()).collect();
        assert_eq!(EventId::of_message(ids), EventId(xxh3_128(&bytes)));
        assert_ne!(EventId::of_message(ids), EventId::of_message([ids[0], ids[2], ids[1]]));
    }
}
