//! The venue's symbols as instruments: base and quote as `exchangeInfo` names them, never cut from the
//! symbol's text.

use crate::exchange::Exchange;
use crate::exchange_info::{Listed, each_symbol};
use marketprism_adapter_sdk::symbol::{self, Expiry};
use marketprism_adapter_sdk::{Answer, Feed, Instrument, MarketType, Refusal, refusal, select};

/// Where the venue says nothing of decimal places: its own default of asset precision.
const PLACES_DEFAULT: u8 = 8;

pub(crate) fn instruments(
    exchange: Exchange,
    feed: &Feed,
    answers: &[Answer],
) -> Result<Vec<Instrument>, Refusal> {
    let [answer] = answers else {
        return Err(refusal(
            "answers",
            answers.len().to_string(),
            "the answer of exchangeInfo, and no other",
        ));
    };
    let mut listed = Vec::new();
    each_symbol(&answer.body, |symbol| listed.extend(instrument(exchange, &symbol)))
        .map_err(|fault| refusal("exchangeInfo", format!("byte {}", fault.at), fault.what))?;
    select(feed, listed)
}

/// None for what the adapter cannot serve: contract types of an unknown kind.
fn instrument(exchange: Exchange, listed: &Listed<'_>) -> Option<Instrument> {
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
        price_scale: listed.tick_places.or(listed.price_precision).unwrap_or(PLACES_DEFAULT),
        quantity_scale: listed.step_places.or(listed.quantity_precision).unwrap_or(PLACES_DEFAULT),
        trading: listed.status == "TRADING",
    })
}

/// `PERPETUAL`, `TRADIFI_PERPETUAL`, `CURRENT_QUARTER`, `NEXT_QUARTER`; each also with ` DELIVERING` or
/// `_DELIVERING` behind it.
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

/// The venue writes the day behind the symbol; the delivery date stands for it where it does not.
fn expiry(listed: &Listed<'_>) -> Option<Expiry> {
    let written = listed.symbol.rsplit_once('_').and_then(|(_, day)| Expiry::from_digits(day));
    written.or_else(|| Expiry::from_millis(listed.delivery_date?))
}
