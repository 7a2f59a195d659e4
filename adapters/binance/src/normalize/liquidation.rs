//! `forceOrder`: liquidations. The venue publishes at most one a second and symbol: a lower bound.

use super::event::{EventMarket, EventMembers, MARKET, micros, other_member, symbol};
use crate::BinanceVenue;
use marketprism_adapter_sdk::{
    Cursor, Decimal, Ignored, Liquidation, LoadedFeed, Output, ParseResult, Payload, Side, amount, key, once,
    unless_unset,
};

const ORDER: u64 = key("o");
const SYMBOL: u64 = key("s");
const SIDE: u64 = key("S");
const QUANTITY: u64 = key("q");
const FILLED: u64 = key("z");
const PRICE: u64 = key("p");
const AVERAGE_PRICE: u64 = key("ap");
const STATUS: u64 = key("X");
const TIME: u64 = key("T");

#[derive(Default)]
struct ForcedOrder {
    market: EventMarket,
    side: Option<Side>,
    quantity: Option<Option<Decimal>>,
    filled: Option<Option<Decimal>>,
    price: Option<Option<Decimal>>,
    average_price: Option<Option<Decimal>>,
    /// Inside: the reason why this message is no filled order.
    status: Option<Option<Ignored>>,
    time: Option<u64>,
}

impl BinanceVenue {
    pub(super) fn force_order(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        members: EventMembers<'_, '_>,
    ) -> ParseResult<()> {
        let EventMembers { cursor, mut named } = members;
        let mut order = ForcedOrder::default();
        let mut read = None;
        let mut first = true;
        while cursor.more(b'}', &mut first)? {
            match cursor.short_key()? {
                ORDER => {
                    once(&mut read, (), cursor)?;
                    forced_order(loaded, cursor, &mut order)?;
                }
                key => other_member(key, cursor, &mut named, &mut order.market)?,
            }
        }
        if read.is_none() {
            return cursor.expected("`o`");
        }
        liquidation(output, cursor, &order)
    }
}

fn forced_order(loaded: &LoadedFeed, cursor: &mut Cursor<'_>, order: &mut ForcedOrder) -> ParseResult<()> {
    let mut first = true;
    cursor.expect(b'{', "an order")?;
    while cursor.more(b'}', &mut first)? {
        match cursor.short_key()? {
            SYMBOL => symbol(loaded, cursor, &mut order.market)?,
            SIDE => once(&mut order.side, side(cursor)?, cursor)?,
            QUANTITY => once(&mut order.quantity, optional(cursor, "`q` of at least 0")?, cursor)?,
            FILLED => once(&mut order.filled, optional(cursor, "`z` of at least 0")?, cursor)?,
            PRICE => once(&mut order.price, optional(cursor, "`p` of at least 0")?, cursor)?,
            AVERAGE_PRICE => once(&mut order.average_price, optional(cursor, "`ap` of at least 0")?, cursor)?,
            STATUS => once(&mut order.status, unfilled(&cursor.text("`X`")?), cursor)?,
            TIME => once(&mut order.time, cursor.unsigned("`T`")?, cursor)?,
            MARKET => order.market.read_type(cursor)?,
            _ => cursor.skip()?,
        }
    }
    Ok(())
}

fn liquidation(output: &mut Output, cursor: &Cursor<'_>, order: &ForcedOrder) -> ParseResult<()> {
    let (Some(side), Some(unfilled), Some(time)) = (order.side, order.status, order.time) else {
        return cursor.expected("`S`, `X` and `T`");
    };
    let time_us = micros(cursor, time)?;
    // What was filled and what it cost; the order's own figures where those are not given.
    let above_zero = |number: Option<Option<Decimal>>| number.flatten().filter(|number| number.mantissa > 0);
    let quantity = above_zero(order.filled).or(above_zero(order.quantity));
    let price = above_zero(order.average_price).or(above_zero(order.price));
    let (Some(quantity), Some(price)) = (quantity, price) else {
        return cursor.expected("`z` or `q`, and `ap` or `p`, above 0");
    };
    let Some(instrument) = order.market.subscribed(cursor, output)? else { return Ok(()) };
    if let Some(reason) = unfilled {
        output.ignored(reason);
        return Ok(());
    }
    output.event(Payload::Liquidation(Liquidation {
        instrument,
        time_us,
        side,
        price,
        quantity,
        liquidation_time_us: Some(time_us),
        id: None,
    }));
    Ok(())
}

/// The message of an order's completion holds all of it; counting parts too would count them twice.
fn unfilled(status: &str) -> Option<Ignored> {
    match status {
        "FILLED" => None,
        "NEW" | "PARTIALLY_FILLED" | "CANCELED" | "REJECTED" | "EXPIRED" | "EXPIRED_IN_MATCH" => {
            Some(Ignored::NotNeeded)
        }
        _ => Some(Ignored::UnknownKind),
    }
}

fn optional(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Option<Decimal>> {
    unless_unset(cursor, what, amount)
}

/// The side of the liquidation order itself: a long position is closed by a sale.
fn side(cursor: &mut Cursor<'_>) -> ParseResult<Side> {
    let start = *cursor;
    match &*cursor.text("`S`")? {
        "BUY" => Ok(Side::Buy),
        "SELL" => Ok(Side::Sell),
        _ => start.expected("`BUY` or `SELL`"),
    }
}
