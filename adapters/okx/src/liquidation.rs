//! The `liquidation-orders` channel: one for all instruments of a type.

use crate::adapter::Okx;
use crate::field::{each_element, each_member, micros, once, optional};
use crate::trade::quantity;
use marketprism_adapter_sdk::{
    Cursor, Decimal, Ignored, Liquidation, Output, Payload, Scan, Side, amount, side,
};

/// What a message held besides events. Each is noted once: a message may tell of hundreds of orders.
#[derive(Default)]
pub(crate) struct Passed {
    others: bool,
    empty: bool,
}

impl Passed {
    pub(crate) fn note(&self, output: &mut Output) {
        for (passed, reason) in [(self.others, Ignored::OtherInstrument), (self.empty, Ignored::Empty)] {
            if passed {
                output.ignored(reason);
            }
        }
    }
}

impl Okx {
    /// Reads the liquidated orders of one instrument.
    pub(crate) fn liquidations(
        &self,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
        passed: &mut Passed,
    ) -> Scan<()> {
        let (mut instrument, mut details) = (None, None);
        each_member(cursor, "liquidated orders", |cursor, key| match key {
            "instId" => {
                let name = cursor.text("`instId`")?;
                once(&mut instrument, self.symbols.find(name.as_bytes()), cursor)
            }
            "details" => {
                once(&mut details, *cursor, cursor)?;
                cursor.skip()
            }
            _ => cursor.skip(),
        })?;
        let (Some(instrument), Some(mut details)) = (instrument, details) else {
            return cursor.fault("`instId` and `details`");
        };
        let wanted = instrument.filter(|index| self.offers_liquidations(*index));
        let Some(instrument) = wanted else {
            passed.others = true;
            return Ok(());
        };
        let any = each_element(&mut details, |cursor| self.liquidation(output, cursor, instrument, passed))?;
        passed.empty |= !any;
        Ok(())
    }

    fn liquidation(
        &self,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
        instrument: u32,
        passed: &mut Passed,
    ) -> Scan<()> {
        let (mut order, mut position, mut price, mut size, mut time) = (None, None, None, None, None);
        each_member(cursor, "a liquidated order", |cursor, key| match key {
            "side" => once(&mut order, side(cursor, "`side` buy or sell")?, cursor),
            "posSide" => once(&mut position, closing_side(cursor)?, cursor),
            "bkPx" => once(&mut price, optional(cursor, |cursor| amount(cursor, "`bkPx`"))?, cursor),
            "sz" => once(&mut size, optional(cursor, |cursor| amount(cursor, "`sz`"))?, cursor),
            "ts" => once(&mut time, micros(cursor, "`ts`")?, cursor),
            _ => cursor.skip(),
        })?;
        let (Some(side), Some(price), Some(size), Some(time)) = (order, price, size, time) else {
            return cursor.fault("`side`, `bkPx`, `sz` and `ts`");
        };
        if position.flatten().is_some_and(|closing| closing != side) {
            return cursor.fault("`side` that closes `posSide`");
        }
        let set = |number: &Decimal| number.mantissa != 0;
        let (Some(price), Some(size), Some(time_us)) = (price.filter(set), size.filter(set), time) else {
            passed.empty = true;
            return Ok(());
        };
        let Some(market) = self.market(instrument) else { return cursor.fault("a known instrument") };
        output.event(Payload::Liquidation(Liquidation {
            instrument,
            time_us,
            side,
            price,
            quantity: quantity(cursor, market, price, size)?,
            liquidation_time_us: Some(time_us),
            id: None,
        }));
        Ok(())
    }
}

/// The side of the order that closes the position; none for `net` positions, which do not tell.
fn closing_side(cursor: &mut Cursor<'_>) -> Scan<Option<Side>> {
    let start = *cursor;
    match &*cursor.text("`posSide`")? {
        "long" => Ok(Some(Side::Sell)),
        "short" => Ok(Some(Side::Buy)),
        "net" | "" => Ok(None),
        _ => start.fault("`posSide` long, short or net"),
    }
}
