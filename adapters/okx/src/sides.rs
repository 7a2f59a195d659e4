//! The two sides of a book message.

use crate::field::each_element;
use crate::measure::{Measure, Scales};
use marketprism_adapter_sdk::{Cursor, Decimal, DecimalError, Output, Scale, Scan, amount, decimal};

/// The levels of a message in the output.
pub(crate) struct Levels {
    pub(crate) levels_at: u32,
    pub(crate) bids: u32,
    pub(crate) asks: u32,
    pub(crate) scales: Scales,
}

/// Where the sides of a message stand, and what was read of them.
///
/// Bids go straight to the output; asks, which the venue sends first, wait in `asks` until the bids are
/// complete. Where a level is finer than the instrument's scales, both sides are read again at finer ones.
pub(crate) struct Sides<'a, 'b> {
    measure: &'b Measure,
    /// Mantissas of the asks. Cleared here, kept by the caller for its memory.
    asks: &'b mut Vec<i64>,
    bids_at: Option<Cursor<'a>>,
    asks_at: Option<Cursor<'a>>,
    bids: u32,
    fits: bool,
    levels_at: usize,
}

impl<'a, 'b> Sides<'a, 'b> {
    #[inline(always)]
    pub(crate) fn new(measure: &'b Measure, asks: &'b mut Vec<i64>, output: &Output) -> Sides<'a, 'b> {
        asks.clear();
        Sides {
            measure,
            asks,
            bids_at: None,
            asks_at: None,
            bids: 0,
            fits: true,
            levels_at: output.levels_at(),
        }
    }

    #[inline(always)]
    pub(crate) fn bids(&mut self, cursor: &mut Cursor<'a>, output: &mut Output) -> Scan<()> {
        let start = *cursor;
        if self.bids_at.replace(start).is_some() {
            return cursor.fault("bids once");
        }
        let read = side(cursor, self.measure, |price, quantity| {
            output.level(price, quantity);
            self.bids += 1;
        });
        self.settle(read?, cursor, start)
    }

    #[inline(always)]
    pub(crate) fn asks(&mut self, cursor: &mut Cursor<'a>) -> Scan<()> {
        let start = *cursor;
        if self.asks_at.replace(start).is_some() {
            return cursor.fault("asks once");
        }
        let read = side(cursor, self.measure, |price, quantity| {
            self.asks.extend_from_slice(&[price, quantity]);
        });
        self.settle(read?, cursor, start)
    }

    #[inline(always)]
    fn settle(&mut self, complete: bool, cursor: &mut Cursor<'a>, start: Cursor<'a>) -> Scan<()> {
        if complete {
            return Ok(());
        }
        self.fits = false;
        *cursor = start;
        cursor.skip()
    }

    /// The levels of the whole message. `cursor` stands at its end, for faults.
    #[inline(always)]
    pub(crate) fn finish(mut self, cursor: &Cursor<'a>, output: &mut Output) -> Scan<Levels> {
        let (Some(bids_at), Some(asks_at)) = (self.bids_at, self.asks_at) else {
            return cursor.fault("bids and asks");
        };
        let Ok(levels_at) = u32::try_from(self.levels_at) else {
            return cursor.fault("fewer levels in a batch");
        };
        let scales = if self.fits { self.measure.scales } else { self.read_again(bids_at, asks_at, output)? };
        let (asks, _) = self.asks.as_chunks::<2>();
        for [price, quantity] in asks {
            output.level(*price, *quantity);
        }
        let Ok(asks) = u32::try_from(asks.len()) else { return cursor.fault("fewer levels in a batch") };
        Ok(Levels { levels_at, bids: self.bids, asks, scales })
    }

    /// Reads both sides at the coarsest scales, not coarser than the instrument's, that hold every level.
    #[inline(never)]
    fn read_again(
        &mut self,
        mut bids_at: Cursor<'a>,
        mut asks_at: Cursor<'a>,
        output: &mut Output,
    ) -> Scan<Scales> {
        let mut scales = self.measure.scales;
        for mut cursor in [bids_at, asks_at] {
            each_element(&mut cursor, |cursor| {
                let (price, quantity) = any_level(cursor, self.measure)?;
                scales.price = scales.price.max(price.scale);
                scales.quantity = scales.quantity.max(quantity.scale);
                Ok(())
            })?;
        }
        output.truncate_levels(self.levels_at);
        self.asks.clear();
        self.bids = 0;
        each_element(&mut bids_at, |cursor| {
            let (price, quantity) = level_at(cursor, self.measure, scales)?;
            output.level(price, quantity);
            self.bids += 1;
            Ok(())
        })?;
        each_element(&mut asks_at, |cursor| {
            let (price, quantity) = level_at(cursor, self.measure, scales)?;
            self.asks.extend_from_slice(&[price, quantity]);
            Ok(())
        })?;
        Ok(scales)
    }
}

/// Reads one side at the instrument's scales; false where a level does not fit them.
#[inline(always)]
fn side(cursor: &mut Cursor<'_>, measure: &Measure, mut level: impl FnMut(i64, i64)) -> Scan<bool> {
    if cursor.literal(b"[]") {
        return Ok(true);
    }
    cursor.expect(b'[', "an array of levels")?;
    if cursor.take(b']') {
        return Ok(true);
    }
    loop {
        let (price, quantity) = match plain_level(cursor, measure) {
            Some(level) => level,
            None => match other_level(cursor, measure)? {
                Some(level) => level,
                None => return Ok(false),
            },
        };
        level(price, quantity);
        if cursor.literal(b",") {
            continue;
        }
        if cursor.take(b']') {
            return Ok(true);
        }
        cursor.expect(b',', "`,` or `]` after a level")?;
    }
}

/// A level in the form that the venue sends: `["8476.98","415","0","13"]`.
#[inline(always)]
fn plain_level(cursor: &mut Cursor<'_>, measure: &Measure) -> Option<(i64, i64)> {
    let mut next = *cursor;
    if !next.literal(b"[") {
        return None;
    }
    let price = next.quoted_at(measure.price)?;
    if !next.literal(b",") {
        return None;
    }
    let amount = next.quoted_at(measure.amount)?;
    if !next.literal(b",\"0\",") {
        return None;
    }
    next.quoted_at(Scale::new(0))?;
    if !next.literal(b"]") {
        return None;
    }
    let quantity = measure.quick(price, amount)?;
    *cursor = next;
    Some((price, quantity))
}

/// A level in any form, at the instrument's scales; none where it does not fit them.
#[inline(never)]
fn other_level(cursor: &mut Cursor<'_>, measure: &Measure) -> Scan<Option<(i64, i64)>> {
    let (price, quantity) = any_level(cursor, measure)?;
    let at = |number, scale| decimal::rescale(number, scale).ok();
    Ok(at(price, measure.scales.price).zip(at(quantity, measure.scales.quantity)))
}

fn level_at(cursor: &mut Cursor<'_>, measure: &Measure, scales: Scales) -> Scan<(i64, i64)> {
    let start = *cursor;
    let (price, quantity) = any_level(cursor, measure)?;
    let at = |number, scale| {
        decimal::rescale(number, scale).or_else(|_| start.fault("a level that fits a 64-bit mantissa"))
    };
    Ok((at(price, scales.price)?, at(quantity, scales.quantity)?))
}

/// A level in any form: whitespace, numbers without quotes, any elements behind price and amount.
fn any_level(cursor: &mut Cursor<'_>, measure: &Measure) -> Scan<(Decimal, Decimal)> {
    let start = *cursor;
    cursor.expect(b'[', "a level")?;
    let price = amount(cursor, "a price of at least 0")?;
    cursor.expect(b',', "`,` after a price")?;
    let contracts = amount(cursor, "a quantity of at least 0")?;
    let mut first = false;
    while cursor.more(b']', &mut first)? {
        cursor.skip()?;
    }
    match measure.exact(price, contracts) {
        Ok(quantity) => Ok((price, quantity)),
        Err(DecimalError::NotANumber) => start.fault("a price above 0"),
        Err(_) => start.fault("a quantity that fits in base units"),
    }
}
