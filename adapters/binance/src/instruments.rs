//! The venue's symbols as instruments: base and quote as `exchangeInfo` names them, never cut from the symbol's text.

use crate::describe::Exchange;
use marketprism_adapter_sdk::symbol::{self, Expiry};
use marketprism_adapter_sdk::{
    Answer, Cursor, Decimal, Instrument, Listing, MarketType, ParseResult, decimal, decimal_places,
    each_element, each_member,
};
use std::borrow::Cow;

/// The venue's default asset precision, where it states none.
const PLACES_DEFAULT: u8 = 8;

pub(crate) fn instruments(exchange: Exchange, answers: &[Answer]) -> ParseResult<Listing> {
    let mut listing = Listing::new("symbol");
    for answer in answers {
        each_symbol(&answer.body, |cursor| {
            listing.row(cursor, |cursor| Ok(instrument(exchange, &listed(cursor)?)))
        })?;
    }
    Ok(listing)
}

/// None for what the adapter cannot serve: contract types of an unknown kind.
fn instrument(exchange: Exchange, listed: &ListedSymbol<'_>) -> Option<Instrument> {
    if listed.symbol.is_empty() || listed.base.is_empty() || listed.quote.is_empty() {
        return None;
    }
    let market_type = match exchange {
        Exchange::Spot => MarketType::Spot,
        Exchange::UsdM => contract_market(listed.contract_type.as_deref()?)?,
    };
    let symbol = match market_type {
        MarketType::Futures => symbol::dated(&listed.base, &listed.quote, expiry(listed)?),
        _ => symbol::pair(&listed.base, &listed.quote),
    };
    Some(Instrument {
        symbol,
        venue_symbol: listed.symbol.to_string(),
        market_type,
        base: listed.base.to_string(),
        quote: listed.quote.to_string(),
        contract_size: None,
        contract_value: None,
        price_scale: places(listed.tick).or(listed.price_precision).unwrap_or(PLACES_DEFAULT),
        quantity_scale: places(listed.step).or(listed.quantity_precision).unwrap_or(PLACES_DEFAULT),
        tick_size: listed.tick,
        step_size: listed.step,
        trading: listed.status == "TRADING",
    })
}

fn places(step: Option<Decimal>) -> Option<u8> {
    step.map(|step| step.scale)
}

/// `PERPETUAL`, `TRADIFI_PERPETUAL`, `CURRENT_QUARTER`, `NEXT_QUARTER`; each also with ` DELIVERING` or
/// `_DELIVERING` after it.
fn contract_market(contract_type: &str) -> Option<MarketType> {
    let kind = contract_type
        .strip_suffix("DELIVERING")
        .map_or(contract_type, |kind| kind.trim_end_matches([' ', '_']));
    if kind == "PERPETUAL" || kind.ends_with("_PERPETUAL") {
        Some(MarketType::Perpetual)
    } else if kind.starts_with("CURRENT_") || kind.starts_with("NEXT_") {
        Some(MarketType::Futures)
    } else {
        None
    }
}

/// The day at the end of the symbol, else that of the delivery date.
fn expiry(listed: &ListedSymbol<'_>) -> Option<Expiry> {
    let written = listed.symbol.rsplit_once('_').and_then(|(_, day)| Expiry::from_digits(day));
    written.or_else(|| Expiry::from_millis(listed.delivery_date?))
}

/// One symbol of `exchangeInfo`. Fields that the venue left out are absent.
#[derive(Clone, Debug, Default)]
struct ListedSymbol<'a> {
    symbol: Cow<'a, str>,
    base: Cow<'a, str>,
    quote: Cow<'a, str>,
    status: Cow<'a, str>,
    /// Futures only.
    contract_type: Option<Cow<'a, str>>,
    /// Futures only, milliseconds.
    delivery_date: Option<i64>,
    tick: Option<Decimal>,
    step: Option<Decimal>,
    /// Decimal places that the venue states apart from the steps.
    price_precision: Option<u8>,
    quantity_precision: Option<u8>,
}

/// Calls `each` for every symbol of the answer, which can be 20 MB: nothing is kept that is not needed.
fn each_symbol<'a>(
    body: &'a [u8],
    mut each: impl FnMut(&mut Cursor<'a>) -> ParseResult<()>,
) -> ParseResult<()> {
    let mut cursor = Cursor::new(body);
    let mut found = false;
    each_member(&mut cursor, "`{` of exchangeInfo", |cursor, key| {
        if key != "symbols" {
            return cursor.skip();
        }
        found = true;
        each_element(cursor, &mut each).map(drop)
    })?;
    cursor.end()?;
    if found { Ok(()) } else { cursor.expected("`symbols` in exchangeInfo") }
}

fn listed<'a>(cursor: &mut Cursor<'a>) -> ParseResult<ListedSymbol<'a>> {
    let mut listed = ListedSymbol::default();
    let mut first = true;
    cursor.expect(b'{', "a symbol object")?;
    while cursor.more(b'}', &mut first)? {
        match &*cursor.key_text()? {
            "symbol" => listed.symbol = cursor.text("`symbol`")?,
            "baseAsset" => listed.base = cursor.text("`baseAsset`")?,
            "quoteAsset" => listed.quote = cursor.text("`quoteAsset`")?,
            "status" | "contractStatus" => listed.status = cursor.text("`status`")?,
            "contractType" => listed.contract_type = Some(cursor.text("`contractType`")?),
            "deliveryDate" => listed.delivery_date = Some(cursor.integer("`deliveryDate`")?),
            // Spot states the precision of its assets, futures that of price and quantity; where both stand,
            // the latter counts.
            "pricePrecision" => {
                listed.price_precision = Some(decimal_places(cursor, "at most 18 decimal places")?)
            }
            "quantityPrecision" => {
                listed.quantity_precision = Some(decimal_places(cursor, "at most 18 decimal places")?)
            }
            "quotePrecision" | "quoteAssetPrecision" => {
                listed.price_precision =
                    listed.price_precision.or(Some(decimal_places(cursor, "at most 18 decimal places")?))
            }
            "baseAssetPrecision" => {
                listed.quantity_precision =
                    listed.quantity_precision.or(Some(decimal_places(cursor, "at most 18 decimal places")?))
            }
            "filters" => filters(cursor, &mut listed)?,
            _ => cursor.skip()?,
        }
    }
    Ok(listed)
}

fn filters<'a>(cursor: &mut Cursor<'a>, listed: &mut ListedSymbol<'a>) -> ParseResult<()> {
    let mut first = true;
    cursor.expect(b'[', "an array of filters")?;
    while cursor.more(b']', &mut first)? {
        let (mut kind, mut tick, mut step) = (Cow::Borrowed(""), None, None);
        let mut first = true;
        cursor.expect(b'{', "a filter object")?;
        while cursor.more(b'}', &mut first)? {
            match &*cursor.key_text()? {
                "filterType" => kind = cursor.text("`filterType`")?,
                "tickSize" => tick = step_size(cursor)?,
                "stepSize" => step = step_size(cursor)?,
                _ => cursor.skip()?,
            }
        }
        match &*kind {
            "PRICE_FILTER" => listed.tick = tick,
            "LOT_SIZE" => listed.step = step,
            _ => {}
        }
    }
    Ok(())
}

fn step_size(cursor: &mut Cursor<'_>) -> ParseResult<Option<Decimal>> {
    let start = *cursor;
    let text = cursor.text("a step size in quotes")?;
    decimal::step(text.as_bytes()).or_else(|_| start.expected("a step size of at most 18 decimal places"))
}
