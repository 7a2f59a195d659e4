//! The `book` channel: snapshots and updates, each with a checksum.

use crate::instruments::subscribed_name;
use crate::time::micros;
use marketprism_adapter_sdk::{
    Book, BookChange, BookLevels, BookScales, Cursor, DataType, LoadedFeed, Object, Output, ParseResult,
    Payload, amount_at,
};

pub(super) fn book(
    loaded: &LoadedFeed,
    output: &mut Output,
    item: &Object<'_>,
    change: BookChange,
) -> ParseResult<()> {
    let symbol = subscribed_name(item.read("symbol", Cursor::text)?);
    let Some((index, listed)) = loaded.subscribed(output, &symbol, DataType::Orderbook) else {
        return Ok(());
    };
    output.changes_book(index);
    let scales = BookScales::new(listed.price_scale, listed.quantity_scale);
    // Malformed when finer than the pair's fixed places: these are the digits of the checksum.
    let levels = BookLevels::read(output, item, ["bids", "asks"], scales, |cursor| {
        let level = Object::parse(cursor)?;
        let price = level.read("price", |cursor, what| amount_at(cursor, what, listed.price_scale))?;
        let quantity = level.read("qty", |cursor, what| amount_at(cursor, what, listed.quantity_scale))?;
        Ok((price, quantity))
    })?;
    // Nothing but the checksum shows that an update was lost. A snapshot is whole by itself.
    let checksum = match change {
        BookChange::Snapshot => item.optional("checksum", unsigned32)?,
        BookChange::Delta => Some(item.read("checksum", unsigned32)?),
    };
    let checksum = checksum.map(i64::from);
    let time_us = item.optional("timestamp", micros)?;
    // The venue numbers nothing. The checksum is part of the event's id: states of a book may have one time.
    let id = match time_us.or(checksum) {
        Some(id) => id,
        None => item.read("timestamp", micros)?,
    };
    let book = levels.book(index, change);
    output.event(Payload::Book(Book { time_us, first_id: id, last_id: id, checksum, ..book }));
    Ok(())
}

fn unsigned32(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<u32> {
    let start = *cursor;
    u32::try_from(cursor.unsigned(what)?).or_else(|_| start.expected(what))
}

pub(super) fn change(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<BookChange> {
    let start = *cursor;
    match &*cursor.text(what)? {
        "snapshot" => Ok(BookChange::Snapshot),
        "update" => Ok(BookChange::Delta),
        _ => start.expected(what),
    }
}
