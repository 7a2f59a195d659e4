//! `orderbook`: snapshots and changes of a book.

use super::items::same_symbol;
use marketprism_adapter_sdk::{
    Book, BookChange, BookScales, BookSides, Cursor, DataType, Decimal, LevelReader, LoadedFeed, Object,
    Output, ParseResult, Payload, amount, millis,
};

pub(super) fn book(
    loaded: &LoadedFeed,
    output: &mut Output,
    message: &Object<'_>,
    symbol: &str,
) -> ParseResult<()> {
    let Some((instrument, listed)) = loaded.subscribed(output, symbol, DataType::Orderbook) else {
        return Ok(());
    };
    let change = message.read("type", change)?;
    // The time of the engine, else that of sending.
    let time_us = match message.optional("cts", millis)? {
        None => message.optional("ts", millis)?,
        engine => engine,
    };
    let levels = BybitLevels(BookScales::new(listed.price_scale, listed.quantity_scale));
    message.read("data", |cursor, _| {
        let data = Object::parse(cursor)?;
        same_symbol(&data, symbol)?;
        let id = data.read("u", Cursor::integer)?;
        let mut sides = BookSides::new(output);
        if data.has("b") {
            data.read("b", |cursor, _| sides.bids(cursor, output, Some(levels)))?;
        }
        if data.has("a") {
            data.read("a", |cursor, _| sides.asks(cursor, output, Some(levels)))?;
        }
        // Levels may be finer than the listed tick and step: these change while an edge runs.
        let levels = sides.finish(cursor, output, levels)?;
        // After a restart of its service the venue begins with id 1: that is a whole book.
        let change = if id == 1 { BookChange::Snapshot } else { change };
        let book = levels.book(instrument, change);
        output.event(Payload::Book(Book { time_us, first_id: id, last_id: id, ..book }));
        Ok(())
    })
}

fn change(cursor: &mut Cursor<'_>, _: &'static str) -> ParseResult<BookChange> {
    let start = *cursor;
    match &*cursor.text("`type`")? {
        "snapshot" => Ok(BookChange::Snapshot),
        "delta" => Ok(BookChange::Delta),
        _ => start.expected("`snapshot` or `delta`"),
    }
}

/// Levels of the form `["27450.00","0.500"]`, without further elements.
#[derive(Clone, Copy)]
struct BybitLevels(BookScales);

impl LevelReader for BybitLevels {
    #[inline(always)]
    fn scales(&self) -> BookScales {
        self.0
    }

    #[inline(always)]
    fn fast(&self, cursor: &mut Cursor<'_>) -> Option<(i64, i64)> {
        self.0.fast(cursor)
    }

    fn exact(&self, cursor: &mut Cursor<'_>) -> ParseResult<(Decimal, Decimal)> {
        cursor.expect(b'[', "a level")?;
        let price = amount(cursor, "a price")?;
        cursor.expect(b',', "`,` after a price")?;
        let quantity = amount(cursor, "a quantity")?;
        cursor.expect(b']', "`]` after a quantity")?;
        Ok((price, quantity))
    }
}
