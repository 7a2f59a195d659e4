//! REST requests and the budgets that they draw on. Limits are the venue's; `VENUE.md` says where each is from.

use crate::exchange::Exchange;
use crate::listing;
use marketprism_adapter_sdk::{
    Answer, Budget, Charge, DataType, Endpoints, Feed, Instrument, MarketType, Method, Poll, Refusal, Request,
};
use std::collections::BTreeSet;

/// The span that a long/short ratio covers, as the venue writes it.
pub(crate) const RATIO_PERIOD: &str = "5m";
/// Twice in each span, so that none is missed; what was seen before is dropped by its time.
const RATIO_EVERY_MS: u32 = 120_000;
const WINDOW_MS: u32 = 2000;

/// One request of the instrument lists.
#[derive(Clone, Debug, PartialEq, Eq)]
enum List {
    Type(&'static str),
    /// The options of one family such as `BTC-USD`.
    Options(String),
    /// The underlyings that have options.
    Underlyings,
}

/// The requests of the lists that the feed needs: first those that are known from the feed alone, then the
/// options of each underlying that the venue named.
pub(crate) fn instrument_requests(
    exchange: Exchange,
    feed: &Feed,
    endpoints: &Endpoints,
    answers: &[Answer],
) -> Result<Vec<Request>, Refusal> {
    let first = first_lists(exchange, feed);
    let request = |list: List| list_request(&list, endpoints.url("rest"));
    if answers.is_empty() {
        return Ok(first.into_iter().map(request).collect());
    }
    let later = answers.iter().any(|answer| answer.request as usize >= first.len());
    let named = answers.iter().find(|answer| first.get(answer.request as usize) == Some(&List::Underlyings));
    match named {
        Some(answer) if !later => {
            let families = listing::underlyings(&answer.body)?;
            Ok(families.into_iter().map(|family| request(List::Options(family))).collect())
        }
        _ => Ok(Vec::new()),
    }
}

fn first_lists(exchange: Exchange, feed: &Feed) -> Vec<List> {
    if exchange == Exchange::Spot {
        return vec![List::Type("SPOT")];
    }
    let wants = |market_type| feed.market_types.is_empty() || feed.market_types.contains(&market_type);
    let perpetual = wants(MarketType::Perpetual);
    let mut lists = Vec::new();
    if perpetual {
        lists.push(List::Type("SWAP"));
    }
    // Some perpetual contracts are of the type FUTURES.
    if perpetual || wants(MarketType::Futures) {
        lists.push(List::Type("FUTURES"));
    }
    if feed.market_types.contains(&MarketType::Options) {
        if feed.symbols.is_empty() {
            lists.push(List::Underlyings);
        }
        let families: BTreeSet<String> =
            feed.symbols.iter().filter_map(|symbol| option_family(symbol)).collect();
        lists.extend(families.into_iter().map(List::Options));
    }
    lists
}

/// `BTC-USD` of `BTC-USD-251226-100000-C`.
fn option_family(symbol: &str) -> Option<String> {
    match symbol.split('-').collect::<Vec<_>>().as_slice() {
        [base, quote, _, _, "C" | "P"] => Some(format!("{base}-{quote}")),
        _ => None,
    }
}

fn list_request(list: &List, rest: &str) -> Request {
    let path = match list {
        List::Type(kind) => format!("/api/v5/public/instruments?instType={kind}"),
        List::Options(family) => {
            format!("/api/v5/public/instruments?instType=OPTION&instFamily={}", percent_encoded(family))
        }
        List::Underlyings => "/api/v5/public/underlying?instType=OPTION".to_owned(),
    };
    get(format!("{rest}{path}"), vec![LISTS.name.to_owned()], 60_000)
}

/// The polls of one instrument for a data type that is polled.
pub(crate) fn poll(data_type: DataType, index: u32, instrument: &Instrument, rest: &str) -> Option<Poll> {
    let path = match data_type {
        DataType::LsrTopPosition => "long-short-position-ratio-contract-top-trader",
        DataType::LsrAllAccount => "long-short-account-ratio-contract",
        _ => return None,
    };
    let name = percent_encoded(&instrument.venue_symbol);
    let url =
        format!("{rest}/api/v5/rubik/stat/contracts/{path}?instId={name}&period={RATIO_PERIOD}&limit=1");
    Some(Poll {
        request: get(url, vec![RATIOS.name.to_owned(), ratio_budget(instrument)], 10_000),
        data_type,
        instrument: Some(index),
        period_ms: RATIO_EVERY_MS,
        window: None,
        reference: false,
    })
}

fn get(url: String, budgets: Vec<String>, timeout_ms: u32) -> Request {
    let charges = budgets.into_iter().map(|budget| Charge { budget, units: 1 }).collect();
    Request { method: Method::Get, url, headers: Vec::new(), body: None, charges, timeout_ms }
}

/// Units in any window.
struct Limit {
    name: &'static str,
    units: u32,
    window_ms: u32,
}

/// Both exchange ids draw on the same budgets: the venue counts by address.
const CONNECTS: Limit = Limit { name: "okx.connects", units: 3, window_ms: 1000 };
/// The venue counts each type of list apart; they are few enough for one budget.
const LISTS: Limit = Limit { name: "okx.lists", units: 20, window_ms: WINDOW_MS };
/// Our own bound over all instruments, beside the venue's for each of them.
const RATIOS: Limit = Limit { name: "okx.ratios", units: 20, window_ms: WINDOW_MS };
const RATIOS_OF_ONE: u32 = 5;

/// What opening a connection costs.
pub(crate) fn connect_charge() -> Charge {
    Charge { budget: CONNECTS.name.to_owned(), units: 1 }
}

/// All budgets of a plan with these polls.
pub(crate) fn budgets(polls: &[Poll]) -> Vec<Budget> {
    let known = [CONNECTS, LISTS, RATIOS].into_iter().map(|limit| Budget {
        name: limit.name.to_owned(),
        units: limit.units,
        window_ms: limit.window_ms,
    });
    let charged: BTreeSet<&str> = polls
        .iter()
        .flat_map(|poll| &poll.request.charges)
        .map(|charge| charge.budget.as_str())
        .filter(|name| *name != RATIOS.name)
        .collect();
    let single = charged.into_iter().map(|name| Budget {
        name: name.to_owned(),
        units: RATIOS_OF_ONE,
        window_ms: WINDOW_MS,
    });
    known.chain(single).collect()
}

fn ratio_budget(instrument: &Instrument) -> String {
    format!("{}.{}", RATIOS.name, instrument.venue_symbol)
}

/// Names come from the venue or the user: nothing in them may end the parameter.
fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
