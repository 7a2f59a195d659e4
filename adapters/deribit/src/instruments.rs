//! The venue's lists as instruments: coins as the list names them, what a list does not say as the name does.

use crate::exchange::{INDICES, markets};
use crate::listing::{Listed, each_listed};
use marketprism_adapter_sdk::symbol::{self, Expiry, OptionKind};
use marketprism_adapter_sdk::{
    Answer, DataType, Decimal, Fault, Feed, Instrument, MarketType, Refusal, decimal, log, refusal, select,
};

/// Where the venue says nothing of decimal places.
const PLACES_DEFAULT: u8 = 8;

/// The instruments of the feed: those of the lists, then the volatility indices.
pub(crate) fn instruments(feed: &Feed, answers: &[Answer]) -> Result<Vec<Instrument>, Refusal> {
    let indices = indices(feed);
    let mut chosen = Vec::new();
    if needs_lists(feed) {
        chosen = select(&without_indices(feed), listed(feed, answers)?)?;
    } else if indices.is_empty() {
        let coins: Vec<&str> = INDICES.iter().map(|(_, coin)| *coin).collect();
        return Err(refusal("symbols", feed.symbols.join(", "), format!("a symbol of {}", coins.join(", "))));
    }
    chosen.extend(indices);
    Ok(chosen)
}

/// True when the feed asks for more than volatility indices.
pub(crate) fn needs_lists(feed: &Feed) -> bool {
    let market_data = feed.data_types.iter().any(|data_type| *data_type != DataType::VolatilityIndex);
    market_data && (feed.symbols.is_empty() || !without_indices(feed).symbols.is_empty())
}

/// The feed without the coins that name volatility indices.
fn without_indices(feed: &Feed) -> Feed {
    let mut market_feed = feed.clone();
    if feed.data_types.contains(&DataType::VolatilityIndex) {
        market_feed.symbols.retain(|symbol| !INDICES.iter().any(|(_, coin)| coin == symbol));
    }
    market_feed
}

/// The indices that the feed asks for: by the coin's name, or by any instrument of that coin, or all where it names nothing. They stand
/// among the options but are no options, so they need not be asked for as such.
fn indices(feed: &Feed) -> Vec<Instrument> {
    if !feed.data_types.contains(&DataType::VolatilityIndex) {
        return Vec::new();
    }
    let asked = |coin: &str| {
        let of_coin = |symbol: &String| symbol.split('-').next() == Some(coin);
        feed.symbols.is_empty() || feed.symbols.iter().any(of_coin)
    };
    let instrument = |(name, coin): &(&str, &str)| Instrument {
        symbol: (*coin).to_owned(),
        venue_symbol: (*name).to_owned(),
        market_type: MarketType::Options,
        base: (*coin).to_owned(),
        quote: "USD".to_owned(),
        contract_size: None,
        contract_value: None,
        // Percent points with two places.
        price_scale: 2,
        quantity_scale: 0,
        trading: true,
    };
    INDICES.iter().filter(|(_, coin)| asked(coin)).map(instrument).collect()
}

/// All instruments of the lists on whose market the feed asks for something.
fn listed(feed: &Feed, answers: &[Answer]) -> Result<Vec<Instrument>, Refusal> {
    let market_data = |data_type: &&DataType| **data_type != DataType::VolatilityIndex;
    let asked = |market: MarketType| {
        feed.data_types.iter().filter(market_data).any(|data_type| markets(*data_type).contains(&market))
    };
    let (mut found, mut left_out) = (Vec::new(), 0);
    for answer in answers {
        let error = each_listed(&answer.body, |listed| match instrument(&listed) {
            Some(instrument) if asked(instrument.market_type) => found.push(instrument),
            Some(_) => {}
            None => left_out += 1,
        })
        .map_err(unreadable)?;
        if let Some(error) = error {
            return Err(refusal("get_instruments", error, "a list of instruments"));
        }
    }
    if left_out > 0 {
        log::info(&format!("{left_out} entries of the lists left out: combinations, spot and unknown kinds"));
    }
    // Lists may overlap.
    found.sort_by(|one: &Instrument, other| one.venue_symbol.cmp(&other.venue_symbol));
    found.dedup_by(|one, other| one.venue_symbol == other.venue_symbol);
    Ok(found)
}

fn unreadable(fault: Fault) -> Refusal {
    refusal("get_instruments", format!("byte {}", fault.at), fault.what)
}

/// None for what the adapter cannot serve.
fn instrument(listed: &Listed<'_>) -> Option<Instrument> {
    // Names stand in addresses, channels and messages as they are.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if listed.name.is_empty() || listed.base.is_empty() || !listed.name.bytes().all(plain) {
        return None;
    }
    let parts: Vec<&str> = listed.name.split('-').collect();
    let quote = quote(listed)?;
    let (market_type, symbol) = match (&*listed.kind, parts.as_slice()) {
        ("future", [_, "PERPETUAL"]) => (MarketType::Perpetual, symbol::pair(&listed.base, quote)),
        ("future", [_, day]) => {
            (MarketType::Futures, symbol::dated(&listed.base, quote, Expiry::from_day_month_year(day)?))
        }
        ("option", [_, day, strike, side]) => {
            let expiry = Expiry::from_day_month_year(day)?;
            let strike = listed.strike.or_else(|| strike_in_name(strike))?;
            let kind = option_kind(listed, side)?;
            let symbol = symbol::option(&listed.base, quote, expiry, strike, kind);
            // A point separates the parts of a subject, so a strike keeps the venue's letter for it.
            (MarketType::Options, symbol.replace('.', "d"))
        }
        _ => return None,
    };
    let inverse = market_type != MarketType::Options && inverse(listed, quote)?;
    let places = |step: Option<Decimal>| step.filter(|step| step.mantissa > 0).map(|step| step.scale);
    let price_scale = places(listed.tick).unwrap_or(PLACES_DEFAULT);
    let amount_scale =
        places(listed.least_amount).max(places(listed.contract_size)).unwrap_or(PLACES_DEFAULT);
    let contract = listed.contract_size.filter(|size| size.mantissa > 0);
    Some(Instrument {
        symbol,
        venue_symbol: listed.name.to_string(),
        market_type,
        base: listed.base.to_string(),
        quote: quote.to_owned(),
        contract_size: if inverse { None } else { contract },
        // The one mark of an inverse instrument: without it there is no telling what its amounts are.
        contract_value: if inverse { Some(contract?) } else { None },
        price_scale,
        quantity_scale: if inverse { decimal::derived_scale(price_scale) } else { amount_scale },
        trading: trading(listed),
    })
}

/// The money that the instrument's price or strike is counted in. Options that are priced in their own coin name it apart, or, in old
/// lists, not at all.
fn quote<'l>(listed: &'l Listed<'_>) -> Option<&'l str> {
    let option = listed.kind == "option";
    let quote: &str = if option && !listed.counter.is_empty() { &listed.counter } else { &listed.quote };
    match quote {
        "" => None,
        quote if option && quote == listed.base => Some("USD"),
        quote => Some(quote),
    }
}

/// Whether amounts are quote money. Only dollars are known as such; none for what cannot be told.
fn inverse(listed: &Listed<'_>, quote: &str) -> Option<bool> {
    let inverse = match &*listed.instrument_type {
        "reversed" => true,
        "linear" => false,
        "" if listed.settlement.is_empty() => return None,
        "" if listed.settlement == listed.base => true,
        "" if listed.settlement == quote => false,
        _ => return None,
    };
    (!inverse || quote == "USD").then_some(inverse)
}

fn strike_in_name(text: &str) -> Option<Decimal> {
    let number = |byte: u8| byte.is_ascii_digit() || byte == b'd';
    if !text.bytes().all(number) {
        return None;
    }
    decimal::parse(text.replace('d', ".").as_bytes()).ok()
}

fn option_kind(listed: &Listed<'_>, side: &str) -> Option<OptionKind> {
    match (&*listed.option_type, side) {
        ("call" | "", "C") => Some(OptionKind::Call),
        ("put" | "", "P") => Some(OptionKind::Put),
        _ => None,
    }
}

/// States have changed before: one that is not known is taken as not tradable.
fn trading(listed: &Listed<'_>) -> bool {
    match (listed.active, &*listed.state) {
        (Some(false), _) => false,
        (_, "open") => true,
        (Some(true), "") => true,
        _ => false,
    }
}
