//! The venue's lists as instruments: base and quote as the venue names them, never guessed.

use crate::describe::Exchange;
use crate::plan::list_request;
use marketprism_adapter_sdk::symbol::{self, Expiry, OptionKind};
use marketprism_adapter_sdk::{
    Answer, Cursor, Decimal, Endpoints, Feed, Instrument, Listing, MarketType, ParseResult, Refusal, Request,
    decimal, each_element, each_member, log, once, percent_encoded, refusal, unset, value_text,
};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The options of an underlying such as `BTC-USD`. By `instFamily` the venue refuses underlyings whose family has another name
/// (`SOL-USD_UM` of `SOL-USD`).
const OPTIONS: &str = "instruments?instType=OPTION&uly=";
const UNDERLYINGS: &str = "underlying?instType=OPTION";

/// The lists of the feed's market types, then the options of each underlying that the venue names and the feed has a symbol of: one that the
/// venue does not know would be an error.
pub(crate) fn instrument_requests(
    exchange: Exchange,
    feed: &Feed,
    endpoints: &Endpoints,
    answers: &[Answer],
) -> Result<Vec<Request>, Refusal> {
    let first = first_lists(exchange, feed);
    let list = |answer: &Answer| first.get(answer.request as usize);
    let named = answers.iter().find(|answer| list(answer).is_some_and(|list| list == UNDERLYINGS));
    let lists = match named {
        _ if answers.is_empty() => first,
        Some(answer) if answers.iter().all(|answer| list(answer).is_some()) => {
            let named: BTreeSet<String> =
                feed.symbols.iter().filter_map(|symbol| option_underlying(symbol)).collect();
            let mut wanted = underlyings(&answer.body)?;
            wanted.retain(|underlying| feed.symbols.is_empty() || named.contains(underlying));
            wanted.iter().map(|name| format!("{OPTIONS}{}", percent_encoded(name))).collect()
        }
        _ => Vec::new(),
    };
    Ok(lists.iter().map(|list| list_request(endpoints, list)).collect())
}

fn first_lists(exchange: Exchange, feed: &Feed) -> Vec<String> {
    if exchange == Exchange::Spot {
        return vec!["instruments?instType=SPOT".to_owned()];
    }
    let wants = |market_type| feed.market_types.is_empty() || feed.market_types.contains(&market_type);
    let mut lists = Vec::new();
    if wants(MarketType::Perpetual) {
        lists.push("instruments?instType=SWAP".to_owned());
    }
    // Some perpetual contracts are of the type FUTURES.
    if wants(MarketType::Perpetual) || wants(MarketType::Futures) {
        lists.push("instruments?instType=FUTURES".to_owned());
    }
    if feed.market_types.contains(&MarketType::Options) {
        lists.push(UNDERLYINGS.to_owned());
    }
    lists
}

/// `BTC-USD` of `BTC-USD-251226-100000-C`.
fn option_underlying(symbol: &str) -> Option<String> {
    match symbol.split('-').collect::<Vec<_>>().as_slice() {
        [base, quote, _, _, "C" | "P"] => Some(format!("{base}-{quote}")),
        _ => None,
    }
}

pub(crate) fn instruments(exchange: Exchange, feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
    let mut listing = Listing::new("instId");
    let of_market_types = first_lists(exchange, feed).len();
    for answer in answers {
        let answered = RestAnswer::read(&answer.body)?;
        if answer.request as usize >= of_market_types && answered.refuses_parameter() {
            log::warn(&format!(
                "options of one underlying left out, since OKX refuses its list: {}",
                answered.message
            ));
            continue;
        }
        each_element(&mut answered.rows()?, |cursor| {
            // A list of underlyings.
            if cursor.peek() == b'[' {
                return cursor.skip();
            }
            let mut placeholder = None;
            listing.row(cursor, |cursor| {
                let start = *cursor;
                let listed = listed(cursor)?;
                let Some(market_type) = market_type(exchange, &listed) else { return Ok(None) };
                match instrument(market_type, &listed) {
                    Some(instrument) if !is_placeholder(&listed.name) => Ok(Some(instrument)),
                    None if !is_placeholder(&listed.name) && !has_not_opened(&listed.state) => {
                        start.expected("a name, steps and a contract size that agree")
                    }
                    _ => {
                        placeholder = Some(listed.name);
                        Ok(None)
                    }
                }
            })?;
            if let Some(name) = placeholder {
                listing.placeholder(&name);
            }
            Ok(())
        })?;
    }
    Ok(listing)
}

/// The venue lists what it prepares, without a name or as `LISTING-...`.
fn is_placeholder(name: &str) -> bool {
    name.is_empty() || name.starts_with("LISTING-")
}

/// Such an instrument may lack steps and sizes until it opens.
fn has_not_opened(state: &str) -> bool {
    matches!(state, "preopen" | "test")
}

/// Refuses an instrument whose amounts have no known unit.
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
fn market_type(exchange: Exchange, listed: &ListedInstrument<'_>) -> Option<MarketType> {
    match (exchange, &*listed.kind) {
        (Exchange::Spot, "SPOT") => Some(MarketType::Spot),
        (Exchange::Derivatives, "SWAP") => Some(MarketType::Perpetual),
        // X-Perps end in years, but pay funding.
        (Exchange::Derivatives, "FUTURES") if listed.name.contains("_XPERP") => Some(MarketType::Perpetual),
        (Exchange::Derivatives, "FUTURES") => Some(MarketType::Futures),
        // `_UM` options are priced in dollars, and their symbols equal those of options that are priced in coins.
        (Exchange::Derivatives, "OPTION") if listed.name.contains("_UM-") => None,
        (Exchange::Derivatives, "OPTION") => Some(MarketType::Options),
        _ => None,
    }
}

/// None for what the adapter cannot serve: names, sizes or steps that are missing or contradict each other.
fn instrument(market_type: MarketType, listed: &ListedInstrument<'_>) -> Option<Instrument> {
    let (base, quote) = currencies(market_type, listed)?;
    let symbol = match market_type {
        MarketType::Spot | MarketType::Perpetual => symbol::pair(base, quote),
        MarketType::Futures => symbol::dated(base, quote, expiry(listed)?),
        MarketType::Options => {
            let strike = decimal::parse(listed.strike.as_bytes()).ok()?;
            symbol::option(base, quote, expiry(listed)?, strike, option_kind(listed)?)
        }
    };
    let tick = decimal::step(listed.tick.as_bytes()).ok()??;
    let lot = decimal::step(listed.lot.as_bytes()).ok()??;
    let (contract_size, contract_value) = match market_type {
        MarketType::Spot => (None, None),
        _ => contract(market_type, listed, base, quote)?,
    };
    let quantity_scale = match (contract_size, contract_value) {
        (_, Some(_)) => decimal::derived_scale(tick.scale),
        (Some(size), None) => lot.scale + size.scale,
        (None, None) => lot.scale,
    };
    Some(Instrument {
        symbol,
        venue_symbol: listed.name.to_string(),
        market_type,
        base: base.to_owned(),
        quote: quote.to_owned(),
        contract_size,
        contract_value,
        price_scale: tick.scale,
        quantity_scale: Some(quantity_scale).filter(|scale| *scale <= decimal::SCALE_MAX)?,
        tick_size: Some(tick),
        step_size: Some(lot),
        trading: listed.state == "live",
    })
}

/// Spot instruments name their currencies; those of others stand in the underlying (`BTC-USD`) or the family
/// (`BTC-USD_UM`, whose end names the margin).
fn currencies<'a>(market_type: MarketType, listed: &'a ListedInstrument<'_>) -> Option<(&'a str, &'a str)> {
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
    listed: &ListedInstrument<'_>,
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

/// The day is the third part of the name, else that of the time of expiry.
fn expiry(listed: &ListedInstrument<'_>) -> Option<Expiry> {
    let written = listed.name.split('-').nth(2).and_then(Expiry::from_digits);
    written.or_else(|| Expiry::from_millis(listed.expiry.parse().ok()?))
}

fn option_kind(listed: &ListedInstrument<'_>) -> Option<OptionKind> {
    match &*listed.option_type {
        "C" => Some(OptionKind::Call),
        "P" => Some(OptionKind::Put),
        _ => None,
    }
}

/// One instrument of a list, as written; empty where the venue left it out.
#[derive(Clone, Debug, Default)]
struct ListedInstrument<'a> {
    kind: Cow<'a, str>,
    name: Cow<'a, str>,
    underlying: Cow<'a, str>,
    family: Cow<'a, str>,
    /// Spot only.
    base: Cow<'a, str>,
    /// Spot only.
    quote: Cow<'a, str>,
    contract_type: Cow<'a, str>,
    contract_value: Cow<'a, str>,
    contract_multiplier: Cow<'a, str>,
    /// The currency of the contract's value.
    contract_currency: Cow<'a, str>,
    option_type: Cow<'a, str>,
    strike: Cow<'a, str>,
    /// Milliseconds.
    expiry: Cow<'a, str>,
    tick: Cow<'a, str>,
    lot: Cow<'a, str>,
    state: Cow<'a, str>,
}

/// The underlyings of the answer: `[["BTC-USD","ETH-USD"]]`.
fn underlyings(body: &[u8]) -> Result<BTreeSet<String>, Refusal> {
    let mut names = BTreeSet::new();
    each_element(&mut data(body)?, |cursor| {
        each_element(cursor, |cursor| {
            names.insert(cursor.text("an underlying")?.into_owned());
            Ok(())
        })
        .map(drop)
    })?;
    Ok(names)
}

/// Code, message and data of a REST answer. The venue refuses with HTTP 200 and a code that is not 0.
pub(crate) struct RestAnswer<'a> {
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) data: Option<Cursor<'a>>,
    pub(crate) end: Cursor<'a>,
}

impl<'a> RestAnswer<'a> {
    pub(crate) fn read(body: &'a [u8]) -> ParseResult<RestAnswer<'a>> {
        let (mut code, mut text, mut data) = (None, None, None);
        let mut cursor = Cursor::new(body);
        each_member(&mut cursor, "an answer", |cursor, key| match key {
            "code" => once(&mut code, value_text(cursor)?, cursor),
            "msg" => once(&mut text, value_text(cursor)?, cursor),
            "data" => {
                once(&mut data, *cursor, cursor)?;
                cursor.skip()
            }
            _ => cursor.skip(),
        })?;
        cursor.end()?;
        Ok(RestAnswer { code, message: text.unwrap_or_default(), data, end: cursor })
    }

    fn rows(self) -> Result<Cursor<'a>, Refusal> {
        let RestAnswer { code, message, data, .. } = self;
        match (code.as_deref(), data) {
            (Some("0"), Some(data)) => Ok(data),
            (Some("0") | None, _) => {
                Err(refusal("instruments", "no data", "an answer with `code` and `data`"))
            }
            (Some(code), _) => {
                Err(refusal("instruments", format!("code {code}: {message}"), "an answer with code 0"))
            }
        }
    }

    /// A parameter with a value that the venue does not know.
    fn refuses_parameter(&self) -> bool {
        matches!(self.code.as_deref(), Some("51000" | "51001"))
    }
}

pub(crate) fn data(body: &[u8]) -> Result<Cursor<'_>, Refusal> {
    RestAnswer::read(body)?.rows()
}

fn listed<'a>(cursor: &mut Cursor<'a>) -> ParseResult<ListedInstrument<'a>> {
    let mut listed = ListedInstrument::default();
    each_member(cursor, "an instrument object", |cursor, key| {
        let field = match key {
            "instType" => &mut listed.kind,
            "instId" => &mut listed.name,
            "uly" => &mut listed.underlying,
            "instFamily" => &mut listed.family,
            "baseCcy" => &mut listed.base,
            "quoteCcy" => &mut listed.quote,
            "ctType" => &mut listed.contract_type,
            "ctVal" => &mut listed.contract_value,
            "ctMult" => &mut listed.contract_multiplier,
            "ctValCcy" => &mut listed.contract_currency,
            "optType" => &mut listed.option_type,
            "stk" => &mut listed.strike,
            "expTime" => &mut listed.expiry,
            "tickSz" => &mut listed.tick,
            "lotSz" => &mut listed.lot,
            "state" => &mut listed.state,
            _ => return cursor.skip(),
        };
        *field = if unset(cursor) { Cow::Borrowed("") } else { cursor.text("a text")? };
        Ok(())
    })?;
    Ok(listed)
}
