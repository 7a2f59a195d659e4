//! REST: weights, answers and refusals.

use std::fmt::Write as _;
use std::time::Duration;

use super::venue::Flavor;
use super::{derived, encode, instruments};
use crate::clock;
use crate::decimal;
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::{RatioKind, Side};
use crate::venue::{Listed, PerWindow, RestAnswer, RestCall, RestRequest, Source};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Ping,
    Time,
    ExchangeInfo,
    Depth,
    Trades,
    AggTrades,
    FundingInfo,
    PremiumIndex,
    OpenInterest,
    Ratio(RatioKind),
    Unknown,
}

fn endpoint(flavor: Flavor, path: &str) -> Endpoint {
    if let (Flavor::UsdM, Some(name)) = (flavor, path.strip_prefix("/futures/data/")) {
        return match name {
            "topLongShortPositionRatio" => Endpoint::Ratio(RatioKind::TopPosition),
            "globalLongShortAccountRatio" => Endpoint::Ratio(RatioKind::AllAccounts),
            "topLongShortAccountRatio" => Endpoint::Ratio(RatioKind::TopAccount),
            _ => Endpoint::Unknown,
        };
    }
    let prefix = match flavor {
        Flavor::Spot => "/api/v3/",
        Flavor::UsdM => "/fapi/v1/",
    };
    match (path.strip_prefix(prefix), flavor) {
        (Some("ping"), _) => Endpoint::Ping,
        (Some("time"), _) => Endpoint::Time,
        (Some("exchangeInfo"), _) => Endpoint::ExchangeInfo,
        (Some("depth"), _) => Endpoint::Depth,
        (Some("trades"), _) => Endpoint::Trades,
        (Some("aggTrades"), _) => Endpoint::AggTrades,
        (Some("fundingInfo"), Flavor::UsdM) => Endpoint::FundingInfo,
        (Some("premiumIndex"), Flavor::UsdM) => Endpoint::PremiumIndex,
        (Some("openInterest"), Flavor::UsdM) => Endpoint::OpenInterest,
        _ => Endpoint::Unknown,
    }
}

fn depth_limit(flavor: Flavor, request: &RestRequest) -> usize {
    let usual = if flavor == Flavor::Spot { 100 } else { 500 };
    request.get("limit").and_then(|text| text.parse().ok()).unwrap_or(usual)
}

pub(super) fn call(flavor: Flavor, request: &RestRequest) -> RestCall {
    let endpoint = endpoint(flavor, &request.path);
    let weight =
        match (flavor, endpoint) {
            (Flavor::Spot, Endpoint::Depth) => match depth_limit(flavor, request) {
                0..=100 => 5,
                101..=500 => 25,
                501..=1000 => 50,
                _ => 250,
            },
            (Flavor::UsdM, Endpoint::Depth) => match depth_limit(flavor, request) {
                0..=50 => 2,
                51..=100 => 5,
                101..=500 => 10,
                _ => 20,
            },
            (Flavor::Spot, Endpoint::ExchangeInfo | Endpoint::AggTrades) => {
                if endpoint == Endpoint::AggTrades { 4 } else { 20 }
            }
            (Flavor::Spot, Endpoint::Trades) => 25,
            (Flavor::UsdM, Endpoint::Trades) => 5,
            (Flavor::UsdM, Endpoint::AggTrades) => 20,
            (_, Endpoint::PremiumIndex) if request.get("symbol").is_none() => 10,
            (_, Endpoint::Ratio(_) | Endpoint::FundingInfo) => 0,
            _ => 1,
        };
    RestCall {
        weight,
        pool: pool(endpoint),
        snapshot: endpoint == Endpoint::Depth,
        symbol: request.get("symbol").map(str::to_owned),
    }
}

/// Endpoints that are counted apart from the weight.
fn pool(endpoint: Endpoint) -> Option<(String, PerWindow)> {
    let window = Duration::from_secs(300);
    match endpoint {
        Endpoint::Ratio(_) => Some(("futures/data".into(), PerWindow { max: 1000, window })),
        Endpoint::FundingInfo => Some(("funding".into(), PerWindow { max: 500, window })),
        _ => None,
    }
}

pub(super) fn ok(body: String) -> RestAnswer {
    RestAnswer::new(200, body)
}

pub(super) fn bad(code: i32, text: &str) -> RestAnswer {
    RestAnswer::new(400, format!(r#"{{"code":{code},"msg":"{text}"}}"#))
}

pub(super) fn answer(flavor: Flavor, request: &RestRequest, source: &dyn Source) -> RestAnswer {
    let endpoint = endpoint(flavor, &request.path);
    let now = clock::now_ms();
    match endpoint {
        Endpoint::Ping => return ok("{}".into()),
        Endpoint::Time => return ok(format!(r#"{{"serverTime":{now}}}"#)),
        Endpoint::ExchangeInfo => return exchange_info(flavor, request, source, now),
        Endpoint::Unknown => {
            return RestAnswer::new(404, r#"{"code":-5000,"msg":"Path not found"}"#.into());
        }
        Endpoint::FundingInfo => {
            return ok(instruments::funding_info(source.listed().iter().map(|listed| &listed.instrument)));
        }
        Endpoint::PremiumIndex if request.get("symbol").is_none() => return derived::premium_indices(source),
        _ => {}
    }
    let Some(symbol) = request.get("symbol").filter(|symbol| !symbol.is_empty()) else {
        return bad(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.");
    };
    let Some(listed) = source.find(symbol) else { return bad(-1121, "Invalid symbol.") };
    match endpoint {
        Endpoint::Depth => depth(flavor, request, listed, source, now),
        Endpoint::Trades => trades(request, listed, source),
        Endpoint::PremiumIndex => derived::premium_index(listed, source),
        Endpoint::OpenInterest => derived::open_interest(listed, source),
        Endpoint::Ratio(kind) => derived::ratios(kind, request, listed, source),
        _ => aggregates(flavor, request, listed, source),
    }
}

fn exchange_info(flavor: Flavor, request: &RestRequest, source: &dyn Source, now: i64) -> RestAnswer {
    // The futures venue ignores the parameter and gives its whole list.
    let wanted = request.get("symbol").filter(|_| flavor == Flavor::Spot);
    if wanted.is_some_and(|symbol| source.find(symbol).is_none()) {
        return bad(-1121, "Invalid symbol.");
    }
    let all = source.listed().iter().map(|listed| &listed.instrument);
    ok(instruments::exchange_info(flavor, all.filter(|i| wanted.is_none_or(|w| w == i.symbol)), now))
}

fn depth(
    flavor: Flavor,
    request: &RestRequest,
    listed: &Listed,
    source: &dyn Source,
    now: i64,
) -> RestAnswer {
    let limit = depth_limit(flavor, request);
    if flavor == Flavor::UsdM && ![5, 10, 20, 50, 100, 500, 1000].contains(&limit) {
        return bad(-4021, &format!("{limit} is not valid depth limit."));
    }
    if limit == 0 {
        return bad(-1100, "Illegal characters found in parameter 'limit'.");
    }
    let Some(snapshot) = source.snapshot(listed.index, limit.min(5000)) else {
        return RestAnswer::new(503, r#"{"code":-1008,"msg":"Server is currently overloaded"}"#.into());
    };
    let mut out = String::with_capacity(64 * (snapshot.bids.len() + snapshot.asks.len()) + 128);
    let _ = write!(out, r#"{{"lastUpdateId":{},"#, snapshot.last_update_id);
    if flavor == Flavor::UsdM {
        let _ = write!(out, r#""E":{now},"T":{},"#, snapshot.engine_ms);
    }
    out.push_str("\"bids\":");
    encode::push_levels(&mut out, &listed.instrument, snapshot.bids.iter().copied());
    out.push_str(",\"asks\":");
    encode::push_levels(&mut out, &listed.instrument, snapshot.asks.iter().copied());
    out.push('}');
    ok(out)
}

fn list_limit(request: &RestRequest) -> usize {
    request.get("limit").and_then(|text| text.parse().ok()).unwrap_or(500usize).clamp(1, 1000)
}

fn json_list(rows: impl Iterator<Item = String>) -> RestAnswer {
    ok(format!("[{}]", rows.collect::<Vec<_>>().join(",")))
}

fn trades(request: &RestRequest, listed: &Listed, source: &dyn Source) -> RestAnswer {
    let rows = source.newest_trades(listed.index, TradeKind::Trade, list_limit(request));
    json_list(rows.iter().map(|t| {
        let mut value = String::new();
        let product = i128::from(t.price.units) * i128::from(t.quantity.units);
        decimal::push_wide(&mut value, product, u32::from(t.price.scale) + u32::from(t.quantity.scale));
        format!(
            concat!(
                r#"{{"id":{},"price":"{}","qty":"{}","quoteQty":"{}","time":{},"#,
                r#""isBuyerMaker":{},"isBestMatch":true}}"#
            ),
            t.id,
            t.price,
            t.quantity,
            value,
            t.trade_ms,
            t.taker == Side::Ask
        )
    }))
}

fn aggregates(flavor: Flavor, request: &RestRequest, listed: &Listed, source: &dyn Source) -> RestAnswer {
    let limit = list_limit(request);
    let rows: Vec<TradeRecord> = match request.get("fromId").and_then(|text| text.parse().ok()) {
        Some(from) => source.trades_from(listed.index, TradeKind::Aggregate, from, limit),
        None => source.newest_trades(listed.index, TradeKind::Aggregate, limit),
    };
    json_list(rows.iter().map(|t| {
        let extra = match flavor {
            Flavor::Spot => r#","M":true"#.to_owned(),
            Flavor::UsdM => format!(r#","nq":"{}""#, t.quantity),
        };
        format!(
            r#"{{"a":{},"p":"{}","q":"{}","f":{},"l":{},"T":{},"m":{}{extra}}}"#,
            t.id,
            t.price,
            t.quantity,
            t.matches.0,
            t.matches.1,
            t.trade_ms,
            t.taker == Side::Ask
        )
    }))
}

pub(super) fn refusal(flavor: Flavor, status: u16, until_ms: i64) -> String {
    let limit = if flavor == Flavor::Spot { 6000 } else { 2400 };
    let advice = "Please use WebSocket Streams for live updates to avoid";
    let text = if status == 418 {
        format!("Way too much request weight used; IP banned until {until_ms}. {advice} bans.")
    } else {
        let rule = format!("current limit is {limit} request weight per 1 MINUTE");
        format!("Too much request weight used; {rule}. {advice} polling the API.")
    };
    format!(r#"{{"code":-1003,"msg":"{text}"}}"#)
}
