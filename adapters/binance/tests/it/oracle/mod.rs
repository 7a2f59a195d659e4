//! The events of a frame, calculated without the adapter's code: a JSON library's values, and text arithmetic for numbers.

mod polled;

use marketprism_adapter_binance::Binance;
use marketprism_adapter_sdk::testkit::{self, OwnedFrame, RecordedMessage, Session};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The exchange ids, each with its recording.
pub const RECORDINGS: [(&str, &str); 2] =
    [("binance_spot", "binance_spot.jsonl"), ("binance_derivatives", "binance_derivatives.jsonl")];

/// The adapter, loaded with everything that the records' own instrument list holds.
pub fn session(exchange: &str, records: &[RecordedMessage]) -> Session<Binance> {
    Session::open(&testkit::whole_feed::<Binance>(exchange).unwrap(), records).unwrap()
}

/// The hand-made frames of these cases of USD-M, without those of the list of funding intervals; one of its
/// answers has been given to the adapter.
pub fn made(cases: &[&str]) -> (Session<Binance>, Value, Vec<OwnedFrame>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("frames");
    let read = |case: &str| testkit::read(&folder.join(format!("binance_derivatives.{case}.jsonl"))).unwrap();
    let mut session = session("binance_derivatives", &read("instruments"));
    let mut frames: Vec<OwnedFrame> = cases.iter().flat_map(|case| session.frames(&read(case))).collect();
    let list = session.plan.polls.iter().position(|poll| poll.reference).unwrap();
    let source = (session.plan.connections.len() + list) as u32;
    let intervals = json!([{"symbol": "1000PEPEUSDT", "fundingIntervalHours": 4}]);
    let answer = OwnedFrame { bytes: intervals.to_string().into_bytes(), source, at: 0 };
    session.normalize(&[answer], 1);
    frames.retain(|frame| frame.source != source);
    (session, intervals, frames)
}

/// The events that a frame holds, as golden lines without their frame number. `intervals` is the newest
/// answer of the venue's list of funding intervals.
pub fn events(session: &Session<Binance>, intervals: Option<&Value>, frame: &OwnedFrame) -> Vec<Value> {
    let Ok(whole) = serde_json::from_slice::<Value>(&frame.bytes) else { return Vec::new() };
    let plan = &session.plan;
    let Some(answer) = (frame.source as usize).checked_sub(plan.connections.len()) else {
        let wrapped = whole.get("stream").is_some() && whole.get("data").is_some();
        let data = if wrapped { &whole["data"] } else { &whole };
        let parts = data.as_array().map_or(std::slice::from_ref(data), Vec::as_slice);
        let stream = if wrapped { &whole["stream"] } else { &Value::Null };
        return parts.iter().filter_map(|part| pushed(session, intervals, stream, part, frame.at)).collect();
    };
    match plan.polls.get(answer) {
        Some(poll) => polled::events(session, poll, &whole, frame.at).unwrap_or_default(),
        None => {
            let resync = &plan.resyncs[answer - plan.polls.len()];
            book(session, &whole, resync.instrument, "snapshot").into_iter().collect()
        }
    }
}

fn pushed(
    session: &Session<Binance>,
    intervals: Option<&Value>,
    stream: &Value,
    data: &Value,
    received_at_ns: i64,
) -> Option<Value> {
    let order = &data["o"];
    let kind = data.get("e")?.as_str()?;
    let named = if kind == "forceOrder" { order } else { data };
    let symbol = named.get("s")?.as_str()?;
    let instrument = session.instruments.iter().position(|known| known.venue_symbol == symbol)? as u32;
    if [data, order].iter().any(|part| part.get("st").is_some_and(|market| *market != 1)) {
        return None;
    }
    match kind {
        "depthUpdate" if stream.is_null() || is_diff(stream.as_str()?) => {
            book(session, data, instrument, "delta")
        }
        "trade" => trade(session, data, instrument, "t"),
        "aggTrade" => trade(session, data, instrument, "a"),
        "markPriceUpdate" => polled::funding(session, data, instrument, intervals, received_at_ns),
        "forceOrder" => polled::liquidation(session, order, instrument),
        _ => None,
    }
}

fn is_diff(stream: &str) -> bool {
    stream.split('@').nth(1) == Some("depth") || stream.ends_with("@depth@100ms")
}

fn trade(session: &Session<Binance>, data: &Value, instrument: u32, id: &str) -> Option<Value> {
    Some(json!({"kind": "trade", "event": {
        "instrument": name(session, instrument), "time_us": micros(&data["T"])?, "id": data[id].as_u64()?,
        "price": plain(&data["p"])?, "quantity": plain(&data["q"])?,
        "side": if data["m"].as_bool()? { "sell" } else { "buy" },
    }}))
}

fn book(session: &Session<Binance>, data: &Value, instrument: u32, change: &str) -> Option<Value> {
    let snapshot = change == "snapshot";
    let (bids, asks) = if snapshot { ("bids", "asks") } else { ("b", "a") };
    let (first, last) = if snapshot { ("lastUpdateId", "lastUpdateId") } else { ("U", "u") };
    let spot =
        session.instruments[instrument as usize].market_type == marketprism_adapter_sdk::MarketType::Spot;
    let time = if spot || data.get("T").is_none() { &data["E"] } else { &data["T"] };
    let time_us = if time.is_null() || time == "" { None } else { Some(micros(time)?) };
    let side = |key: &str| -> Option<Value> {
        let level = |level: &Value| Some(json!([plain(&level[0])?, plain(&level[1])?]));
        if matches!(&data[key], Value::Null) || data[key] == "" {
            return Some(json!([]));
        }
        data[key].as_array()?.iter().map(level).collect::<Option<Vec<_>>>().map(Value::from)
    };
    if !data[bids].is_array() && !data[asks].is_array() {
        return None;
    }
    Some(json!({"kind": "book", "event": {
        "instrument": name(session, instrument), "change": change, "time_us": time_us,
        "first_id": data[first].as_i64()?, "last_id": data[last].as_i64()?,
        "previous_id": data["pu"].as_i64(),
        "checksum": null, "bids": side(bids)?, "asks": side(asks)?,
    }}))
}

pub fn name(session: &Session<Binance>, instrument: u32) -> String {
    let instrument = &session.instruments[instrument as usize];
    format!("{} {}", marketprism_adapter_sdk::market_type_name(instrument.market_type), instrument.symbol)
}

/// The time of a state: of its receipt where the venue gives none.
pub fn state_time(time: &Value, received_at_ns: i64) -> Option<u64> {
    if time.is_null() || time == "" { u64::try_from(received_at_ns / 1000).ok() } else { micros(time) }
}

pub fn micros(time: &Value) -> Option<u64> {
    let time = integer(time)?;
    if time.to_string().len() >= 15 { Some(time) } else { Some(time * 1000) }
}

/// Numbers are the same in quotes.
pub fn integer(number: &Value) -> Option<u64> {
    number.as_u64().or_else(|| number.as_str()?.parse().ok())
}

pub fn plain(number: &Value) -> Option<String> {
    match number {
        Value::String(text) => testkit::plain_number(text),
        Value::Number(number) => testkit::plain_number(&number.to_string()),
        _ => None,
    }
}
