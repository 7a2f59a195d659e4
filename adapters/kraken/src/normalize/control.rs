//! Answers to subscriptions and pings, and errors.

use marketprism_adapter_sdk::{Cursor, Ignored, Object, Output, ParseResult, Remark};

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

pub(super) fn answer(output: &mut Output, message: &Object<'_>) -> ParseResult<()> {
    let method = message.optional("method", Cursor::text)?.unwrap_or_else(|| "error".into());
    for key in ["error", "Error", "errorMessage"] {
        if let Some(error) = message.optional(key, Cursor::text)? {
            // Some name no request: whatever was asked for last is not subscribed.
            if NOT_NOW.iter().any(|later| error.contains(later)) {
                output.note(Remark::Closing(error.to_string()));
            }
            let text = match message.optional("symbol", Cursor::text)? {
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
