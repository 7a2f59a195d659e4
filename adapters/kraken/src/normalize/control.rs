//! Answers to subscriptions and pings, and errors.

use crate::instruments::subscribed_name;
use marketprism_adapter_sdk::{
    Cursor, DataStream, DataType, Frame, Ignored, LoadedFeed, Object, Output, ParseResult, RefusedRequests,
    Remark,
};
use std::borrow::Cow;

/// Parts of refusals that say "later", not "never": what was asked for would stay silent for ever, so that it is asked for again.
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
    refused: &mut RefusedRequests,
    loaded: &LoadedFeed,
    output: &mut Output,
    message: &Object<'_>,
    frame: Frame<'_>,
) -> ParseResult<()> {
    let method = message.optional("method", Cursor::text)?.unwrap_or_else(|| "error".into());
    for key in ["error", "Error", "errorMessage"] {
        if let Some(error) = message.optional(key, Cursor::text)? {
            let symbol = match message.optional("symbol", Cursor::text)? {
                None => symbol_of_result(message).map(Into::into),
                symbol => symbol,
            };
            let stream = symbol.as_ref().and_then(|symbol| stream_of(loaded, frame.source, symbol));
            if NOT_NOW.iter().any(|later| error.contains(later)) {
                match stream {
                    Some((stream, index)) => ask_again(refused, output, (stream, index), frame),
                    // Some name no request: whatever was asked for last is not subscribed.
                    None => output.note(Remark::Closing(error.to_string())),
                }
            } else if let Some((_, index)) = stream {
                refused.answered(frame.source, index.into());
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
        Some(true) => {
            if let Some((_, index)) = confirmed(loaded, message, frame.source) {
                refused.answered(frame.source, index.into());
            }
            output.ignored(Ignored::Acknowledgement);
        }
        Some(false) => output.venue_error(method, "refused without a reason"),
        None => output.ignored(Ignored::UnknownKind),
    }
    Ok(())
}

/// The edge subscribes a book again by itself, with pauses.
fn ask_again(
    refused: &mut RefusedRequests,
    output: &mut Output,
    (stream, index): (&DataStream, u32),
    frame: Frame<'_>,
) {
    if stream.data_type == DataType::Orderbook {
        output.note(Remark::RestartBook(index));
    } else if let Some(subscribe) = stream.resubscribe.last() {
        refused.refused(frame, index.into(), subscribe.as_str());
    }
}

/// The stream whose subscription an answer confirms.
fn confirmed<'l>(loaded: &'l LoadedFeed, message: &Object<'_>, source: u32) -> Option<(&'l DataStream, u32)> {
    stream_of(loaded, source, &symbol_of_result(message)?)
}

/// Confirmations name their symbol there, some refusals too.
fn symbol_of_result(message: &Object<'_>) -> Option<String> {
    let result = message.optional("result", |cursor, _| Object::parse(cursor)).ok()??;
    result.optional("symbol", Cursor::text).ok()?.map(Cow::into_owned)
}

/// The stream of this connection that an answer names, with its instrument.
fn stream_of<'l>(loaded: &'l LoadedFeed, source: u32, symbol: &str) -> Option<(&'l DataStream, u32)> {
    let connection = loaded.plan.connections.get(usize::try_from(source).ok()?)?;
    let index = loaded.position(subscribed_name(Cow::Borrowed(symbol)).as_bytes())?;
    let stream = connection.streams.iter().find(|stream| stream.instrument == Some(index))?;
    Some((stream, index))
}
