//! The two sides of a book message.
//!
//! Levels go straight to the output while the instrument's scales hold them; otherwise both sides are read again, exactly, when the
//! message is complete. In the output bids always stand before asks.

use crate::cursor::{Cursor, ParseError, ParseResult};
use crate::decimal::{self, Scale};
use crate::object::{Object, each_element};
use crate::output::Output;
use crate::types::{Book, BookChange, Decimal};
use crate::values::{amount, unset};

/// Decimal places of the prices and quantities of a book event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookScales {
    /// Places of a price.
    pub price: Scale,
    /// Places of a base quantity.
    pub quantity: Scale,
}

impl BookScales {
    /// From numbers of decimal places.
    pub fn new(price: u8, quantity: u8) -> BookScales {
        BookScales { price: Scale::new(price), quantity: Scale::new(quantity) }
    }
}

/// The form of a level in a venue's messages.
pub trait LevelReader: Copy {
    /// Expected when a side comes twice, and when neither is given: bids twice, asks twice, neither.
    const SIDES: [&'static str; 3] = ["bids once", "asks once", "bids or asks"];

    /// The instrument's scales.
    fn scales(&self) -> BookScales;

    /// Price and quantity mantissas at [`LevelReader::scales`] of a level in the form that the venue sends. None, without moving, for any
    /// other form and for a level that needs the exact way.
    fn fast(&self, cursor: &mut Cursor<'_>) -> Option<(i64, i64)>;

    /// Price and base quantity of a level in any valid form.
    fn exact(&self, cursor: &mut Cursor<'_>) -> ParseResult<(Decimal, Decimal)>;

    /// The error of a message whose levels fit no common scale: `bids` is at the first side, `level` at the level.
    fn overflow(bids: &Cursor<'_>, _level: &Cursor<'_>) -> ParseError {
        ParseError { at: bids.at(), expected: "levels that fit a 64-bit mantissa at one scale" }
    }
}

/// Levels of the form `["0.0024","10"]` in base units.
impl LevelReader for BookScales {
    #[inline(always)]
    fn scales(&self) -> BookScales {
        *self
    }

    #[inline(always)]
    fn fast(&self, cursor: &mut Cursor<'_>) -> Option<(i64, i64)> {
        let mut next = *cursor;
        if !next.literal(b"[") {
            return None;
        }
        let price = next.quoted_at(self.price)?;
        if !next.literal(b",") {
            return None;
        }
        let quantity = next.quoted_at(self.quantity)?;
        if !next.literal(b"]") {
            return None;
        }
        *cursor = next;
        Some((price, quantity))
    }

    fn exact(&self, cursor: &mut Cursor<'_>) -> ParseResult<(Decimal, Decimal)> {
        price_and_quantity(cursor)
    }
}

/// A level in any form: whitespace, numbers without quotes, elements after price and quantity.
pub fn price_and_quantity(cursor: &mut Cursor<'_>) -> ParseResult<(Decimal, Decimal)> {
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

/// The levels of a book event in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookLevels {
    levels_at: u32,
    bids: u32,
    asks: u32,
    scales: BookScales,
}

impl BookLevels {
    /// Reads both lists of levels of a message at fixed scales; `level` gives the mantissas of the level that comes next. A list that is
    /// missing or `null` has no levels, unless the other one is too.
    pub fn read<'a>(
        output: &mut Output,
        message: &Object<'a>,
        [bids, asks]: [&'static str; 2],
        scales: BookScales,
        mut level: impl FnMut(&mut Cursor<'a>) -> ParseResult<(i64, i64)>,
    ) -> ParseResult<BookLevels> {
        // A frame is far shorter than 4 GiB.
        let levels_at = u32::try_from(output.levels_at()).unwrap_or(u32::MAX);
        let mut side = |key| {
            message.optional(key, |cursor, _| {
                each_element(cursor, |cursor| {
                    let (price, quantity) = level(cursor)?;
                    output.level(price, quantity);
                    Ok(())
                })
            })
        };
        let (of_bids, of_asks) = (side(bids)?, side(asks)?);
        if of_bids.or(of_asks).is_none() {
            return message.read(bids, |cursor, what| cursor.expected(what));
        }
        let count = |levels: Option<usize>| u32::try_from(levels.unwrap_or(0)).unwrap_or(u32::MAX);
        Ok(BookLevels { levels_at, bids: count(of_bids), asks: count(of_asks), scales })
    }

    /// An event with these levels and without time, ids and checksum.
    pub fn book(&self, instrument: u32, change: BookChange) -> Book {
        Book {
            instrument,
            change,
            time_us: None,
            first_id: 0,
            last_id: 0,
            previous_id: None,
            checksum: None,
            price_scale: self.scales.price.places(),
            quantity_scale: self.scales.quantity.places(),
            levels_at: self.levels_at,
            bids: self.bids,
            asks: self.asks,
        }
    }

    /// True when a level has quantity 0.
    pub fn removes_levels(&self, output: &Output) -> bool {
        let levels = output.levels_from(self.levels_at as usize);
        levels.as_chunks::<2>().0.iter().any(|[_, quantity]| *quantity == 0)
    }
}

/// The sides of one message while it is read, in whatever order they come. One that is missing or `null` has no levels: some serializers
/// leave empty lists out.
#[derive(Debug)]
pub struct BookSides<'a> {
    bids_at: Option<Cursor<'a>>,
    asks_at: Option<Cursor<'a>>,
    bids: u32,
    asks: u32,
    asks_first: bool,
    /// Sides that are `null`.
    unset: usize,
    /// A side was skipped: its levels need the exact way, or the instrument was not known yet.
    incomplete: bool,
    levels_at: usize,
}

impl<'a> BookSides<'a> {
    /// Of a message whose levels come next in the output.
    #[inline(always)]
    pub fn new(output: &Output) -> BookSides<'a> {
        BookSides {
            bids_at: None,
            asks_at: None,
            bids: 0,
            asks: 0,
            asks_first: false,
            unset: 0,
            incomplete: false,
            levels_at: output.levels_at(),
        }
    }

    /// Reads the bids; without a reader they are skipped until [`BookSides::finish`].
    #[inline(always)]
    pub fn bids<R: LevelReader>(
        &mut self,
        cursor: &mut Cursor<'a>,
        output: &mut Output,
        reader: Option<R>,
    ) -> ParseResult<()> {
        if self.bids_at.replace(*cursor).is_some() {
            return cursor.expected(R::SIDES[0]);
        }
        self.bids = self.side(cursor, output, reader)?;
        Ok(())
    }

    /// Reads the asks; without a reader they are skipped until [`BookSides::finish`].
    #[inline(always)]
    pub fn asks<R: LevelReader>(
        &mut self,
        cursor: &mut Cursor<'a>,
        output: &mut Output,
        reader: Option<R>,
    ) -> ParseResult<()> {
        if self.asks_at.replace(*cursor).is_some() {
            return cursor.expected(R::SIDES[1]);
        }
        self.asks_first = self.bids_at.is_none();
        self.asks = self.side(cursor, output, reader)?;
        Ok(())
    }

    #[inline(always)]
    fn side<R: LevelReader>(
        &mut self,
        cursor: &mut Cursor<'a>,
        output: &mut Output,
        reader: Option<R>,
    ) -> ParseResult<u32> {
        if cursor.peek() != b'[' && unset(cursor) {
            self.unset += 1;
            return Ok(0);
        }
        let start = *cursor;
        if let Some(reader) = reader
            && !self.incomplete
            && let Some(count) = levels(cursor, output, reader)?
        {
            return Ok(count);
        }
        self.postpone(cursor, start)
    }

    #[cold]
    fn postpone(&mut self, cursor: &mut Cursor<'a>, start: Cursor<'a>) -> ParseResult<u32> {
        self.incomplete = true;
        *cursor = start;
        cursor.skip()?;
        Ok(0)
    }

    /// The levels of the whole message. `cursor` is at its end, for errors.
    ///
    /// # Errors
    /// Both sides are missing, or their levels fit no common scale.
    #[inline(always)]
    pub fn finish<R: LevelReader>(
        mut self,
        cursor: &Cursor<'a>,
        output: &mut Output,
        reader: R,
    ) -> ParseResult<BookLevels> {
        let sides = [self.bids_at, self.asks_at];
        if sides.iter().flatten().count() == self.unset {
            return cursor.expected(R::SIDES[2]);
        }
        let Ok(levels_at) = u32::try_from(self.levels_at) else {
            return cursor.expected("fewer levels in a batch");
        };
        let mut scales = reader.scales();
        if self.incomplete {
            output.truncate_levels(self.levels_at);
            scales = finest(sides, reader)?;
            self.bids = exact_levels(self.bids_at, sides, output, reader, scales)?;
            self.asks = exact_levels(self.asks_at, sides, output, reader, scales)?;
        } else if self.asks_first {
            output.rotate_levels(self.levels_at, self.asks as usize);
        }
        Ok(BookLevels { levels_at, bids: self.bids, asks: self.asks, scales })
    }
}

/// Reads one side at the instrument's scales. None where a level does not fit them.
#[inline(always)]
fn levels<R: LevelReader>(
    cursor: &mut Cursor<'_>,
    output: &mut Output,
    reader: R,
) -> ParseResult<Option<u32>> {
    if cursor.literal(b"[]") {
        return Ok(Some(0));
    }
    cursor.expect(b'[', "an array of levels")?;
    if cursor.take(b']') {
        return Ok(Some(0));
    }
    let mut count = 0;
    loop {
        let (price, quantity) = match reader.fast(cursor) {
            Some(level) => level,
            None => match exact_at_scales(cursor, reader)? {
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

#[inline(never)]
fn exact_at_scales<R: LevelReader>(cursor: &mut Cursor<'_>, reader: R) -> ParseResult<Option<(i64, i64)>> {
    let (price, quantity) = reader.exact(cursor)?;
    Ok(at_scales(price, quantity, reader.scales()))
}

fn at_scales(price: Decimal, quantity: Decimal, scales: BookScales) -> Option<(i64, i64)> {
    let at = |number, scale: Scale| decimal::rescale(number, scale.places()).ok();
    at(price, scales.price).zip(at(quantity, scales.quantity))
}

/// A side that is missing or `null` has no levels.
fn each_level<'a>(
    side: Option<Cursor<'a>>,
    each: impl FnMut(&mut Cursor<'a>) -> ParseResult<()>,
) -> ParseResult<usize> {
    let Some(mut side) = side else { return Ok(0) };
    if unset(&mut side) { Ok(0) } else { each_element(&mut side, each) }
}

fn exact_levels<R: LevelReader>(
    side: Option<Cursor<'_>>,
    sides: [Option<Cursor<'_>>; 2],
    output: &mut Output,
    reader: R,
    scales: BookScales,
) -> ParseResult<u32> {
    let count = each_level(side, |cursor| {
        let start = *cursor;
        let (price, quantity) = reader.exact(cursor)?;
        let Some((price, quantity)) = at_scales(price, quantity, scales) else {
            let first = sides.into_iter().flatten().next().unwrap_or(start);
            return Err(R::overflow(&first, &start));
        };
        output.level(price, quantity);
        Ok(())
    })?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The coarsest scales, not coarser than the instrument's, that hold every level of both sides.
fn finest<R: LevelReader>(sides: [Option<Cursor<'_>>; 2], reader: R) -> ParseResult<BookScales> {
    let listed = reader.scales();
    let (mut price, mut quantity) = (listed.price.places(), listed.quantity.places());
    for side in sides {
        each_level(side, |cursor| {
            let level = reader.exact(cursor)?;
            price = price.max(decimal::trimmed(level.0).scale);
            quantity = quantity.max(decimal::trimmed(level.1).scale);
            Ok(())
        })?;
    }
    Ok(BookScales::new(price, quantity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::each_frame;
    use crate::types::{Frames, Normalized, Payload, Remark};

    /// A message of sides in the order given, `b` for bids, each with its levels.
    fn read(sides: &[(char, &str)], reader: Option<BookScales>) -> Normalized {
        let frames = Frames { data: Vec::new(), ends: vec![0], sources: vec![0], received_at_ns: vec![0] };
        each_frame(&frames, |output, _| {
            let mut book = BookSides::new(output);
            for (side, levels) in sides {
                let mut cursor = Cursor::new(levels.as_bytes());
                match side {
                    'b' => book.bids(&mut cursor, output, reader)?,
                    _ => book.asks(&mut cursor, output, reader)?,
                }
                cursor.end()?;
            }
            let levels = book.finish(&Cursor::new(b""), output, BookScales::new(1, 0))?;
            output.event(Payload::Book(levels.book(0, BookChange::Delta)));
            Ok(())
        })
    }

    #[test]
    fn bids_come_before_asks_whatever_the_order_and_the_way_of_reading() {
        let (bids, asks) = (r#"[["1.5","2"],["1.0","1"]]"#, r#"[["2.5","3"]]"#);
        let known = Some(BookScales::new(1, 0));
        for reader in [known, None] {
            for sides in [[('b', bids), ('a', asks)], [('a', asks), ('b', bids)]] {
                let normalized = read(&sides, reader);
                assert_eq!(normalized.levels, [15, 2, 10, 1, 25, 3], "{sides:?}");
                let Payload::Book(book) = &normalized.events[0].payload else { panic!("a book") };
                assert_eq!((book.bids, book.asks, book.price_scale), (2, 1, 1));
            }
            let finer = read(&[('b', r#"[["1.5","2"]]"#), ('a', r#"[[2.25, "0.10", "x"]]"#)], reader);
            assert_eq!(finer.levels, [150, 20, 225, 1]);
            assert!(read(&[('a', "[]"), ('b', "[ ]")], reader).levels.is_empty());
        }
    }

    #[test]
    fn a_side_that_is_missing_or_null_has_no_levels() {
        let (level, finer) = (r#"[["1.5","2"]]"#, r#"[["1.55","2"]]"#);
        for reader in [Some(BookScales::new(1, 0)), None] {
            for (sides, bids, asks) in [
                (vec![('b', level)], 1, 0),
                (vec![('a', level)], 0, 1),
                (vec![('b', "null"), ('a', level)], 0, 1),
                (vec![('a', finer), ('b', "null")], 0, 1),
                (vec![('b', finer)], 1, 0),
                (vec![('a', "[]"), ('b', "null")], 0, 0),
            ] {
                let normalized = read(&sides, reader);
                let Payload::Book(book) = &normalized.events[0].payload else { panic!("{normalized:?}") };
                assert_eq!((book.bids, book.asks), (bids, asks), "{sides:?}");
                assert_eq!(normalized.levels.len(), 2 * (bids + asks) as usize, "{sides:?}");
            }
        }
    }

    #[test]
    fn sides_that_are_all_missing_doubled_or_too_large_are_malformed() {
        let expected =
            |sides: &[(char, &str)]| match &read(sides, Some(BookScales::new(1, 0))).notes[0].remark {
                Remark::Malformed(malformed) => malformed.what.clone(),
                other => panic!("{other:?}"),
            };
        assert_eq!(expected(&[]), "expected bids or asks");
        assert_eq!(expected(&[('b', "null"), ('a', "null")]), "expected bids or asks");
        assert_eq!(expected(&[('b', "[]"), ('b', "[]")]), "expected bids once");
        let large = r#"[["9000000000000000000","1"],["0.000000000000000001","1"]]"#;
        let what = "expected levels that fit a 64-bit mantissa at one scale";
        assert_eq!(expected(&[('b', large), ('a', "[]")]), what);
    }
}
