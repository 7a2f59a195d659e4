//! Skipping of values, still checked as JSON.

use crate::cursor::{Cursor, ParseResult};

/// Deepest nesting that is accepted. Venues nest four levels.
const DEPTH_MAX: u32 = 64;

impl Cursor<'_> {
    /// Moves over one value of any kind. Needs no stack: the nesting is a row of bits.
    ///
    /// # Errors
    /// The value is not JSON, or nested deeper than 64.
    pub fn skip(&mut self) -> ParseResult<()> {
        let mut depth = 0u32;
        // One bit a level, the innermost lowest: set for an object.
        let mut objects = 0u64;
        loop {
            let opened = match self.peek() {
                open @ (b'{' | b'[') => {
                    if depth == DEPTH_MAX {
                        return self.expected("at most 64 nested values");
                    }
                    self.advance(1);
                    depth += 1;
                    objects = objects << 1 | u64::from(open == b'{');
                    true
                }
                _ => {
                    self.skip_scalar()?;
                    false
                }
            };
            let mut first = opened;
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                if self.more(if object { b'}' } else { b']' }, &mut first)? {
                    if object {
                        self.skip_text()?;
                        self.expect(b':', "`:`")?;
                    }
                    break;
                }
                depth -= 1;
                objects >>= 1;
                first = false;
            }
        }
    }

    fn skip_scalar(&mut self) -> ParseResult<()> {
        match self.peek() {
            b'"' => self.skip_text(),
            b't' | b'f' => self.boolean("a value").map(|_| ()),
            b'n' if self.null() => Ok(()),
            b'-' | b'0'..=b'9' => self.skip_number(),
            _ => self.expected("a value"),
        }
    }

    #[inline(always)]
    fn skip_text(&mut self) -> ParseResult<()> {
        match self.plain_text() {
            Some(_) => Ok(()),
            None => self.text("a string").map(|_| ()),
        }
    }

    fn skip_number(&mut self) -> ParseResult<()> {
        let start = *self;
        let number = self.number_bytes();
        if is_number(number) { Ok(()) } else { start.expected("a number") }
    }
}

/// JSON's grammar of numbers.
fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text.first() == Some(&b'0')) {
        return false;
    }
    let mut rest = text.get(whole..).unwrap_or(&[]);
    if let Some(fraction) = rest.strip_prefix(b".") {
        let places = digits(fraction);
        if places == 0 {
            return false;
        }
        rest = fraction.get(places..).unwrap_or(&[]);
    }
    let Some((b'e' | b'E', exponent)) = rest.split_first() else { return rest.is_empty() };
    let exponent = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
    !exponent.is_empty() && digits(exponent) == exponent.len()
}

#[cfg(test)]
mod tests {
    use crate::Cursor;

    fn skips(text: &str) -> bool {
        let mut cursor = Cursor::new(text.as_bytes());
        cursor.skip().and_then(|()| cursor.end()).is_ok()
    }

    #[test]
    fn only_json_is_skipped() {
        let nested = format!("{}{}", "[".repeat(64), "]".repeat(64));
        let plain = [
            r#"1 -1.5e+10 0 true false null {} [] "a\"b" [[],[[]],{}]"#,
            r#"{"a":[1,{"b":null},"x"],"c":{}}"#,
        ];
        let spaced = ["[ ]", " [ 1 , 2 ] ", nested.as_str()];
        for valid in plain.iter().flat_map(|texts| texts.split(' ')).chain(spaced) {
            assert!(skips(valid), "{valid}");
        }
        let too_deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let plain =
            r#"01 1. .5 - 1e tru nulll "a { [ [1,] [,1] {"a"} {"a":} {"a":1,} {1:2} [1} {"a":1] []] [+1]"#;
        for wrong in plain.split(' ').chain(["", "[1 2]", "1 2", "\u{feff}1", too_deep.as_str()]) {
            assert!(!skips(wrong), "{wrong}");
        }
    }
}
