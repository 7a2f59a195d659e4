//! The instrument of a message.

use crate::numbers::micros;
use marketprism_adapter_sdk::{Cursor, ParseResult, unset};

pub(super) struct Topic<'a> {
    pub(super) instrument: u32,
    pub(super) name: &'a [u8],
}

impl Topic<'_> {
    /// Reads the name of an instrument that must be the topic's own, where it is set.
    #[inline(always)]
    pub(super) fn same_instrument(&self, cursor: &mut Cursor<'_>) -> ParseResult<()> {
        let start = *cursor;
        let same = match cursor.plain_text() {
            Some(name) => name == self.name || name.is_empty(),
            None if cursor.null() => true,
            None => cursor.text("`instId`")?.as_bytes() == self.name,
        };
        if same { Ok(()) } else { start.expected("the `instId` of the message's `arg`") }
    }
}

/// Reads the `ts` of a state: the time of receipt where it is not set, none for the zero of odd frames.
pub(super) fn state_time(cursor: &mut Cursor<'_>, received_us: i64) -> ParseResult<Option<i64>> {
    if unset(cursor) { Ok(Some(received_us)) } else { micros(cursor, "`ts`") }
}
