//! Reading the venue's instrument lists, one entry at a time: the list of options has megabytes.

use marketprism_adapter_sdk::{Cursor, Decimal, Object, Scan, each_element};
use std::borrow::Cow;

/// What a list says of one instrument. What the venue left out is empty or absent.
#[derive(Clone, Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) name: Cow<'a, str>,
    /// `future` and `option` are served; combinations and spot have other kinds.
    pub(crate) kind: Cow<'a, str>,
    pub(crate) base: Cow<'a, str>,
    pub(crate) quote: Cow<'a, str>,
    /// What an option's strike is counted in.
    pub(crate) counter: Cow<'a, str>,
    pub(crate) settlement: Cow<'a, str>,
    /// `reversed` or `linear`.
    pub(crate) instrument_type: Cow<'a, str>,
    pub(crate) option_type: Cow<'a, str>,
    pub(crate) strike: Option<Decimal>,
    pub(crate) contract_size: Option<Decimal>,
    pub(crate) least_amount: Option<Decimal>,
    pub(crate) tick: Option<Decimal>,
    pub(crate) active: Option<bool>,
    pub(crate) state: Cow<'a, str>,
}

/// Calls `each` for every instrument of an answer. Gives the venue's error, as it wrote it, where the answer is one.
pub(crate) fn each_listed<'a>(
    body: &'a [u8],
    mut each: impl FnMut(Listed<'a>),
) -> Scan<Option<Cow<'a, str>>> {
    let answer = Object::whole(body)?;
    if answer.has("error") && !answer.has("result") {
        let error = answer.read("error", |cursor, _| Object::parse(cursor))?;
        return error.read("message", Cursor::text).map(Some);
    }
    answer.read("result", |cursor, _| {
        each_element(cursor, |cursor| {
            each(listed(&Object::parse(cursor)?)?);
            Ok(())
        })
    })?;
    Ok(None)
}

fn listed<'a>(entry: &Object<'a>) -> Scan<Listed<'a>> {
    let text = |key: &'static str| optional(entry, key, Cursor::text).map(Option::unwrap_or_default);
    let number = |key: &'static str| optional(entry, key, Cursor::decimal);
    Ok(Listed {
        name: entry.read("instrument_name", Cursor::text)?,
        kind: text("kind")?,
        base: text("base_currency")?,
        quote: text("quote_currency")?,
        counter: text("counter_currency")?,
        settlement: text("settlement_currency")?,
        instrument_type: text("instrument_type")?,
        option_type: text("option_type")?,
        strike: number("strike")?,
        contract_size: number("contract_size")?,
        least_amount: number("min_trade_amount")?,
        tick: number("tick_size")?,
        active: optional(entry, "is_active", Cursor::boolean)?,
        state: text("state")?,
    })
}

/// A member's value; none where it is missing or null.
fn optional<'a, T>(
    entry: &Object<'a>,
    key: &'static str,
    read: impl FnOnce(&mut Cursor<'a>, &'static str) -> Scan<T>,
) -> Scan<Option<T>> {
    if !entry.has(key) {
        return Ok(None);
    }
    entry.read(key, |cursor, what| if cursor.null() { Ok(None) } else { read(cursor, what).map(Some) })
}
