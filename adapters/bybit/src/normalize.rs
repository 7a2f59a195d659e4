//! Function 4 of 4: what a frame means.

use crate::ticker::Tickers;
use crate::values::{micros, optional};
use crate::{book, ratio};
use marketprism_adapter_sdk::{
    Cursor, DataType, Frame, Ignored, Liquidation, Loaded, Object, Origin, Output, Payload, Scan, Side,
    Trade, TradeId, amount, each_element, side,
};

pub(crate) fn normalize(
    tickers: &mut Tickers,
    loaded: &Loaded,
    output: &mut Output,
    frame: Frame<'_>,
) -> Scan<()> {
    match loaded.origin(frame.source) {
        Origin::Connection(_) => message(tickers, loaded, output, frame.bytes),
        // Ratios are all that is polled, and books start anew on their connection.
        Origin::Poll(_) => ratio::answer(loaded, output, frame.bytes),
        Origin::Resync(_) => Cursor::new(frame.bytes).fault("a source number of the plan"),
    }
}

fn message(tickers: &mut Tickers, loaded: &Loaded, output: &mut Output, frame: &[u8]) -> Scan<()> {
    if frame == b"pong" {
        output.ignored(Ignored::Heartbeat);
        return Ok(());
    }
    let message = Object::whole(frame)?;
    let Some(topic) = optional(&message, "topic", Cursor::text)? else { return control(output, &message) };
    let (kind, rest) = topic.split_once('.').unwrap_or((&topic, ""));
    match kind {
        "publicTrade" => trades(loaded, output, &message, rest),
        "orderbook" => match rest.split_once('.') {
            // Level 1 is a stream of its own: it repeats ids.
            Some(("1", _)) | None => {
                output.ignored(Ignored::NotNeeded);
                Ok(())
            }
            Some((_, symbol)) => book::change(loaded, output, &message, symbol),
        },
        "tickers" => tickers.read(loaded, output, &message, rest),
        "allLiquidation" => liquidations(loaded, output, &message, rest),
        "kline" | "liquidation" => {
            output.ignored(Ignored::NotNeeded);
            Ok(())
        }
        _ => {
            output.ignored(Ignored::UnknownKind);
            Ok(())
        }
    }
}

/// Answers to what was sent.
fn control(output: &mut Output, message: &Object<'_>) -> Scan<()> {
    let op = optional(message, "op", Cursor::text)?.unwrap_or_default();
    let text = optional(message, "ret_msg", Cursor::text)?.unwrap_or_default();
    let success = optional(message, "success", Cursor::boolean)?;
    // Where the answer to a ping says so depends on the address.
    if op == "pong" || text == "pong" {
        output.ignored(Ignored::Heartbeat);
    } else if success == Some(false) {
        output.venue_error(op, text);
    } else if success == Some(true) && matches!(&*op, "subscribe" | "unsubscribe") {
        output.ignored(Ignored::Acknowledgement);
    } else {
        output.ignored(Ignored::UnknownKind);
    }
    Ok(())
}

/// Trade ids are UUIDs; on some markets numbers. What is much longer is no id.
fn trade_id(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<TradeId> {
    const LENGTH_MAX: usize = 64;
    let start = *cursor;
    let id = cursor.text(what)?;
    if id.len() > LENGTH_MAX {
        start.fault("an id of at most 64 bytes")
    } else {
        Ok(TradeId::Text(id.into_owned()))
    }
}

fn trades(loaded: &Loaded, output: &mut Output, message: &Object<'_>, symbol: &str) -> Scan<()> {
    let Some((instrument, _)) = loaded.wanted(output, symbol, DataType::Trade) else { return Ok(()) };
    each_of(output, message, symbol, |trade| {
        Ok(Payload::Trade(Trade {
            instrument,
            time_us: trade.read("T", micros)?,
            id: trade.read("i", trade_id)?,
            price: trade.read("p", amount)?,
            quantity: trade.read("v", amount)?,
            side: trade.read("S", side)?,
        }))
    })
}

fn liquidations(loaded: &Loaded, output: &mut Output, message: &Object<'_>, symbol: &str) -> Scan<()> {
    let Some((instrument, _)) = loaded.wanted(output, symbol, DataType::Liquidation) else { return Ok(()) };
    each_of(output, message, symbol, |forced| {
        let time_us = forced.read("T", micros)?;
        Ok(Payload::Liquidation(Liquidation {
            instrument,
            time_us,
            // `S` is the side of the position: a long one (`Buy`) is closed by an order to sell.
            side: match forced.read("S", side)? {
                Side::Buy => Side::Sell,
                Side::Sell => Side::Buy,
            },
            price: forced.read("p", amount)?,
            quantity: forced.read("v", amount)?,
            liquidation_time_us: Some(time_us),
            id: None,
        }))
    })
}

/// An event for each element of `data`; all must be of the topic's symbol.
fn each_of(
    output: &mut Output,
    message: &Object<'_>,
    symbol: &str,
    read: impl Fn(&Object<'_>) -> Scan<Payload>,
) -> Scan<()> {
    let mut count = 0;
    message.read("data", |cursor, _| {
        each_element(cursor, |cursor| {
            let start = *cursor;
            let element = Object::parse(cursor)?;
            if element.read("s", Cursor::text)? != symbol {
                return start.fault("the symbol of the topic");
            }
            output.event(read(&element)?);
            count += 1;
            Ok(())
        })
    })?;
    if count == 0 {
        output.ignored(Ignored::Empty);
    }
    Ok(())
}
