//! Writing the JSON form. By hand, because decimals go straight from mantissa and scale to text.

use crate::{Body, BookLevels, DataSource, Decimal, Event, EventId, LongShortRatio, OrderBookDelta, Quote};

/// Appends the event as one JSON object without a line feed.
pub fn encode_json(event: &Event<'_>, out: &mut Vec<u8>) {
    let header = &event.header;
    out.extend_from_slice(b"{\"data_type\":\"");
    out.extend_from_slice(event.body.data_type().as_str().as_bytes());
    out.push(b'"');
    text(out, "exchange", &header.exchange);
    text(out, "market_type", header.market_type.as_str());
    text(out, "symbol", &header.symbol);
    text(out, "venue_symbol", &header.venue_symbol);
    integer(out, "timestamp", header.timestamp_us);
    integer(out, "received_at", header.received_at_ns);
    event_id(out, header.event_id);
    text(out, "edge", &header.edge);
    text(out, "region", &header.region);
    text(out, "adapter", &header.adapter);
    if header.data_source != DataSource::Live {
        text(out, "data_source", header.data_source.as_str());
    }
    body(out, &event.body);
    out.push(b'}');
}

fn body(out: &mut Vec<u8>, body: &Body<'_>) {
    match body {
        Body::Trade(trade) => {
            text(out, "trade_id", &trade.trade_id);
            decimal(out, "price", trade.price);
            decimal(out, "quantity", trade.quantity);
            text(out, "side", trade.side.as_str());
            literal(out, "is_maker", if trade.is_maker() { "true" } else { "false" });
        }
        Body::OrderBook(book) => {
            integer(out, "last_update_id", book.last_update_id);
            optional(out, "checksum", book.checksum, integer);
            levels(out, &book.levels);
            integer(out, "depth", book.depth);
            integer(out, "epoch", book.epoch);
        }
        Body::FundingRate(rate) => {
            decimal(out, "funding_rate", rate.funding_rate);
            optional(out, "funding_time", rate.funding_time_us, integer);
            optional(out, "next_funding_time", rate.next_funding_time_us, integer);
            optional(out, "interval_hours", rate.interval_hours, integer);
            optional(out, "mark_price", rate.mark_price, decimal);
            optional(out, "index_price", rate.index_price, decimal);
        }
        Body::OpenInterest(interest) => {
            optional(out, "open_interest", interest.open_interest, decimal);
            optional(out, "open_interest_contracts", interest.open_interest_contracts, decimal);
            optional(out, "open_interest_value", interest.open_interest_value, decimal);
        }
        Body::Liquidation(order) => {
            text(out, "side", order.side.as_str());
            decimal(out, "price", order.price);
            decimal(out, "quantity", order.quantity);
            optional(out, "liquidation_time", order.liquidation_time_us, integer);
            if !order.liquidation_id.is_empty() {
                text(out, "liquidation_id", &order.liquidation_id);
            }
        }
        Body::LsrTopPosition(shares) => ratio(out, ["long_position_ratio", "short_position_ratio"], shares),
        Body::LsrAllAccount(shares) => ratio(out, ["long_account_ratio", "short_account_ratio"], shares),
        Body::VolatilityIndex(index) => {
            decimal(out, "index_value", index.index_value);
            text(out, "underlying_asset", &index.underlying_asset);
        }
        Body::OrderBookDelta(delta) => order_book_delta(out, delta),
        Body::Quote(written) => quote(out, written),
    }
}

fn quote(out: &mut Vec<u8>, quote: &Quote) {
    integer(out, "epoch", quote.epoch);
    integer(out, "last_update_id", quote.last_update_id);
    let names = [["bid_price", "bid_quantity"], ["ask_price", "ask_quantity"]];
    for (names, level) in names.into_iter().zip(quote.decimals()) {
        for (name, number) in names.into_iter().zip(level.into_iter().flatten()) {
            decimal(out, name, number);
        }
    }
}

fn order_book_delta(out: &mut Vec<u8>, delta: &OrderBookDelta<'_>) {
    let flag = |value| if value { "true" } else { "false" };
    integer(out, "epoch", delta.epoch);
    integer(out, "epoch_started_at", delta.epoch_started_ns);
    integer(out, "number", delta.number);
    literal(out, "is_snapshot", flag(delta.is_snapshot));
    if delta.parts_left > 0 {
        integer(out, "parts_left", delta.parts_left);
    }
    integer(out, "first_update_id", delta.first_update_id);
    optional(out, "previous_update_id", delta.previous_update_id, integer);
    integer(out, "last_update_id", delta.last_update_id);
    optional(out, "checksum", delta.checksum, integer);
    literal(out, "is_bids_partial", flag(delta.is_bids_partial));
    literal(out, "is_asks_partial", flag(delta.is_asks_partial));
    levels(out, &delta.levels);
}

fn ratio(out: &mut Vec<u8>, [long, short]: [&str; 2], shares: &LongShortRatio<'_>) {
    decimal(out, long, shares.long);
    decimal(out, short, shares.short);
    optional(out, "ratio", shares.ratio, decimal);
    text(out, "period", &shares.period);
}

fn levels(out: &mut Vec<u8>, levels: &BookLevels<'_>) {
    for (name, side) in [("bids", &levels.bids), ("asks", &levels.asks)] {
        key(out, name);
        out.push(b'[');
        for (i, [price, quantity]) in side.iter().enumerate() {
            out.extend_from_slice(if i == 0 { b"[\"" } else { b",[\"" });
            Decimal { mantissa: *price, scale: levels.price_scale }.write(out);
            out.extend_from_slice(b"\",\"");
            Decimal { mantissa: *quantity, scale: levels.quantity_scale }.write(out);
            out.extend_from_slice(b"\"]");
        }
        out.push(b']');
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn literal(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    out.extend_from_slice(value.as_bytes());
}

fn integer(out: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    literal(out, name, itoa::Buffer::new().format(value));
}

fn decimal(out: &mut Vec<u8>, name: &str, value: Decimal) {
    key(out, name);
    out.push(b'"');
    value.write(out);
    out.push(b'"');
}

fn event_id(out: &mut Vec<u8>, id: EventId) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    key(out, "event_id");
    out.push(b'"');
    out.extend((0..32).rev().map(|i| {
        let nibble = usize::try_from((id.0 >> (4 * i)) & 0xf).unwrap_or_default();
        DIGITS.get(nibble).copied().unwrap_or(b'0')
    }));
    out.push(b'"');
}

fn optional<T>(out: &mut Vec<u8>, name: &str, value: Option<T>, write: impl Fn(&mut Vec<u8>, &str, T)) {
    if let Some(value) = value {
        write(out, name, value);
    }
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    out.push(b'"');
    for &byte in value.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x00..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
