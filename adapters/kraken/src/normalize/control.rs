//! Answers to subscriptions and pings, and errors.

use crate::instruments::subscribed_name;
use marketprism_adapter_sdk::{Cursor, DataType, Ignored, LoadedFeed, Object, Output, ParseResult, Remark};
use std::borrow::Cow;

/// Parts of refusals that say "later", not "never": what was asked for would stay silent for ever, so that a new connection asks again.
const NOT_NOW: [&str; 7] = [
    "Exceeded msg rate",
    "Rate limit exceeded",
    "EGeneral:Internal error",
    "EGeneral:Too many requests",
    "EService:Busy",
    "EService:Deadline elapsed",
    "EService:Unavailable",
];

pub(super) fn answer(
    loaded: &LoadedFeed,
    output: &mut Output,
    message: &Object<'_>,
    source: u32,
) -> ParseResult<()> {
    let method = message.optional("method", Cursor::text)?.unwrap_or_else(|| "error".into());
    for key in ["error", "Error", "errorMessage"] {
        if let Some(error) = message.optional(key, Cursor::text)? {
            let symbol = match message.optional("symbol", Cursor::text)? {
                None => symbol_of_result(message).map(Into::into),
                symbol => symbol,
            };
            if NOT_NOW.iter().any(|later| error.contains(later)) {
                let book = symbol.as_ref().and_then(|symbol| book_of(loaded, source, symbol));
                // Some name no request: whatever was asked for last is not subscribed.
                output.note(book.map_or_else(|| Remark::Closing(error.to_string()), Remark::RestartBook));
            }
            let text = match symbol {
                Some(symbol) if !error.contains(&*symbol) => format!("{error} ({symbol})"),
                _ => error.into_owned(),
            };
            output.venue_error(method, text);
            return Ok(());
        }
    }
    match message.optional("success", Cursor::boolean)? {
        // Some name their success.
        Some(true) | None if method == "pong" => output.ignored(Ignored::Heartbeat),
        Some(true) => output.ignored(Ignored::Acknowledgement),
        Some(false) => output.venue_error(method, "refused without a reason"),
        None => output.ignored(Ignored::UnknownKind),
    }
    Ok(())
}

/// Some refusals name their symbol there, as confirmations do.
fn symbol_of_result(message: &Object<'_>) -> Option<String> {
    let result = message.optional("result", |cursor, _| Object::parse(cursor)).ok()??;
    result.optional("symbol", Cursor::text).ok()?.map(Cow::into_owned)
}

/// The book that a refusal of this connection names. The edge subscribes it again, with pauses, and its connection goes on.
fn book_of(loaded: &LoadedFeed, source: u32, symbol: &str) -> Option<u32> {
    let connection = loaded.plan.connections.get(usize::try_from(source).ok()?)?;
    let index = loaded.position(subscribed_name(Cow::Borrowed(symbol)).as_bytes())?;
    let mut streams = connection.streams.iter();
    streams
        .any(|stream| stream.data_type == DataType::Orderbook && stream.instrument == Some(index))
        .then_some(index)
}
