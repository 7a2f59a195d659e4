//! The `trades` channel.

use super::topic::Topic;
use crate::numbers::{ContractUnits, micros};
use marketprism_adapter_sdk::{
    Cursor, Decimal, Ignored, Output, ParseResult, Payload, Scale, Side, Trade, TradeId, amount_near,
    decimal::fit, key, once, side,
};

const INSTRUMENT: u64 = key("instId");
const TRADE_ID: u64 = key("tradeId");
const PRICE: u64 = key("px");
const SIZE: u64 = key("sz");
const SIDE: u64 = key("side");
const TIME: u64 = key("ts");

/// The fields of a trade. A time that the venue left out is read, but absent.
#[derive(Default)]
struct TradeFields {
    named: Option<()>,
    id: Option<TradeId>,
    price: Option<Decimal>,
    size: Option<Decimal>,
    side: Option<Side>,
    time: Option<Option<i64>>,
}

#[inline(always)]
pub(super) fn trade(
    output: &mut Output,
    cursor: &mut Cursor<'_>,
    topic: &Topic<'_>,
    units: &ContractUnits,
) -> ParseResult<()> {
    let mut fields = TradeFields::default();
    let mut first = true;
    cursor.expect(b'{', "a trade")?;
    usual_order(cursor, topic, units, &mut fields, &mut first)?;
    while cursor.more(b'}', &mut first)? {
        match cursor.short_key()? {
            INSTRUMENT => once(&mut fields.named, topic.same_instrument(cursor)?, cursor)?,
            TRADE_ID => once(&mut fields.id, trade_id(cursor)?, cursor)?,
            PRICE => once(&mut fields.price, number(cursor, units.scales.price)?, cursor)?,
            SIZE => once(&mut fields.size, number(cursor, units.amount)?, cursor)?,
            SIDE => once(&mut fields.side, side(cursor, "`side` buy or sell")?, cursor)?,
            TIME => once(&mut fields.time, micros(cursor, "`ts`")?, cursor)?,
            _ => cursor.skip()?,
        }
    }
    let (Some(id), Some(price), Some(size)) = (fields.id, fields.price, fields.size) else {
        return cursor.expected("`tradeId`, `px` and `sz`");
    };
    let (Some(side), Some(time)) = (fields.side, fields.time) else {
        return cursor.expected("`side` and `ts`");
    };
    let Some(time_us) = time else {
        output.ignored(Ignored::Empty);
        return Ok(());
    };
    let price = fit(price, units.scales.price.places());
    let quantity = base_quantity(cursor, units, price, size)?;
    output.event(Payload::Trade(Trade { instrument: topic.instrument, time_us, id, price, quantity, side }));
    Ok(())
}

/// Reads the members that come in the venue's order, as far as they do.
#[inline(always)]
fn usual_order(
    cursor: &mut Cursor<'_>,
    topic: &Topic<'_>,
    units: &ContractUnits,
    fields: &mut TradeFields,
    first: &mut bool,
) -> ParseResult<()> {
    if !cursor.literal(b"\"instId\":") {
        return Ok(());
    }
    *first = false;
    fields.named = Some(topic.same_instrument(cursor)?);
    if cursor.literal(b",\"tradeId\":") {
        fields.id = Some(trade_id(cursor)?);
    }
    if cursor.literal(b",\"px\":") {
        fields.price = Some(number(cursor, units.scales.price)?);
    }
    if cursor.literal(b",\"sz\":") {
        fields.size = Some(number(cursor, units.amount)?);
    }
    if cursor.literal(b",\"side\":\"buy\"") {
        fields.side = Some(Side::Buy);
    } else if cursor.literal(b",\"side\":\"sell\"") {
        fields.side = Some(Side::Sell);
    }
    if cursor.literal(b",\"ts\":") {
        fields.time = Some(micros(cursor, "`ts`")?);
    }
    Ok(())
}

/// Base units of an amount at a price, at the instrument's scale where they fit it.
#[inline(always)]
pub(super) fn base_quantity(
    cursor: &Cursor<'_>,
    units: &ContractUnits,
    price: Decimal,
    size: Decimal,
) -> ParseResult<Decimal> {
    let scale = units.scales.quantity.places();
    if price.scale == units.scales.price.places()
        && size.scale == units.amount.places()
        && let Some(mantissa) = units.quick(price.mantissa, size.mantissa)
    {
        return Ok(Decimal { mantissa, scale });
    }
    match units.exact(price, size) {
        Ok(quantity) => Ok(fit(quantity, scale)),
        Err(_) => cursor.expected("a price and an amount that give base units"),
    }
}

#[inline(always)]
fn number(cursor: &mut Cursor<'_>, scale: Scale) -> ParseResult<Decimal> {
    amount_near(cursor, "a number of at least 0", scale)
}

/// Longest id that is no number, in bytes. The venue documents none.
const ID_MAX: usize = 64;

/// Ids are numbers in quotes; one that is not keeps its text.
#[inline(always)]
fn trade_id(cursor: &mut Cursor<'_>) -> ParseResult<TradeId> {
    match cursor.quoted_unsigned() {
        Some(id) => Ok(TradeId::Number(id)),
        None => any_trade_id(cursor),
    }
}

#[inline(never)]
fn any_trade_id(cursor: &mut Cursor<'_>) -> ParseResult<TradeId> {
    if cursor.peek() != b'"' {
        return cursor.unsigned("`tradeId`").map(TradeId::Number);
    }
    let start = *cursor;
    let text = cursor.text("`tradeId`")?;
    if text.is_empty() || text.len() > ID_MAX {
        return start.expected("`tradeId` of 1 to 64 bytes");
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    match text.parse() {
        Ok(number) if plain => Ok(TradeId::Number(number)),
        _ => Ok(TradeId::Text(text.into_owned())),
    }
}
