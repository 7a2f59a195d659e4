//! The venue's lists as instruments: coins as the list names them, else as the instrument's name does.

use crate::describe::{INDICES, coin_of_index, markets};
use marketprism_adapter_sdk::symbol::{self, Expiry, OptionKind};
use marketprism_adapter_sdk::{
    Answer, Cursor, DataType, Decimal, Feed, Instrument, Listing, MarketType, Object, ParseResult, Refusal,
    decimal, each_element, log, refusal, select,
};
use std::borrow::Cow;

/// Where the venue says nothing of decimal places.
const PLACES_DEFAULT: u8 = 8;

/// Every instrument of the lists in a market of which the feed has a data type, and the volatility indices, which need no list.
pub(crate) fn instruments(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
    let mut listing =
        if needs_lists(feed) { listed_instruments(feed, answers)? } else { Listing::new("instrument_name") };
    listing.instruments.extend(INDICES.map(index));
    Ok(listing)
}

/// The instruments of the feed, then its volatility indices. An index is named by its coin, by an instrument of that coin, or by
/// no symbol at all; its market type, options, need not be named.
pub(crate) fn select_with_indices(feed: &Feed, listed: Vec<Instrument>) -> Result<Vec<Instrument>, Refusal> {
    let is_index = |one: &Instrument| coin_of_index(one.venue_symbol.as_bytes()).is_some();
    let (mut indices, listed): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_index);
    indices.retain(|index| {
        let of_coin = |symbol: &String| symbol.split('-').next() == Some(index.base.as_str());
        feed.data_types.contains(&DataType::VolatilityIndex)
            && (feed.symbols.is_empty() || feed.symbols.iter().any(of_coin))
    });
    let mut chosen = Vec::new();
    if needs_lists(feed) {
        chosen = select(&without_indices(feed), listed)?;
    } else if indices.is_empty() {
        let coins: Vec<&str> = INDICES.iter().map(|(_, coin)| *coin).collect();
        return Err(refusal("symbols", feed.symbols.join(", "), format!("a symbol of {}", coins.join(", "))));
    }
    chosen.extend(indices);
    Ok(chosen)
}

fn index((name, coin): (&str, &str)) -> Instrument {
    Instrument {
        symbol: coin.to_owned(),
        venue_symbol: name.to_owned(),
        market_type: MarketType::Options,
        base: coin.to_owned(),
        quote: "USD".to_owned(),
        contract_size: None,
        contract_value: None,
        // Percent points with two places.
        price_scale: 2,
        quantity_scale: 0,
        tick_size: None,
        step_size: None,
        trading: true,
    }
}

pub(crate) fn needs_lists(feed: &Feed) -> bool {
    let market_data = feed.data_types.iter().any(|data_type| *data_type != DataType::VolatilityIndex);
    market_data && (feed.symbols.is_empty() || !without_indices(feed).symbols.is_empty())
}

fn without_indices(feed: &Feed) -> Feed {
    let mut market_feed = feed.clone();
    if feed.data_types.contains(&DataType::VolatilityIndex) {
        market_feed.symbols.retain(|symbol| !INDICES.iter().any(|(_, coin)| coin == symbol));
    }
    market_feed
}

/// An answer that is no error.
pub(crate) fn answered(body: &[u8]) -> Result<Object<'_>, Refusal> {
    let answer = Object::whole(body)?;
    if answer.has("error") && !answer.has("result") {
        let error = answer.read("error", |cursor, _| Object::parse(cursor)?.read("message", Cursor::text))?;
        return Err(refusal("instruments", error, "an answer with a result"));
    }
    Ok(answer)
}

fn listed_instruments(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
    let market_data = |data_type: &&DataType| **data_type != DataType::VolatilityIndex;
    let asked = |market: MarketType| {
        feed.data_types.iter().filter(market_data).any(|data_type| markets(*data_type).contains(&market))
    };
    let (mut listing, mut skipped) = (Listing::new("instrument_name"), 0);
    for answer in answers {
        answered(&answer.body)?.read("result", |cursor, _| {
            each_element(cursor, |cursor| {
                listing.row(cursor, |cursor| {
                    let instrument = instrument(&listed(&Object::parse(cursor)?)?);
                    skipped += usize::from(instrument.is_none());
                    Ok(instrument.filter(|instrument| asked(instrument.market_type)))
                })
            })
        })?;
    }
    if skipped > 0 {
        log::info(&format!("{skipped} listed entries skipped: combinations, spot and unknown kinds"));
    }
    // Lists may overlap.
    listing.instruments.sort_by(|one, other| one.venue_symbol.cmp(&other.venue_symbol));
    listing.instruments.dedup_by(|one, other| one.venue_symbol == other.venue_symbol);
    Ok(listing)
}

/// None for what the adapter cannot serve.
fn instrument(listed: &ListedInstrument<'_>) -> Option<Instrument> {
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
            (MarketType::Options, symbol::option(&listed.base, quote, expiry, strike, kind))
        }
        _ => return None,
    };
    let inverse = market_type != MarketType::Options && inverse(listed, quote)?;
    let positive = |size: Option<Decimal>| size.filter(|size| size.mantissa > 0);
    let (tick, step, contract) =
        (positive(listed.tick), positive(listed.least_amount), positive(listed.contract_size));
    let places = |size: Option<Decimal>| size.map(|size| size.scale);
    let price_scale = places(tick).unwrap_or(PLACES_DEFAULT);
    let amount_scale = places(step).max(places(contract)).unwrap_or(PLACES_DEFAULT);
    Some(Instrument {
        symbol,
        venue_symbol: listed.name.to_string(),
        market_type,
        base: listed.base.to_string(),
        quote: quote.to_owned(),
        contract_size: if inverse { None } else { contract },
        // The one mark of an inverse instrument: without it the unit of its amounts is unknown.
        contract_value: if inverse { Some(contract?) } else { None },
        price_scale,
        quantity_scale: if inverse { decimal::derived_scale(price_scale) } else { amount_scale },
        tick_size: tick,
        step_size: step,
        trading: trading(listed),
    })
}

/// The currency of the instrument's price or strike. Options that are priced in their own coin name it apart, or, in old
/// lists, not at all.
fn quote<'l>(listed: &'l ListedInstrument<'_>) -> Option<&'l str> {
    let option = listed.kind == "option";
    let quote: &str = if option && !listed.counter.is_empty() { &listed.counter } else { &listed.quote };
    match quote {
        "" => None,
        quote if option && quote == listed.base => Some("USD"),
        quote => Some(quote),
    }
}

/// True for amounts in quote currency, of which only dollars are known. None where the list does not say.
fn inverse(listed: &ListedInstrument<'_>, quote: &str) -> Option<bool> {
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

fn option_kind(listed: &ListedInstrument<'_>, side: &str) -> Option<OptionKind> {
    match (&*listed.option_type, side) {
        ("call" | "", "C") => Some(OptionKind::Call),
        ("put" | "", "P") => Some(OptionKind::Put),
        _ => None,
    }
}

/// States have changed before: one that is not known is taken as not tradable.
fn trading(listed: &ListedInstrument<'_>) -> bool {
    match (listed.active, &*listed.state) {
        (Some(false), _) => false,
        (_, "open") => true,
        (Some(true), "") => true,
        _ => false,
    }
}

/// One instrument of a list. Fields that the venue left out are empty or absent.
#[derive(Clone, Debug)]
struct ListedInstrument<'a> {
    name: Cow<'a, str>,
    /// `future` and `option` are served; combinations and spot have other kinds.
    kind: Cow<'a, str>,
    base: Cow<'a, str>,
    quote: Cow<'a, str>,
    /// The currency of an option's strike.
    counter: Cow<'a, str>,
    settlement: Cow<'a, str>,
    /// `reversed` or `linear`.
    instrument_type: Cow<'a, str>,
    option_type: Cow<'a, str>,
    strike: Option<Decimal>,
    contract_size: Option<Decimal>,
    least_amount: Option<Decimal>,
    tick: Option<Decimal>,
    active: Option<bool>,
    state: Cow<'a, str>,
}

fn listed<'a>(entry: &Object<'a>) -> ParseResult<ListedInstrument<'a>> {
    let text = |key: &'static str| entry.optional(key, Cursor::text).map(Option::unwrap_or_default);
    let number = |key: &'static str| entry.optional(key, Cursor::decimal);
    Ok(ListedInstrument {
        name: entry.read("instrument_name", Cursor::text)?,
        kind: text("kind")?,
        base: text("base_currency")?,
        quote: text("quote_currency")?,
        counter: text("counter_currency")?,
        settlement: text("settlement_currency")?,
        instrument_type: text("instrument_type")?,
        option_type: text("option_type")?,
        strike: number("strike")?,
        contract_size: number("contract_size")?,
        least_amount: number("min_trade_amount")?,
        tick: number("tick_size")?,
        active: entry.optional("is_active", Cursor::boolean)?,
        state: text("state")?,
    })
}
