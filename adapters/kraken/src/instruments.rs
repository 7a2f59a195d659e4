//! The venue's pairs, from the REST list `AssetPairs`, under the names that its sockets use.

use marketprism_adapter_sdk::symbol::pair;
use marketprism_adapter_sdk::{
    Answer, Cursor, Decimal, Endpoints, Instrument, Listing, MarketType, Object, ParseResult, Refusal,
    Request, decimal_places, each_element, each_member, get, refusal,
};

pub(crate) fn instrument_requests(endpoints: &Endpoints, answers: &[Answer]) -> Vec<Request> {
    if !answers.is_empty() {
        return Vec::new();
    }
    vec![get(format!("{}/0/public/AssetPairs", endpoints.url("rest")), Vec::new(), 30_000)]
}

pub(crate) fn instruments(answers: &[Answer]) -> Result<Listing, Refusal> {
    let mut listing = Listing::new("wsname");
    for answer in answers {
        let answer = Object::whole(&answer.body)?;
        // A refused request has the status of a good one, and no `result`.
        if answer.has("error") && !answer.has("result") {
            return Err(refusal("instruments", errors(&answer)?, "an answer with a result"));
        }
        answer.read("result", |cursor, _| {
            // A thousand members: too many for an `Object`.
            each_member(cursor, "an object of pairs", |cursor, _| {
                listing.row(cursor, |cursor| instrument(&Object::parse(cursor)?))
            })
        })?;
    }
    Ok(listing)
}

/// The venue's errors, such as `EGeneral:Too many requests`.
fn errors(answer: &Object<'_>) -> ParseResult<String> {
    let mut texts = Vec::new();
    answer.read("error", |cursor, what| {
        each_element(cursor, |cursor| {
            texts.push(cursor.text(what)?.into_owned());
            Ok(())
        })
    })?;
    Ok(texts.join(", "))
}

/// None for a pair without a socket name (dark pools), or with one that no symbol can hold.
fn instrument(listed: &Object<'_>) -> ParseResult<Option<Instrument>> {
    let Some(name) = listed.optional("wsname", Cursor::text)? else { return Ok(None) };
    let plain = |asset: &&str| !asset.is_empty() && asset.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let Some((base, quote)) = name.split_once('/').filter(|(base, quote)| plain(base) && plain(quote)) else {
        return Ok(None);
    };
    let (base, quote) = (asset(base), asset(quote));
    let trading = listed.optional("status", Cursor::text)?.is_none_or(|status| status == "online");
    let (places, lot_places) =
        (listed.read("pair_decimals", decimal_places)?, listed.read("lot_decimals", decimal_places)?);
    Ok(Some(Instrument {
        symbol: pair(base, quote),
        venue_symbol: format!("{base}/{quote}"),
        market_type: MarketType::Spot,
        base: base.to_owned(),
        quote: quote.to_owned(),
        contract_size: None,
        contract_value: None,
        // Also the places that the checksum is written with, so they must be exactly the venue's.
        price_scale: places,
        quantity_scale: lot_places,
        tick_size: listed.optional("tick_size", Cursor::decimal)?,
        step_size: Some(Decimal { mantissa: 1, scale: lot_places }),
        trading,
    }))
}

/// The REST list has older names for two assets than the sockets.
fn asset(name: &str) -> &str {
    match name {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        other => other,
    }
}
