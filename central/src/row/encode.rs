//! Rows of events, duplicates and dead letters.

use marketprism_schema::{Body, BookLevels, CorrectionMark, Decimal, Event, LongShortRatio, OrderBookDelta};

use super::{CREATED_AT_BYTES, binary};

/// The TTL expression's `DateTime` has 32 bits of seconds: up to 2106-02-07.
const TIMESTAMP_MAX_US: i64 = 4_294_967_295 * 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value} is not {allowed}")]
pub struct RowError {
    pub field: &'static str,
    pub value: i128,
    pub allowed: &'static str,
}

/// `found` of a copy whose row a correction removed.
pub const WITHDRAWN: &str = "withdrawn";
/// `found` of a copy whose row, which an earlier correction had added, a later one removed: no audit counts it.
pub const WITHDRAWN_ADDITION: &str = "withdrawn_addition";
/// `found` of a copy whose row a correction gave another venue time.
pub const MOVED: &str = "moved";

/// `data_source` of rows that only a correction gives: no audit counts them.
pub const CORRECTION_SOURCE: &str = "correction";

/// Appends the row of an event, `created_at` zero. After an error the end of `out` is unspecified.
pub fn encode_event(event: &Event<'_>, stream_seq: u64, out: &mut Vec<u8>) -> Result<(), RowError> {
    encode_event_from(event, event.header.data_source.as_str(), stream_seq, out)
}

/// As [`encode_event`], with a `data_source`.
pub fn encode_event_from(
    event: &Event<'_>,
    data_source: &str,
    stream_seq: u64,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let header = &event.header;
    if !(0..=TIMESTAMP_MAX_US).contains(&header.timestamp_us) {
        return Err(RowError {
            field: "timestamp",
            value: header.timestamp_us.into(),
            allowed: "a time from 1970 to 2106 in microseconds",
        });
    }
    binary::int64(out, header.timestamp_us);
    for text in [&header.exchange, header.market_type.as_str(), &header.symbol, &header.venue_symbol] {
        binary::text(out, text);
    }
    body(&event.body, out)?;
    binary::int64(out, header.received_at_ns);
    binary::uint128(out, header.event_id.0);
    for text in [&header.edge, &header.region, &header.adapter, data_source] {
        binary::text(out, text);
    }
    binary::uint64(out, stream_seq);
    out.extend_from_slice(&[0; CREATED_AT_BYTES]);
    Ok(())
}

fn body(body: &Body<'_>, out: &mut Vec<u8>) -> Result<(), RowError> {
    match body {
        Body::Trade(trade) => {
            binary::text(out, &trade.trade_id);
            decimal(out, trade.price);
            decimal(out, trade.quantity);
            binary::text(out, trade.side.as_str());
            out.push(u8::from(trade.is_maker()));
        }
        Body::OrderBook(book) => {
            binary::int64(out, book.last_update_id);
            binary::nullable(out, book.checksum, binary::int64);
            levels(out, &book.levels);
            binary::uint32(out, book.depth);
            binary::uint32(out, book.epoch);
        }
        Body::FundingRate(rate) => {
            decimal(out, rate.funding_rate);
            binary::nullable(out, rate.funding_time_us, binary::int64);
            binary::nullable(out, rate.next_funding_time_us, binary::int64);
            let hours = rate.interval_hours.map(interval_hours).transpose()?;
            binary::nullable(out, hours, binary::uint16);
            binary::nullable(out, rate.mark_price, decimal);
            binary::nullable(out, rate.index_price, decimal);
        }
        Body::OpenInterest(interest) => {
            binary::nullable(out, interest.open_interest, decimal);
            binary::nullable(out, interest.open_interest_contracts, decimal);
            binary::nullable(out, interest.open_interest_value, decimal);
        }
        Body::Liquidation(order) => {
            binary::text(out, order.side.as_str());
            decimal(out, order.price);
            decimal(out, order.quantity);
            binary::nullable(out, order.liquidation_time_us, binary::int64);
            binary::text(out, &order.liquidation_id);
        }
        Body::LsrTopPosition(shares) | Body::LsrAllAccount(shares) => ratio(out, shares),
        Body::VolatilityIndex(index) => {
            decimal(out, index.index_value);
            binary::text(out, &index.underlying_asset);
        }
        Body::OrderBookDelta(delta) => order_book_delta(out, delta),
    }
    Ok(())
}

fn order_book_delta(out: &mut Vec<u8>, delta: &OrderBookDelta<'_>) {
    binary::uint32(out, delta.epoch);
    binary::int64(out, delta.epoch_started_ns);
    binary::uint64(out, delta.number);
    out.push(u8::from(delta.is_snapshot));
    binary::uint32(out, delta.parts_left);
    binary::int64(out, delta.first_update_id);
    binary::nullable(out, delta.previous_update_id, binary::int64);
    binary::int64(out, delta.last_update_id);
    binary::nullable(out, delta.checksum, binary::int64);
    out.push(u8::from(delta.is_bids_partial));
    out.push(u8::from(delta.is_asks_partial));
    out.push(delta.levels.price_scale);
    out.push(delta.levels.quantity_scale);
    for side in [&delta.levels.bids, &delta.levels.asks] {
        integers(out, side.iter().map(|[price, _]| *price));
        integers(out, side.iter().map(|[_, quantity]| *quantity));
    }
}

fn integers(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = i64>) {
    binary::length(out, values.len());
    for value in values {
        binary::int64(out, value);
    }
}

fn ratio(out: &mut Vec<u8>, shares: &LongShortRatio<'_>) {
    decimal(out, shares.long);
    decimal(out, shares.short);
    binary::nullable(out, shares.ratio, decimal);
    binary::text(out, &shares.period);
}

fn levels(out: &mut Vec<u8>, levels: &BookLevels<'_>) {
    for side in [&levels.bids, &levels.asks] {
        binary::length(out, side.len());
        out.reserve(side.len() * 32);
        for [price, quantity] in side.iter() {
            decimal(out, Decimal { mantissa: *price, scale: levels.price_scale });
            decimal(out, Decimal { mantissa: *quantity, scale: levels.quantity_scale });
        }
    }
}

fn decimal(out: &mut Vec<u8>, value: Decimal) {
    binary::decimal(out, value.to_scale_18());
}

fn interval_hours(hours: u32) -> Result<u16, RowError> {
    u16::try_from(hours).map_err(|_| RowError {
        field: "interval_hours",
        value: hours.into(),
        allowed: "a number of 16 bits",
    })
}

#[derive(Debug, Clone, Copy)]
pub struct EventCopy<'a> {
    pub event: &'a Event<'a>,
    pub stream: &'a str,
    pub stream_seq: u64,
    /// Means of recognition: `recent`, `in_flight` or `stored`; [`WITHDRAWN`] for the row that a correction removed.
    pub found: &'a str,
}

/// Appends a row of `copies`, `created_at` zero.
pub fn encode_copy(copy: &EventCopy<'_>, out: &mut Vec<u8>) {
    let header = &copy.event.header;
    let data_type = copy.event.body.data_type();
    for text in [data_type.as_str(), &header.exchange, header.market_type.as_str(), &header.symbol] {
        binary::text(out, text);
    }
    binary::uint128(out, header.event_id.0);
    binary::text(out, &header.edge);
    binary::int64(out, header.received_at_ns);
    binary::text(out, copy.stream);
    binary::uint64(out, copy.stream_seq);
    binary::text(out, copy.found);
    out.extend_from_slice(&[0; CREATED_AT_BYTES]);
}

#[derive(Debug, Clone, Copy)]
pub struct CorrectedEvent<'a> {
    pub mark: &'a CorrectionMark,
    pub event: &'a Event<'a>,
    pub stream: &'a str,
    pub stream_seq: u64,
    /// JSON form of the event.
    pub payload: &'a [u8],
}

/// Appends a row of `corrected_events`, `created_at` zero.
pub fn encode_corrected_event(corrected: &CorrectedEvent<'_>, out: &mut Vec<u8>) {
    let (header, mark) = (&corrected.event.header, corrected.mark);
    binary::uint128(out, mark.correction.0);
    let data_type = corrected.event.body.data_type();
    for text in [
        data_type.as_str(),
        &header.exchange,
        header.market_type.as_str(),
        &header.symbol,
        mark.kind.as_str(),
    ] {
        binary::text(out, text);
    }
    binary::uint128(out, header.event_id.0);
    binary::int64(out, mark.was_at_us);
    binary::int64(out, header.timestamp_us);
    binary::int64(out, header.received_at_ns);
    for text in [&header.edge, &header.adapter, corrected.stream] {
        binary::text(out, text);
    }
    binary::uint64(out, corrected.stream_seq);
    binary::bytes(out, corrected.payload);
    out.extend_from_slice(&[0; CREATED_AT_BYTES]);
}

#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    pub stream: &'a str,
    pub stream_seq: u64,
    pub subject: &'a str,
    pub content_type: &'a str,
    pub message_id: &'a str,
    pub reason: &'a str,
    pub payload: &'a [u8],
}

/// Appends a row of `dead_letters`, `created_at` zero.
pub fn encode_dead_letter(letter: &DeadLetter<'_>, out: &mut Vec<u8>) {
    binary::text(out, letter.stream);
    binary::uint64(out, letter.stream_seq);
    for text in [letter.subject, letter.content_type, letter.message_id, letter.reason] {
        binary::text(out, text);
    }
    binary::bytes(out, letter.payload);
    out.extend_from_slice(&[0; CREATED_AT_BYTES]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{header, trade as trade_of};
    use marketprism_schema::FundingRate;

    fn trade(price: Decimal) -> Event<'static> {
        trade_of(header(), price)
    }

    #[test]
    fn a_trade_is_encoded_as_row_binary() {
        let mut out = Vec::new();
        encode_event(&trade(Decimal { mantissa: -15, scale: 1 }), 9, &mut out).unwrap();
        let mut expected = 1_i64.to_le_bytes().to_vec();
        for text in ["sim_spot", "spot", "A-B", "AB", "7"] {
            expected.push(u8::try_from(text.len()).unwrap());
            expected.extend_from_slice(text.as_bytes());
        }
        expected.extend_from_slice(&(-1_500_000_000_000_000_000_i128).to_le_bytes());
        expected.extend_from_slice(&1_i128.to_le_bytes());
        expected.extend_from_slice(b"\x04sell\x01");
        expected.extend_from_slice(&2_i64.to_le_bytes());
        expected.extend_from_slice(&3_u128.to_le_bytes());
        expected.extend_from_slice(b"\x01e\x01r\x01a\x04live");
        expected.extend_from_slice(&9_u64.to_le_bytes());
        expected.extend_from_slice(&[0; 8]);
        assert_eq!(out, expected);
    }

    #[test]
    fn extreme_decimals_stay_exact() {
        let prices = [(i64::MAX, 0), (i64::MIN, 0), (i64::MAX, 18), (i64::MIN, 18), (0, 18)];
        for (mantissa, scale) in prices {
            let mut out = Vec::new();
            encode_event(&trade(Decimal { mantissa, scale }), 0, &mut out).unwrap();
            let start = 8 + 9 + 5 + 4 + 3 + 2;
            let bytes: [u8; 16] = out[start..start + 16].try_into().unwrap();
            let expected = i128::from(mantissa) * 10_i128.pow(18 - u32::from(scale));
            assert_eq!(i128::from_le_bytes(bytes), expected, "{mantissa} at {scale}");
            assert!(expected.abs() < 10_i128.pow(38));
        }
    }

    #[test]
    fn values_that_do_not_fit_their_column_are_refused() {
        let mut event = trade(Decimal::default());
        event.header.timestamp_us = -1;
        assert_eq!(encode_event(&event, 0, &mut Vec::new()).unwrap_err().field, "timestamp");
        let rate = FundingRate {
            funding_rate: Decimal::default(),
            funding_time_us: None,
            next_funding_time_us: Some(5),
            interval_hours: Some(70_000),
            mark_price: None,
            index_price: None,
        };
        let event = Event { header: header(), body: Body::FundingRate(rate) };
        let error = encode_event(&event, 0, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "interval_hours: 70000 is not a number of 16 bits");
    }
}
