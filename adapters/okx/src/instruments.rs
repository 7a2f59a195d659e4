//! The venue's lists as instruments: base and quote as the venue names them, never guessed.

use crate::exchange::Exchange;
use crate::listing::{Listed, each_instrument};
use marketprism_adapter_sdk::symbol::{self, Expiry, OptionKind};
use marketprism_adapter_sdk::{
    Answer, Decimal, Feed, Instrument, MarketType, Refusal, decimal, log, refusal, select,
};

/// Names in a log line.
const NAMES_MAX: usize = 5;

pub(crate) fn instruments(
    exchange: Exchange,
    feed: &Feed,
    answers: &[Answer],
) -> Result<Vec<Instrument>, Refusal> {
    let mut known: Vec<Instrument> = Vec::new();
    let mut left_out: Vec<String> = Vec::new();
    for answer in answers {
        each_instrument(&answer.body, |listed| {
            let Some(market_type) = market_type(exchange, &listed) else { return };
            match instrument(market_type, &listed) {
                Some(instrument) => known.push(instrument),
                None => left_out.push(listed.name.into_owned()),
            }
        })?;
    }
    if !left_out.is_empty() {
        let names = left_out.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
        log::warn(&format!(
            "{} instruments of unknown names, steps or size left out: {names}",
            left_out.len()
        ));
    }
    select(feed, known)
}

/// An instrument that `instruments` cannot have made has amounts of unknown meaning.
pub(crate) fn check(exchange: Exchange, instrument: &Instrument) -> Result<(), Refusal> {
    let sizes = [instrument.contract_size, instrument.contract_value].into_iter().flatten();
    let (count, positive) = sizes.fold((0, true), |(count, all), size| (count + 1, all && size.mantissa > 0));
    let expected = if exchange == Exchange::Spot { 0 } else { 1 };
    if count == expected && positive {
        return Ok(());
    }
    let allowed = format!("{expected} of contract size and contract value, above 0");
    Err(refusal("instruments", &instrument.venue_symbol, allowed))
}

/// None for a type that the exchange id does not serve.
fn market_type(exchange: Exchange, listed: &Listed<'_>) -> Option<MarketType> {
    match (exchange, &*listed.kind) {
        (Exchange::Spot, "SPOT") => Some(MarketType::Spot),
        (Exchange::Derivatives, "SWAP") => Some(MarketType::Perpetual),
        // X-Perps end in years, but pay funding.
        (Exchange::Derivatives, "FUTURES") if listed.name.contains("_XPERP") => Some(MarketType::Perpetual),
        (Exchange::Derivatives, "FUTURES") => Some(MarketType::Futures),
        (Exchange::Derivatives, "OPTION") => Some(MarketType::Options),
        _ => None,
    }
}

/// None for what the adapter cannot serve: names, sizes or steps that are missing or contradict each other.
fn instrument(market_type: MarketType, listed: &Listed<'_>) -> Option<Instrument> {
    let (base, quote) = currencies(market_type, listed)?;
    let symbol = match market_type {
        MarketType::Spot | MarketType::Perpetual => symbol::pair(base, quote),
        MarketType::Futures => symbol::dated(base, quote, expiry(listed)?),
        MarketType::Options => {
            let strike = decimal::parse(listed.strike.as_bytes()).ok()?;
            symbol::option(base, quote, expiry(listed)?, strike, option_kind(listed)?)
        }
    };
    let price_scale = decimal::places_of_step(listed.tick.as_bytes()).ok()??;
    let lot_places = decimal::places_of_step(listed.lot.as_bytes()).ok()??;
    let (contract_size, contract_value) = match market_type {
        MarketType::Spot => (None, None),
        _ => contract(market_type, listed, base, quote)?,
    };
    let quantity_scale = match (contract_size, contract_value) {
        (_, Some(_)) => decimal::derived_scale(price_scale),
        (Some(size), None) => lot_places + size.scale,
        (None, None) => lot_places,
    };
    Some(Instrument {
        symbol,
        venue_symbol: listed.name.to_string(),
        market_type,
        base: base.to_owned(),
        quote: quote.to_owned(),
        contract_size,
        contract_value,
        price_scale,
        quantity_scale: Some(quantity_scale).filter(|scale| *scale <= decimal::SCALE_MAX)?,
        trading: listed.state == "live",
    })
}

/// Spot instruments name their currencies; those of others stand in the underlying (`BTC-USD`) or the family
/// (`BTC-USD_UM`, whose end names the margin).
fn currencies<'a>(market_type: MarketType, listed: &'a Listed<'_>) -> Option<(&'a str, &'a str)> {
    let (base, quote) = if market_type == MarketType::Spot {
        (&*listed.base, &*listed.quote)
    } else {
        let named = if listed.underlying.is_empty() { &listed.family } else { &listed.underlying };
        let (base, quote) = named.split_once('-')?;
        (base, quote.split('_').next().unwrap_or(quote))
    };
    let valid = |name: &str| !name.is_empty() && !name.contains('-');
    (valid(base) && valid(quote) && !listed.name.is_empty()).then_some((base, quote))
}

/// Base units, or quote units, in one contract. The type of the contract and the currency of its value must say
/// the same.
fn contract(
    market_type: MarketType,
    listed: &Listed<'_>,
    base: &str,
    quote: &str,
) -> Option<(Option<Decimal>, Option<Decimal>)> {
    let of = |text: &str| decimal::parse(text.as_bytes()).ok();
    let amount = decimal::product(of(&listed.contract_value)?, of(&listed.contract_multiplier)?).ok()?;
    if amount.mantissa <= 0 {
        return None;
    }
    let currency = &*listed.contract_currency;
    match (&*listed.contract_type, market_type) {
        ("linear", _) | (_, MarketType::Options) if currency == base => Some((Some(amount), None)),
        ("inverse", MarketType::Perpetual | MarketType::Futures) if currency == quote => {
            Some((None, Some(amount)))
        }
        _ => None,
    }
}

/// The venue writes the day into the name, as the third part; the time of expiry stands for it where it does not.
fn expiry(listed: &Listed<'_>) -> Option<Expiry> {
    let written = listed.name.split('-').nth(2).and_then(Expiry::from_digits);
    written.or_else(|| Expiry::from_millis(listed.expiry.parse().ok()?))
}

fn option_kind(listed: &Listed<'_>) -> Option<OptionKind> {
    match &*listed.option_type {
        "C" => Some(OptionKind::Call),
        "P" => Some(OptionKind::Put),
        _ => None,
    }
}
