//! Answers to subscriptions and pings.

use marketprism_adapter_sdk::{Cursor, Ignored, Object, Output, ParseResult};

pub(super) fn control(output: &mut Output, message: &Object<'_>) -> ParseResult<()> {
    let op = message.optional("op", Cursor::text)?.unwrap_or_default();
    let text = message.optional("ret_msg", Cursor::text)?.unwrap_or_default();
    let success = message.optional("success", Cursor::boolean)?;
    // The place of `pong` depends on the address.
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
