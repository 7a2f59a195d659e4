//! REST: pools, answers, errors.

use std::time::Duration;

use super::encode::{Interest, funding_row, snapshot, told_funding};
use super::streams::instrument_type;
use super::{instruments, rubik};
use crate::venue::{Listed, PerWindow, RestAnswer, RestCall, RestRequest, Source};

pub(super) fn ok(rows: &[String]) -> RestAnswer {
    RestAnswer::new(200, format!(r#"{{"code":"0","data":[{}],"msg":""}}"#, rows.join(",")))
}

/// Errors come with status 200.
pub(super) fn error(code: &str, text: &str) -> RestAnswer {
    RestAnswer::new(200, format!(r#"{{"code":"{code}","data":[],"msg":"{text}"}}"#))
}

pub(super) fn unknown_instrument() -> RestAnswer {
    error("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
}

pub(super) fn call(request: &RestRequest) -> RestCall {
    let path = request.path.as_str();
    let by = request.get("instType").or_else(|| request.get("instId")).unwrap_or_default();
    let (max, by) = match path {
        _ if path.starts_with("/api/v5/rubik/") => (5, by),
        "/api/v5/public/funding-rate" => (10, by),
        "/api/v5/market/books" => (40, ""),
        "/api/v5/public/time" => (10, ""),
        _ => (20, by),
    };
    RestCall {
        weight: 0,
        pool: Some((format!("{path} {by}"), PerWindow { max, window: Duration::from_secs(2) })),
        snapshot: path == "/api/v5/market/books",
        symbol: request.get("instId").map(str::to_owned),
    }
}

pub(super) fn answer(request: &RestRequest, source: &dyn Source) -> RestAnswer {
    if let Some(name) = request.path.strip_prefix("/api/v5/rubik/stat/contracts/") {
        return rubik::answer(name, request, source);
    }
    match request.path.as_str() {
        "/api/v5/public/time" => ok(&[format!(r#"{{"ts":"{}"}}"#, source.now_ms())]),
        "/api/v5/public/instruments" => instruments(request, source),
        "/api/v5/public/underlying" => underlying(request, source),
        "/api/v5/public/open-interest" => open_interest(request, source),
        "/api/v5/public/funding-rate" => funding(request, source),
        "/api/v5/market/books" => books(request, source),
        _ => RestAnswer::new(404, r#"{"msg":"Not found","code":"404"}"#.into()),
    }
}

/// The instruments that a request's parameters name; an error when it names no type.
fn named<'a>(request: &RestRequest, source: &'a dyn Source) -> Result<Vec<&'a Listed>, RestAnswer> {
    let types = ["SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"];
    let kind = request.get("instType").unwrap_or_default();
    if !types.contains(&kind) {
        return Err(error("51000", "Parameter instType error"));
    }
    let family = request.get("instFamily").or_else(|| request.get("uly"));
    let fits = |l: &&Listed| {
        instrument_type(&l.instrument) == kind
            && family.is_none_or(|name| instruments::family(&l.instrument) == name)
            && request.get("instId").is_none_or(|name| l.instrument.symbol == name)
    };
    Ok(source.listed().iter().filter(fits).collect())
}

fn instruments(request: &RestRequest, source: &dyn Source) -> RestAnswer {
    match named(request, source) {
        Ok(found) => {
            let rows: Vec<String> =
                found.iter().map(|l| instruments::row(&l.instrument).to_string()).collect();
            ok(&rows)
        }
        Err(refusal) => refusal,
    }
}

fn underlying(request: &RestRequest, source: &dyn Source) -> RestAnswer {
    match named(request, source) {
        Ok(found) => {
            let mut families: Vec<String> =
                found.iter().map(|l| format!(r#""{}""#, instruments::family(&l.instrument))).collect();
            families.sort_unstable();
            families.dedup();
            ok(&[format!("[{}]", families.join(","))])
        }
        Err(refusal) => refusal,
    }
}

fn open_interest(request: &RestRequest, source: &dyn Source) -> RestAnswer {
    let found = match named(request, source) {
        Ok(found) => found,
        Err(refusal) => return refusal,
    };
    let (mut rows, mut told) = (Vec::new(), Vec::new());
    for l in found {
        if let Some(reference) = source.reference(l.index) {
            let interest = Interest::of(&l.instrument, &reference);
            rows.push(interest.row(&l.instrument));
            told.push(interest.told(&l.instrument));
        }
    }
    RestAnswer { told, ..ok(&rows) }
}

fn funding(request: &RestRequest, source: &dyn Source) -> RestAnswer {
    let name = request.get("instId").unwrap_or_default();
    let (mut rows, mut told) = (Vec::new(), Vec::new());
    for l in source.listed().iter().filter(|l| name == "ANY" || l.instrument.symbol == name) {
        if let Some((row, reference)) =
            source.reference(l.index).and_then(|r| Some((funding_row(&l.instrument, &r)?, r)))
        {
            rows.push(row);
            told.extend(told_funding(&l.instrument, &reference));
        }
    }
    if rows.is_empty() {
        return unknown_instrument();
    }
    RestAnswer { told, ..ok(&rows) }
}

fn books(request: &RestRequest, source: &dyn Source) -> RestAnswer {
    let depth = request.get("sz").map_or(Some(1), |text| text.parse::<usize>().ok());
    let found = request.get("instId").and_then(|name| source.find(name));
    let Some((listed, depth)) = found.zip(depth.filter(|depth| (1..=400).contains(depth))) else {
        return unknown_instrument();
    };
    let Some(book) = source.snapshot(listed.index, depth) else { return error("50013", "Systems are busy.") };
    // The rows are those of the channel's frame.
    let frame = snapshot(&listed.instrument, &book);
    let data = frame.split_once("\"data\":").map_or("[]}", |(_, data)| data);
    RestAnswer::new(200, format!(r#"{{"code":"0","msg":"","data":{data}"#))
}
