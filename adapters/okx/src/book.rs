//! The `books` channel: a snapshot, then changes that name their predecessor.

use crate::adapter::{Market, Topic};
use crate::field::{micros, once};
use crate::sides::Sides;
use marketprism_adapter_sdk::{Book, BookChange, Cursor, Output, Payload, Scan};

#[derive(Default)]
struct Fields {
    /// A time that the venue left out is read, but absent.
    time: Option<Option<i64>>,
    previous: Option<i64>,
    last: Option<i64>,
}

/// Reads one snapshot or change of the topic's instrument. `asks` lends its memory.
///
/// What the sequence says is passed on as it is: a change without levels whose ids are equal is the venue's
/// heartbeat, and a smaller id than the predecessor's is its numbering after maintenance; both continue the
/// chain.
#[inline(always)]
pub(crate) fn book(
    output: &mut Output,
    cursor: &mut Cursor<'_>,
    topic: &Topic<'_>,
    market: &Market,
    change: BookChange,
    asks: &mut Vec<i64>,
) -> Scan<()> {
    let mut sides = Sides::new(&market.measure, asks, output);
    let mut fields = Fields::default();
    let mut first = true;
    cursor.expect(b'{', "an order book")?;
    // The venue's order, as far as it is kept.
    if cursor.literal(b"\"asks\":") {
        first = false;
        sides.asks(cursor)?;
        if cursor.literal(b",\"bids\":") {
            sides.bids(cursor, output)?;
        }
        if cursor.literal(b",\"ts\":") {
            fields.time = Some(micros(cursor, "`ts`")?);
        }
        if cursor.literal(b",\"checksum\":") {
            checksum(cursor)?;
        }
        if cursor.literal(b",\"prevSeqId\":") {
            fields.previous = Some(cursor.integer("`prevSeqId`")?);
        }
        if cursor.literal(b",\"seqId\":") {
            fields.last = Some(cursor.integer("`seqId`")?);
        }
    }
    while cursor.more(b'}', &mut first)? {
        match &*cursor.key_text()? {
            "asks" => sides.asks(cursor)?,
            "bids" => sides.bids(cursor, output)?,
            "ts" => once(&mut fields.time, micros(cursor, "`ts`")?, cursor)?,
            "prevSeqId" => once(&mut fields.previous, cursor.integer("`prevSeqId`")?, cursor)?,
            "seqId" => once(&mut fields.last, cursor.integer("`seqId`")?, cursor)?,
            "instId" => topic.same_instrument(cursor)?,
            _ => cursor.skip()?,
        }
    }
    let (Some(time_us), Some(previous), Some(last_id)) = (fields.time, fields.previous, fields.last) else {
        return cursor.fault("`ts`, `prevSeqId` and `seqId`");
    };
    let levels = sides.finish(cursor, output)?;
    output.event(Payload::Book(Book {
        instrument: topic.instrument,
        change,
        time_us,
        // One message is one step of the sequence.
        first_id: last_id,
        last_id,
        previous_id: (change == BookChange::Delta).then_some(previous),
        checksum: None,
        price_scale: levels.scales.price,
        quantity_scale: levels.scales.quantity,
        levels_at: levels.levels_at,
        bids: levels.bids,
        asks: levels.asks,
    }));
    Ok(())
}

/// Moves over the checksum: a constant zero today, not to be verified.
#[inline(always)]
fn checksum(cursor: &mut Cursor<'_>) -> Scan<()> {
    let mut next = *cursor;
    if next.integer("`checksum`").is_ok() {
        *cursor = next;
        return Ok(());
    }
    cursor.skip()
}
