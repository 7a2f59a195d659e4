//! `allLiquidation`.

use super::items::each_item;
use marketprism_adapter_sdk::{
    DataType, Liquidation, LoadedFeed, Object, Output, ParseResult, Payload, amount, millis, opposite, side,
};

pub(super) fn liquidations(
    loaded: &LoadedFeed,
    output: &mut Output,
    message: &Object<'_>,
    symbol: &str,
) -> ParseResult<()> {
    let Some((instrument, _)) = loaded.subscribed(output, symbol, DataType::Liquidation) else {
        return Ok(());
    };
    each_item(output, message, symbol, |forced| {
        let time_us = forced.read("T", millis)?;
        Ok(Payload::Liquidation(Liquidation {
            instrument,
            time_us,
            // `S` is the side of the position: a long one (`Buy`) is closed by an order to sell.
            side: opposite(forced.read("S", side)?),
            price: forced.read("p", amount)?,
            quantity: forced.read("v", amount)?,
            liquidation_time_us: Some(time_us),
            id: None,
        }))
    })
}
