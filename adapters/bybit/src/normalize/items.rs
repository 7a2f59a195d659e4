//! The elements of a message, and the rows of an answer.

use marketprism_adapter_sdk::{Cursor, Ignored, Object, Output, ParseResult, Payload};

/// An event for each element of `data`, which may be one without an array. One that names its symbol must have the topic's.
pub(super) fn each_item(
    output: &mut Output,
    message: &Object<'_>,
    symbol: &str,
    mut read: impl FnMut(&Object<'_>) -> ParseResult<Payload>,
) -> ParseResult<()> {
    let mut one = |output: &mut Output, cursor: &mut Cursor<'_>| {
        let element = Object::parse(cursor)?;
        same_symbol(&element, symbol)?;
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

/// Runs `each` at every row of an answer; returns their number. None for an error of the venue, which is noted.
pub(super) fn each_row(
    output: &mut Output,
    answer: &[u8],
    each: impl FnMut(&mut Output, &mut Cursor<'_>) -> ParseResult<()>,
) -> ParseResult<Option<usize>> {
    let answer = Object::whole(answer)?;
    let code = answer.read("retCode", Cursor::integer)?;
    if code != 0 {
        output.venue_error(code.to_string(), answer.read("retMsg", Cursor::text)?);
        return Ok(None);
    }
    let count = answer.read("result", |cursor, _| {
        Object::parse(cursor)?.read("list", |cursor, _| output.each_item(cursor, each))
    })?;
    Ok(Some(count))
}

/// The symbol of an element, where it is set, must be that of the topic.
pub(super) fn same_symbol(element: &Object<'_>, symbol: &str) -> ParseResult<()> {
    for key in ["s", "symbol"] {
        element.optional(key, |cursor, what| {
            let start = *cursor;
            if cursor.text(what)? == symbol { Ok(()) } else { start.expected("the symbol of the topic") }
        })?;
    }
    Ok(())
}
