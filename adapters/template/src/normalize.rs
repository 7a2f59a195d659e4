//! Function 4 of 4: what a frame means.

use marketprism_adapter_sdk::{
    Book, BookChange, Cursor, DataType, Decimal, Ignored, Instrument, Loaded, Object, Output, Payload,
    Remark, Scan, Side, Trade, TradeId, decimal, each_element,
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
    let levels_at = count(output.levels_at());
    let bids = message.read("bids", |cursor, _| levels(output, cursor, instrument))?;
    let asks = message.read("asks", |cursor, _| levels(output, cursor, instrument))?;
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

/// Reads `[["price","quantity"],...]`. A level finer than tick or step is malformed, never rounded.
fn levels(output: &mut Output, cursor: &mut Cursor<'_>, instrument: &Instrument) -> Scan<u32> {
    let levels_at = output.levels_at();
    each_element(cursor, |cursor| {
        cursor.expect(b'[', "a level")?;
        let price = mantissa(cursor, instrument.price_scale, "a price")?;
        cursor.expect(b',', "`,`")?;
        let quantity = mantissa(cursor, instrument.quantity_scale, "a quantity")?;
        cursor.expect(b']', "the end of a level")?;
        output.level(price, quantity);
        Ok(())
    })?;
    Ok(count((output.levels_at() - levels_at) / 2))
}

fn mantissa(cursor: &mut Cursor<'_>, scale: u8, what: &'static str) -> Scan<i64> {
    let start = *cursor;
    decimal::rescale(amount(cursor, what)?, scale).or_else(|_| start.fault(what))
}

/// An exact number that is not negative, quoted or not.
fn amount(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Decimal> {
    let start = *cursor;
    let number = cursor.decimal(what)?;
    if number.mantissa < 0 { start.fault(what) } else { Ok(number) }
}

fn side(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Side> {
    match &*cursor.text(what)? {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        _ => cursor.fault(what),
    }
}

/// The venue's times are milliseconds.
fn micros(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<i64> {
    let millis = cursor.integer(what)?;
    millis.checked_mul(1000).map_or_else(|| cursor.fault(what), Ok)
}

/// A frame is far shorter than 4 GiB.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
