//! Rows of trades: `trades.{instrument}.{interval}`, and answers of the trades request.

use super::control;
use super::liquidation::{ForcedOrder, ForcedSide};
use crate::DeribitVenue;
use crate::numbers::{ContractUnits, amount, micros, pass, text};
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, Frame, Ignored, LoadedFeed, Object, Output, ParseResult, Payload, Side, Trade,
    TradeId, decimal::fit, once, wide_key,
};

const INSTRUMENT_NAME: u128 = wide_key("instrument_name");
const TRADE_SEQ: u128 = wide_key("trade_seq");
const TIMESTAMP: u128 = wide_key("timestamp");
const PRICE: u128 = wide_key("price");
const AMOUNT: u128 = wide_key("amount");
const DIRECTION: u128 = wide_key("direction");
const LIQUIDATION: u128 = wide_key("liquidation");

#[derive(Clone, Copy, Debug)]
pub(super) struct TradeRow {
    pub(super) instrument: u32,
    pub(super) units: ContractUnits,
    /// Consecutive for an instrument, so that a hole is a lost trade.
    pub(super) sequence: u64,
    pub(super) time_us: i64,
    pub(super) price: Decimal,
    pub(super) amount: Decimal,
    pub(super) side: Side,
    pub(super) forced: Option<ForcedSide>,
}

impl DeribitVenue {
    pub(super) fn trades(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
    ) -> ParseResult<()> {
        let wanted = loaded.has(DataType::Trade);
        let count = output.each_item(cursor, |output, cursor| {
            let Some(row) = self.row(loaded, cursor)? else {
                output.ignored(Ignored::OtherInstrument);
                return Ok(());
            };
            if wanted {
                output.event(Payload::Trade(trade(&row, cursor)?));
            }
            match self.liquidation(loaded, output, cursor, &row)? {
                ForcedOrder::None if !wanted => output.ignored(Ignored::OtherDataType),
                ForcedOrder::Repeated if !wanted => output.ignored(Ignored::Repeated),
                _ => {}
            }
            Ok(())
        })?;
        if count == 0 {
            output.ignored(Ignored::Empty);
        }
        Ok(())
    }

    /// Rows of past trades. Those that are marked as forced belong to another data type's polls.
    pub(super) fn history(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
        asked: u32,
    ) -> ParseResult<()> {
        let answer = Object::whole(frame.bytes)?;
        if control::error(output, &answer, None)? {
            return Ok(());
        }
        let result = answer.read("result", |cursor, _| Object::parse(cursor))?;
        let count = result.read("trades", |cursor, _| {
            output.each_item(cursor, |output, cursor| {
                let Some(row) = self.row(loaded, cursor)?.filter(|row| row.instrument == asked) else {
                    output.ignored(Ignored::OtherInstrument);
                    return Ok(());
                };
                output.event(Payload::Trade(trade(&row, cursor)?));
                Ok(())
            })
        })?;
        if count == 0 {
            output.ignored(Ignored::Empty);
        }
        Ok(())
    }

    /// The trade that comes next; none where it is another instrument's. Of such a row nothing but its name need be readable: the difference of two
    /// futures has prices below 0.
    #[inline(always)]
    pub(super) fn row(&self, loaded: &LoadedFeed, cursor: &mut Cursor<'_>) -> ParseResult<Option<TradeRow>> {
        let start = *cursor;
        let row = self.readable_row(loaded, cursor);
        if row.is_err() && self.names_another(loaded, start) {
            *cursor = start;
            return cursor.skip().map(|()| None);
        }
        row
    }

    #[cold]
    fn names_another(&self, loaded: &LoadedFeed, mut cursor: Cursor<'_>) -> bool {
        let name = Object::parse(&mut cursor).and_then(|row| row.read("instrument_name", Cursor::text));
        name.is_ok_and(|name| self.find(loaded, name.as_bytes(), false).is_none())
    }

    #[inline(always)]
    fn readable_row(&self, loaded: &LoadedFeed, cursor: &mut Cursor<'_>) -> ParseResult<Option<TradeRow>> {
        let (mut named, mut sequence, mut time_us) = (None, None, None);
        let (mut price, mut size, mut side, mut forced) = (None, None, None, None);
        let mut first = true;
        cursor.expect(b'{', "a trade object")?;
        while cursor.more(b'}', &mut first)? {
            match cursor.wide_key()? {
                INSTRUMENT_NAME => {
                    let name = text(cursor, "`instrument_name`")?;
                    once(&mut named, self.find(loaded, &name, false), cursor)?;
                }
                TRADE_SEQ => once(&mut sequence, cursor.unsigned("`trade_seq`")?, cursor)?,
                TIMESTAMP => once(&mut time_us, micros(cursor, "`timestamp`")?, cursor)?,
                PRICE => once(&mut price, amount(cursor, "`price` of at least 0")?, cursor)?,
                AMOUNT => once(&mut size, amount(cursor, "`amount` of at least 0")?, cursor)?,
                DIRECTION => once(&mut side, direction(cursor)?, cursor)?,
                LIQUIDATION => once(&mut forced, ForcedSide::read(cursor)?, cursor)?,
                _ => pass(cursor)?,
            }
        }
        let (Some(named), Some(sequence), Some(time_us)) = (named, sequence, time_us) else {
            return cursor.expected("`instrument_name`, `trade_seq` and `timestamp`");
        };
        let (Some(price), Some(amount), Some(side)) = (price, size, side) else {
            return cursor.expected("`price`, `amount` and `direction`");
        };
        Ok(named.map(|(instrument, units)| TradeRow {
            instrument,
            units,
            sequence,
            time_us,
            price,
            amount,
            side,
            forced: forced.flatten(),
        }))
    }
}

#[inline(always)]
fn trade(row: &TradeRow, cursor: &Cursor<'_>) -> ParseResult<Trade> {
    Ok(Trade {
        instrument: row.instrument,
        time_us: row.time_us,
        id: TradeId::Number(row.sequence),
        price: fit(row.price, row.units.scales.price.places()),
        quantity: row.units.base_quantity(cursor, row.amount, row.price)?,
        side: row.side,
    })
}

fn direction(cursor: &mut Cursor<'_>) -> ParseResult<Side> {
    let start = *cursor;
    match &*text(cursor, "`direction`")? {
        b"buy" => Ok(Side::Buy),
        b"sell" => Ok(Side::Sell),
        _ => start.expected("`buy` or `sell`"),
    }
}
