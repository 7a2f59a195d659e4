//! Function 4 of 4: what a frame means.

use marketprism_adapter_sdk::{
    Book, BookChange, Cursor, DataType, Ignored, Loaded, Object, Output, Payload, Remark, Scan, Sides, Trade,
    TradeId, amount, amount_at, side,
};

/// Gives a frame its meaning: events, or a note that says why there are none. A fault makes the frame malformed, and what it had
/// added is taken back.
pub(crate) fn normalize(loaded: &Loaded, output: &mut Output, frame: &[u8]) -> Scan<()> {
    let message = Object::whole(frame)?;
    match &*message.read("type", Cursor::text)? {
        "trade" => trade(loaded, output, &message)?,
        "snapshot" => book(loaded, output, &message, BookChange::Snapshot)?,
        "delta" => book(loaded, output, &message, BookChange::Delta)?,
        "subscribed" | "unsubscribed" => output.ignored(Ignored::Acknowledgement),
        "pong" => output.ignored(Ignored::Heartbeat),
        "error" => {
            output.venue_error(message.read("code", Cursor::text)?, message.read("text", Cursor::text)?);
        }
        // The edge opens another connection before this one ends.
        "closing" => output.note(Remark::Closing(message.read("reason", Cursor::text)?.into_owned())),
        // Venues add kinds of messages without a word. They are counted apart.
        _ => output.ignored(Ignored::UnknownKind),
    }
    Ok(())
}

fn trade(loaded: &Loaded, output: &mut Output, message: &Object<'_>) -> Scan<()> {
    let name = message.read("name", Cursor::text)?;
    let Some((instrument, _)) = loaded.wanted(output, &name, DataType::Trade) else { return Ok(()) };
    output.event(Payload::Trade(Trade {
        instrument,
        time_us: message.read("time", micros)?,
        id: TradeId::Number(message.read("id", Cursor::unsigned)?),
        price: message.read("price", amount)?,
        // Base units: a venue that counts contracts has to be converted here.
        quantity: message.read("quantity", amount)?,
        // The taker's side. Some venues write the maker's, or whether the buyer was the maker.
        side: message.read("side", side)?,
    }));
    Ok(())
}

fn book(loaded: &Loaded, output: &mut Output, message: &Object<'_>, change: BookChange) -> Scan<()> {
    let name = message.read("name", Cursor::text)?;
    let Some((index, instrument)) = loaded.wanted(output, &name, DataType::Orderbook) else { return Ok(()) };
    let (first, last) = match change {
        BookChange::Snapshot => ("id", "id"),
        BookChange::Delta => ("first", "last"),
    };
    // `["price","quantity"]`. What is finer than tick or step is malformed, never rounded.
    let level = |cursor: &mut Cursor<'_>| {
        cursor.expect(b'[', "a level")?;
        let price = amount_at(cursor, "a price", instrument.price_scale)?;
        cursor.expect(b',', "`,`")?;
        let quantity = amount_at(cursor, "a quantity", instrument.quantity_scale)?;
        cursor.expect(b']', "the end of a level")?;
        Ok((price, quantity))
    };
    let Sides { levels_at, bids, asks } = Sides::read(output, message, ["bids", "asks"], level)?;
    output.event(Payload::Book(Book {
        instrument: index,
        change,
        time_us: Some(message.read("time", micros)?),
        first_id: message.read(first, Cursor::integer)?,
        last_id: message.read(last, Cursor::integer)?,
        previous_id: None,
        checksum: None,
        price_scale: instrument.price_scale,
        quantity_scale: instrument.quantity_scale,
        levels_at,
        bids,
        asks,
    }));
    Ok(())
}

/// The venue's times are milliseconds.
fn micros(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<i64> {
    let millis = cursor.integer(what)?;
    millis.checked_mul(1000).map_or_else(|| cursor.fault(what), Ok)
}
