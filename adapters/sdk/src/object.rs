//! Simple reading of JSON: the members of an object first, then each value by its key. A [`Cursor`] alone is several times faster and takes
//! more code; both are exact.

use crate::cursor::{Cursor, ParseError, ParseResult};
use crate::values::unless_unset;
use std::borrow::Cow;

/// Venues send a few dozen. Bounds the search for a key.
const MEMBERS_MAX: usize = 64;

/// The members of a JSON object, in any order.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    at: usize,
    members: Vec<Member<'a>>,
}

#[derive(Clone, Debug)]
struct Member<'a> {
    key: Cow<'a, str>,
    at: usize,
    value: &'a [u8],
}

impl<'a> Object<'a> {
    /// The object that comes next.
    ///
    /// # Errors
    /// It is not JSON, has a key twice, or has more than 64 members.
    pub fn parse(cursor: &mut Cursor<'a>) -> ParseResult<Object<'a>> {
        cursor.peek();
        let mut object = Object { at: cursor.at(), members: Vec::new() };
        let mut first = true;
        cursor.expect(b'{', "an object")?;
        while cursor.more(b'}', &mut first)? {
            let key = cursor.key_text()?;
            if object.has(&key) || object.members.len() == MEMBERS_MAX {
                return cursor.expected("at most 64 members, each key once");
            }
            cursor.peek();
            let at = cursor.at();
            object.members.push(Member { key, at, value: cursor.raw_value()? });
        }
        Ok(object)
    }

    /// The object that is the whole text.
    pub fn whole(text: &'a [u8]) -> ParseResult<Object<'a>> {
        let mut cursor = Cursor::new(text);
        let object = Object::parse(&mut cursor)?;
        cursor.end().map(|()| object)
    }

    /// True when the object has this key.
    pub fn has(&self, key: &str) -> bool {
        self.members.iter().any(|member| member.key == key)
    }

    /// Reads a value, all of it: `object.read("price", Cursor::decimal)`.
    pub fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&mut Cursor<'a>, &'static str) -> ParseResult<T>,
    ) -> ParseResult<T> {
        let Some(member) = self.members.iter().find(|member| member.key == key) else {
            return Err(ParseError { at: self.at, expected: key });
        };
        let mut cursor = Cursor::within(member.value, member.at);
        read(&mut cursor, key).and_then(|value| cursor.end().map(|()| value))
    }

    /// As [`Object::read`], none where the object has not this key, or `null` or an empty string for it.
    pub fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&mut Cursor<'a>, &'static str) -> ParseResult<T>,
    ) -> ParseResult<Option<T>> {
        if !self.has(key) {
            return Ok(None);
        }
        self.read(key, |cursor, what| unless_unset(cursor, what, read))
    }
}

/// Runs `each` at every element of the array that comes next; returns their number.
#[inline(always)]
pub fn each_element<'a>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(&mut Cursor<'a>) -> ParseResult<()>,
) -> ParseResult<usize> {
    let (mut first, mut count) = (true, 0);
    cursor.expect(b'[', "an array")?;
    while cursor.more(b']', &mut first)? {
        each(cursor)?;
        count += 1;
    }
    Ok(count)
}

/// Runs `each` at every member of the object that comes next, with its key.
pub fn each_member<'a>(
    cursor: &mut Cursor<'a>,
    what: &'static str,
    mut each: impl FnMut(&mut Cursor<'a>, &str) -> ParseResult<()>,
) -> ParseResult<()> {
    let mut first = true;
    cursor.expect(b'{', what)?;
    while cursor.more(b'}', &mut first)? {
        let key = cursor.key_text()?;
        each(cursor, &key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_whole_by_their_key() {
        let text = br#" {"a" : "1.50", "n":{"deep":[1,2 ,3]}, "\u0062":12 ,"c":1.5} "#;
        let object = Object::whole(text).unwrap();
        assert_eq!(
            object.read("a", Cursor::decimal).map(|number| (number.mantissa, number.scale)),
            Ok((15, 1))
        );
        assert_eq!(object.read("b", Cursor::unsigned), Ok(12));
        let mut sum = 0;
        let nested = object.read("n", |cursor, _| Object::parse(cursor)).unwrap();
        let deep = |cursor: &mut Cursor<'_>| cursor.unsigned("a number").map(|number| sum += number);
        nested.read("deep", |cursor, _| each_element(cursor, deep)).unwrap();
        assert_eq!(sum, 6);
        assert_eq!(object.read("c", Cursor::unsigned).unwrap_err().at, text.len() - 4, "1.5 is not 1");
        assert_eq!(object.read("d", Cursor::unsigned), Err(ParseError { at: 1, expected: "d" }));
        let unset = Object::whole(br#"{"a":null,"b":"","c":"x"}"#).unwrap();
        let optional = |key| unset.optional(key, Cursor::decimal).map(|value| value.is_some());
        assert_eq!([optional("a"), optional("b"), optional("d")], [Ok(false); 3]);
        assert!(optional("c").is_err());
    }

    #[test]
    fn only_objects_with_different_keys_are_read() {
        let members: Vec<String> = (0..65).map(|number| format!("\"k{number}\":0")).collect();
        let many = |count: usize| format!("{{{}}}", members[..count].join(","));
        assert!(Object::whole(many(64).as_bytes()).is_ok());
        let too_many = many(65);
        for wrong in
            ["", "[]", "{", r#"{"a":}"#, r#"{"a":1,}"#, r#"{"a":1}x"#, r#"{"a":1,"\u0061":1}"#, &too_many]
        {
            assert!(Object::whole(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
