//! The `liquidation-orders` channel: one for all instruments of a type.

use super::trade::base_quantity;
use crate::OkxVenue;
use crate::describe::markets;
use crate::numbers::{micros, optional_amount};
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, Ignored, Liquidation, LoadedFeed, Output, ParseResult, Payload, Side,
    each_member, once, side, unset,
};

impl OkxVenue {
    pub(super) fn liquidations(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
    ) -> ParseResult<()> {
        let (mut instrument, mut details) = (None, None);
        each_member(cursor, "liquidated orders", |cursor, key| match key {
            "instId" => {
                let name = cursor.text("`instId`")?;
                once(&mut instrument, loaded.position(name.as_bytes()), cursor)
            }
            "details" => {
                once(&mut details, *cursor, cursor)?;
                cursor.skip()
            }
            _ => cursor.skip(),
        })?;
        let (Some(instrument), Some(mut details)) = (instrument, details) else {
            return cursor.expected("`instId` and `details`");
        };
        let served = |index: &u32| {
            let instrument = loaded.instruments.get(*index as usize);
            instrument.is_some_and(|one| markets(DataType::Liquidation).contains(&one.market_type))
        };
        let Some(instrument) = instrument.filter(served) else {
            output.ignored(Ignored::OtherInstrument);
            return Ok(());
        };
        let count =
            output.each_item(&mut details, |output, cursor| self.liquidation(output, cursor, instrument))?;
        if count == 0 {
            output.ignored(Ignored::Empty);
        }
        Ok(())
    }

    fn liquidation(&self, output: &mut Output, cursor: &mut Cursor<'_>, instrument: u32) -> ParseResult<()> {
        let (mut order, mut position, mut price, mut size, mut time) = (None, None, None, None, None);
        each_member(cursor, "a liquidated order", |cursor, key| match key {
            "side" => once(&mut order, side(cursor, "`side` buy or sell")?, cursor),
            "posSide" => once(&mut position, position_side(cursor)?, cursor),
            "bkPx" => once(&mut price, optional_amount(cursor, "`bkPx`")?, cursor),
            "sz" => once(&mut size, optional_amount(cursor, "`sz`")?, cursor),
            "ts" => once(&mut time, micros(cursor, "`ts`")?, cursor),
            _ => cursor.skip(),
        })?;
        let (Some(side), Some(price), Some(size), Some(time)) = (order, price, size, time) else {
            return cursor.expected("`side`, `bkPx`, `sz` and `ts`");
        };
        let position = position.unwrap_or(PositionSide::Net);
        if matches!(position, PositionSide::ClosedBy(closing) if closing != side) {
            return cursor.expected("`side` that closes `posSide`");
        }
        let set = |number: &Decimal| number.mantissa != 0;
        let (Some(price), Some(size), Some(time_us)) = (price.filter(set), size.filter(set), time) else {
            output.ignored(Ignored::Empty);
            return Ok(());
        };
        let units = self.units(cursor, instrument)?;
        output.event(Payload::Liquidation(Liquidation {
            instrument,
            time_us,
            side,
            price,
            quantity: base_quantity(cursor, units, price, size)?,
            liquidation_time_us: Some(time_us),
            id: None,
        }));
        if position == PositionSide::Unknown {
            output.ignored(Ignored::UnknownKind);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PositionSide {
    /// A long or short position, and the side of the order that closes it.
    ClosedBy(Side),
    /// Neither long nor short is named: `net`, or unset.
    Net,
    /// A side that the venue does not document. It costs the order nothing.
    Unknown,
}

fn position_side(cursor: &mut Cursor<'_>) -> ParseResult<PositionSide> {
    if unset(cursor) {
        return Ok(PositionSide::Net);
    }
    if cursor.peek() != b'"' {
        return cursor.skip().map(|()| PositionSide::Unknown);
    }
    Ok(match &*cursor.text("`posSide`")? {
        "long" => PositionSide::ClosedBy(Side::Sell),
        "short" => PositionSide::ClosedBy(Side::Buy),
        "net" => PositionSide::Net,
        _ => PositionSide::Unknown,
    })
}
