//! The lists of the venue, page by page, as instruments.

use crate::describe::SPOT;
use crate::plan::get;
use marketprism_adapter_sdk::symbol::{Expiry, dated, pair};
use marketprism_adapter_sdk::{
    Answer, Cursor, Decimal, Endpoints, Feed, Instrument, Listing, MarketType, Object, ParseResult, Refusal,
    Request, each_element, percent_encoded, refusal,
};

/// The list of the feed's category, page by page. Spot has no pages.
pub(crate) fn instrument_requests(
    feed: &Feed,
    endpoints: &Endpoints,
    answers: &[Answer],
) -> Result<Vec<Request>, Refusal> {
    let spot = feed.exchange == SPOT;
    let url = format!("{}/v5/market/instruments-info", endpoints.url("rest"));
    let Some(last) = answers.last() else {
        let query = if spot { "category=spot" } else { "category=linear&limit=1000" };
        return Ok(vec![get(format!("{url}?{query}"))]);
    };
    let next = page(&last.body, spot, &mut Listing::new("symbol"))?;
    let request =
        |cursor: String| get(format!("{url}?category=linear&limit=1000&cursor={}", in_url(&cursor)));
    Ok(next.map(request).into_iter().collect())
}

pub(crate) fn instruments(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
    let mut listing = Listing::new("symbol");
    for answer in answers {
        page(&answer.body, feed.exchange == SPOT, &mut listing)?;
    }
    Ok(listing)
}

/// Reads one page: its instruments, and the cursor of the next page where there is one.
fn page(body: &[u8], spot: bool, listing: &mut Listing) -> Result<Option<String>, Refusal> {
    let result = result(body)?;
    let count = result.read("list", |cursor, _| {
        each_element(cursor, |cursor| listing.row(cursor, |cursor| instrument(&Object::parse(cursor)?, spot)))
    })?;
    let next = result.optional("nextPageCursor", Cursor::text)?;
    // An empty page is the last one, also with a cursor: requests would not end.
    Ok(next.filter(|_| count > 0 && !spot).map(|cursor| cursor.into_owned()))
}

/// The result of an answer that is no error.
pub(crate) fn result(body: &[u8]) -> Result<Object<'_>, Refusal> {
    let answer = Object::whole(body)?;
    let code = answer.read("retCode", Cursor::integer)?;
    if code != 0 {
        let text = answer.optional("retMsg", Cursor::text)?.unwrap_or_default();
        return Err(refusal("instruments", format!("code {code}: {text}"), "an answer with retCode 0"));
    }
    Ok(answer.read("result", |cursor, _| Object::parse(cursor))?)
}

fn instrument(listed: &Object<'_>, spot: bool) -> ParseResult<Option<Instrument>> {
    let venue_symbol = listed.read("symbol", Cursor::text)?;
    let (base, quote) = (listed.read("baseCoin", Cursor::text)?, listed.read("quoteCoin", Cursor::text)?);
    let kind = if spot { "Spot".into() } else { listed.read("contractType", Cursor::text)? };
    let (market_type, symbol) = match &*kind {
        "Spot" => (MarketType::Spot, pair(&base, &quote)),
        "LinearPerpetual" => (MarketType::Perpetual, pair(&base, &quote)),
        "LinearFutures" => {
            let expiry = listed.read("deliveryTime", |cursor, what| {
                let start = *cursor;
                let delivery = i64::try_from(cursor.unsigned(what)?).unwrap_or(i64::MAX);
                let expiry = Expiry::from_millis(delivery).filter(|_| delivery > 0);
                expiry.map_or_else(|| start.expected("a time of delivery"), Ok)
            })?;
            (MarketType::Futures, dated(&base, &quote, expiry))
        }
        _ => {
            return listed
                .read("contractType", |cursor, _| cursor.expected("LinearPerpetual or LinearFutures"));
        }
    };
    let tick = size(listed, "priceFilter", "tickSize")?;
    let step = size(listed, "lotSizeFilter", if spot { "basePrecision" } else { "qtyStep" })?;
    Ok(Some(Instrument {
        symbol,
        market_type,
        venue_symbol: venue_symbol.into_owned(),
        base: base.into_owned(),
        quote: quote.into_owned(),
        // Quantities of linear contracts are in base units.
        contract_size: None,
        contract_value: None,
        price_scale: tick.scale,
        quantity_scale: step.scale,
        tick_size: Some(tick),
        step_size: Some(step),
        trading: listed.read("status", Cursor::text)? == "Trading",
    }))
}

fn size(listed: &Object<'_>, filter: &'static str, step: &'static str) -> ParseResult<Decimal> {
    let filter = listed.read(filter, |cursor, _| Object::parse(cursor))?;
    filter.read(step, Cursor::decimal)
}

/// Special characters of a page's cursor come escaped; any others are escaped here.
fn in_url(cursor: &str) -> String {
    cursor.split('%').map(percent_encoded).collect::<Vec<_>>().join("%")
}
