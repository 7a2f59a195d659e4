//! REST: pools, answers, errors. Errors come with status 200.

use std::time::Duration;

use super::frames::{Interest, funding_data, funding_row, snapshot};
use super::instruments::{self, instrument_type};
use crate::market::{Contract, RatioKind};
use crate::venue::{ListedInstrument, PerWindow, RestAnswer, RestCall, RestRequest, Source, event_data};

/// Names and lengths in units of five minutes. Case matters.
const PERIODS: [(&str, usize); 8] =
    [("5m", 1), ("15m", 3), ("30m", 6), ("1H", 12), ("2H", 24), ("4H", 48), ("6H", 72), ("12H", 144)];

type RestResult = Result<RestAnswer, RestAnswer>;

fn ok(rows: &[String]) -> RestAnswer {
    RestAnswer::new(200, format!(r#"{{"code":"0","data":[{}],"msg":""}}"#, rows.join(",")))
}

pub(super) fn error(code: &str, text: &str) -> RestAnswer {
    RestAnswer::new(200, format!(r#"{{"code":"{code}","data":[],"msg":"{text}"}}"#))
}

fn unknown_instrument() -> RestAnswer {
    error("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
}

fn not_found() -> RestAnswer {
    RestAnswer::new(404, r#"{"msg":"Not found","code":"404"}"#)
}

pub(super) fn call(request: &RestRequest) -> RestCall {
    let path = request.path.as_str();
    let subject = request.get("instType").or_else(|| request.get("instId")).unwrap_or_default();
    let (max, subject) = match path {
        _ if path.starts_with("/api/v5/rubik/") => (5, subject),
        "/api/v5/public/funding-rate" => (10, subject),
        "/api/v5/market/books" => (40, ""),
        "/api/v5/public/time" => (10, ""),
        _ => (20, subject),
    };
    RestCall {
        weight: 0,
        pool: Some((format!("{path} {subject}"), PerWindow { max, window: Duration::from_secs(2) })),
        snapshot: path == "/api/v5/market/books",
        symbol: request.get("instId").map(str::to_owned),
    }
}

pub(super) fn answer(request: &RestRequest, source: &dyn Source) -> RestResult {
    if let Some(name) = request.path.strip_prefix("/api/v5/rubik/stat/contracts/") {
        return ratios(name, request, source);
    }
    match request.path.as_str() {
        "/api/v5/public/time" => Ok(ok(&[format!(r#"{{"ts":"{}"}}"#, source.now_ms())])),
        "/api/v5/public/instruments" => {
            let rows =
                selected(request, source)?.into_iter().map(|l| instruments::row(&l.instrument).to_string());
            Ok(ok(&rows.collect::<Vec<_>>()))
        }
        "/api/v5/public/underlying" => {
            let selected = selected(request, source)?.into_iter();
            let mut families: Vec<String> =
                selected.map(|l| format!(r#""{}""#, instruments::family(&l.instrument))).collect();
            families.sort_unstable();
            families.dedup();
            Ok(ok(&[format!("[{}]", families.join(","))]))
        }
        "/api/v5/public/open-interest" => {
            let (mut rows, mut events) = (Vec::new(), Vec::new());
            for l in selected(request, source)? {
                if let Some(reference) = source.reference(l.index) {
                    let interest = Interest::of(&l.instrument, &reference);
                    rows.push(interest.row(&l.instrument));
                    events.push(interest.data(&l.instrument));
                }
            }
            Ok(RestAnswer { events, ..ok(&rows) })
        }
        "/api/v5/public/funding-rate" => funding(request, source),
        "/api/v5/market/books" => books(request, source),
        _ => Err(not_found()),
    }
}

/// The instruments of the requested type, family and id. A family without instruments is refused.
fn selected<'a>(
    request: &RestRequest,
    source: &'a dyn Source,
) -> Result<Vec<&'a ListedInstrument>, RestAnswer> {
    let kind = request.get("instType").unwrap_or_default();
    if !["SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"].contains(&kind) {
        return Err(error("51000", "Parameter instType error"));
    }
    let named = ["instFamily", "uly"].into_iter().find_map(|name| Some((name, request.get(name)?)));
    let is_of_kind = |l: &&ListedInstrument| {
        instrument_type(&l.instrument) == kind
            && named.is_none_or(|(_, family)| instruments::family(&l.instrument) == family)
    };
    if let Some((name, _)) = named
        && !source.listed().iter().any(|l| is_of_kind(&l))
    {
        let text = format!("Parameter {name} error");
        return Err(RestAnswer { status: 400, ..error("51000", &text) });
    }
    let matches = |l: &&ListedInstrument| {
        is_of_kind(l) && request.get("instId").is_none_or(|name| l.instrument.symbol == name)
    };
    Ok(source.listed().iter().filter(matches).collect())
}

fn funding(request: &RestRequest, source: &dyn Source) -> RestResult {
    let name = request.get("instId").unwrap_or_default();
    let (mut rows, mut events) = (Vec::new(), Vec::new());
    for l in source.listed().iter().filter(|l| name == "ANY" || l.instrument.symbol == name) {
        if let Some(reference) = source.reference(l.index)
            && let Some(row) = funding_row(&l.instrument, &reference)
        {
            rows.push(row);
            events.extend(funding_data(&l.instrument, &reference));
        }
    }
    if rows.is_empty() { Err(unknown_instrument()) } else { Ok(RestAnswer { events, ..ok(&rows) }) }
}

fn books(request: &RestRequest, source: &dyn Source) -> RestResult {
    let depth = request.limit("sz", 1).filter(|depth| (1..=400).contains(depth));
    let found = request.get("instId").and_then(|name| source.find(name));
    let (listed, depth) = found.zip(depth).ok_or_else(unknown_instrument)?;
    let book = source.snapshot(listed.index, depth).ok_or_else(|| error("50013", "Systems are busy."))?;
    // The rows are those of the channel's frame.
    let frame = snapshot(&listed.instrument, &book);
    let data = frame.split_once("\"data\":").map_or("[]}", |(_, data)| data);
    Ok(RestAnswer::new(200, format!(r#"{{"code":"0","msg":"","data":{data}"#)))
}

/// Long/short ratios: rows of time and ratio, newest first.
fn ratios(name: &str, request: &RestRequest, source: &dyn Source) -> RestResult {
    let kind = match name {
        "long-short-position-ratio-contract-top-trader" => RatioKind::TopPosition,
        "long-short-account-ratio-contract" => RatioKind::AllAccounts,
        "long-short-account-ratio-contract-top-trader" => RatioKind::TopAccount,
        _ => return Err(not_found()),
    };
    let found = request.get("instId").and_then(|symbol| source.find(symbol));
    let has_ratios =
        |l: &&ListedInstrument| matches!(l.instrument.contract, Contract::Perpetual | Contract::Dated { .. });
    let listed = found.filter(has_ratios).ok_or_else(unknown_instrument)?;
    let period = request.get("period").unwrap_or("5m");
    let every = PERIODS.into_iter().find(|(name, _)| *name == period);
    let limit = request.limit("limit", 100).filter(|limit| (1..=100).contains(limit));
    let ((_, every), limit) =
        every.zip(limit).ok_or_else(|| error("51000", "Parameter period or limit error"))?;
    let rows = source.ratios(listed.index, kind, limit * every);
    let rows: Vec<_> = rows.iter().rev().step_by(every).collect();
    let texts: Vec<String> = rows.iter().map(|r| format!(r#"["{}","{}"]"#, r.time_ms, r.ratio)).collect();
    let event = |row| event_data::ratio(&listed.instrument, kind, row, false, period);
    Ok(RestAnswer { events: rows.into_iter().filter_map(event).collect(), ..ok(&texts) })
}
