//! The venue's symbols as instruments: base and quote as `exchangeInfo` names them, never cut from the
//! symbol's text.

use crate::exchange::Exchange;
use crate::exchange_info::{Listed, each_symbol};
use marketprism_adapter_sdk::symbol::{self, Expiry};
use marketprism_adapter_sdk::{Answer, Fault, Feed, Instrument, MarketType, Refusal, closest, log, refusal};
use std::collections::BTreeSet;

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
    let wanted: BTreeSet<&str> = feed.symbols.iter().map(String::as_str).collect();
    let mut chosen: Vec<Instrument> = Vec::new();
    each_symbol(&answer.body, |listed| {
        if let Some(instrument) = instrument(exchange, &listed)
            && (feed.market_types.is_empty() || feed.market_types.contains(&instrument.market_type))
            && (wanted.is_empty() || wanted.contains(instrument.symbol.as_str()))
        {
            chosen.push(instrument);
        }
    })
    .map_err(unreadable)?;
    // A fixed order, whatever order the venue lists them in; of two with one normalized name, the one that
    // trades comes first.
    chosen.sort_by(|one, other| order(one).cmp(&order(other)));
    chosen.dedup_by(|later, kept| {
        let same = later.symbol == kept.symbol && later.market_type == kept.market_type;
        if same {
            log::warn(&format!(
                "{} left out: {} is {} already",
                later.venue_symbol, kept.venue_symbol, kept.symbol
            ));
        }
        same
    });
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|symbol| !chosen.iter().any(|found| found.symbol == **symbol))
        .copied()
        .collect();
    if !missing.is_empty() {
        return Err(unknown(exchange, feed, &missing, &answer.body));
    }
    if chosen.is_empty() {
        return Err(refusal(
            "market_types",
            "none of these instruments",
            format!("what {} lists", exchange.id()),
        ));
    }
    for instrument in chosen.iter().filter(|instrument| !instrument.trading && !wanted.is_empty()) {
        log::warn(&format!("{} is listed but not trading now", instrument.symbol));
    }
    Ok(chosen)
}

fn order(instrument: &Instrument) -> (&str, u8, bool, &str) {
    (&instrument.symbol, instrument.market_type as u8, !instrument.trading, &instrument.venue_symbol)
}

fn unreadable(fault: Fault) -> Refusal {
    refusal("exchangeInfo", format!("byte {}", fault.at), fault.what)
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

fn unknown(exchange: Exchange, feed: &Feed, missing: &[&str], body: &[u8]) -> Refusal {
    let mut listed = Vec::new();
    let read = each_symbol(body, |symbol| {
        if let Some(instrument) = instrument(exchange, &symbol)
            && (feed.market_types.is_empty() || feed.market_types.contains(&instrument.market_type))
        {
            listed.push(instrument.symbol);
        }
    });
    if let Err(fault) = read {
        return unreadable(fault);
    }
    let mut near: Vec<&str> = Vec::new();
    for symbol in missing {
        near.extend(closest(symbol, listed.iter().map(String::as_str)));
    }
    near.dedup();
    let allowed = if near.is_empty() {
        format!("symbols such as BTC-USDT of the {} instruments that {} lists", listed.len(), exchange.id())
    } else {
        format!("an instrument that {} lists, such as {}", exchange.id(), near.join(", "))
    };
    refusal("symbols", missing.join(", "), allowed)
}
