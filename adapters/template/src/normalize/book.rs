//! Order books: snapshots and deltas.

use crate::numbers::micros;
use marketprism_adapter_sdk::{
    Book, BookChange, BookLevels, BookScales, Cursor, DataType, LoadedFeed, Object, Output, ParseResult,
    Payload, amount_at,
};

pub(super) fn book(
    loaded: &LoadedFeed,
    output: &mut Output,
    message: &Object<'_>,
    change: BookChange,
) -> ParseResult<()> {
    let name = message.read("name", Cursor::text)?;
    let Some((index, listed)) = loaded.subscribed(output, &name, DataType::Orderbook) else {
        return Ok(());
    };
    let (first, last) = match change {
        BookChange::Snapshot => ("id", "id"),
        BookChange::Delta => ("first", "last"),
    };
    let scales = BookScales::new(listed.price_scale, listed.quantity_scale);
    // `["price","quantity"]`. Finer than tick or step is malformed, never rounded.
    let levels = BookLevels::read(output, message, ["bids", "asks"], scales, |cursor| {
        cursor.expect(b'[', "a level")?;
        let price = amount_at(cursor, "a price", listed.price_scale)?;
        cursor.expect(b',', "`,`")?;
        let quantity = amount_at(cursor, "a quantity", listed.quantity_scale)?;
        cursor.expect(b']', "the end of a level")?;
        Ok((price, quantity))
    })?;
    output.event(Payload::Book(Book {
        time_us: Some(message.read("time", micros)?),
        first_id: message.read(first, Cursor::integer)?,
        last_id: message.read(last, Cursor::integer)?,
        ..levels.book(index, change)
    }));
    Ok(())
}
