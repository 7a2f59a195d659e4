//! The venue's pairs, from the REST list `AssetPairs`, under the names that its sockets use.

use marketprism_adapter_sdk::symbol::pair;
use marketprism_adapter_sdk::{
    Answer, Cursor, Endpoints, Instrument, Listing, MarketType, Method, Object, Request, Scan, decimal,
};

pub(crate) fn instruments(endpoints: &Endpoints, answers: &[Answer]) -> Scan<Listing> {
    let Some(answer) = answers.first() else {
        return Ok(Listing::Ask(vec![Request {
            method: Method::Get,
            url: format!("{}/0/public/AssetPairs", endpoints.url("rest")),
            headers: Vec::new(),
            body: None,
            charges: Vec::new(),
            timeout_ms: 30_000,
        }]));
    };
    let mut found = Vec::new();
    // A refused request has the status of a good one, and no `result`.
    Object::whole(&answer.body)?.read("result", |cursor, _| {
        // A thousand members, so no `Object`.
        let mut first = true;
        cursor.expect(b'{', "an object of pairs")?;
        while cursor.more(b'}', &mut first)? {
            cursor.key_text()?;
            found.extend(instrument(&Object::parse(cursor)?)?);
        }
        Ok(())
    })?;
    Ok(Listing::Found(found))
}

/// None for a pair without a socket name (dark pools), or with one that no symbol can hold.
fn instrument(listed: &Object<'_>) -> Scan<Option<Instrument>> {
    if !listed.has("wsname") {
        return Ok(None);
    }
    let name = listed.read("wsname", Cursor::text)?;
    let plain = |asset: &&str| !asset.is_empty() && asset.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let Some((base, quote)) = name.split_once('/').filter(|(base, quote)| plain(base) && plain(quote)) else {
        return Ok(None);
    };
    let (base, quote) = (asset(base), asset(quote));
    let trading = !listed.has("status") || listed.read("status", Cursor::text)? == "online";
    Ok(Some(Instrument {
        symbol: pair(base, quote),
        venue_symbol: format!("{base}/{quote}"),
        market_type: MarketType::Spot,
        base: base.to_owned(),
        quote: quote.to_owned(),
        contract_size: None,
        contract_value: None,
        // Also the places that the checksum is written with, so they must be exactly the venue's.
        price_scale: listed.read("pair_decimals", places)?,
        quantity_scale: listed.read("lot_decimals", places)?,
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

fn places(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<u8> {
    let start = *cursor;
    let places = u8::try_from(cursor.unsigned(what)?).ok().filter(|places| *places <= decimal::SCALE_MAX);
    places.map_or_else(|| start.fault(what), Ok)
}
