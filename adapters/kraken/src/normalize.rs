//! What a frame means.

use crate::time::micros;
use marketprism_adapter_sdk::{
    Book, BookChange, Cursor, DataType, Ignored, Loaded, Object, Output, Payload, Scan, Sides, Trade,
    TradeId, amount, amount_at, each_element, side,
};

pub(crate) fn normalize(loaded: &Loaded, output: &mut Output, frame: &[u8]) -> Scan<()> {
    let message = Object::whole(frame)?;
    if !message.has("channel") {
        return answer(output, &message);
    }
    match &*message.read("channel", Cursor::text)? {
        "book" => {
            let change = message.read("type", change)?;
            each_item(output, &message, |output, item| book(loaded, output, item, change))
        }
        // The snapshot holds the last fifty trades: their ids tell copies apart.
        "trade" => each_item(output, &message, |output, item| trade(loaded, output, item)),
        channel => {
            output.ignored(match channel {
                "heartbeat" => Ignored::Heartbeat,
                "status" => Ignored::Status,
                "ticker" | "ohlc" | "instrument" | "level3" => Ignored::NotNeeded,
                _ => Ignored::UnknownKind,
            });
            Ok(())
        }
    }
}

/// An answer to a message of ours, or a complaint about them.
fn answer(output: &mut Output, message: &Object<'_>) -> Scan<()> {
    let method = if message.has("method") { message.read("method", Cursor::text)? } else { "error".into() };
    for key in ["error", "Error"] {
        if message.has(key) {
            let mut text = message.read(key, Cursor::text)?.into_owned();
            if message.has("symbol") {
                text = format!("{text} ({})", message.read("symbol", Cursor::text)?);
            }
            output.venue_error(method, text);
            return Ok(());
        }
    }
    if message.has("success") {
        if message.read("success", Cursor::boolean)? {
            output.ignored(Ignored::Acknowledgement);
        } else {
            output.venue_error(method, "refused without a reason");
        }
    } else {
        output.ignored(if method == "pong" { Ignored::Heartbeat } else { Ignored::UnknownKind });
    }
    Ok(())
}

fn each_item(
    output: &mut Output,
    message: &Object<'_>,
    mut each: impl FnMut(&mut Output, &Object<'_>) -> Scan<()>,
) -> Scan<()> {
    let mut empty = true;
    message.read("data", |cursor, _| {
        each_element(cursor, |cursor| {
            empty = false;
            each(output, &Object::parse(cursor)?)
        })
    })?;
    if empty {
        output.ignored(Ignored::Empty);
    }
    Ok(())
}

fn trade(loaded: &Loaded, output: &mut Output, item: &Object<'_>) -> Scan<()> {
    let symbol = item.read("symbol", Cursor::text)?;
    let Some((instrument, _)) = loaded.wanted(output, &symbol, DataType::Trade) else { return Ok(()) };
    output.event(Payload::Trade(Trade {
        instrument,
        time_us: item.read("timestamp", micros)?,
        id: TradeId::Number(item.read("trade_id", Cursor::unsigned)?),
        price: item.read("price", amount)?,
        quantity: item.read("qty", amount)?,
        side: item.read("side", side)?,
    }));
    Ok(())
}

fn book(loaded: &Loaded, output: &mut Output, item: &Object<'_>, change: BookChange) -> Scan<()> {
    let symbol = item.read("symbol", Cursor::text)?;
    let Some((index, instrument)) = loaded.wanted(output, &symbol, DataType::Orderbook) else {
        return Ok(());
    };
    // Finer than the pair's fixed places would be another checksum than the venue's.
    let level = |cursor: &mut Cursor<'_>| {
        let level = Object::parse(cursor)?;
        let price = level.read("price", |cursor, what| amount_at(cursor, what, instrument.price_scale))?;
        let quantity =
            level.read("qty", |cursor, what| amount_at(cursor, what, instrument.quantity_scale))?;
        Ok((price, quantity))
    };
    let Sides { levels_at, bids, asks } = Sides::read(output, item, ["bids", "asks"], level)?;
    let checksum = i64::from(item.read("checksum", unsigned32)?);
    let time_us = if item.has("timestamp") { Some(item.read("timestamp", micros)?) } else { None };
    // The venue numbers nothing. The id becomes part of the event's: states of a book differ in time, else in checksum.
    let id = time_us.unwrap_or(checksum);
    output.event(Payload::Book(Book {
        instrument: index,
        change,
        time_us,
        first_id: id,
        last_id: id,
        previous_id: None,
        checksum: Some(checksum),
        price_scale: instrument.price_scale,
        quantity_scale: instrument.quantity_scale,
        levels_at,
        bids,
        asks,
    }));
    Ok(())
}

fn unsigned32(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<u32> {
    let start = *cursor;
    u32::try_from(cursor.unsigned(what)?).or_else(|_| start.fault(what))
}

fn change(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<BookChange> {
    let start = *cursor;
    match &*cursor.text(what)? {
        "snapshot" => Ok(BookChange::Snapshot),
        "update" => Ok(BookChange::Delta),
        _ => start.fault(what),
    }
}
