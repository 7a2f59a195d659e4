//! Frames by their channel.

mod book;
mod control;
mod trade;

use marketprism_adapter_sdk::{Cursor, Frame, Ignored, LoadedFeed, Object, Output, ParseResult};

pub(crate) fn normalize(loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
    let Some(message) = output.object(frame.bytes)? else { return Ok(()) };
    // Some refusals name their channel.
    if message.has("method") || !message.has("channel") {
        return control::answer(loaded, output, &message, frame.source);
    }
    match &*message.read("channel", Cursor::text)? {
        "book" => {
            let change = message.read("type", book::change)?;
            each_item(output, &message, |output, item| book::book(loaded, output, item, change))
        }
        // The snapshot holds the last fifty trades: their ids tell copies apart.
        "trade" => each_item(output, &message, |output, item| trade::trade(loaded, output, item)),
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

fn each_item(
    output: &mut Output,
    message: &Object<'_>,
    mut each: impl FnMut(&mut Output, &Object<'_>) -> ParseResult<()>,
) -> ParseResult<()> {
    let count = message.read("data", |cursor, _| {
        output.each_item(cursor, |output, cursor| each(output, &Object::parse(cursor)?))
    })?;
    if count == 0 {
        output.ignored(Ignored::Empty);
    }
    Ok(())
}
