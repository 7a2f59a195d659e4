//! Messages about the connection and our own messages: confirmations and errors.

use marketprism_adapter_sdk::{Cursor, Ignored, Output, ParseResult, value_text};

/// Reads a text that is no event: a confirmation, an error in either of its two forms, a message without a
/// name, or something unknown. The whole text must be JSON.
pub(super) fn control(output: &mut Output, bytes: &[u8]) -> ParseResult<()> {
    let mut cursor = Cursor::new(bytes);
    if cursor.peek() != b'{' {
        cursor.skip()?;
        cursor.end()?;
        output.ignored(Ignored::UnknownKind);
        return Ok(());
    }
    let mut fields = ControlFields::default();
    let mut first = true;
    cursor.expect(b'{', "an object")?;
    while cursor.more(b'}', &mut first)? {
        match &*cursor.key_text()? {
            "code" => fields.code = Some(value_text(&mut cursor)?),
            "msg" => fields.text = Some(value_text(&mut cursor)?),
            "error" if cursor.peek() == b'{' => nested_error(&mut cursor, &mut fields)?,
            key => {
                fields.result |= key == "result";
                fields.partial_depth |= key == "lastUpdateId";
                fields.best_bid |= key == "B";
                fields.best_ask |= key == "A";
                cursor.skip()?;
            }
        }
    }
    cursor.end()?;
    if let Some(code) = fields.code {
        output.venue_error(code, fields.text.unwrap_or_default());
    } else if fields.result {
        output.ignored(Ignored::Acknowledgement);
    } else if fields.partial_depth || (fields.best_bid && fields.best_ask) {
        // The partial book and the spot book ticker do not name themselves.
        output.ignored(Ignored::NotNeeded);
    } else {
        output.ignored(Ignored::UnknownKind);
    }
    Ok(())
}

#[derive(Default)]
struct ControlFields {
    code: Option<String>,
    text: Option<String>,
    result: bool,
    partial_depth: bool,
    best_bid: bool,
    best_ask: bool,
}

fn nested_error(cursor: &mut Cursor<'_>, fields: &mut ControlFields) -> ParseResult<()> {
    let mut first = true;
    cursor.expect(b'{', "an error object")?;
    while cursor.more(b'}', &mut first)? {
        match &*cursor.key_text()? {
            "code" => fields.code = Some(value_text(cursor)?),
            "msg" => fields.text = Some(value_text(cursor)?),
            _ => cursor.skip()?,
        }
    }
    Ok(())
}
