//! `trade` and `aggTrade`: both on both exchange ids.

use crate::adapter::{Binance, Market, Members, micros, once};
use crate::sides::{Scales, amount};
use marketprism_adapter_sdk::{
    Cursor, Decimal, Ignored, Output, Payload, Scale, Scan, Side, Trade, TradeId, decimal, key,
};

const EVENT: u64 = key("e");
const SYMBOL: u64 = key("s");
const TRADE_ID: u64 = key("t");
const AGGREGATE_ID: u64 = key("a");
const PRICE: u64 = key("p");
const QUANTITY: u64 = key("q");
const TIME: u64 = key("T");
const BUYER_IS_MAKER: u64 = key("m");
const ORIGIN: u64 = key("X");
const MARKET: u64 = key("st");

/// Which of the two messages: their ids stand under different keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TradeKind {
    Single,
    Aggregate,
}

impl Binance {
    /// Reads the members of a trade object.
    pub(crate) fn trade(&self, output: &mut Output, members: Members<'_, '_>, kind: TradeKind) -> Scan<()> {
        let Members { cursor, mut named } = members;
        let id_key = if kind == TradeKind::Single { TRADE_ID } else { AGGREGATE_ID };
        let (mut id, mut price, mut quantity, mut time, mut buyer_is_maker) = (None, None, None, None, None);
        let mut from_market = true;
        let mut market = Market::default();
        let mut scales: Option<Scales> = None;
        let mut first = true;
        while cursor.more(b'}', &mut first)? {
            match cursor.short_key()? {
                key if key == id_key => once(&mut id, cursor.unsigned("the trade's id")?, cursor)?,
                SYMBOL => {
                    self.symbol(cursor, &mut market)?;
                    scales = market.instrument.and_then(|instrument| self.scales(instrument));
                }
                PRICE => once(&mut price, number(cursor, scales.map(|scales| scales.price))?, cursor)?,
                QUANTITY => {
                    once(&mut quantity, number(cursor, scales.map(|scales| scales.quantity))?, cursor)?
                }
                TIME => once(&mut time, cursor.unsigned("`T`")?, cursor)?,
                BUYER_IS_MAKER => once(&mut buyer_is_maker, cursor.boolean("`m`")?, cursor)?,
                ORIGIN => from_market = cursor.text("`X`")? == "MARKET",
                MARKET => market.kind(cursor)?,
                EVENT => {
                    once(&mut named, (), cursor)?;
                    cursor.skip()?;
                }
                _ => cursor.skip()?,
            }
        }
        let (Some(id), Some(price), Some(quantity)) = (id, price, quantity) else {
            return cursor.fault("the trade's id, `p` and `q`");
        };
        let (Some(time), Some(buyer_is_maker)) = (time, buyer_is_maker) else {
            return cursor.fault("`T` and `m`");
        };
        let time_us = micros(cursor, time)?;
        let Some(instrument) = market.ours(cursor)? else {
            output.ignored(Ignored::OtherInstrument);
            return Ok(());
        };
        if !from_market {
            // Settlements by the insurance fund and forced deleveraging are no trades of the market.
            output.ignored(Ignored::NotNeeded);
            return Ok(());
        }
        let Some(scales) = scales else { return cursor.fault("`s`") };
        output.event(Payload::Trade(Trade {
            instrument,
            time_us,
            id: TradeId::Number(id),
            price: fit(price, scales.price),
            quantity: fit(quantity, scales.quantity),
            side: if buyer_is_maker { Side::Sell } else { Side::Buy },
        }));
        Ok(())
    }
}

#[inline(always)]
fn number(cursor: &mut Cursor<'_>, scale: Option<Scale>) -> Scan<Decimal> {
    if let Some(scale) = scale
        && let Some(mantissa) = cursor.quoted_at(scale)
    {
        return Ok(Decimal { mantissa, scale: scale.places() });
    }
    amount(cursor, "a number of at least 0")
}

/// At the instrument's scale where it fits; finer numbers keep their own.
fn fit(number: Decimal, scale: Scale) -> Decimal {
    if number.scale == scale.places() {
        return number;
    }
    match decimal::rescale(number, scale.places()) {
        Ok(mantissa) => Decimal { mantissa, scale: scale.places() },
        Err(_) => number,
    }
}
