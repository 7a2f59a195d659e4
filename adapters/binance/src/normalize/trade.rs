//! `trade` and `aggTrade`, each on both exchange ids.

use super::event::{EventMarket, EventMembers, micros, other_member, symbol};
use crate::BinanceVenue;
use marketprism_adapter_sdk::{
    BookScales, Cursor, Decimal, Ignored, LoadedFeed, Output, ParseResult, Payload, Scale, Side, Trade,
    TradeId, amount, amount_near, decimal::fit, key, once, unless_unset,
};

const SYMBOL: u64 = key("s");
const TRADE_ID: u64 = key("t");
const AGGREGATE_ID: u64 = key("a");
const FIRST_TRADE: u64 = key("f");
const LAST_TRADE: u64 = key("l");
const PRICE: u64 = key("p");
const QUANTITY: u64 = key("q");
const TIME: u64 = key("T");
const BUYER_IS_MAKER: u64 = key("m");
const ORIGIN: u64 = key("X");

/// Ids have another key in each of the two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TradeKind {
    Single,
    Aggregate,
}

impl BinanceVenue {
    pub(super) fn trade(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        members: EventMembers<'_, '_>,
        kind: TradeKind,
    ) -> ParseResult<()> {
        let EventMembers { cursor, mut named } = members;
        let start = *cursor;
        let id_key = if kind == TradeKind::Single { TRADE_ID } else { AGGREGATE_ID };
        let (mut id, mut price, mut quantity, mut time, mut buyer_is_maker) = (None, None, None, None, None);
        let mut origin = TradeOrigin::Market;
        let mut market = EventMarket::default();
        let mut scales: Option<BookScales> = None;
        let mut first = true;
        while cursor.more(b'}', &mut first)? {
            match cursor.short_key()? {
                key if key == id_key => {
                    once(&mut id, unless_unset(cursor, "the trade's id", Cursor::unsigned)?, cursor)?
                }
                SYMBOL => {
                    symbol(loaded, cursor, &mut market)?;
                    scales = market.instrument.and_then(|instrument| self.scales(instrument));
                }
                PRICE => once(&mut price, number(cursor, scales.map(|scales| scales.price))?, cursor)?,
                QUANTITY => {
                    once(&mut quantity, number(cursor, scales.map(|scales| scales.quantity))?, cursor)?
                }
                TIME => once(&mut time, cursor.unsigned("`T`")?, cursor)?,
                BUYER_IS_MAKER => once(&mut buyer_is_maker, cursor.boolean("`m`")?, cursor)?,
                ORIGIN => {
                    let name = unless_unset(cursor, "`X`", Cursor::text)?;
                    origin = name.map_or(TradeOrigin::Market, |name| TradeOrigin::of(&name));
                }
                key => other_member(key, cursor, &mut named, &mut market)?,
            }
        }
        let id = match id.flatten() {
            Some(number) => Some(TradeId::Number(number)),
            None if kind == TradeKind::Aggregate => id_of_sum(start)?,
            None => None,
        };
        let (Some(id), Some(price), Some(quantity)) = (id, price, quantity) else {
            return cursor.expected("the trade's id, `p` and `q`");
        };
        let (Some(time), Some(buyer_is_maker)) = (time, buyer_is_maker) else {
            return cursor.expected("`T` and `m`");
        };
        let time_us = micros(cursor, time)?;
        let Some(instrument) = market.subscribed(cursor, output)? else { return Ok(()) };
        if origin == TradeOrigin::Elsewhere {
            output.ignored(Ignored::NotNeeded);
            return Ok(());
        }
        let Some(scales) = scales else { return cursor.expected("`s`") };
        output.event(Payload::Trade(Trade {
            instrument,
            time_us,
            id,
            price: fit(price, scales.price.places()),
            quantity: fit(quantity, scales.quantity.places()),
            side: if buyer_is_maker { Side::Sell } else { Side::Buy },
        }));
        if origin == TradeOrigin::Unknown {
            output.ignored(Ignored::UnknownKind);
        }
        Ok(())
    }
}

/// Members of an aggregate of 2019 after its type.
const OF_SUM: [u64; 8] = [key("E"), SYMBOL, PRICE, QUANTITY, FIRST_TRADE, LAST_TRADE, TIME, BUYER_IS_MAKER];

/// Aggregates of 2019 have no id of their own: it is made of the trades that they sum. Only here are these read, as
/// every digit costs the usual message time. One with any other member is a damaged one of today.
#[cold]
fn id_of_sum(mut cursor: Cursor<'_>) -> ParseResult<Option<TradeId>> {
    let (mut first_trade, mut last_trade, mut seen) = (None, None, [false; OF_SUM.len()]);
    let mut first = true;
    while cursor.more(b'}', &mut first)? {
        let member = cursor.short_key()?;
        let known = OF_SUM.iter().zip(&mut seen).find(|(key, _)| **key == member);
        let Some((_, seen @ false)) = known else { return Ok(None) };
        *seen = true;
        match member {
            FIRST_TRADE => first_trade = unless_unset(&mut cursor, "`f`", Cursor::unsigned)?,
            LAST_TRADE => last_trade = unless_unset(&mut cursor, "`l`", Cursor::unsigned)?,
            _ => cursor.skip()?,
        }
    }
    let trades = first_trade.zip(last_trade);
    Ok(trades.map(|(first_trade, last_trade)| TradeId::Text(format!("{first_trade}-{last_trade}"))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TradeOrigin {
    Market,
    /// Settlements by the insurance fund and forced deleveraging are no trades of the market.
    Elsewhere,
    /// An origin that the venue does not document. It costs the trade nothing.
    Unknown,
}

impl TradeOrigin {
    fn of(name: &str) -> TradeOrigin {
        match name {
            "MARKET" | "RPI" => TradeOrigin::Market,
            "INSURANCE_FUND" | "ADL" | "NA" => TradeOrigin::Elsewhere,
            _ => TradeOrigin::Unknown,
        }
    }
}

#[inline(always)]
fn number(cursor: &mut Cursor<'_>, scale: Option<Scale>) -> ParseResult<Decimal> {
    const NUMBER: &str = "a number of at least 0";
    match scale {
        Some(scale) => amount_near(cursor, NUMBER, scale),
        None => amount(cursor, NUMBER),
    }
}
