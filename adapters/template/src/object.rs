//! Reading JSON the easy way: an object's members first, then each value by its key, in any order.

use marketprism_adapter_sdk::{Cursor, Fault, Scan};
use std::borrow::Cow;

/// Venues send a dozen. A bound keeps the search for a key short whatever comes.
const MEMBERS_MAX: usize = 64;

/// The members of a JSON object.
pub(crate) struct Object<'a> {
    at: usize,
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    key: Cow<'a, str>,
    at: usize,
    value: &'a [u8],
}

impl<'a> Object<'a> {
    /// The object that comes next; all of it is checked to be JSON, and its keys to be different.
    pub(crate) fn parse(cursor: &mut Cursor<'a>) -> Scan<Object<'a>> {
        let mut object = Object { at: cursor.at(), members: Vec::new() };
        let mut first = true;
        cursor.expect(b'{', "an object")?;
        while cursor.more(b'}', &mut first)? {
            let key = cursor.key_text()?;
            if object.has(&key) || object.members.len() == MEMBERS_MAX {
                return cursor.fault("at most 64 members, each key once");
            }
            cursor.peek();
            let (at, before) = (cursor.at(), cursor.rest());
            cursor.skip()?;
            let value = before.get(..before.len() - cursor.rest().len()).unwrap_or(&[]);
            object.members.push(Member { key, at, value });
        }
        Ok(object)
    }

    /// True when the object has this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.members.iter().any(|member| member.key == key)
    }

    /// Reads a value, all of it: `object.read("price", Cursor::decimal)`.
    pub(crate) fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&mut Cursor<'a>, &'static str) -> Scan<T>,
    ) -> Scan<T> {
        let Some(member) = self.members.iter().find(|member| member.key == key) else {
            return Err(Fault { at: self.at, what: key });
        };
        let mut cursor = Cursor::new(member.value);
        let value = read(&mut cursor, key).and_then(|value| cursor.end().map(|()| value));
        value.map_err(|fault| Fault { at: member.at + fault.at, ..fault })
    }
}

/// Runs `each` at every element of the array that comes next.
pub(crate) fn each_element<'a>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(&mut Cursor<'a>) -> Scan<()>,
) -> Scan<()> {
    let mut first = true;
    cursor.expect(b'[', "an array")?;
    while cursor.more(b']', &mut first)? {
        each(cursor)?;
    }
    Ok(())
}
