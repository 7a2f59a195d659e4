//! A cursor over the bytes of a JSON text: no tree, no copies, no allocation. Every function accepts any valid JSON form (whitespace,
//! escapes); the form that venues send is the fast way.

use crate::decimal::{self, DecimalError, Scale, factor};
use crate::feed::refusal;
use crate::strings;
use crate::swar::{beyond_ascii, digit_run, digits_value, first_bytes, plain_run, same_text, word};
use crate::types::{Decimal, Refusal};

/// Input that does not follow the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Byte offset in the frame.
    pub at: usize,
    /// The field or form that should stand there.
    pub expected: &'static str,
}

/// A value read, or the first error.
pub type ParseResult<T> = Result<T, ParseError>;

/// An answer that cannot be read, as `instruments` reports it.
impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Refusal {
        refusal("instruments", format!("byte {} of a list", error.at), format!("{} there", error.expected))
    }
}

/// A short key as one number, to match on: at most eight bytes, the first one lowest.
#[expect(clippy::cast_possible_truncation, reason = "eight bytes fit")]
pub const fn key(text: &str) -> u64 {
    assert!(text.len() <= 8, "short keys have at most 8 bytes");
    wide_key(text) as u64
}

/// A key as one number, to match on: at most 16 bytes, the first one lowest.
pub const fn wide_key(text: &str) -> u128 {
    let bytes = text.as_bytes();
    assert!(bytes.len() <= 16, "wide keys have at most 16 bytes");
    let mut packed = 0;
    let mut index = bytes.len();
    while index > 0 {
        index -= 1;
        // In a constant: a wrong index does not compile.
        #[allow(clippy::indexing_slicing)]
        {
            packed = packed << 8 | bytes[index] as u128;
        }
    }
    packed
}

/// A position in the bytes of a JSON text.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of a text.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes, length: bytes.len() }
    }

    /// A cursor at the start of a part, which stands at this offset of the whole text.
    pub(crate) fn within(part: &'a [u8], at: usize) -> Cursor<'a> {
        Cursor { rest: part, length: at + part.len() }
    }

    /// Byte offset from the start of the text.
    #[inline(always)]
    pub fn at(&self) -> usize {
        self.length - self.rest.len()
    }

    /// The bytes that are still to be read.
    #[inline(always)]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The error that something else was expected at this position.
    #[cold]
    pub fn expected<T>(&self, expected: &'static str) -> ParseResult<T> {
        Err(ParseError { at: self.at(), expected })
    }

    /// Moves over `count` bytes, or to the end when fewer are left.
    #[inline(always)]
    pub(crate) fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or(&[]);
    }

    #[inline(always)]
    pub(crate) fn set_rest(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    /// Takes exactly these bytes when they come next.
    #[inline(always)]
    pub fn literal<const N: usize>(&mut self, text: &[u8; N]) -> bool {
        match self.rest.split_first_chunk::<N>() {
            Some((start, rest)) if same_text(start, text) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The next byte that is not whitespace, without taking it; 0 at the end.
    #[inline(always)]
    pub fn peek(&mut self) -> u8 {
        match self.rest.first() {
            Some(byte) if *byte > b' ' => *byte,
            _ => self.peek_past_whitespace(),
        }
    }

    #[cold]
    fn peek_past_whitespace(&mut self) -> u8 {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let end = self.rest.iter().position(|byte| !blank(byte)).unwrap_or(self.rest.len());
        self.advance(end);
        self.rest.first().copied().unwrap_or(0)
    }

    /// Takes this byte, after whitespace, when it comes next.
    #[inline(always)]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte && byte != 0;
        if found {
            self.advance(1);
        }
        found
    }

    /// Takes this byte, after whitespace.
    #[inline(always)]
    pub fn expect(&mut self, byte: u8, what: &'static str) -> ParseResult<()> {
        if self.take(byte) { Ok(()) } else { self.expected(what) }
    }

    /// Nothing but whitespace is left.
    #[inline(always)]
    pub fn end(&mut self) -> ParseResult<()> {
        self.peek();
        if self.rest.is_empty() { Ok(()) } else { self.expected("end of the text") }
    }

    /// Goes to the next member of an object or element of an array that `close` ends: true when there is one.
    /// `first` must be true before the first member and is kept by the function.
    #[inline(always)]
    pub fn more(&mut self, close: u8, first: &mut bool) -> ParseResult<bool> {
        let next = self.peek();
        if next == close {
            // `[1,]` never gets here: after a comma the caller must read a value.
            self.advance(1);
            return Ok(false);
        }
        if *first {
            *first = false;
            return Ok(true);
        }
        self.expect(b',', "`,` or the end of the object or array")?;
        Ok(true)
    }

    /// The next key of an object with its colon, packed as [`key`] does; 0 for one longer than eight bytes.
    #[inline(always)]
    pub fn short_key(&mut self) -> ParseResult<u64> {
        if let Some(first) = word(self.rest) {
            // `"k":` and `"kk":` are what hot messages are made of.
            if first & 0xffff_00ff == 0x3a22_0022 && plain_key_byte(first >> 8) {
                self.advance(4);
                return Ok(first >> 8 & 0xff);
            }
            if first & 0xff_ff00_00ff == 0x3a_2200_0022
                && plain_key_byte(first >> 8)
                && plain_key_byte(first >> 16)
            {
                self.advance(5);
                return Ok(first >> 8 & 0xffff);
            }
        }
        self.any_short_key()
    }

    #[inline(never)]
    fn any_short_key(&mut self) -> ParseResult<u64> {
        self.wide_key().map(|key| u64::try_from(key).unwrap_or(0))
    }

    /// The next key of an object with its colon, packed as [`wide_key`] does; 0 for one longer than 16 bytes.
    #[inline(always)]
    pub fn wide_key(&mut self) -> ParseResult<u128> {
        let start = self.rest.strip_prefix(b"\"").unwrap_or_default();
        if let Some(low) = word(start)
            && let Some(high) = start.get(8..).and_then(word)
        {
            let (of_low, of_high) = (plain_run(low), plain_run(high));
            let of_high = if of_low == 8 { of_high } else { 0 };
            let (low, high) = (first_bytes(low, of_low), first_bytes(high, of_high));
            let mut next = *self;
            next.advance(1 + of_low as usize + of_high as usize);
            if !beyond_ascii(low | high) && next.literal(b"\":") {
                *self = next;
                return Ok(u128::from(high) << 64 | u128::from(low));
            }
        }
        self.any_wide_key()
    }

    #[inline(never)]
    fn any_wide_key(&mut self) -> ParseResult<u128> {
        let packed = |bytes: &[u8]| {
            let each = bytes.iter().rev();
            if bytes.len() > 16 { 0 } else { each.fold(0, |packed, byte| packed << 8 | u128::from(*byte)) }
        };
        let mut next = *self;
        if let Some(text) = next.plain_text()
            && next.take(b':')
        {
            *self = next;
            return Ok(packed(text));
        }
        self.key_text().map(|text| packed(text.as_bytes()))
    }

    /// The next key of an object, with its colon.
    pub fn key_text(&mut self) -> ParseResult<std::borrow::Cow<'a, str>> {
        let text = self.text("a key")?;
        self.expect(b':', "`:`")?;
        Ok(text)
    }

    /// A string, unescaped; borrowed where it holds no escapes.
    pub fn text(&mut self, what: &'static str) -> ParseResult<std::borrow::Cow<'a, str>> {
        strings::text(self, what)
    }

    /// The bytes of a string that holds no escape, control character or invalid UTF-8; none, without moving,
    /// for any other value.
    #[inline(always)]
    pub fn plain_text(&mut self) -> Option<&'a [u8]> {
        self.peek();
        strings::plain(self)
    }

    /// `true` or `false`.
    #[inline(always)]
    pub fn boolean(&mut self, what: &'static str) -> ParseResult<bool> {
        self.peek();
        if self.literal(b"true") {
            Ok(true)
        } else if self.literal(b"false") {
            Ok(false)
        } else {
            self.expected(what)
        }
    }

    /// Takes `null` when it comes next.
    #[inline(always)]
    pub fn null(&mut self) -> bool {
        self.peek();
        self.literal(b"null")
    }

    /// A number without sign, point and exponent, quoted or not.
    #[inline(always)]
    pub fn unsigned(&mut self, what: &'static str) -> ParseResult<u64> {
        self.peek();
        let Some(first) = word(self.rest) else { return self.unsigned_slowly(what) };
        let (count, digits) = digit_run(first);
        if count == 0 || (count > 1 && digits & 0xff == 0) {
            return self.unsigned_slowly(what);
        }
        let high = digits_value(digits, count);
        if count < 8 {
            self.advance(count as usize);
            return Ok(high);
        }
        let Some(second) = self.rest.get(8..).and_then(word) else { return self.unsigned_slowly(what) };
        let (count, digits) = digit_run(second);
        if count == 8 {
            return self.unsigned_slowly(what);
        }
        self.advance(8 + count as usize);
        if count == 0 {
            return Ok(high);
        }
        Ok(high * factor(count) + digits_value(digits, count))
    }

    #[inline(never)]
    fn unsigned_slowly(&mut self, what: &'static str) -> ParseResult<u64> {
        if self.rest.first() == Some(&b'"') {
            return self.quoted(what, |cursor| cursor.unsigned_slowly(what));
        }
        let mut value = 0u64;
        let mut count = 0;
        for byte in self.rest.iter().take_while(|byte| byte.is_ascii_digit()) {
            let sum = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(byte - b'0')));
            let Some(sum) = sum else { return self.expected(what) };
            value = sum;
            count += 1;
        }
        if count == 0 || (count > 1 && self.rest.first() == Some(&b'0')) {
            return self.expected(what);
        }
        self.advance(count);
        Ok(value)
    }

    /// A whole number, quoted or not.
    #[inline(always)]
    pub fn integer(&mut self, what: &'static str) -> ParseResult<i64> {
        let start = *self;
        if self.peek() == b'"' {
            return self.quoted(what, |cursor| cursor.integer(what));
        }
        let negative = self.take(b'-');
        // Blanks may stand before a number, never inside it.
        if negative && !self.rest.first().is_some_and(u8::is_ascii_digit) {
            return start.expected(what);
        }
        let value = i64::try_from(self.unsigned(what)?);
        match value {
            Ok(value) => Ok(if negative { -value } else { value }),
            Err(_) => start.expected(what),
        }
    }

    /// Reads all of a text, which begins with a digit or a sign, with `read`.
    #[cold]
    fn quoted<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Cursor<'_>) -> ParseResult<T>,
    ) -> ParseResult<T> {
        let start = *self;
        let text = self.text(what)?;
        let mut inside = Cursor::new(text.as_bytes());
        if !matches!(inside.rest, [b'-' | b'0'..=b'9', ..]) {
            return start.expected(what);
        }
        match read(&mut inside) {
            Ok(value) if inside.rest.is_empty() => Ok(value),
            _ => start.expected(what),
        }
    }

    /// A number in quotes, without sign, at this scale; none, without moving, where it needs the slow way:
    /// other forms, more places than the scale has, overflow.
    #[inline(always)]
    pub fn quoted_at(&mut self, scale: Scale) -> Option<i64> {
        let rest = self.rest.strip_prefix(b"\"")?;
        let (count, digits) = digit_run(word(rest)?);
        if count == 0 || count == 8 {
            return None;
        }
        let integer = digits_value(digits, count);
        if integer >= scale.integer_limit {
            return None;
        }
        let (end, rest) = rest.get(count as usize..)?.split_first()?;
        let whole = integer * scale.power;
        if *end == b'"' {
            self.rest = rest;
            return Some(whole.cast_signed());
        }
        if *end != b'.' {
            return None;
        }
        let (count, digits) = digit_run(word(rest)?);
        let places = u32::from(scale.places());
        let kept = count.min(places);
        // Digits beyond the scale must be zeros; shifts of a whole word are out of range and mean "none".
        let beyond = digits & (!0u64 >> (64 - 8 * count.max(1)));
        if count == 0 || (kept < 8 && beyond >> (8 * kept) != 0) {
            return None;
        }
        let rest = rest.get(count as usize..)?.strip_prefix(b"\"")?;
        self.rest = rest;
        if kept == 0 {
            return Some(whole.cast_signed());
        }
        let fraction = digits_value(digits, kept) * factor(places - kept);
        Some((whole + fraction).cast_signed())
    }

    /// A number, quoted or not, exact.
    pub fn decimal(&mut self, what: &'static str) -> ParseResult<Decimal> {
        self.number(what, decimal::parse)
    }

    /// A number that the venue calculated, quoted or not; see [`decimal::parse_rounded`].
    pub fn calculated(&mut self, what: &'static str) -> ParseResult<Decimal> {
        self.number(what, decimal::parse_rounded)
    }

    fn number(
        &mut self,
        what: &'static str,
        parse: fn(&[u8]) -> Result<Decimal, DecimalError>,
    ) -> ParseResult<Decimal> {
        self.peek();
        let start = *self;
        let text = if self.rest.first() == Some(&b'"') {
            match self.plain_text() {
                Some(text) => text,
                None => return start.expected(what),
            }
        } else {
            // JSON's own numbers only: decimals in quotes may have other forms.
            match self.raw_value() {
                Ok(text @ [b'-' | b'0'..=b'9', ..]) => text,
                _ => return start.expected(what),
            }
        };
        parse(text).or_else(|_| start.expected(what))
    }

    /// The bytes of the value that comes next, of any kind.
    pub fn raw_value(&mut self) -> ParseResult<&'a [u8]> {
        self.peek();
        let before = self.rest;
        self.skip()?;
        Ok(before.get(..before.len() - self.rest.len()).unwrap_or(&[]))
    }

    /// The bytes of a JSON number, without check.
    pub(crate) fn number_bytes(&mut self) -> &'a [u8] {
        let inside = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let end = self.rest.iter().position(|byte| !inside(byte)).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        self.rest = rest;
        number
    }
}

/// True for a byte that a key holds as itself.
#[inline(always)]
fn plain_key_byte(packed: u64) -> bool {
    let byte = packed & 0xff;
    (0x20..0x80).contains(&byte) && byte != 0x22 && byte != 0x5c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_blank_stands_inside_a_number() {
        let integer = |text: &str| Cursor::new(text.as_bytes()).integer("a number").ok();
        assert_eq!(["7", " -7", "-1024094545,"].map(integer), [Some(7), Some(-7), Some(-1_024_094_545)]);
        assert_eq!(["- 7", "-\n7", "-", "-x"].map(integer), [None; 4]);
    }

    #[test]
    fn a_number_without_quotes_is_one_of_json() {
        let decimal = |text: &str| Cursor::new(text.as_bytes()).decimal("a number").is_ok();
        assert_eq!(["7", "-0.5 ", "1.5e3,", "1E-7]"].map(decimal), [true; 4]);
        assert_eq!(["01.5", "+7", ".5", "5.", "- 7", "00", "[1]", "null", "1.5e"].map(decimal), [false; 9]);
    }

    #[test]
    fn whole_numbers_are_the_same_in_quotes() {
        let integer = |text: &str| Cursor::new(text.as_bytes()).integer("a number").ok();
        let unsigned = |text: &str| Cursor::new(text.as_bytes()).unsigned("a number").ok();
        assert_eq!(
            ["\"7\"", " \"-1\" ", "\"1626993723632\",x"].map(integer),
            [Some(7), Some(-1), Some(1_626_993_723_632)]
        );
        assert_eq!(
            ["\"7\"", "\"1626993723632\" ", "\"\\u0037\""].map(unsigned),
            [Some(7), Some(1_626_993_723_632), Some(7)]
        );
        let wrong = ["", " 7", "7 ", "+7", "07", "7.0", "x", "99999999999999999999"];
        let wrong = wrong.map(|text| format!("\"{text}\"")).map(|text| (integer(&text), unsigned(&text)));
        assert_eq!(wrong, [(None, None); 8]);
        assert_eq!((unsigned("\"-1\""), unsigned("\"7")), (None, None));
    }
}
