//! Reading the venue's values.

use marketprism_adapter_sdk::{Cursor, Object, Scan};

/// A value that a message need not have.
pub(crate) fn optional<'a, T>(
    object: &Object<'a>,
    key: &'static str,
    read: impl FnOnce(&mut Cursor<'a>, &'static str) -> Scan<T>,
) -> Scan<Option<T>> {
    if object.has(key) { object.read(key, read).map(Some) } else { Ok(None) }
}

/// A value that the venue leaves empty where it is not set.
pub(crate) fn unless_empty<'a, T>(
    cursor: &mut Cursor<'a>,
    what: &'static str,
    read: impl FnOnce(&mut Cursor<'a>, &'static str) -> Scan<T>,
) -> Scan<Option<T>> {
    cursor.peek();
    if cursor.literal(b"\"\"") { Ok(None) } else { read(cursor, what).map(Some) }
}

/// A whole number, in quotes or not: the venue writes both.
pub(crate) fn whole(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<u64> {
    if cursor.peek() != b'"' {
        return cursor.unsigned(what);
    }
    let start = *cursor;
    let text = cursor.text(what)?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).map_or_else(|| start.fault(what), Ok)
}

/// The venue's times are milliseconds.
pub(crate) fn micros(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<i64> {
    let start = *cursor;
    let micros = whole(cursor, what)?.checked_mul(1000).and_then(|micros| i64::try_from(micros).ok());
    micros.map_or_else(|| start.fault(what), Ok)
}
