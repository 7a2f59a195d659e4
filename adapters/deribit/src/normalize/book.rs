//! `book.{instrument}.{interval}`: the snapshot in band, then changes that name their predecessor.

use crate::channels::ChannelInstrument;
use crate::numbers::{AmountUnit, ContractUnits, amount, micros, pass, quick_base_quantity, text};
use marketprism_adapter_sdk::{
    Book, BookChange, BookScales, BookSides, Cursor, Decimal, LevelReader, Output, ParseResult, Payload,
    once, unless_unset, wide_key,
};

const TYPE: u128 = wide_key("type");
const TIMESTAMP: u128 = wide_key("timestamp");
const CHANGE_ID: u128 = wide_key("change_id");
const PREV_CHANGE_ID: u128 = wide_key("prev_change_id");
const INSTRUMENT_NAME: u128 = wide_key("instrument_name");
const BIDS: u128 = wide_key("bids");
const ASKS: u128 = wide_key("asks");

pub(super) fn book(
    output: &mut Output,
    cursor: &mut Cursor<'_>,
    named: ChannelInstrument<'_>,
) -> ParseResult<()> {
    let mut sides = BookSides::new(output);
    let (mut change, mut time_us, mut id, mut previous_id) = (None, None, None, None);
    let mut first = true;
    cursor.expect(b'{', "a book object")?;
    while cursor.more(b'}', &mut first)? {
        match cursor.wide_key()? {
            TYPE => {
                once(&mut change, unless_unset(cursor, "`type`", |cursor, _| book_change(cursor))?, cursor)?
            }
            TIMESTAMP => once(&mut time_us, unless_unset(cursor, "`timestamp`", micros)?, cursor)?,
            CHANGE_ID => once(&mut id, cursor.integer("`change_id`")?, cursor)?,
            PREV_CHANGE_ID => {
                once(&mut previous_id, unless_unset(cursor, "`prev_change_id`", Cursor::integer)?, cursor)?
            }
            INSTRUMENT_NAME => named.agrees(cursor)?,
            BIDS => sides.bids(cursor, output, Some(named.units))?,
            ASKS => sides.asks(cursor, output, Some(named.units))?,
            _ => pass(cursor)?,
        }
    }
    let Some(last_id) = id else { return cursor.expected("`change_id`") };
    let levels = sides.finish(cursor, output, named.units)?;
    let previous_id = previous_id.flatten();
    let change = match (change.flatten(), previous_id) {
        // The first change of a new instrument names 0: it is the whole book. Old messages have no type.
        (_, Some(0)) | (None, None) => BookChange::Snapshot,
        (None, Some(_)) => BookChange::Delta,
        (Some(change), _) => change,
    };
    let previous_id = match (change, previous_id) {
        (BookChange::Delta, None) => return cursor.expected("`prev_change_id` in a change"),
        (BookChange::Snapshot, _) if levels.removes_levels(output) => {
            return cursor.expected("no deleted level in a snapshot");
        }
        // A snapshot has no predecessor.
        (BookChange::Snapshot, _) => None,
        (BookChange::Delta, previous_id) => previous_id,
    };
    let book = levels.book(named.instrument, change);
    output.event(Payload::Book(Book {
        time_us: time_us.flatten(),
        first_id: last_id,
        last_id,
        previous_id,
        ..book
    }));
    Ok(())
}
#[inline(always)]
fn book_change(cursor: &mut Cursor<'_>) -> ParseResult<BookChange> {
    let start = *cursor;
    match &*text(cursor, "`type`")? {
        b"change" => Ok(BookChange::Delta),
        b"snapshot" => Ok(BookChange::Snapshot),
        _ => start.expected("`snapshot` or `change`"),
    }
}

/// Levels of the form `["new",0.0015,4714.0]`: action, price, amount.
impl LevelReader for ContractUnits {
    const SIDES: [&'static str; 3] = ["`bids` once", "`asks` once", "`bids` or `asks`"];

    #[inline(always)]
    fn scales(&self) -> BookScales {
        self.scales
    }

    #[inline(always)]
    fn fast(&self, cursor: &mut Cursor<'_>) -> Option<(i64, i64)> {
        let mut next = *cursor;
        let delete = if next.literal(b"[\"new\",") || next.literal(b"[\"change\",") {
            false
        } else if next.literal(b"[\"delete\",") {
            true
        } else {
            return None;
        };
        let price = next.plain_number()?.at(self.scales.price)?;
        if !next.literal(b",") {
            return None;
        }
        let amount = next.plain_number()?;
        if !next.literal(b"]") || delete != (amount.mantissa == 0) {
            return None;
        }
        let quantity = match self.unit {
            _ if delete => 0,
            AmountUnit::Base => amount.at(self.scales.quantity)?,
            AmountUnit::Quote { power } => quick_base_quantity(amount, price, power)?,
        };
        *cursor = next;
        Some((price, quantity))
    }

    fn exact(&self, cursor: &mut Cursor<'_>) -> ParseResult<(Decimal, Decimal)> {
        let start = *cursor;
        let (price, amount) = row(cursor)?;
        match self.unit {
            AmountUnit::Quote { .. } if amount.mantissa != 0 => {
                Ok((price, self.base_quantity(&start, amount, price)?))
            }
            _ => Ok((price, amount)),
        }
    }
}

/// Price and amount of a level in any form. Action and amount must agree: a level that is deleted has amount 0, any other has not. Where
/// they do not, the chain of changes breaks and the book is resynced.
fn row(cursor: &mut Cursor<'_>) -> ParseResult<(Decimal, Decimal)> {
    cursor.expect(b'[', "a level")?;
    let start = *cursor;
    let delete = match &*text(cursor, "`new`, `change` or `delete`")? {
        b"new" | b"change" => false,
        b"delete" => true,
        _ => return start.expected("`new`, `change` or `delete`"),
    };
    cursor.expect(b',', "`,` after an action")?;
    let price = amount(cursor, "a price of at least 0")?;
    cursor.expect(b',', "`,` after a price")?;
    let start = *cursor;
    let amount = amount(cursor, "an amount of at least 0")?;
    if delete != (amount.mantissa == 0) {
        return start.expected("an amount of 0 where a level is deleted, and only there");
    }
    let mut first = false;
    while cursor.more(b']', &mut first)? {
        cursor.skip()?;
    }
    Ok((price, amount))
}
