//! Rows of events. `created_at` is set when the batch is sealed.

use marketprism_schema::{Body, BookLevels, Decimal, Event, Header, LongShortRatio, OrderBookDelta, Quote};

use super::CREATED_AT_UNSET;
use super::rows::{RowWriter, TableRows};

/// The TTL expression's `DateTime` has 32 bits of seconds: up to 2106-02-07.
const TIMESTAMP_MAX_US: i64 = 4_294_967_295 * 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value} is not {allowed}")]
pub struct RowError {
    pub field: &'static str,
    pub value: i128,
    pub allowed: &'static str,
}

/// `data_source` of rows that only a correction gives: no audit counts them.
pub const CORRECTION_SOURCE: &str = "correction";

/// Adds the row of an event.
pub fn encode_event(event: &Event<'_>, stream_seq: u64, rows: &mut TableRows) -> Result<(), RowError> {
    encode_event_from(event, event.header.data_source.as_str(), stream_seq, rows)
}

/// As [`encode_event`], with a `data_source`.
pub fn encode_event_from(
    event: &Event<'_>,
    data_source: &str,
    stream_seq: u64,
    rows: &mut TableRows,
) -> Result<(), RowError> {
    let header = &event.header;
    let market_type = header.market_type.as_str();
    let texts = [&*header.exchange, market_type, &header.symbol, &header.venue_symbol];
    let sources = [&*header.edge, &header.region, &header.adapter, data_source];
    encode(event, stream_seq, rows, |row, part| {
        let texts = if part == HeaderPart::Instrument { texts } else { sources };
        texts.into_iter().for_each(|text| row.text(text));
    })
}

/// As [`encode_event`], where the last row is that of an event with this header: what both share is not looked for among the texts of the rows.
pub fn encode_next_event(
    event: &Event<'_>,
    before: &Header<'_>,
    stream_seq: u64,
    rows: &mut TableRows,
) -> Result<(), RowError> {
    let header = &event.header;
    let kinds = |of: &Header<'_>| (of.market_type, of.data_source);
    if kinds(header) != kinds(before) || !header.has_texts_of(before) {
        return encode_event(event, stream_seq, rows);
    }
    encode(event, stream_seq, rows, |row, _| [(); 4].into_iter().for_each(|()| row.same_text()))
}

/// Columns with the texts of a header, four each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderPart {
    Instrument,
    Source,
}

fn encode(
    event: &Event<'_>,
    stream_seq: u64,
    rows: &mut TableRows,
    texts: impl Fn(&mut RowWriter<'_>, HeaderPart),
) -> Result<(), RowError> {
    let header = &event.header;
    if !(0..=TIMESTAMP_MAX_US).contains(&header.timestamp_us) {
        return Err(RowError {
            field: "timestamp",
            value: header.timestamp_us.into(),
            allowed: "a time from 1970 to 2106 in microseconds",
        });
    }
    rows.try_push(|row| {
        row.int64(header.timestamp_us);
        texts(row, HeaderPart::Instrument);
        body(&event.body, row)?;
        row.int64(header.received_at_ns);
        row.uint128(header.event_id.0);
        texts(row, HeaderPart::Source);
        row.uint64(stream_seq);
        row.int64(CREATED_AT_UNSET);
        Ok(())
    })
}

fn body(body: &Body<'_>, row: &mut RowWriter<'_>) -> Result<(), RowError> {
    match body {
        Body::Trade(trade) => {
            row.text(&trade.trade_id);
            decimal(row, trade.price);
            decimal(row, trade.quantity);
            row.text(trade.side.as_str());
            row.bool(trade.is_maker());
        }
        Body::OrderBook(book) => {
            row.int64(book.last_update_id);
            nullable_int64(row, book.checksum);
            levels(row, &book.levels);
            row.uint32(book.depth);
            row.uint32(book.epoch);
        }
        Body::FundingRate(rate) => {
            decimal(row, rate.funding_rate);
            nullable_int64(row, rate.funding_time_us);
            nullable_int64(row, rate.next_funding_time_us);
            let hours = rate.interval_hours.map(interval_hours).transpose()?;
            row.nullable(hours, |row, hours| row.uint16(hours));
            row.nullable(rate.mark_price, decimal);
            row.nullable(rate.index_price, decimal);
        }
        Body::OpenInterest(interest) => {
            row.nullable(interest.open_interest, decimal);
            row.nullable(interest.open_interest_contracts, decimal);
            row.nullable(interest.open_interest_value, decimal);
        }
        Body::Liquidation(order) => {
            row.text(order.side.as_str());
            decimal(row, order.price);
            decimal(row, order.quantity);
            nullable_int64(row, order.liquidation_time_us);
            row.text(&order.liquidation_id);
        }
        Body::LsrTopPosition(shares) | Body::LsrAllAccount(shares) => ratio(row, shares),
        Body::VolatilityIndex(index) => {
            decimal(row, index.index_value);
            row.text(&index.underlying_asset);
        }
        Body::OrderBookDelta(delta) => order_book_delta(row, delta),
        Body::Quote(quote) => a_quote(row, quote),
    }
    Ok(())
}

/// A side without a level has quantity 0, which no level has.
fn a_quote(row: &mut RowWriter<'_>, quote: &Quote) {
    row.uint32(quote.epoch);
    row.int64(quote.last_update_id);
    row.uint8(quote.price_scale);
    row.uint8(quote.quantity_scale);
    for number in [quote.bid, quote.ask].map(Option::unwrap_or_default).as_flattened() {
        row.int64(*number);
    }
}

fn order_book_delta(row: &mut RowWriter<'_>, delta: &OrderBookDelta<'_>) {
    row.uint32(delta.epoch);
    row.int64(delta.epoch_started_ns);
    row.uint64(delta.number);
    row.bool(delta.is_snapshot);
    row.uint32(delta.parts_left);
    row.int64(delta.first_update_id);
    nullable_int64(row, delta.previous_update_id);
    row.int64(delta.last_update_id);
    nullable_int64(row, delta.checksum);
    row.bool(delta.is_bids_partial);
    row.bool(delta.is_asks_partial);
    row.uint8(delta.levels.price_scale);
    row.uint8(delta.levels.quantity_scale);
    for side in [&delta.levels.bids, &delta.levels.asks] {
        row.array(side.iter(), |row, [price, _]| row.int64(*price));
        row.array(side.iter(), |row, [_, quantity]| row.int64(*quantity));
    }
}

fn ratio(row: &mut RowWriter<'_>, shares: &LongShortRatio<'_>) {
    decimal(row, shares.long);
    decimal(row, shares.short);
    row.nullable(shares.ratio, decimal);
    row.text(&shares.period);
}

fn levels(row: &mut RowWriter<'_>, levels: &BookLevels<'_>) {
    for side in [&levels.bids, &levels.asks] {
        row.array(side.iter(), |row, [price, quantity]| {
            decimal(row, Decimal { mantissa: *price, scale: levels.price_scale });
            decimal(row, Decimal { mantissa: *quantity, scale: levels.quantity_scale });
        });
    }
}

fn decimal(row: &mut RowWriter<'_>, value: Decimal) {
    row.decimal(value.to_scale_18());
}

fn nullable_int64(row: &mut RowWriter<'_>, value: Option<i64>) {
    row.nullable(value, |row, value| row.int64(value));
}

fn interval_hours(hours: u32) -> Result<u16, RowError> {
    u16::try_from(hours).map_err(|_| RowError {
        field: "interval_hours",
        value: hours.into(),
        allowed: "a number of 16 bits",
    })
}

#[cfg(test)]
mod tests {
    use super::super::columns::columns_of;
    use super::*;
    use crate::fixtures::{header, trade as trade_of};
    use marketprism_schema::{
        DataSource, DataType, FundingRate, Liquidation, MarketType, OpenInterest, OrderBook, Side,
        VolatilityIndex,
    };

    fn trade(price: Decimal) -> Event<'static> {
        trade_of(header(), price)
    }

    fn empty(data_type: DataType) -> TableRows {
        TableRows::new(columns_of(data_type))
    }

    fn text(out: &mut Vec<u8>, text: &str) {
        out.push(u8::try_from(text.len()).unwrap());
        out.extend_from_slice(text.as_bytes());
    }

    /// Bytes of a block of one row from the bytes of its values; texts without their lengths.
    fn block_of_one(columns: &[(&str, &str)], values: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![u8::try_from(columns.len()).unwrap(), 1];
        for ((name, kind), value) in columns.iter().zip(values) {
            text(&mut out, name);
            text(&mut out, kind);
            let as_text = || std::str::from_utf8(value).unwrap();
            match *kind {
                "LowCardinality(String)" => {
                    [1_u64, 0x600, 1].iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
                    text(&mut out, as_text());
                    out.extend_from_slice(&1_u64.to_le_bytes());
                    out.push(0);
                }
                "String" => text(&mut out, as_text()),
                _ => out.extend_from_slice(value),
            }
        }
        out
    }

    #[test]
    fn a_trade_is_a_row_of_its_table() {
        let mut rows = empty(DataType::Trade);
        encode_event(&trade(Decimal { mantissa: -15, scale: 1 }), 9, &mut rows).unwrap();
        rows.set_created_at(0, 10);
        let values = [
            1_i64.to_le_bytes().to_vec(),
            b"sim_spot".to_vec(),
            b"spot".to_vec(),
            b"A-B".to_vec(),
            b"AB".to_vec(),
            b"7".to_vec(),
            (-1_500_000_000_000_000_000_i128).to_le_bytes().to_vec(),
            1_i128.to_le_bytes().to_vec(),
            b"sell".to_vec(),
            vec![1],
            2_i64.to_le_bytes().to_vec(),
            3_u128.to_le_bytes().to_vec(),
            b"e".to_vec(),
            b"r".to_vec(),
            b"a".to_vec(),
            b"live".to_vec(),
            9_u64.to_le_bytes().to_vec(),
            10_i64.to_le_bytes().to_vec(),
        ];
        assert_eq!(rows.whole_block().unwrap(), block_of_one(&columns_of(DataType::Trade), &values));
    }

    #[test]
    fn extreme_decimals_stay_exact() {
        let prices = [(i64::MAX, 0), (i64::MIN, 0), (i64::MAX, 18), (i64::MIN, 18), (0, 18)];
        for (mantissa, scale) in prices {
            let mut rows = TableRows::new([("price", "Decimal(38, 18)")]);
            rows.push(|row| decimal(row, Decimal { mantissa, scale }));
            let block = rows.whole_block().unwrap();
            let bytes: [u8; 16] = block[block.len() - 16..].try_into().unwrap();
            let expected = i128::from(mantissa) * 10_i128.pow(18 - u32::from(scale));
            assert_eq!(i128::from_le_bytes(bytes), expected, "{mantissa} at {scale}");
            assert!(expected.abs() < 10_i128.pow(38));
        }
    }

    fn funding(interval_hours: Option<u32>) -> Body<'static> {
        Body::FundingRate(FundingRate {
            funding_rate: Decimal::default(),
            funding_time_us: None,
            next_funding_time_us: Some(5),
            interval_hours,
            mark_price: None,
            index_price: None,
        })
    }

    #[test]
    fn values_that_do_not_fit_their_column_are_refused_and_leave_no_row() {
        let mut event = trade(Decimal::default());
        event.header.timestamp_us = -1;
        let mut trades = empty(DataType::Trade);
        assert_eq!(encode_event(&event, 0, &mut trades).unwrap_err().field, "timestamp");
        assert_eq!(trades.whole_block(), empty(DataType::Trade).whole_block());
        let rate = |hours| Event { header: header(), body: funding(Some(hours)) };
        let mut rates = empty(DataType::FundingRate);
        encode_event(&rate(8), 0, &mut rates).unwrap();
        let before = rates.whole_block();
        let error = encode_event(&rate(70_000), 0, &mut rates).unwrap_err();
        assert_eq!(error.to_string(), "interval_hours: 70000 is not a number of 16 bits");
        assert_eq!(rates.whole_block(), before);
    }

    fn bodies() -> [Body<'static>; 10] {
        let one = Decimal { mantissa: 1, scale: 0 };
        let levels = || BookLevels {
            price_scale: 1,
            quantity_scale: 2,
            bids: vec![[3, 4]].into(),
            asks: vec![].into(),
        };
        let ratio = || LongShortRatio { long: one, short: one, ratio: Some(one), period: "5m".into() };
        [
            trade(one).body,
            Body::OrderBook(OrderBook {
                last_update_id: 1,
                checksum: Some(2),
                levels: levels(),
                depth: 5,
                epoch: 6,
            }),
            funding(Some(8)),
            Body::OpenInterest(OpenInterest {
                open_interest: Some(one),
                open_interest_contracts: None,
                open_interest_value: None,
            }),
            Body::Liquidation(Liquidation {
                side: Side::Buy,
                price: one,
                quantity: one,
                liquidation_time_us: None,
                liquidation_id: "i".into(),
            }),
            Body::LsrTopPosition(ratio()),
            Body::LsrAllAccount(ratio()),
            Body::VolatilityIndex(VolatilityIndex { index_value: one, underlying_asset: "A".into() }),
            Body::OrderBookDelta(OrderBookDelta {
                epoch: 1,
                epoch_started_ns: 2,
                number: 3,
                is_snapshot: false,
                parts_left: 0,
                first_update_id: 4,
                previous_update_id: None,
                last_update_id: 5,
                checksum: None,
                is_bids_partial: true,
                is_asks_partial: false,
                levels: levels(),
            }),
            Body::Quote(Quote { last_update_id: 5, bid: Some([3, 4]), ..Quote::default() }),
        ]
    }

    /// The texts of a header are those of the last row, and any that differs must not be.
    #[test]
    fn rows_behind_each_other_are_those_of_their_own_headers() {
        type Change = fn(&mut Header<'static>);
        let changes: [Change; 10] = [
            |_| {},
            |header| header.exchange = "other".into(),
            |header| header.market_type = MarketType::Perpetual,
            |header| header.symbol = "C-D".into(),
            |header| header.venue_symbol = "CD".into(),
            |header| header.edge = "other".into(),
            |header| header.region = "other".into(),
            |header| header.adapter = "other".into(),
            |header| header.data_source = DataSource::Backfill,
            |_| {},
        ];
        let (mut alone, mut behind) = (empty(DataType::Trade), empty(DataType::Trade));
        let mut before: Option<Header<'static>> = None;
        for (stream_seq, change) in (1..).zip(changes) {
            let mut event = trade(Decimal::default());
            change(&mut event.header);
            for _ in 0..2 {
                encode_event(&event, stream_seq, &mut alone).unwrap();
                match &before {
                    Some(before) => encode_next_event(&event, before, stream_seq, &mut behind).unwrap(),
                    None => encode_event(&event, stream_seq, &mut behind).unwrap(),
                }
                before = Some(event.header.clone());
            }
        }
        assert_eq!(behind.whole_block(), alone.whole_block());
        let mut first = empty(DataType::Trade);
        encode_next_event(&trade(Decimal::default()), &header(), 1, &mut first).unwrap();
        assert!(first.whole_block().is_err() && first.is_empty(), "no row is before it");
    }

    #[test]
    fn every_event_fills_the_columns_of_its_table() {
        for body in bodies() {
            let event = Event { header: header(), body };
            let data_type = event.body.data_type();
            let mut rows = empty(data_type);
            encode_event(&event, 1, &mut rows).unwrap();
            assert!(rows.whole_block().is_ok() && rows.len() == 1, "{data_type}");
        }
    }
}
