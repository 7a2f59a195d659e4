//! Strings of a JSON text.

use crate::cursor::{Cursor, ParseResult};
use crate::swar::{beyond_ascii, plain_run, word};
use std::borrow::Cow;

/// See [`Cursor::plain_text`]. The cursor is at the opening quote.
#[inline(always)]
pub(crate) fn plain<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let start = cursor.rest().strip_prefix(b"\"")?;
    let mut tail = start;
    let mut beyond = false;
    loop {
        let Some(chunk) = word(tail) else { return plain_to_end(cursor, start) };
        let count = plain_run(chunk);
        // Marks bytes after the end too: that only costs the check.
        beyond |= beyond_ascii(chunk);
        tail = tail.get(count as usize..)?;
        if count < 8 {
            break;
        }
    }
    let (text, rest) = (start.get(..start.len() - tail.len())?, tail.strip_prefix(b"\"")?);
    if beyond && std::str::from_utf8(text).is_err() {
        return None;
    }
    cursor.set_rest(rest);
    Some(text)
}

/// As [`plain`], near the end of the text.
#[inline(never)]
fn plain_to_end<'a>(cursor: &mut Cursor<'a>, start: &'a [u8]) -> Option<&'a [u8]> {
    let end = start.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    let (text, rest) = start.split_at_checked(end)?;
    let rest = rest.strip_prefix(b"\"")?;
    std::str::from_utf8(text).ok()?;
    cursor.set_rest(rest);
    Some(text)
}

/// See [`Cursor::text`].
pub(crate) fn text<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> ParseResult<Cow<'a, str>> {
    match cursor.plain_text() {
        Some(text) => match std::str::from_utf8(text) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(_) => cursor.expected(what),
        },
        None => escaped(cursor, what).map(Cow::Owned),
    }
}

fn escaped(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<String> {
    let start = *cursor;
    if !cursor.take(b'"') {
        return cursor.expected(what);
    }
    let mut bytes = Vec::new();
    loop {
        let Some((byte, rest)) = cursor.rest().split_first() else {
            return cursor.expected("the end of a string");
        };
        match byte {
            b'"' => {
                cursor.set_rest(rest);
                return String::from_utf8(bytes).or_else(|_| start.expected("UTF-8"));
            }
            b'\\' => {
                let mut buffer = [0; 4];
                let character = escape(cursor)?;
                bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
            0..=0x1f => return cursor.expected("no control character in a string"),
            _ => {
                bytes.push(*byte);
                cursor.set_rest(rest);
            }
        }
    }
}

/// The character of an escape sequence; the cursor is at its backslash.
fn escape(cursor: &mut Cursor<'_>) -> ParseResult<char> {
    let start = *cursor;
    cursor.advance(1);
    let code = cursor.rest().first().copied().unwrap_or(0);
    cursor.advance(1);
    let plain = match code {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(cursor, start),
        _ => return start.expected("an escape sequence"),
    };
    Ok(plain)
}

fn unicode_escape(cursor: &mut Cursor<'_>, start: Cursor<'_>) -> ParseResult<char> {
    let high = four_hex_digits(cursor)?;
    let code = if (0xd800..0xdc00).contains(&high) && cursor.literal(b"\\u") {
        let low = four_hex_digits(cursor)?;
        if !(0xdc00..0xe000).contains(&low) {
            return start.expected("a surrogate pair");
        }
        0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
    } else {
        high
    };
    char::from_u32(code).map_or_else(|| start.expected("a surrogate pair"), Ok)
}

fn four_hex_digits(cursor: &mut Cursor<'_>) -> ParseResult<u32> {
    let Some(digits) = cursor.rest().first_chunk::<4>() else { return cursor.expected("four hex digits") };
    let value = digits
        .iter()
        .try_fold(0, |value, digit| char::from(*digit).to_digit(16).map(|digit| value << 4 | digit));
    let Some(value) = value else { return cursor.expected("four hex digits") };
    cursor.advance(4);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use crate::{Cursor, key, wide_key};

    #[test]
    fn strings_follow_json() {
        let read = |text: &str| Cursor::new(text.as_bytes()).text("a string").map(|text| text.into_owned());
        assert_eq!(read(r#""BTCUSDT""#).unwrap(), "BTCUSDT");
        assert_eq!(read(r#""" , more text behind""#).unwrap(), "");
        assert_eq!(
            read(r#""a\"\\\/\b\f\n\r\t\u0041\ud83d\ude00z""#).unwrap(),
            "a\"\\/\u{8}\u{c}\n\r\tA\u{1f600}z"
        );
        assert_eq!(read("\"\u{5e01}\u{5b89}USDT\"").unwrap(), "\u{5e01}\u{5b89}USDT");
        for wrong in
            ["", "\"", "\"abc", "abc\"", r#""\x""#, r#""\u12g4""#, r#""\ud83d""#, r#""\ud83dA""#, "\"a\nb\""]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in
            [&b"\"\xff\""[..], b"\"\xc3\"          ", b"\"abcdefghijk\x80lmnopqrst\"", b"\"\\n\xff\""]
        {
            assert!(Cursor::new(wrong).text("a string").is_err());
        }
    }

    #[test]
    fn keys_match_in_any_form() {
        let read = |text: &str| Cursor::new(text.as_bytes()).wide_key();
        let behind = " 1626993723632, and more";
        for key in ["e", "change_id", "timestamp", "prev_change_id", "underlying_price"] {
            for text in
                [format!("\"{key}\":"), format!("\"{key}\":{behind}"), format!(" \"{key}\" :{behind}")]
            {
                let mut cursor = Cursor::new(text.as_bytes());
                assert_eq!(cursor.wide_key(), Ok(wide_key(key)), "{text}");
                assert_eq!(cursor.rest(), text.split_once(':').unwrap().1.as_bytes());
            }
        }
        assert_eq!(read("\"\\u0065\":1 and sixteen more bytes"), Ok(wide_key("e")));
        assert_eq!(read("\"\u{5e01}\":1 and sixteen more bytes"), Ok(wide_key("\u{5e01}")));
        for long in ["estimated_price_x", "estimated_delivery_price"] {
            assert_eq!(read(&format!("\"{long}\":{behind}")), Ok(0));
        }
        for wrong in [
            "timestamp:1 and sixteen more",
            "\"timestamp\"1 and sixteen more",
            "\"timestamp and sixteen",
            "\"a\nb\":1 and sixteen more",
            "\"\":",
        ] {
            assert!(read(wrong).is_err() || wrong.starts_with("\"\""), "{wrong}");
        }
        let read = |text: &str| Cursor::new(text.as_bytes()).short_key();
        assert_eq!(read("\"seqId\": and sixteen more bytes"), Ok(key("seqId")));
        assert_eq!(read(r#""e":1"#), Ok(key("e")));
        assert_eq!(read(r#""e":1234567"#), Ok(key("e")));
        assert_eq!(read(r#""pu":1234567"#), Ok(key("pu")));
        assert_eq!(read(r#" "pu"  : 1234567"#), Ok(key("pu")));
        assert_eq!(read(r#""\u0065":1234567"#), Ok(key("e")));
        assert_eq!(read(r#""stream":1234567"#), Ok(key("stream")));
        assert_eq!(read(r#""lastUpdateId":1"#), Ok(0));
        assert_eq!(read(r#""":12345678"#), Ok(0));
        assert!(read(r#""e" 1"#).is_err());
        assert!(read(r#""\":1234567"#).is_err());
        assert!(read("").is_err());
    }
}
