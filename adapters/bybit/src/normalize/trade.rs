//! `publicTrade`.

use super::items::each_item;
use marketprism_adapter_sdk::{
    Cursor, DataType, LoadedFeed, Object, Output, ParseResult, Payload, Trade, TradeId, amount, millis, side,
};

/// Ids are UUIDs, on some markets numbers.
const ID_BYTES_MAX: usize = 64;

pub(super) fn trades(
    loaded: &LoadedFeed,
    output: &mut Output,
    message: &Object<'_>,
    symbol: &str,
) -> ParseResult<()> {
    let Some((instrument, _)) = loaded.subscribed(output, symbol, DataType::Trade) else { return Ok(()) };
    each_item(output, message, symbol, |trade| {
        Ok(Payload::Trade(Trade {
            instrument,
            time_us: trade.read("T", millis)?,
            id: trade.read("i", trade_id)?,
            price: trade.read("p", amount)?,
            quantity: trade.read("v", amount)?,
            side: trade.read("S", side)?,
        }))
    })
}

fn trade_id(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<TradeId> {
    if cursor.peek() != b'"' {
        return cursor.unsigned(what).map(|id| TradeId::Text(id.to_string()));
    }
    let start = *cursor;
    let id = cursor.text(what)?;
    if id.len() > ID_BYTES_MAX {
        return start.expected("an id of at most 64 bytes");
    }
    Ok(TradeId::Text(id.into_owned()))
}
