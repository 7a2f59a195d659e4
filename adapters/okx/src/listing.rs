//! Reading the venue's lists of instruments, one at a time; nothing is kept that is not asked for.

use crate::field::{each_element, each_member, once, unset, written};
use marketprism_adapter_sdk::{Cursor, Fault, Refusal, Scan, refusal};
use std::borrow::Cow;

/// What the list says of one instrument, as written; empty where the venue left it out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed<'a> {
    pub(crate) kind: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
    pub(crate) underlying: Cow<'a, str>,
    pub(crate) family: Cow<'a, str>,
    /// Spot only.
    pub(crate) base: Cow<'a, str>,
    /// Spot only.
    pub(crate) quote: Cow<'a, str>,
    pub(crate) contract_type: Cow<'a, str>,
    pub(crate) contract_value: Cow<'a, str>,
    pub(crate) contract_multiplier: Cow<'a, str>,
    /// The currency of the contract's value.
    pub(crate) contract_currency: Cow<'a, str>,
    pub(crate) option_type: Cow<'a, str>,
    pub(crate) strike: Cow<'a, str>,
    /// Milliseconds.
    pub(crate) expiry: Cow<'a, str>,
    pub(crate) tick: Cow<'a, str>,
    pub(crate) lot: Cow<'a, str>,
    pub(crate) state: Cow<'a, str>,
}

/// Calls `each` for every instrument of the answer; one that lists something else has none.
///
/// # Errors
/// An answer that cannot be read, or one in which the venue refuses.
pub(crate) fn each_instrument<'a>(body: &'a [u8], mut each: impl FnMut(Listed<'a>)) -> Result<(), Refusal> {
    let mut data = data(body)?;
    each_element(&mut data, |cursor| {
        if cursor.peek() == b'[' {
            return cursor.skip();
        }
        each(listed(cursor)?);
        Ok(())
    })
    .map(|_| ())
    .map_err(unreadable)
}

/// The underlyings of the answer: `[["BTC-USD","ETH-USD"]]`.
///
/// # Errors
/// As [`each_instrument`].
pub(crate) fn underlyings(body: &[u8]) -> Result<Vec<String>, Refusal> {
    let mut data = data(body)?;
    let mut names = Vec::new();
    let mut read = || {
        each_element(&mut data, |cursor| {
            each_element(cursor, |cursor| {
                names.push(cursor.text("an underlying")?.into_owned());
                Ok(())
            })
            .map(|_| ())
        })
    };
    read().map_err(unreadable)?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The data of an answer whose code is 0. The venue refuses with HTTP 200 and another code.
fn data(body: &[u8]) -> Result<Cursor<'_>, Refusal> {
    let (mut code, mut text, mut data) = (None, None, None);
    let mut cursor = Cursor::new(body);
    let read = each_member(&mut cursor, "an answer", |cursor, key| match key {
        "code" => once(&mut code, written(cursor)?, cursor),
        "msg" => once(&mut text, written(cursor)?, cursor),
        "data" => {
            once(&mut data, *cursor, cursor)?;
            cursor.skip()
        }
        _ => cursor.skip(),
    });
    read.and_then(|()| cursor.end()).map_err(unreadable)?;
    match (code.as_deref(), data) {
        (Some("0"), Some(data)) => Ok(data),
        (Some("0") | None, _) => Err(refusal("instruments", "no data", "an answer with `code` and `data`")),
        (Some(code), _) => {
            let said = format!("code {code}: {}", text.unwrap_or_default());
            Err(refusal("instruments", said, "an answer with code 0"))
        }
    }
}

fn listed<'a>(cursor: &mut Cursor<'a>) -> Scan<Listed<'a>> {
    let mut listed = Listed::default();
    each_member(cursor, "an instrument object", |cursor, key| {
        let field = match key {
            "instType" => &mut listed.kind,
            "instId" => &mut listed.name,
            "uly" => &mut listed.underlying,
            "instFamily" => &mut listed.family,
            "baseCcy" => &mut listed.base,
            "quoteCcy" => &mut listed.quote,
            "ctType" => &mut listed.contract_type,
            "ctVal" => &mut listed.contract_value,
            "ctMult" => &mut listed.contract_multiplier,
            "ctValCcy" => &mut listed.contract_currency,
            "optType" => &mut listed.option_type,
            "stk" => &mut listed.strike,
            "expTime" => &mut listed.expiry,
            "tickSz" => &mut listed.tick,
            "lotSz" => &mut listed.lot,
            "state" => &mut listed.state,
            _ => return cursor.skip(),
        };
        *field = if unset(cursor) { Cow::Borrowed("") } else { cursor.text("a text")? };
        Ok(())
    })?;
    Ok(listed)
}

fn unreadable(fault: Fault) -> Refusal {
    refusal("instruments", format!("byte {}", fault.at), fault.what)
}
