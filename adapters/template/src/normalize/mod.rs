//! Frames: events, or a note with the reason why there are none.

mod book;
mod trade;

use marketprism_adapter_sdk::{BookChange, Cursor, Ignored, LoadedFeed, Object, Output, ParseResult, Remark};

/// An error makes the frame malformed and takes back everything that it had added.
pub(crate) fn normalize(loaded: &LoadedFeed, output: &mut Output, frame: &[u8]) -> ParseResult<()> {
    let message = Object::whole(frame)?;
    match &*message.read("type", Cursor::text)? {
        "trade" => trade::trade(loaded, output, &message)?,
        "snapshot" => book::book(loaded, output, &message, BookChange::Snapshot)?,
        "delta" => book::book(loaded, output, &message, BookChange::Delta)?,
        "subscribed" | "unsubscribed" => output.ignored(Ignored::Acknowledgement),
        "pong" => output.ignored(Ignored::Heartbeat),
        "error" => {
            output.venue_error(message.read("code", Cursor::text)?, message.read("text", Cursor::text)?);
        }
        // The edge opens another connection before this one ends.
        "closing" => output.note(Remark::Closing(message.read("reason", Cursor::text)?.into_owned())),
        // Venues add kinds of messages without notice. They are counted apart.
        _ => output.ignored(Ignored::UnknownKind),
    }
    Ok(())
}
