//! Frames as the venue writes them: JSON numbers, times as RFC 3339 with microseconds, a checksum with each state of a book.

use std::fmt::Write as _;

use crate::clock;
use crate::ledger::TradeRecord;
use crate::market::{DepthUpdate, Instrument, LevelChange};
use crate::venue::Snapshot;

/// Levels a side of a checksum.
const VERIFIED: usize = 10;

pub(super) fn status(connection: u64, system: &str) -> String {
    format!(
        r#"{{"channel":"status","type":"update","data":[{{"api_version":"v2","connection_id":{connection},"system":"{system}","version":"2.0.10"}}]}}"#
    )
}

/// Both sides of a book, best first, in ticks and steps.
type Sides<'a> = [&'a [(i64, i64)]; 2];

pub(super) fn snapshot(i: &Instrument, s: &Snapshot) -> String {
    let shown: Sides<'_> = [&s.bids, &s.asks];
    book("snapshot", i, shown, shown, s.last_update_id)
}

pub(super) fn update(i: &Instrument, d: &DepthUpdate) -> String {
    let levels = |changes: &[LevelChange]| changes.iter().map(LevelChange::level).collect::<Vec<_>>();
    let [bids, asks] = &d.top;
    book("update", i, [&levels(&d.bids), &levels(&d.asks)], [bids, asks], d.last_id)
}

fn book(kind: &str, i: &Instrument, shown: Sides<'_>, state: Sides<'_>, time_us: u64) -> String {
    let mut out = format!(r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{}","bids":["#, i.symbol);
    for (n, side) in shown.into_iter().enumerate() {
        out.push_str(if n == 0 { "" } else { r#"],"asks":["# });
        for (n, (price, quantity)) in side.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let _ = write!(out, r#"{comma}{{"price":{},"qty":{}}}"#, i.price(*price), i.quantity(*quantity));
        }
    }
    let time = clock::rfc3339(time_us.cast_signed());
    let _ = write!(out, r#"],"checksum":{},"timestamp":"{time}"}}]}}"#, checksum(i, state));
    out
}

/// CRC-32 over the best asks, then the best bids: prices and quantities at the pair's places, without point and leading zeros.
fn checksum(i: &Instrument, [bids, asks]: Sides<'_>) -> u32 {
    let mut text = String::new();
    for (price, quantity) in asks.iter().take(VERIFIED).chain(bids.iter().take(VERIFIED)) {
        let _ = write!(text, "{}{}", price * i.tick, quantity * i.step);
    }
    !text.bytes().fold(!0, |crc: u32, byte| {
        let shifted = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(byte), shifted)
    })
}

/// All its changes are within the levels of the checksum.
pub(super) fn is_verified(update: &DepthUpdate) -> bool {
    let [bids, asks] = &update.top;
    let last = |levels: &[(i64, i64)]| levels.iter().take(VERIFIED).next_back().map(|(price, _)| *price);
    let (Some(lowest), Some(highest)) = (last(bids), last(asks)) else { return false };
    update.bids.iter().all(|level| level.price >= lowest)
        && update.asks.iter().all(|level| level.price <= highest)
}

pub(super) fn trades(kind: &str, i: &Instrument, records: &[TradeRecord]) -> String {
    let row = |record: &TradeRecord| {
        let TradeRecord { id, price, quantity, taker, trade_ms, .. } = record;
        let (symbol, side, time) = (&i.symbol, taker.order(), clock::rfc3339(trade_ms * 1000));
        let order = if id % 3 == 0 { "limit" } else { "market" };
        format!(
            r#"{{"symbol":"{symbol}","side":"{side}","price":{price},"qty":{quantity},"ord_type":"{order}","trade_id":{id},"timestamp":"{time}"}}"#
        )
    };
    let rows: Vec<String> = records.iter().map(row).collect();
    format!(r#"{{"channel":"trade","type":"{kind}","data":[{}]}}"#, rows.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::kraken::instruments;

    /// Values of the issue that the product's tests have too.
    #[test]
    fn the_checksum_is_the_venues() {
        let i = Instrument { quantity_scale: 2, ..instruments::by_name("ABC/USD").expect("a pair") };
        let i = Instrument { price_scale: 1, ..i };
        for (ask, crc) in [(100, 3_414_189_729), (200, 1_158_635_842), (300, 2_309_317_084)] {
            assert_eq!(checksum(&i, [&[(99, 100)], &[(101, ask)]]), crc);
        }
    }
}
