//! Function 2 of 4: what is traded.

use crate::describe::SPOT;
use crate::plan::get;
use crate::values::{optional, whole};
use marketprism_adapter_sdk::symbol::{Expiry, dated, pair};
use marketprism_adapter_sdk::{
    Answer, Cursor, Endpoints, Feed, Instrument, Listing, MarketType, Object, Scan, each_element, log,
};

/// Asks for the list of the feed's category, page by page, then reads all of them.
pub(crate) fn instruments(feed: &Feed, endpoints: &Endpoints, answers: &[Answer]) -> Scan<Listing> {
    let spot = feed.exchange == SPOT;
    let mut found = Vec::new();
    let mut next = None;
    for answer in answers {
        next = page(&answer.body, spot, &mut found)?;
    }
    let url = format!("{}/v5/market/instruments-info", endpoints.url("rest"));
    match next {
        Some(cursor) => {
            let url = format!("{url}?category=linear&limit=1000&cursor={}", in_url(&cursor));
            Ok(Listing::Ask(vec![get(url)]))
        }
        None if !answers.is_empty() => Ok(Listing::Found(found)),
        // Spot has no pages.
        None if spot => Ok(Listing::Ask(vec![get(format!("{url}?category=spot"))])),
        None => Ok(Listing::Ask(vec![get(format!("{url}?category=linear&limit=1000"))])),
    }
}

/// Reads one page: its instruments, and the mark of the next page where there is one.
fn page(body: &[u8], spot: bool, found: &mut Vec<Instrument>) -> Scan<Option<String>> {
    let answer = Object::whole(body)?;
    if answer.read("retCode", Cursor::integer)? != 0 {
        return answer.read("retCode", |cursor, _| cursor.fault("no error"));
    }
    answer.read("result", |cursor, _| {
        let result = Object::parse(cursor)?;
        let mut count = 0;
        result.read("list", |cursor, _| {
            each_element(cursor, |cursor| {
                count += 1;
                found.extend(instrument(&Object::parse(cursor)?, spot)?);
                Ok(())
            })
        })?;
        let next = optional(&result, "nextPageCursor", Cursor::text)?.filter(|cursor| !cursor.is_empty());
        // An empty page is the last one, whatever it says: asking would not end.
        Ok(next.filter(|_| count > 0 && !spot).map(|cursor| cursor.into_owned()))
    })
}

/// None for a contract of a kind that the adapter does not know.
fn instrument(listed: &Object<'_>, spot: bool) -> Scan<Option<Instrument>> {
    let venue_symbol = listed.read("symbol", Cursor::text)?;
    let (base, quote) = (listed.read("baseCoin", Cursor::text)?, listed.read("quoteCoin", Cursor::text)?);
    let kind = if spot { "Spot".into() } else { listed.read("contractType", Cursor::text)? };
    let (market_type, symbol) = match &*kind {
        "Spot" => (MarketType::Spot, pair(&base, &quote)),
        "LinearPerpetual" => (MarketType::Perpetual, pair(&base, &quote)),
        "LinearFutures" => {
            let delivery = i64::try_from(listed.read("deliveryTime", whole)?).unwrap_or(i64::MAX);
            let Some(expiry) = Expiry::from_millis(delivery).filter(|_| delivery > 0) else {
                log::warn(&format!("{venue_symbol} left out: no day of delivery"));
                return Ok(None);
            };
            (MarketType::Futures, dated(&base, &quote, expiry))
        }
        _ => {
            log::warn(&format!("{venue_symbol} left out: unknown contract type {kind}"));
            return Ok(None);
        }
    };
    Ok(Some(Instrument {
        symbol,
        market_type,
        venue_symbol: venue_symbol.into_owned(),
        base: base.into_owned(),
        quote: quote.into_owned(),
        // Quantities of linear contracts are in base units.
        contract_size: None,
        contract_value: None,
        price_scale: places(listed, "priceFilter", "tickSize")?,
        quantity_scale: places(listed, "lotSizeFilter", if spot { "basePrecision" } else { "qtyStep" })?,
        trading: listed.read("status", Cursor::text)? == "Trading",
    }))
}

fn places(listed: &Object<'_>, filter: &'static str, step: &'static str) -> Scan<u8> {
    let filter = listed.read(filter, |cursor, _| Object::parse(cursor))?;
    filter.read(step, Cursor::decimal).map(|step| step.scale)
}

/// The mark of a page comes with its special characters escaped already; others are escaped here.
fn in_url(cursor: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'-' | b'_' | b'.' | b'~');
    cursor
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
