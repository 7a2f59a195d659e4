//! The venue's pairs, from the REST list `AssetPairs`, under the names that its sockets use.

use marketprism_adapter_sdk::symbol::pair;
use marketprism_adapter_sdk::{
    Answer, Cursor, Decimal, Endpoints, Instrument, Listing, MarketType, Object, ParseResult, Refusal,
    Request, decimal_places, each_element, each_member, get, log, refusal,
};
use std::borrow::Cow;
use std::collections::HashSet;

/// Tokenised stocks have a list of their own.
const LISTS: [&str; 2] = ["AssetPairs", "AssetPairs?aclass_base=tokenized_asset"];

pub(crate) fn instrument_requests(endpoints: &Endpoints, answers: &[Answer]) -> Vec<Request> {
    if !answers.is_empty() {
        return Vec::new();
    }
    let request = |list| get(format!("{}/0/public/{list}", endpoints.url("rest")), Vec::new(), 30_000);
    LISTS.map(request).to_vec()
}

pub(crate) fn instruments(answers: &[Answer]) -> Result<Listing, Refusal> {
    let mut listing = Listing::new("wsname");
    for answer in answers {
        match read_list(&mut listing, &answer.body) {
            // Stocks are not offered everywhere: where the venue does not know their list, the others are listed all the same.
            Err(refusal) if answer.request > 0 && is_unknown_list(&refusal.value) => {
                log::warn(&format!("no list of tokenised stocks: {}", refusal.value));
            }
            read => read?,
        }
    }
    // Lists may overlap.
    let mut known = HashSet::new();
    listing.instruments.retain(|one| known.insert(one.venue_symbol.clone()));
    Ok(listing)
}

/// Answers to an asset class that the venue does not offer.
fn is_unknown_list(error: &str) -> bool {
    error.starts_with("EQuery:") || error.starts_with("EGeneral:Invalid arguments")
}

fn read_list(listing: &mut Listing, body: &[u8]) -> Result<(), Refusal> {
    Ok(result(body)?.read("result", |cursor, _| {
        // A thousand members: too many for an `Object`.
        each_member(cursor, "an object of pairs", |cursor, _| {
            listing.row(cursor, |cursor| instrument(&Object::parse(cursor)?))
        })
    })?)
}

/// An answer with a `result`. A refused request has the status of a good one, and none or an empty one.
pub(crate) fn result(body: &[u8]) -> Result<Object<'_>, Refusal> {
    let answer = Object::whole(body)?;
    let texts = if answer.has("error") { texts(&answer)? } else { Vec::new() };
    // A good result may have warnings, such as `WGeneral:Danger`.
    let refused = texts.iter().any(|text| !text.starts_with('W'));
    if refused || (answer.has("error") && !answer.has("result")) {
        return Err(refusal("instruments", texts.join(", "), "an answer with a result"));
    }
    Ok(answer)
}

/// The venue's errors, such as `EGeneral:Too many requests`, and warnings.
fn texts(answer: &Object<'_>) -> ParseResult<Vec<String>> {
    let mut texts = Vec::new();
    answer.read("error", |cursor, what| {
        each_element(cursor, |cursor| {
            texts.push(cursor.text(what)?.into_owned());
            Ok(())
        })
    })?;
    Ok(texts)
}

/// None for a pair without a socket name (dark pools), or with one of another venue behind it. A name with a point (`BRK.Bx/USD`) stays: the listing
/// names what no symbol can hold.
pub(crate) fn socket_name(listed: &Object<'_>) -> ParseResult<Option<String>> {
    let Some(name) = listed.optional("wsname", Cursor::text)? else { return Ok(None) };
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    let plain = |asset: &&str| !asset.is_empty() && asset.bytes().all(in_name);
    let assets = name.split_once('/').filter(|(base, quote)| plain(base) && plain(quote));
    Ok(assets.map(|(base, quote)| format!("{}/{}", asset(base), asset(quote))))
}

fn instrument(listed: &Object<'_>) -> ParseResult<Option<Instrument>> {
    let Some(name) = socket_name(listed)? else { return Ok(None) };
    let Some((base, quote)) = name.split_once('/') else { return Ok(None) };
    let trading = listed.optional("status", Cursor::text)?.is_none_or(|status| is_trading(&status));
    let (places, lot_places) =
        (listed.read("pair_decimals", decimal_places)?, listed.read("lot_decimals", decimal_places)?);
    Ok(Some(Instrument {
        symbol: pair(base, quote),
        venue_symbol: name.clone(),
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

/// Orders are matched in these states of a pair; not in `cancel_only` and `post_only`.
fn is_trading(status: &str) -> bool {
    matches!(status, "online" | "limit_only" | "reduce_only")
}

/// The name that a pair is subscribed under, where a message names it as the REST list does.
pub(crate) fn subscribed_name(symbol: Cow<'_, str>) -> Cow<'_, str> {
    match symbol.split_once('/') {
        Some((base, quote)) if asset(base) != base || asset(quote) != quote => {
            format!("{}/{}", asset(base), asset(quote)).into()
        }
        _ => symbol,
    }
}

/// The REST list has older names for two assets than the sockets.
fn asset(name: &str) -> &str {
    match name {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        other => other,
    }
}
