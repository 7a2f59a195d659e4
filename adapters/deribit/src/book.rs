//! `book.{instrument}.{interval}`: the snapshot in band, then changes that name their predecessor.

use crate::adapter::{Deribit, Named};
use crate::numbers::{member, micros, once, pass, text};
use crate::sides::Sides;
use marketprism_adapter_sdk::{Book, BookChange, Cursor, Output, Payload, Scan};

impl Deribit {
    /// Reads the data of a book's channel.
    pub(crate) fn book<'a>(
        &self,
        output: &mut Output,
        cursor: &mut Cursor<'a>,
        named: Named<'_>,
    ) -> Scan<()> {
        let mut sides = Sides::new(output, named.contract);
        let (mut change, mut time_us, mut id, mut previous_id) = (None, None, None, None);
        let mut first = true;
        cursor.expect(b'{', "a book object")?;
        while cursor.more(b'}', &mut first)? {
            match &*member(cursor)? {
                b"type" => once(&mut change, book_change(cursor)?, cursor)?,
                b"timestamp" => once(&mut time_us, micros(cursor, "`timestamp`")?, cursor)?,
                b"change_id" => once(&mut id, cursor.integer("`change_id`")?, cursor)?,
                b"prev_change_id" => {
                    let value = if cursor.null() { None } else { Some(cursor.integer("`prev_change_id`")?) };
                    once(&mut previous_id, value, cursor)?;
                }
                b"instrument_name" => named.agrees(cursor)?,
                b"bids" => sides.bids(cursor, output)?,
                b"asks" => sides.asks(cursor, output)?,
                _ => pass(cursor)?,
            }
        }
        let (Some(change), Some(last_id)) = (change, id) else {
            return cursor.fault("`type` and `change_id`");
        };
        let levels = sides.finish(cursor, output)?;
        let previous_id = match (change, previous_id.flatten()) {
            (BookChange::Delta, None) => return cursor.fault("`prev_change_id` in a change"),
            (BookChange::Snapshot, _) if levels.deletes => {
                return cursor.fault("no deleted level in a snapshot");
            }
            // A snapshot has no predecessor.
            (BookChange::Snapshot, _) => None,
            (BookChange::Delta, previous_id) => previous_id,
        };
        if time_us.is_none() {
            return cursor.fault("`timestamp`");
        }
        output.event(Payload::Book(Book {
            instrument: named.instrument,
            change,
            time_us,
            first_id: last_id,
            last_id,
            previous_id,
            checksum: None,
            price_scale: levels.price.places(),
            quantity_scale: levels.quantity.places(),
            levels_at: levels.levels_at,
            bids: levels.bids,
            asks: levels.asks,
        }));
        Ok(())
    }
}

#[inline(always)]
fn book_change(cursor: &mut Cursor<'_>) -> Scan<BookChange> {
    let start = *cursor;
    match &*text(cursor, "`type`")? {
        b"change" => Ok(BookChange::Delta),
        b"snapshot" => Ok(BookChange::Snapshot),
        _ => start.fault("`snapshot` or `change`"),
    }
}
