//! The `books` channel: a snapshot, then changes that name their predecessor.

use super::topic::Topic;
use crate::numbers::{ContractUnits, micros};
use marketprism_adapter_sdk::{
    Book, BookChange, BookScales, BookSides, Cursor, Decimal, DecimalError, LevelReader, Output, ParseError,
    ParseResult, Payload, once, price_and_quantity, unless_unset,
};

#[derive(Default)]
struct BookFields {
    /// A time that the venue left out is read, but absent.
    time: Option<Option<i64>>,
    /// -1, or nothing, in a snapshot.
    previous: Option<Option<i64>>,
    last: Option<i64>,
}

/// Reads one snapshot or change. Ids are passed on as they are: a change without levels whose ids are equal is the venue's
/// heartbeat, and a smaller id than the predecessor's is its numbering after maintenance; both continue the
/// chain.
#[inline(always)]
pub(super) fn book(
    output: &mut Output,
    cursor: &mut Cursor<'_>,
    topic: &Topic<'_>,
    units: &ContractUnits,
    change: BookChange,
) -> ParseResult<()> {
    let mut sides = BookSides::new(output);
    let mut fields = BookFields::default();
    let mut first = true;
    cursor.expect(b'{', "an order book")?;
    // The venue's order, as far as it is kept.
    if cursor.literal(b"\"asks\":") {
        first = false;
        sides.asks(cursor, output, Some(units))?;
        if cursor.literal(b",\"bids\":") {
            sides.bids(cursor, output, Some(units))?;
        }
        if cursor.literal(b",\"ts\":") {
            fields.time = Some(micros(cursor, "`ts`")?);
        }
        if cursor.literal(b",\"checksum\":") {
            checksum(cursor)?;
        }
        if cursor.literal(b",\"prevSeqId\":") {
            fields.previous = Some(previous_id(cursor)?);
        }
        if cursor.literal(b",\"seqId\":") {
            fields.last = Some(cursor.integer("`seqId`")?);
        }
    }
    while cursor.more(b'}', &mut first)? {
        match &*cursor.key_text()? {
            "asks" => sides.asks(cursor, output, Some(units))?,
            "bids" => sides.bids(cursor, output, Some(units))?,
            "ts" => once(&mut fields.time, micros(cursor, "`ts`")?, cursor)?,
            "prevSeqId" => once(&mut fields.previous, previous_id(cursor)?, cursor)?,
            "seqId" => once(&mut fields.last, cursor.integer("`seqId`")?, cursor)?,
            "instId" => topic.same_instrument(cursor)?,
            _ => cursor.skip()?,
        }
    }
    let Some(last_id) = fields.last else { return cursor.expected("`seqId`") };
    let previous_id = fields.previous.flatten().filter(|_| change == BookChange::Delta);
    if change == BookChange::Delta && previous_id.is_none() {
        return cursor.expected("`prevSeqId` in an update");
    }
    let book = sides.finish(cursor, output, units)?.book(topic.instrument, change);
    // One message is one step of the sequence.
    output.event(Payload::Book(Book {
        time_us: fields.time.flatten(),
        first_id: last_id,
        last_id,
        previous_id,
        ..book
    }));
    Ok(())
}

#[inline(always)]
fn previous_id(cursor: &mut Cursor<'_>) -> ParseResult<Option<i64>> {
    unless_unset(cursor, "`prevSeqId`", Cursor::integer)
}

/// Moves over the checksum: a constant zero today, not to be verified.
#[inline(always)]
fn checksum(cursor: &mut Cursor<'_>) -> ParseResult<()> {
    let mut next = *cursor;
    next.literal(b"-");
    if next.skip_digits() {
        *cursor = next;
        return Ok(());
    }
    cursor.skip()
}

/// Levels of the form `["8476.98","415","0","13"]`: price, contracts, a constant, orders.
impl LevelReader for &ContractUnits {
    #[inline(always)]
    fn scales(&self) -> BookScales {
        self.scales
    }

    #[inline(always)]
    fn fast(&self, cursor: &mut Cursor<'_>) -> Option<(i64, i64)> {
        let mut next = *cursor;
        if !next.literal(b"[") {
            return None;
        }
        let price = next.quoted_at(self.scales.price)?;
        if !next.literal(b",") {
            return None;
        }
        let contracts = next.quoted_at(self.amount)?;
        // The number of orders is not needed.
        if !next.literal(b",\"0\",\"") || !next.skip_digits() || !next.literal(b"\"]") {
            return None;
        }
        let quantity = self.quick(price, contracts)?;
        *cursor = next;
        Some((price, quantity))
    }

    fn exact(&self, cursor: &mut Cursor<'_>) -> ParseResult<(Decimal, Decimal)> {
        let start = *cursor;
        let (price, contracts) = price_and_quantity(cursor)?;
        match ContractUnits::exact(self, price, contracts) {
            Ok(quantity) => Ok((price, quantity)),
            Err(DecimalError::NotANumber) => start.expected("a price above 0"),
            Err(_) => start.expected("a quantity that fits in base units"),
        }
    }

    fn overflow(_: &Cursor<'_>, level: &Cursor<'_>) -> ParseError {
        ParseError { at: level.at(), expected: "a level that fits a 64-bit mantissa" }
    }
}
