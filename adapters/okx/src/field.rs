//! Values as the venue writes them: nearly all of them strings, empty where nothing is set.

use marketprism_adapter_sdk::{Cursor, Decimal, Scan, decimal};

/// Sets a field that may stand only once in a message.
#[inline(always)]
pub(crate) fn once<T>(field: &mut Option<T>, value: T, cursor: &Cursor<'_>) -> Scan<()> {
    if field.replace(value).is_some() { cursor.fault("each field once") } else { Ok(()) }
}

/// A whole number, in quotes or not; none where the venue wrote an empty string or `null`.
#[inline(always)]
pub(crate) fn whole(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Option<u64>> {
    let mut next = *cursor;
    if next.literal(b"\"")
        && next.rest().first().is_some_and(u8::is_ascii_digit)
        && let Ok(value) = next.unsigned(what)
        && next.literal(b"\"")
    {
        *cursor = next;
        return Ok(Some(value));
    }
    any_whole(cursor, what)
}

#[inline(never)]
fn any_whole(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Option<u64>> {
    if cursor.null() {
        return Ok(None);
    }
    if cursor.peek() != b'"' {
        return cursor.unsigned(what).map(Some);
    }
    let start = *cursor;
    let text = cursor.text(what)?;
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(value) if digits => Ok(Some(value)),
        _ => start.fault(what),
    }
}

/// A time in milliseconds as microseconds; none where the venue wrote nothing or zero, as it does on odd
/// frames.
#[inline(always)]
pub(crate) fn micros(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Option<i64>> {
    let start = *cursor;
    let Some(millis) = whole(cursor, what)?.filter(|millis| *millis != 0) else { return Ok(None) };
    match millis.checked_mul(1000).and_then(|micros| i64::try_from(micros).ok()) {
        Some(micros) => Ok(Some(micros)),
        None => start.fault("a time in milliseconds"),
    }
}

/// Takes the empty string or `null` that stands for a value which is not set.
pub(crate) fn unset(cursor: &mut Cursor<'_>) -> bool {
    cursor.null() || cursor.literal(b"\"\"")
}

/// Reads with `read`, or none where the value is not set.
pub(crate) fn optional<T>(
    cursor: &mut Cursor<'_>,
    read: impl FnOnce(&mut Cursor<'_>) -> Scan<T>,
) -> Scan<Option<T>> {
    if unset(cursor) { Ok(None) } else { read(cursor).map(Some) }
}

/// At this scale where it fits; finer numbers keep their own.
pub(crate) fn fit(number: Decimal, scale: u8) -> Decimal {
    match decimal::rescale(number, scale) {
        Ok(mantissa) => Decimal { mantissa, scale },
        Err(_) => number,
    }
}

/// Goes behind the value that comes next and gives its text as the venue wrote it, without quotes; empty for
/// `null`.
pub(crate) fn written(cursor: &mut Cursor<'_>) -> Scan<String> {
    if cursor.null() {
        return Ok(String::new());
    }
    if cursor.peek() == b'"' {
        return cursor.text("a string").map(|text| text.into_owned());
    }
    let before = cursor.rest();
    cursor.skip()?;
    let text = before.get(..before.len() - cursor.rest().len()).unwrap_or(&[]);
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Runs `each` at every element of the array that comes next; false where there is none.
#[inline(always)]
pub(crate) fn each_element<'a>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(&mut Cursor<'a>) -> Scan<()>,
) -> Scan<bool> {
    let mut first = true;
    cursor.expect(b'[', "an array")?;
    while cursor.more(b']', &mut first)? {
        each(cursor)?;
    }
    Ok(!first)
}

/// Runs `each` at every member of the object that comes next, with its key.
pub(crate) fn each_member<'a>(
    cursor: &mut Cursor<'a>,
    what: &'static str,
    mut each: impl FnMut(&mut Cursor<'a>, &str) -> Scan<()>,
) -> Scan<()> {
    let mut first = true;
    cursor.expect(b'{', what)?;
    while cursor.more(b'}', &mut first)? {
        let key = cursor.key_text()?;
        each(cursor, &key)?;
    }
    Ok(())
}
