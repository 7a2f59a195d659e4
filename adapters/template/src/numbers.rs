//! Numbers and times as the venue writes them.

use marketprism_adapter_sdk::{Cursor, ParseResult};

/// The venue's times are milliseconds, without quotes.
pub(crate) fn micros(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<i64> {
    let millis = cursor.integer(what)?;
    millis.checked_mul(1000).map_or_else(|| cursor.expected(what), Ok)
}
