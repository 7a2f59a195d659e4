//! REST: costs, answers, errors.

use std::time::Duration;

use super::frames::{forced_of, liquidation_events, trade};
use super::{instruments, rpc};
use crate::ledger::{TradeKind, TradeRecord};
use crate::venue::{ListedInstrument, PerWindow, RestAnswer, RestCall, RestRequest, Source};

/// Default number of trades per page.
const PAGE: usize = 10;
const PAGE_MAX: usize = 1000;

pub(super) fn call(request: &RestRequest) -> RestCall {
    let listing = request.path.ends_with("/get_instruments");
    // One a second, and fifty at once.
    let pool = PerWindow { max: 50, window: Duration::from_secs(50) };
    RestCall {
        weight: 1,
        pool: listing.then(|| ("get_instruments".to_owned(), pool)),
        snapshot: false,
        symbol: request.get("instrument_name").map(str::to_owned),
    }
}

pub(super) fn answer(request: &RestRequest, source: &dyn Source) -> RestAnswer {
    let now_ms = source.now_ms();
    let answer = match request.path.strip_prefix("/api/v2/public/") {
        Some("get_time") => Ok(RestAnswer::new(200, now_ms.to_string())),
        Some("get_instruments") => list(request, source),
        Some("get_last_trades_by_instrument_and_time") => trades_by_time(request, source),
        Some("get_last_trades_by_instrument") => trades_by_sequence(request, source),
        _ => Err(rpc::NO_METHOD.to_owned()),
    };
    match answer {
        Ok(answer) => RestAnswer { body: rpc::result(None, now_ms, &answer.body), ..answer },
        Err(error) => RestAnswer::new(400, rpc::error(None, now_ms, &error)),
    }
}

fn list(request: &RestRequest, source: &dyn Source) -> Result<RestAnswer, String> {
    let kind = request.get("kind");
    if kind.is_some_and(|kind| !["future", "option", "spot", "future_combo", "option_combo"].contains(&kind))
    {
        return Err(rpc::bad_parameter("kind", "unknown value"));
    }
    let currency = request.get("currency").unwrap_or("any");
    if request.get("expired") == Some("true") {
        return Ok(RestAnswer::new(200, "[]".to_owned()));
    }
    let mut rows = Vec::new();
    for l in source.listed() {
        let i = &l.instrument;
        if currency != "any" && currency != instruments::settled_in(i) {
            continue;
        }
        if kind.is_none_or(|kind| kind == instruments::kind(i)) {
            rows.push(instruments::row(l.index, i));
        }
        if kind.is_none_or(|kind| kind.starts_with("future")) {
            rows.extend(instruments::combination(i));
        }
    }
    Ok(RestAnswer::new(200, format!("[{}]", rows.join(","))))
}

fn number(request: &RestRequest, name: &str) -> Result<Option<i64>, String> {
    let parse = |text: &str| text.parse().map_err(|_| rpc::bad_parameter(name, "must be an integer"));
    request.get(name).map(parse).transpose()
}

fn needed(request: &RestRequest, name: &str) -> Result<i64, String> {
    number(request, name)?.ok_or_else(|| rpc::bad_parameter(name, "is missing"))
}

fn instrument<'a>(request: &RestRequest, source: &'a dyn Source) -> Result<&'a ListedInstrument, String> {
    let name = request.get("instrument_name").unwrap_or_default();
    source.find(name).ok_or_else(|| rpc::bad_parameter("instrument_name", "wrong format"))
}

fn trades_by_time(request: &RestRequest, source: &dyn Source) -> Result<RestAnswer, String> {
    let listed = instrument(request, source)?;
    let (from_ms, to_ms) = (needed(request, "start_timestamp")?, needed(request, "end_timestamp")?);
    let found = source.trades_between(listed.index, TradeKind::Trade, from_ms, to_ms);
    page(request, source, listed, found)
}

fn trades_by_sequence(request: &RestRequest, source: &dyn Source) -> Result<RestAnswer, String> {
    let listed = instrument(request, source)?;
    let sequence = |name: &str| {
        let sequence = number(request, name)?.map(u64::try_from).transpose();
        sequence.map_err(|_| rpc::bad_parameter(name, "must not be negative"))
    };
    let (first, last) = (sequence("start_seq")?.unwrap_or(0), sequence("end_seq")?.unwrap_or(u64::MAX));
    let mut found = source.trades_from(listed.index, TradeKind::Trade, first, usize::MAX);
    found.retain(|record| record.id <= last);
    page(request, source, listed, found)
}

fn page(
    request: &RestRequest,
    source: &dyn Source,
    listed: &ListedInstrument,
    mut found: Vec<TradeRecord>,
) -> Result<RestAnswer, String> {
    let count = number(request, "count")?.map_or(Some(PAGE), |count| usize::try_from(count).ok());
    let Some(count) = count.filter(|count| (1..=PAGE_MAX).contains(count)) else {
        return Err(rpc::bad_parameter("count", "must be between 1 and 1000"));
    };
    match request.get("sorting") {
        Some("asc") => {}
        None | Some("desc" | "default") => found.reverse(),
        Some(_) => return Err(rpc::bad_parameter("sorting", "must be asc, desc or default")),
    }
    let has_more = found.len() > count;
    found.truncate(count);
    let marked_until = source.now_ms() - source.liquidation_delay_ms();
    let (mut rows, mut events) = (Vec::new(), Vec::new());
    for record in &found {
        let is_old = record.trade_ms <= marked_until;
        let mark = forced_of(&listed.instrument, record).filter(|_| is_old);
        rows.push(trade(listed, record, mark));
        events.extend(mark.into_iter().flat_map(|mark| liquidation_events(&listed.instrument, record, mark)));
    }
    let body = format!(r#"{{"trades":[{}],"has_more":{has_more}}}"#, rows.join(","));
    Ok(RestAnswer { events, ..RestAnswer::new(200, body) })
}
