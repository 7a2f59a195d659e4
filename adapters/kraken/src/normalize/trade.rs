//! The `trade` channel.

use crate::instruments::subscribed_name;
use crate::time::micros;
use marketprism_adapter_sdk::{
    Cursor, DataType, LoadedFeed, Object, Output, ParseResult, Payload, Trade, TradeId, amount, side,
};

pub(super) fn trade(loaded: &LoadedFeed, output: &mut Output, item: &Object<'_>) -> ParseResult<()> {
    let symbol = subscribed_name(item.read("symbol", Cursor::text)?);
    let Some((instrument, _)) = loaded.subscribed(output, &symbol, DataType::Trade) else { return Ok(()) };
    output.event(Payload::Trade(Trade {
        instrument,
        time_us: item.read("timestamp", micros)?,
        id: TradeId::Number(item.read("trade_id", Cursor::unsigned)?),
        price: item.read("price", amount)?,
        quantity: item.read("qty", amount)?,
        side: item.read("side", side)?,
    }));
    Ok(())
}
