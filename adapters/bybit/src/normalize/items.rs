//! The elements of a message.

use marketprism_adapter_sdk::{Cursor, Ignored, Object, Output, ParseResult, Payload};

/// An event for each element of `data`; all must be of the topic's symbol.
pub(super) fn each_item(
    output: &mut Output,
    message: &Object<'_>,
    symbol: &str,
    mut read: impl FnMut(&Object<'_>) -> ParseResult<Payload>,
) -> ParseResult<()> {
    let count = message.read("data", |cursor, _| {
        output.each_item(cursor, |output, cursor| {
            let start = *cursor;
            let element = Object::parse(cursor)?;
            if element.read("s", Cursor::text)? != symbol {
                return start.expected("the symbol of the topic");
            }
            output.event(read(&element)?);
            Ok(())
        })
    })?;
    if count == 0 {
        output.ignored(Ignored::Empty);
    }
    Ok(())
}
