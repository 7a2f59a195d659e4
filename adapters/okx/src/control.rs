//! Messages about the connection and our own messages: confirmations, errors, notices.

use crate::field::{each_member, written};
use marketprism_adapter_sdk::{Cursor, Ignored, Output, Remark, Scan};

/// The venue will close the connection for an upgrade, about a minute after it said so.
const SERVICE_UPGRADE: &str = "64008";

/// Reads an object that holds no data. The whole text must be JSON.
pub(crate) fn control(output: &mut Output, bytes: &[u8]) -> Scan<()> {
    let (mut event, mut code, mut text, mut arg) = (None, None, None, None);
    let mut cursor = Cursor::new(bytes);
    each_member(&mut cursor, "an object", |cursor, key| {
        match key {
            "event" => event = Some(written(cursor)?),
            "code" => code = Some(written(cursor)?),
            "msg" => text = Some(written(cursor)?),
            "arg" | "channel" => arg = Some(written(cursor)?),
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    cursor.end()?;
    match (event.as_deref(), code) {
        (Some("subscribe" | "unsubscribe" | "login"), _) => output.ignored(Ignored::Acknowledgement),
        (Some("notice"), Some(code)) if code == SERVICE_UPGRADE => {
            output.note(Remark::Closing(said(text, None)));
        }
        (Some("notice" | "channel-conn-count"), _) => output.ignored(Ignored::Status),
        (Some("error") | None, Some(code)) => output.venue_error(code, said(text, arg)),
        (Some("error"), None) => output.venue_error("", said(text, arg)),
        (Some(name), code) if name.ends_with("-error") => {
            output.venue_error(code.unwrap_or_else(|| name.to_owned()), said(text, arg));
        }
        _ => output.ignored(Ignored::UnknownKind),
    }
    Ok(())
}

/// What the venue said, with the channel that it is about where it names that apart.
fn said(text: Option<String>, about: Option<String>) -> String {
    let text = text.unwrap_or_default();
    match about {
        Some(about) if text.is_empty() => about,
        Some(about) => format!("{text} ({about})"),
        None => text,
    }
}
