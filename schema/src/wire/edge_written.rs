//! Reading the JSON form as an edge writes it: keys in the order of `encode`, no blanks, no escapes.
//!
//! Four fifths of the time of the general reader go into finding out what is known here. Whatever is written otherwise, or is wrong, is
//! left to the general reader: it takes any JSON, and says what is wrong.

use std::borrow::Cow;

use super::decode::{DecodeError, decode_any_json, level_columns};
use crate::{
    Body, BookLevels, DataSource, DataType, Decimal, Event, EventId, Header, MarketType, OrderBook, Side,
    Trade,
};

/// Reads one JSON payload. Keys that this version does not know are passed over, so that an older central reads a newer edge.
pub fn decode_json(payload: &[u8]) -> Result<Event<'_>, DecodeError> {
    read(payload).map_or_else(|| decode_any_json(payload), Ok)
}

/// Reads a trade or an order book that is written as an edge writes it; nothing when it is written otherwise or is of another type.
fn read(payload: &[u8]) -> Option<Event<'_>> {
    let mut rest = Rest(std::str::from_utf8(payload).ok()?);
    rest.literal("{\"data_type\":\"")?;
    let data_type: DataType = rest.until_quote()?.parse().ok()?;
    let header = Header {
        exchange: rest.text(",\"exchange\":\"")?,
        market_type: rest.text(",\"market_type\":\"")?.parse::<MarketType>().ok()?,
        symbol: rest.text(",\"symbol\":\"")?,
        venue_symbol: rest.text(",\"venue_symbol\":\"")?,
        timestamp_us: rest.integer(",\"timestamp\":")?,
        received_at_ns: rest.integer(",\"received_at\":")?,
        event_id: EventId::parse(&rest.text(",\"event_id\":\"")?)?,
        edge: rest.text(",\"edge\":\"")?,
        region: rest.text(",\"region\":\"")?,
        adapter: rest.text(",\"adapter\":\"")?,
        data_source: data_source(&mut rest)?,
    };
    let body = match data_type {
        DataType::Trade => Body::Trade(trade(&mut rest)?),
        DataType::OrderBook => Body::OrderBook(order_book(&mut rest)?),
        // They come once a second at most.
        _ => return None,
    };
    rest.literal("}")?;
    rest.0.is_empty().then_some(Event { header, body })
}

fn data_source(rest: &mut Rest<'_>) -> Option<DataSource> {
    const KEY: &str = ",\"data_source\":\"";
    if rest.0.starts_with(KEY) { rest.text(KEY)?.parse().ok() } else { Some(DataSource::Live) }
}

fn trade<'a>(rest: &mut Rest<'a>) -> Option<Trade<'a>> {
    let trade = Trade {
        trade_id: rest.text(",\"trade_id\":\"")?,
        price: rest.decimal(",\"price\":\"")?,
        quantity: rest.decimal(",\"quantity\":\"")?,
        side: rest.text(",\"side\":\"")?.parse::<Side>().ok()?,
    };
    rest.literal(",\"is_maker\":")?;
    rest.literal(if trade.is_maker() { "true" } else { "false" })?;
    Some(trade)
}

const CHECKSUM: &str = ",\"checksum\":";

fn order_book(rest: &mut Rest<'_>) -> Option<OrderBook<'static>> {
    let last_update_id = rest.integer(",\"last_update_id\":")?;
    let checksum = if rest.0.starts_with(CHECKSUM) { Some(rest.integer(CHECKSUM)?) } else { None };
    let levels = levels(rest)?;
    let depth = u32::try_from(rest.integer(",\"depth\":")?).ok()?;
    let epoch = u32::try_from(rest.integer(",\"epoch\":")?).ok()?;
    Some(OrderBook { last_update_id, checksum, levels, depth, epoch })
}

fn levels(rest: &mut Rest<'_>) -> Option<BookLevels<'static>> {
    let bids = side(rest, ",\"bids\":[")?;
    let asks = side(rest, ",\"asks\":[")?;
    level_columns(&bids, &asks).ok()
}

fn side(rest: &mut Rest<'_>, key: &str) -> Option<Vec<[Decimal; 2]>> {
    /// Of most pushed books.
    const LEVELS: usize = 200;
    rest.literal(key)?;
    let mut levels = Vec::with_capacity(LEVELS);
    if rest.literal("]").is_some() {
        return Some(levels);
    }
    loop {
        levels.push([rest.decimal("[\"")?, rest.decimal(",\"")?]);
        if rest.literal("],").is_none() {
            rest.literal("]]")?;
            return Some(levels);
        }
    }
}

/// The rest of the input.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn literal(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// The text before the next quotation mark, which is passed over.
    fn until_quote(&mut self) -> Option<&'a str> {
        // Most texts are shorter than what pays for anything cleverer.
        let end = self.0.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < b' ')?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.strip_prefix('"')?;
        Some(text)
    }

    fn text(&mut self, key: &str) -> Option<Cow<'a, str>> {
        self.literal(key)?;
        self.until_quote().map(Cow::Borrowed)
    }

    fn decimal(&mut self, key: &str) -> Option<Decimal> {
        self.literal(key)?;
        Decimal::parse(self.until_quote()?).ok()
    }

    fn integer(&mut self, key: &str) -> Option<i64> {
        self.literal(key)?;
        let end = self.0.bytes().position(|byte| byte == b',' || byte == b'}')?;
        let (digits, rest) = self.0.split_at_checked(end)?;
        let magnitude = digits.strip_prefix('-').unwrap_or(digits);
        // JSON knows neither a plus nor a leading zero, the parser below does.
        let is_plain = magnitude == "0" || magnitude.starts_with(|first| matches!(first, '1'..='9'));
        let value = digits.parse().ok().filter(|_| is_plain && digits != "-0")?;
        self.0 = rest;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode_json;

    fn header(data_source: DataSource) -> Header<'static> {
        Header {
            exchange: "sim_spot".into(),
            market_type: MarketType::Perpetual,
            symbol: "BTC-USDT".into(),
            venue_symbol: "BTCUSDT".into(),
            timestamp_us: 1_763_800_000_123_456,
            received_at_ns: 1_763_800_000_123_456_789,
            event_id: EventId(0x00ab_cdef),
            edge: "edge-\u{f6}stlich".into(),
            region: "r".into(),
            adapter: "sim@1.0.0+0123456789ab".into(),
            data_source,
        }
    }

    fn samples() -> Vec<Event<'static>> {
        let decimal = |mantissa, scale| Decimal { mantissa, scale };
        let trade = |side, price| {
            let quantity = decimal(-5, 3);
            Body::Trade(Trade { trade_id: "7-a".into(), price, quantity, side })
        };
        let book = |checksum, bids: Vec<[i64; 2]>, asks: Vec<[i64; 2]>| {
            let levels =
                BookLevels { price_scale: 2, quantity_scale: 8, bids: bids.into(), asks: asks.into() };
            Body::OrderBook(OrderBook { last_update_id: -1, checksum, levels, depth: 400, epoch: 0 })
        };
        let bodies = [
            trade(Side::Buy, decimal(6_400_010, 2)),
            trade(Side::Sell, decimal(i64::MIN, 18)),
            trade(Side::Sell, decimal(0, 0)),
            book(None, vec![[6_400_001, 100_000_001], [6_400_000, 1]], vec![[6_400_100, 0]]),
            book(Some(3_414_189_729), vec![[1, 1]], Vec::new()),
            book(None, Vec::new(), Vec::new()),
        ];
        let live = bodies.clone().map(|body| Event { header: header(DataSource::Live), body });
        let filled = bodies.map(|body| Event { header: header(DataSource::Backfill), body });
        live.into_iter().chain(filled).collect()
    }

    fn written(event: &Event<'_>) -> Vec<u8> {
        let mut payload = Vec::new();
        encode_json(event, &mut payload);
        payload
    }

    #[test]
    fn what_an_edge_writes_is_read() {
        for event in samples() {
            let payload = written(&event);
            let found = read(&payload);
            assert!(found.is_some(), "{}", String::from_utf8_lossy(&payload));
            assert_eq!(found, decode_any_json(&payload).ok());
        }
    }

    #[test]
    fn it_never_says_something_else_than_the_general_reader() {
        let agree = |payload: &[u8]| {
            if let Some(found) = read(payload) {
                let general = decode_any_json(payload);
                assert_eq!(Some(found), general.ok(), "{}", String::from_utf8_lossy(payload));
            }
        };
        for event in samples() {
            let payload = written(&event);
            for i in 0..payload.len() {
                let (before, from) = payload.split_at(i);
                let (&byte, after) = from.split_first().unwrap();
                agree(&[before, after].concat());
                agree(&[before, &[byte], from].concat());
                for other in b"\"\\{}[],:-+.0 1eEtn\n\0\xff\xc3" {
                    agree(&[before, &[*other], after].concat());
                    agree(&[before, &[*other], from].concat());
                }
            }
        }
    }
}
