//! The venue's list of instruments.

use marketprism_adapter_sdk::symbol::pair;
use marketprism_adapter_sdk::{
    Answer, Cursor, Endpoints, Instrument, Listing, MarketType, Object, ParseResult, Request, each_element,
    get,
};

/// Called again with all answers so far until no request is left, so pages can be followed.
pub(crate) fn instrument_requests(endpoints: &Endpoints, answers: &[Answer]) -> Vec<Request> {
    if !answers.is_empty() {
        return Vec::new();
    }
    vec![get(format!("{}/v1/instruments", endpoints.url("rest")), Vec::new(), 10_000)]
}

/// Returns every instrument of the lists: the SDK selects those of the feed.
pub(crate) fn instruments(answers: &[Answer]) -> ParseResult<Listing> {
    let mut listing = Listing::new("name");
    for answer in answers {
        let list = Object::whole(&answer.body)?;
        list.read("instruments", |cursor, _| {
            // A row that cannot be read is left out: it costs nothing else.
            each_element(cursor, |cursor| {
                listing.row(cursor, |cursor| instrument(&Object::parse(cursor)?).map(Some))
            })
        })?;
    }
    Ok(listing)
}

fn instrument(listed: &Object<'_>) -> ParseResult<Instrument> {
    // Base and quote as the list names them: cutting them out of a symbol's text goes wrong sooner or later.
    let (base, quote) = (listed.read("base", Cursor::text)?, listed.read("quote", Cursor::text)?);
    // Every price and quantity of the instrument fits these decimal places.
    let (tick, step) = (listed.read("tick", Cursor::decimal)?, listed.read("step", Cursor::decimal)?);
    Ok(Instrument {
        symbol: pair(&base, &quote),
        venue_symbol: listed.read("name", Cursor::text)?.into_owned(),
        market_type: MarketType::Spot,
        base: base.into_owned(),
        quote: quote.into_owned(),
        // For venues that count contracts: the worth of one, in base or in quote units.
        contract_size: None,
        contract_value: None,
        price_scale: tick.scale,
        quantity_scale: step.scale,
        tick_size: Some(tick),
        step_size: Some(step),
        trading: listed.read("status", Cursor::text)? == "open",
    })
}
