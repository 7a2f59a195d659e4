//! The instrument of a message.

use marketprism_adapter_sdk::{Cursor, ParseResult};

pub(super) struct Topic<'a> {
    pub(super) instrument: u32,
    pub(super) name: &'a [u8],
}

impl Topic<'_> {
    /// Reads the name of an instrument that must be the topic's own.
    #[inline(always)]
    pub(super) fn same_instrument(&self, cursor: &mut Cursor<'_>) -> ParseResult<()> {
        let start = *cursor;
        let same = match cursor.plain_text() {
            Some(name) => name == self.name,
            None => cursor.text("`instId`")?.as_bytes() == self.name,
        };
        if same { Ok(()) } else { start.expected("the `instId` of the message's `arg`") }
    }
}
