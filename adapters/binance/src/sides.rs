//! The two sides of a book message.

use marketprism_adapter_sdk::{Cursor, Decimal, DecimalError, Output, Scale, Scan, decimal};

/// The decimal places of an instrument's prices and quantities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scales {
    pub(crate) price: Scale,
    pub(crate) quantity: Scale,
}

/// Where the sides of a message stand, and how far their levels have been read.
///
/// Levels are read at once where the instrument is known and bids come before asks, as the venue sends them.
/// In any other order, or where a level is finer than the instrument's scales, the sides are read again when
/// the message is complete.
pub(crate) struct Sides<'a> {
    bids_at: Option<Cursor<'a>>,
    asks_at: Option<Cursor<'a>>,
    bids: u32,
    asks: u32,
    stage: Stage,
    levels_at: usize,
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
    pub(crate) scales: Scales,
}

impl<'a> Sides<'a> {
    pub(crate) fn new(output: &Output) -> Sides<'a> {
        Sides {
            bids_at: None,
            asks_at: None,
            bids: 0,
            asks: 0,
            stage: Stage::Nothing,
            levels_at: output.levels_at(),
        }
    }

    /// Reads the bids, at once where `scales` are known.
    #[inline(always)]
    pub(crate) fn bids(
        &mut self,
        cursor: &mut Cursor<'a>,
        output: &mut Output,
        scales: Option<Scales>,
    ) -> Scan<()> {
        if self.bids_at.replace(*cursor).is_some() {
            return cursor.fault("bids once");
        }
        match scales {
            Some(scales) if self.stage == Stage::Nothing => match side(cursor, output, scales)? {
                Some(count) => (self.bids, self.stage) = (count, Stage::Bids),
                None => self.put_off(cursor, self.bids_at)?,
            },
            _ => self.put_off(cursor, self.bids_at)?,
        }
        Ok(())
    }

    /// Reads the asks, at once where the bids were.
    #[inline(always)]
    pub(crate) fn asks(
        &mut self,
        cursor: &mut Cursor<'a>,
        output: &mut Output,
        scales: Option<Scales>,
    ) -> Scan<()> {
        if self.asks_at.replace(*cursor).is_some() {
            return cursor.fault("asks once");
        }
        match scales {
            Some(scales) if self.stage == Stage::Bids => match side(cursor, output, scales)? {
                Some(count) => (self.asks, self.stage) = (count, Stage::Both),
                None => self.put_off(cursor, self.asks_at)?,
            },
            _ => self.put_off(cursor, self.asks_at)?,
        }
        Ok(())
    }

    #[cold]
    fn put_off(&mut self, cursor: &mut Cursor<'a>, start: Option<Cursor<'a>>) -> Scan<()> {
        self.stage = Stage::Again;
        if let Some(start) = start {
            *cursor = start;
        }
        cursor.skip()
    }

    /// The levels of the whole message. `cursor` stands at its end, for faults.
    pub(crate) fn finish(self, cursor: &Cursor<'a>, output: &mut Output, scales: Scales) -> Scan<Levels> {
        let (Some(bids_at), Some(asks_at)) = (self.bids_at, self.asks_at) else {
            return cursor.fault("bids and asks");
        };
        let Ok(levels_at) = u32::try_from(self.levels_at) else {
            return cursor.fault("fewer levels in a batch");
        };
        if self.stage == Stage::Both {
            return Ok(Levels { levels_at, bids: self.bids, asks: self.asks, scales });
        }
        let finer = finest(bids_at, asks_at, scales)?;
        for scales in [scales, finer] {
            output.truncate_levels(self.levels_at);
            let (mut bids_at, mut asks_at) = (bids_at, asks_at);
            let Some(bids) = side(&mut bids_at, output, scales)? else { continue };
            let Some(asks) = side(&mut asks_at, output, scales)? else { continue };
            return Ok(Levels { levels_at, bids, asks, scales });
        }
        bids_at.fault("levels that fit a 64-bit mantissa at one scale")
    }
}

/// Reads one side. None where a level does not fit the scales.
#[inline(always)]
fn side(cursor: &mut Cursor<'_>, output: &mut Output, scales: Scales) -> Scan<Option<u32>> {
    if cursor.literal(b"[]") {
        return Ok(Some(0));
    }
    cursor.expect(b'[', "an array of levels")?;
    if cursor.take(b']') {
        return Ok(Some(0));
    }
    let mut count = 0;
    loop {
        let (price, quantity) = match plain_level(cursor, scales) {
            Some(level) => level,
            None => match any_level_at(cursor, scales)? {
                Some(level) => level,
                None => return Ok(None),
            },
        };
        output.level(price, quantity);
        count += 1;
        if cursor.literal(b",") {
            continue;
        }
        if cursor.take(b']') {
            return Ok(Some(count));
        }
        cursor.expect(b',', "`,` or `]` after a level")?;
    }
}

/// A level in the form that the venue sends: `["0.0024","10"]`.
#[inline(always)]
fn plain_level(cursor: &mut Cursor<'_>, scales: Scales) -> Option<(i64, i64)> {
    let mut next = *cursor;
    if !next.literal(b"[") {
        return None;
    }
    let price = next.quoted_at(scales.price)?;
    if !next.literal(b",") {
        return None;
    }
    let quantity = next.quoted_at(scales.quantity)?;
    if !next.literal(b"]") {
        return None;
    }
    *cursor = next;
    Some((price, quantity))
}

#[inline(never)]
fn any_level_at(cursor: &mut Cursor<'_>, scales: Scales) -> Scan<Option<(i64, i64)>> {
    let (price, quantity) = any_level(cursor)?;
    let at = |number, scale: Scale| decimal::rescale(number, scale.places());
    match (at(price, scales.price), at(quantity, scales.quantity)) {
        (Ok(price), Ok(quantity)) => Ok(Some((price, quantity))),
        (Err(DecimalError::NotANumber), _) | (_, Err(DecimalError::NotANumber)) => cursor.fault("a number"),
        _ => Ok(None),
    }
}

/// A level in any form: whitespace, numbers without quotes, elements behind price and quantity.
fn any_level(cursor: &mut Cursor<'_>) -> Scan<(Decimal, Decimal)> {
    cursor.expect(b'[', "a level")?;
    let price = amount(cursor, "a price of at least 0")?;
    cursor.expect(b',', "`,` after a price")?;
    let quantity = amount(cursor, "a quantity of at least 0")?;
    let mut first = false;
    while cursor.more(b']', &mut first)? {
        cursor.skip()?;
    }
    Ok((price, quantity))
}

/// A number that cannot be below zero.
pub(crate) fn amount(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Decimal> {
    let start = *cursor;
    let number = cursor.decimal(what)?;
    if number.mantissa < 0 { start.fault(what) } else { Ok(number) }
}

/// The coarsest scales, not coarser than the instrument's, that hold every level of both sides.
fn finest(bids_at: Cursor<'_>, asks_at: Cursor<'_>, scales: Scales) -> Scan<Scales> {
    let (mut price, mut quantity) = (scales.price.places(), scales.quantity.places());
    for mut cursor in [bids_at, asks_at] {
        let mut first = true;
        cursor.expect(b'[', "an array of levels")?;
        while cursor.more(b']', &mut first)? {
            let level = any_level(&mut cursor)?;
            price = price.max(level.0.scale);
            quantity = quantity.max(level.1.scale);
        }
    }
    Ok(Scales { price: Scale::new(price), quantity: Scale::new(quantity) })
}
