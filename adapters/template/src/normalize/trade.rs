//! Trades.

use crate::numbers::micros;
use marketprism_adapter_sdk::{
    Cursor, DataType, LoadedFeed, Object, Output, ParseResult, Payload, Trade, TradeId, amount, side,
};

pub(super) fn trade(loaded: &LoadedFeed, output: &mut Output, message: &Object<'_>) -> ParseResult<()> {
    let name = message.read("name", Cursor::text)?;
    let Some((instrument, _)) = loaded.subscribed(output, &name, DataType::Trade) else { return Ok(()) };
    output.event(Payload::Trade(Trade {
        instrument,
        time_us: message.read("time", micros)?,
        id: TradeId::Number(message.read("id", Cursor::unsigned)?),
        price: message.read("price", amount)?,
        // Base units: contracts have to be converted here.
        quantity: message.read("quantity", amount)?,
        // The taker's side. Some venues write the maker's, or a flag that the buyer was the maker.
        side: message.read("side", side)?,
    }));
    Ok(())
}
