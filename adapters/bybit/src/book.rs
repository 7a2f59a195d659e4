//! `orderbook`: snapshots and changes of a book.

use crate::values::{micros, optional};
use marketprism_adapter_sdk::{
    Book, BookChange, Cursor, DataType, Loaded, Object, Output, Payload, Scale, Scan, Sides, amount,
    amount_at, each_element,
};

/// Decimal places of prices and quantities.
#[derive(Clone, Copy)]
struct Scales {
    price: Scale,
    quantity: Scale,
}

pub(crate) fn change(loaded: &Loaded, output: &mut Output, message: &Object<'_>, symbol: &str) -> Scan<()> {
    let Some((instrument, listed)) = loaded.wanted(output, symbol, DataType::Orderbook) else {
        return Ok(());
    };
    let said = message.read("type", change_kind)?;
    // The time of the engine, else that of sending.
    let time_us = match optional(message, "cts", micros)? {
        Some(engine) => engine,
        None => message.read("ts", micros)?,
    };
    let listed =
        Scales { price: Scale::new(listed.price_scale), quantity: Scale::new(listed.quantity_scale) };
    message.read("data", |cursor, _| {
        let data = Object::parse(cursor)?;
        if data.read("s", Cursor::text)? != symbol {
            return data.read("s", |cursor, _| cursor.fault("the symbol of the topic"));
        }
        let id = data.read("u", Cursor::integer)?;
        let (scales, Sides { levels_at, bids, asks }) = levels(output, &data, listed)?;
        output.event(Payload::Book(Book {
            instrument,
            // After a restart of its service the venue begins with id 1: that is a whole book.
            change: if id == 1 { BookChange::Snapshot } else { said },
            time_us: Some(time_us),
            first_id: id,
            last_id: id,
            previous_id: None,
            checksum: None,
            price_scale: scales.price.places(),
            quantity_scale: scales.quantity.places(),
            levels_at,
            bids,
            asks,
        }));
        Ok(())
    })
}

/// Adds the levels of both sides, at the listed scales where they fit.
fn levels(output: &mut Output, data: &Object<'_>, listed: Scales) -> Scan<(Scales, Sides)> {
    let mark = output.levels_at();
    let read =
        |output: &mut Output, scales| Sides::read(output, data, ["b", "a"], |cursor| level(cursor, scales));
    if let Ok(sides) = read(output, listed) {
        return Ok((listed, sides));
    }
    // Tick and step sizes change while an edge runs: a level may be finer than they were.
    output.truncate_levels(mark);
    let finer = finest(data, listed)?;
    read(output, finer).map(|sides| (finer, sides))
}

fn change_kind(cursor: &mut Cursor<'_>, _: &'static str) -> Scan<BookChange> {
    let start = *cursor;
    match &*cursor.text("`type`")? {
        "snapshot" => Ok(BookChange::Snapshot),
        "delta" => Ok(BookChange::Delta),
        _ => start.fault("`snapshot` or `delta`"),
    }
}

/// A level: `["27450.00","0.500"]`.
fn level(cursor: &mut Cursor<'_>, scales: Scales) -> Scan<(i64, i64)> {
    cursor.expect(b'[', "a level")?;
    let price = mantissa(cursor, "a price", scales.price)?;
    cursor.expect(b',', "`,` after a price")?;
    let quantity = mantissa(cursor, "a quantity", scales.quantity)?;
    cursor.expect(b']', "`]` after a quantity")?;
    Ok((price, quantity))
}

fn mantissa(cursor: &mut Cursor<'_>, what: &'static str, scale: Scale) -> Scan<i64> {
    match cursor.quoted_at(scale) {
        Some(mantissa) => Ok(mantissa),
        None => amount_at(cursor, what, scale.places()),
    }
}

/// The coarsest scales, not coarser than the listed ones, that hold every level.
fn finest(data: &Object<'_>, listed: Scales) -> Scan<Scales> {
    let (mut price, mut quantity) = (listed.price.places(), listed.quantity.places());
    for side in ["b", "a"] {
        data.read(side, |cursor, _| {
            each_element(cursor, |cursor| {
                cursor.expect(b'[', "a level")?;
                price = price.max(amount(cursor, "a price")?.scale);
                cursor.expect(b',', "`,` after a price")?;
                quantity = quantity.max(amount(cursor, "a quantity")?.scale);
                cursor.expect(b']', "`]` after a quantity")
            })
        })?;
    }
    Ok(Scales { price: Scale::new(price), quantity: Scale::new(quantity) })
}
