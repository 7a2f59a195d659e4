//! The elements of a message.

use marketprism_adapter_sdk::{Cursor, Ignored, Object, Output, ParseResult, Payload};

/// An event for each element of `data`, which may be one without an array; all must have the topic's symbol under this key.
pub(super) fn each_item(
    output: &mut Output,
    message: &Object<'_>,
    (key, symbol): (&'static str, &str),
    mut read: impl FnMut(&Object<'_>) -> ParseResult<Payload>,
) -> ParseResult<()> {
    let mut one = |output: &mut Output, cursor: &mut Cursor<'_>| {
        let start = *cursor;
        let element = Object::parse(cursor)?;
        if element.read(key, Cursor::text)? != symbol {
            return start.expected("the symbol of the topic");
        }
        output.event(read(&element)?);
        Ok(())
    };
    let count = message.read("data", |cursor, _| {
        if cursor.peek() == b'{' { one(output, cursor).map(|()| 1) } else { output.each_item(cursor, one) }
    })?;
    if count == 0 {
        output.ignored(Ignored::Empty);
    }
    Ok(())
}
