//! Messages about the connection and our own messages: confirmations and errors.

use marketprism_adapter_sdk::{Cursor, Ignored, Output, Scan};

/// Reads a text that is no event: a confirmation, an error in either of its two forms, a message without a
/// name, or something unknown. The whole text must be JSON.
pub(crate) fn control(output: &mut Output, bytes: &[u8]) -> Scan<()> {
    let mut cursor = Cursor::new(bytes);
    if cursor.peek() != b'{' {
        cursor.skip()?;
        cursor.end()?;
        output.ignored(Ignored::UnknownKind);
        return Ok(());
    }
    let mut seen = Seen::default();
    let mut first = true;
    cursor.expect(b'{', "an object")?;
    while cursor.more(b'}', &mut first)? {
        match &*cursor.key_text()? {
            "code" => seen.code = Some(scalar(&mut cursor)?),
            "msg" => seen.text = Some(scalar(&mut cursor)?),
            "error" if cursor.peek() == b'{' => nested_error(&mut cursor, &mut seen)?,
            key => {
                seen.result |= key == "result";
                seen.partial_depth |= key == "lastUpdateId";
                seen.best_bid |= key == "B";
                seen.best_ask |= key == "A";
                cursor.skip()?;
            }
        }
    }
    cursor.end()?;
    if let Some(code) = seen.code {
        output.venue_error(code, seen.text.unwrap_or_default());
    } else if seen.result {
        output.ignored(Ignored::Acknowledgement);
    } else if seen.partial_depth || (seen.best_bid && seen.best_ask) {
        // The partial book and the spot book ticker do not name themselves.
        output.ignored(Ignored::NotNeeded);
    } else {
        output.ignored(Ignored::UnknownKind);
    }
    Ok(())
}

#[derive(Default)]
struct Seen {
    code: Option<String>,
    text: Option<String>,
    result: bool,
    partial_depth: bool,
    best_bid: bool,
    best_ask: bool,
}

fn nested_error(cursor: &mut Cursor<'_>, seen: &mut Seen) -> Scan<()> {
    let mut first = true;
    cursor.expect(b'{', "an error object")?;
    while cursor.more(b'}', &mut first)? {
        match &*cursor.key_text()? {
            "code" => seen.code = Some(scalar(cursor)?),
            "msg" => seen.text = Some(scalar(cursor)?),
            _ => cursor.skip()?,
        }
    }
    Ok(())
}

/// A string, or any other value as the venue wrote it.
fn scalar(cursor: &mut Cursor<'_>) -> Scan<String> {
    if cursor.peek() == b'"' {
        return cursor.text("a string").map(|text| text.into_owned());
    }
    let before = cursor.rest();
    cursor.skip()?;
    let written = before.get(..before.len() - cursor.rest().len()).unwrap_or(&[]);
    Ok(String::from_utf8_lossy(written).into_owned())
}
