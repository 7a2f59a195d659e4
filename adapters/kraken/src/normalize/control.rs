//! Answers to subscriptions and pings, and errors.

use marketprism_adapter_sdk::{Cursor, Ignored, Object, Output, ParseResult, Remark};

const TOO_MANY_MESSAGES: &str = "Exceeded msg rate";

pub(super) fn answer(output: &mut Output, message: &Object<'_>) -> ParseResult<()> {
    let method = message.optional("method", Cursor::text)?.unwrap_or_else(|| "error".into());
    for key in ["error", "Error", "errorMessage"] {
        if let Some(error) = message.optional(key, Cursor::text)? {
            let text = match message.optional("symbol", Cursor::text)? {
                Some(symbol) if !error.contains(&*symbol) => format!("{error} ({symbol})"),
                _ => error.into_owned(),
            };
            // It names no request: whatever was asked for last is not subscribed.
            if text == TOO_MANY_MESSAGES {
                output.note(Remark::Closing(text.clone()));
            }
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
