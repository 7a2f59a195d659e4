//! Function 2 of 4: what is traded.

use marketprism_adapter_sdk::symbol::pair;
use marketprism_adapter_sdk::{
    Answer, Cursor, Endpoints, Instrument, Listing, MarketType, Method, Object, Request, Scan, each_element,
};

/// Asks for the venue's lists, then reads them. Called again with every answer so far until it stops asking, so that pages can be
/// followed. Lists everything: the SDK picks what the feed asks for.
pub(crate) fn instruments(endpoints: &Endpoints, answers: &[Answer]) -> Scan<Listing> {
    let Some(answer) = answers.first() else {
        return Ok(Listing::Ask(vec![Request {
            method: Method::Get,
            url: format!("{}/v1/instruments", endpoints.url("rest")),
            headers: Vec::new(),
            body: None,
            charges: Vec::new(),
            timeout_ms: 10_000,
        }]));
    };
    let mut found = Vec::new();
    let list = Object::whole(&answer.body)?;
    list.read("instruments", |cursor, _| each_element(cursor, |cursor| instrument(cursor, &mut found)))?;
    Ok(Listing::Found(found))
}

fn instrument(cursor: &mut Cursor<'_>, found: &mut Vec<Instrument>) -> Scan<()> {
    let listed = Object::parse(cursor)?;
    // Base and quote as the venue's list names them: cutting them out of a symbol's text goes wrong sooner or later.
    let (base, quote) = (listed.read("base", Cursor::text)?, listed.read("quote", Cursor::text)?);
    // Every price and quantity of the instrument fits these decimal places.
    let places = |step: &'static str| listed.read(step, Cursor::decimal).map(|step| step.scale);
    found.push(Instrument {
        symbol: pair(&base, &quote),
        venue_symbol: listed.read("name", Cursor::text)?.into_owned(),
        market_type: MarketType::Spot,
        base: base.into_owned(),
        quote: quote.into_owned(),
        // For venues that count contracts: what one is worth, in base or in quote units.
        contract_size: None,
        contract_value: None,
        price_scale: places("tick")?,
        quantity_scale: places("step")?,
        trading: listed.read("status", Cursor::text)? == "open",
    });
    Ok(())
}
