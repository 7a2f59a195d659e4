//! The two sides of a book message: rows of action, price and amount.

use crate::contract::{Contract, Unit, quick_base_quantity};
use crate::numbers::{amount, plain, text};
use marketprism_adapter_sdk::{Cursor, Decimal, DecimalError, Output, Scale, Scan, decimal};

/// Where the sides of a message stand, and how far their levels have been read.
///
/// Levels are read at once where bids come before asks, as the venue sends them. In the other order, or where a level
/// is finer than the instrument's scales, the sides are read again when the message is complete.
pub(crate) struct Sides<'a> {
    contract: Contract,
    bids_at: Option<Cursor<'a>>,
    asks_at: Option<Cursor<'a>>,
    bids: u32,
    asks: u32,
    stage: Stage,
    levels_at: usize,
    deletes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Nothing,
    Bids,
    Both,
    Again,
}

/// The levels of a message in the output.
pub(crate) struct Levels {
    pub(crate) levels_at: u32,
    pub(crate) bids: u32,
    pub(crate) asks: u32,
    pub(crate) price: Scale,
    pub(crate) quantity: Scale,
    /// A level is taken away.
    pub(crate) deletes: bool,
}

impl<'a> Sides<'a> {
    pub(crate) fn new(output: &Output, contract: Contract) -> Sides<'a> {
        Sides {
            contract,
            bids_at: None,
            asks_at: None,
            bids: 0,
            asks: 0,
            stage: Stage::Nothing,
            levels_at: output.levels_at(),
            deletes: false,
        }
    }

    #[inline(always)]
    pub(crate) fn bids(&mut self, cursor: &mut Cursor<'a>, output: &mut Output) -> Scan<()> {
        let start = *cursor;
        if self.bids_at.replace(start).is_some() {
            return cursor.fault("`bids` once");
        }
        if self.stage == Stage::Nothing
            && let Some(count) = self.side(cursor, output)?
        {
            (self.bids, self.stage) = (count, Stage::Bids);
            return Ok(());
        }
        self.put_off(cursor, start)
    }

    #[inline(always)]
    pub(crate) fn asks(&mut self, cursor: &mut Cursor<'a>, output: &mut Output) -> Scan<()> {
        let start = *cursor;
        if self.asks_at.replace(start).is_some() {
            return cursor.fault("`asks` once");
        }
        if self.stage == Stage::Bids
            && let Some(count) = self.side(cursor, output)?
        {
            (self.asks, self.stage) = (count, Stage::Both);
            return Ok(());
        }
        self.put_off(cursor, start)
    }

    #[cold]
    fn put_off(&mut self, cursor: &mut Cursor<'a>, start: Cursor<'a>) -> Scan<()> {
        self.stage = Stage::Again;
        *cursor = start;
        cursor.skip()
    }

    /// The levels of the whole message. `cursor` stands at its end, for faults.
    pub(crate) fn finish(mut self, cursor: &Cursor<'a>, output: &mut Output) -> Scan<Levels> {
        let (Some(bids_at), Some(asks_at)) = (self.bids_at, self.asks_at) else {
            return cursor.fault("`bids` and `asks`");
        };
        if self.stage == Stage::Both {
            return self.levels(cursor);
        }
        for attempt in 0..2 {
            if attempt == 1 {
                self.contract = finest(bids_at, asks_at, self.contract)?;
            }
            output.truncate_levels(self.levels_at);
            let (mut bids_at, mut asks_at) = (bids_at, asks_at);
            let Some(bids) = self.side(&mut bids_at, output)? else { continue };
            let Some(asks) = self.side(&mut asks_at, output)? else { continue };
            (self.bids, self.asks) = (bids, asks);
            return self.levels(cursor);
        }
        bids_at.fault("levels that fit a 64-bit mantissa at one scale")
    }

    fn levels(&self, cursor: &Cursor<'_>) -> Scan<Levels> {
        let Ok(levels_at) = u32::try_from(self.levels_at) else {
            return cursor.fault("fewer levels in a batch");
        };
        Ok(Levels {
            levels_at,
            bids: self.bids,
            asks: self.asks,
            price: self.contract.price,
            quantity: self.contract.quantity,
            deletes: self.deletes,
        })
    }

    /// Reads one side. None where a level does not fit the scales.
    #[inline(always)]
    fn side(&mut self, cursor: &mut Cursor<'_>, output: &mut Output) -> Scan<Option<u32>> {
        if cursor.literal(b"[]") {
            return Ok(Some(0));
        }
        cursor.expect(b'[', "an array of levels")?;
        if cursor.take(b']') {
            return Ok(Some(0));
        }
        let mut count = 0;
        loop {
            let level = match plain_level(cursor, &self.contract) {
                Some(level) => Some(level),
                None => any_level_at(cursor, &self.contract)?,
            };
            let Some((price, quantity)) = level else { return Ok(None) };
            self.deletes |= quantity == 0;
            output.level(price, quantity);
            count += 1;
            if cursor.take(b']') {
                return Ok(Some(count));
            }
            cursor.expect(b',', "`,` or `]` after a level")?;
        }
    }
}

/// A level in the form that the venue sends: `["new",0.0015,4714.0]`. None where something is unusual, or wrong.
#[inline(always)]
fn plain_level(cursor: &mut Cursor<'_>, contract: &Contract) -> Option<(i64, i64)> {
    let mut next = *cursor;
    let delete = if next.literal(b"[\"new\",") || next.literal(b"[\"change\",") {
        false
    } else if next.literal(b"[\"delete\",") {
        true
    } else {
        return None;
    };
    let price = plain(&mut next)?.at(contract.price)?;
    if !next.literal(b",") {
        return None;
    }
    let amount = plain(&mut next)?;
    if !next.literal(b"]") || delete != (amount.mantissa == 0) {
        return None;
    }
    let quantity = match contract.unit {
        _ if delete => 0,
        Unit::Base => amount.at(contract.quantity)?,
        Unit::Quote { power } => quick_base_quantity(amount, price, power)?,
    };
    *cursor = next;
    Some((price, quantity))
}

#[inline(never)]
fn any_level_at(cursor: &mut Cursor<'_>, contract: &Contract) -> Scan<Option<(i64, i64)>> {
    let start = *cursor;
    let (price, amount) = any_level(cursor)?;
    let quantity = match contract.unit {
        Unit::Quote { .. } if amount.mantissa != 0 => contract.base_quantity(&start, amount, price)?,
        _ => amount,
    };
    match (
        decimal::rescale(price, contract.price.places()),
        decimal::rescale(quantity, contract.quantity.places()),
    ) {
        (Ok(price), Ok(quantity)) => Ok(Some((price, quantity))),
        (Err(DecimalError::NotANumber), _) | (_, Err(DecimalError::NotANumber)) => start.fault("a number"),
        _ => Ok(None),
    }
}

/// A level in any form. Action and amount must agree: a level that is deleted has amount 0, any other has not. Where
/// they do not, the chain of changes breaks and the book starts anew.
fn any_level(cursor: &mut Cursor<'_>) -> Scan<(Decimal, Decimal)> {
    cursor.expect(b'[', "a level")?;
    let start = *cursor;
    let delete = match &*text(cursor, "`new`, `change` or `delete`")? {
        b"new" | b"change" => false,
        b"delete" => true,
        _ => return start.fault("`new`, `change` or `delete`"),
    };
    cursor.expect(b',', "`,` after an action")?;
    let price = amount(cursor, "a price of at least 0")?;
    cursor.expect(b',', "`,` after a price")?;
    let start = *cursor;
    let amount = amount(cursor, "an amount of at least 0")?;
    if delete != (amount.mantissa == 0) {
        return start.fault("an amount of 0 where a level is deleted, and only there");
    }
    let mut first = false;
    while cursor.more(b']', &mut first)? {
        cursor.skip()?;
    }
    Ok((price, amount))
}

/// The contract with the coarsest scales, not coarser than its own, that hold every level of both sides. Quantities that come of a
/// division have their scale.
fn finest(bids_at: Cursor<'_>, asks_at: Cursor<'_>, contract: Contract) -> Scan<Contract> {
    let (mut price, mut quantity) = (contract.price.places(), contract.quantity.places());
    for mut cursor in [bids_at, asks_at] {
        let mut first = true;
        cursor.expect(b'[', "an array of levels")?;
        while cursor.more(b']', &mut first)? {
            let level = any_level(&mut cursor)?;
            price = price.max(smallest(level.0).scale);
            if contract.unit == Unit::Base {
                quantity = quantity.max(smallest(level.1).scale);
            }
        }
    }
    let unit = match contract.unit {
        Unit::Base => Unit::Base,
        // Another price scale: the general way divides.
        Unit::Quote { .. } => Unit::Quote { power: 0 },
    };
    Ok(Contract { price: Scale::new(price), quantity: Scale::new(quantity), unit, ..contract })
}

/// The same number without zeros at its end.
fn smallest(number: Decimal) -> Decimal {
    let mut small = number;
    while small.scale > 0 && small.mantissa % 10 == 0 {
        small = Decimal { mantissa: small.mantissa / 10, scale: small.scale - 1 };
    }
    small
}
