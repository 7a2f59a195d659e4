//! `allLiquidation`, and the older `liquidation`: the same values under other names, an order a message.

use super::items::each_item;
use marketprism_adapter_sdk::{
    DataType, Liquidation, LoadedFeed, Object, Output, ParseResult, Payload, TradeId, amount, millis,
    opposite, side,
};

/// The names of an order's values: today's, those of the older stream, and those of its first version. Only today's is subscribed; recordings of
/// others have the older ones.
const NAMES: [OrderKeys; 3] = [
    OrderKeys { time: "T", side: "S", price: "p", quantity: "v" },
    OrderKeys { time: "updatedTime", side: "side", price: "price", quantity: "size" },
    OrderKeys { time: "time", side: "side", price: "price", quantity: "qty" },
];

struct OrderKeys {
    time: &'static str,
    side: &'static str,
    price: &'static str,
    quantity: &'static str,
}

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
        let [today, ..] = &NAMES;
        let keys = NAMES.iter().find(|keys| forced.has(keys.quantity)).unwrap_or(today);
        let time_us = forced.read(keys.time, millis)?;
        // The side is that of the position: a long one (`Buy`) is closed by an order to sell.
        let side = opposite(forced.read(keys.side, side)?);
        let (price, quantity) = (forced.read(keys.price, amount)?, forced.read(keys.quantity, amount)?);
        // The venue numbers nothing: equal orders are distinguished by their position in the message.
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
