//! Messages about the connection and our own messages: confirmations, errors, notices.

use marketprism_adapter_sdk::{Cursor, Ignored, Output, ParseResult, Remark, each_member, value_text};

/// The venue will close the connection for an upgrade, about a minute after it said so.
const SERVICE_UPGRADE: &str = "64008";

/// Refusals that say "later", not "never" (too many requests, busy, a fault of the venue): what the request would have subscribed stays silent for ever, so
/// that a new connection asks again.
const NOT_NOW: [&str; 7] = ["50001", "50004", "50011", "50013", "50026", "60014", "64007"];

/// Reads an object that holds no data. The whole text must be JSON.
pub(super) fn control(output: &mut Output, bytes: &[u8]) -> ParseResult<()> {
    let (mut event, mut code, mut text, mut arg) = (None, None, None, None);
    let mut cursor = Cursor::new(bytes);
    each_member(&mut cursor, "an object", |cursor, key| {
        match key {
            "event" => event = Some(value_text(cursor)?),
            "code" => code = Some(value_text(cursor)?),
            "msg" => text = Some(value_text(cursor)?),
            "arg" | "channel" => arg = Some(value_text(cursor)?),
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    cursor.end()?;
    match (event.as_deref(), code) {
        (Some("subscribe" | "unsubscribe" | "login"), _) => output.ignored(Ignored::Acknowledgement),
        (Some("notice"), Some(code)) if code == SERVICE_UPGRADE => {
            output.note(Remark::Closing(message(text, None)));
        }
        (Some("notice" | "channel-conn-count"), _) => output.ignored(Ignored::Status),
        // The answer to a request that succeeded.
        (None, Some(code)) if code == "0" => output.ignored(Ignored::Acknowledgement),
        (Some("error") | None, Some(code)) => {
            if NOT_NOW.contains(&code.as_str()) {
                output
                    .note(Remark::Closing(format!("the venue refused a request for now, with code {code}")));
            }
            output.venue_error(code, message(text, arg));
        }
        (Some("error"), None) => output.venue_error("", message(text, arg)),
        (Some(name), code) if name.ends_with("-error") => {
            output.venue_error(code.unwrap_or_else(|| name.to_owned()), message(text, arg));
        }
        _ => output.ignored(Ignored::UnknownKind),
    }
    Ok(())
}

/// The venue's text, with the channel that it is about where that is named apart.
fn message(text: Option<String>, about: Option<String>) -> String {
    let text = text.unwrap_or_default();
    match about {
        Some(about) if text.is_empty() => about,
        Some(about) => format!("{text} ({about})"),
        None => text,
    }
}
