//! `allLiquidation`.

use super::items::each_item;
use marketprism_adapter_sdk::{
    DataType, Liquidation, LoadedFeed, Object, Output, ParseResult, Payload, TradeId, amount, millis,
    opposite, side,
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
    let mut read = Vec::new();
    each_item(output, message, symbol, |forced| {
        let time_us = forced.read("T", millis)?;
        // `S` is the side of the position: a long one (`Buy`) is closed by an order to sell.
        let side = opposite(forced.read("S", side)?);
        let (price, quantity) = (forced.read("p", amount)?, forced.read("v", amount)?);
        // The venue numbers nothing: orders alike in all of it are told apart by their place among each other.
        let order = (time_us, side, price, quantity);
        let alike = read.iter().filter(|known| **known == order).count();
        read.push(order);
        Ok(Payload::Liquidation(Liquidation {
            instrument,
            time_us,
            side,
            price,
            quantity,
            liquidation_time_us: Some(time_us),
            id: u64::try_from(alike).ok().filter(|alike| *alike > 0).map(TradeId::Number),
        }))
    })
}
