//! What a frame means, calculated apart from the adapter: a JSON library's values, and text arithmetic for
//! numbers.

use marketprism_adapter_binance::Binance;
use marketprism_adapter_sdk::testkit::{self, OwnedFrame, Record, Session};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The exchange ids, each with its recording.
pub const RECORDINGS: [(&str, &str); 2] =
    [("binance_spot", "binance_spot.jsonl"), ("binance_derivatives", "binance_derivatives.jsonl")];

/// A recording, or none (with a line that says so) where this machine does not hold it.
pub fn recording(name: &str) -> Option<Vec<Record>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings").join(name);
    if !path.is_file() {
        println!("skipped: no recording {name}");
        return None;
    }
    Some(testkit::read(&path).unwrap())
}

/// The adapter, loaded with everything that the records' own instrument list holds.
pub fn session(exchange: &str, records: &[Record]) -> Session<Binance> {
    Session::open(&testkit::whole_feed::<Binance>(exchange).unwrap(), records).unwrap()
}

/// Golden lines of the adapter for these frames.
pub fn adapter_lines(session: &mut Session<Binance>, frames: &[OwnedFrame]) -> Vec<Value> {
    let normalized = session.normalize(frames, 16);
    testkit::lines(&normalized, &session.instruments)
}

/// The event that a frame holds, as a golden line without its frame number; none when it holds no event.
pub fn event(session: &Session<Binance>, frame: &OwnedFrame) -> Option<Value> {
    let whole: Value = serde_json::from_slice(&frame.bytes).ok()?;
    let connections = session.plan.connections.len() as u32;
    if frame.source >= connections {
        let resync = &session.plan.resyncs[(frame.source - connections) as usize];
        return book(session, &whole, resync.instrument, "snapshot");
    }
    let wrapped = whole.get("stream").is_some() && whole.get("data").is_some();
    let data = if wrapped { &whole["data"] } else { &whole };
    let symbol = data.get("s")?.as_str()?;
    let instrument = session.instruments.iter().position(|known| known.venue_symbol == symbol)? as u32;
    if data.get("st").is_some_and(|market| market != 1) {
        return None;
    }
    match data.get("e")?.as_str()? {
        "depthUpdate" if !wrapped || is_diff(whole["stream"].as_str()?) => {
            book(session, data, instrument, "delta")
        }
        "trade" => trade(session, data, instrument, "t"),
        "aggTrade" => trade(session, data, instrument, "a"),
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
    let time_us = if snapshot && time.is_null() { None } else { Some(micros(time)?) };
    let side = |key: &str| -> Option<Value> {
        let level = |level: &Value| Some(json!([plain(&level[0])?, plain(&level[1])?]));
        data[key].as_array()?.iter().map(level).collect::<Option<Vec<_>>>().map(Value::from)
    };
    Some(json!({"kind": "book", "event": {
        "instrument": name(session, instrument), "change": change, "time_us": time_us,
        "first_id": data[first].as_i64()?, "last_id": data[last].as_i64()?,
        "previous_id": data["pu"].as_i64(),
        "checksum": null, "bids": side(bids)?, "asks": side(asks)?,
    }}))
}

/// A golden line without what the oracle does not calculate.
pub fn comparable(line: &Value) -> Value {
    let mut line = line.clone();
    line.as_object_mut().unwrap().remove("frame");
    if let Some(event) = line.get_mut("event").and_then(Value::as_object_mut) {
        event.remove("price_scale");
        event.remove("quantity_scale");
    }
    line
}

fn name(session: &Session<Binance>, instrument: u32) -> String {
    let instrument = &session.instruments[instrument as usize];
    format!("{} {}", marketprism_adapter_sdk::market_type_name(instrument.market_type), instrument.symbol)
}

fn micros(time: &Value) -> Option<u64> {
    let time = time.as_u64()?;
    if time.to_string().len() >= 15 { Some(time) } else { Some(time * 1000) }
}

/// The text without the zeros that mean nothing.
fn plain(number: &Value) -> Option<String> {
    let text = match number {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (text, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !integer.is_empty() && format!("{integer}{fraction}").bytes().all(|byte| byte == b'0') {
        return Some("0".to_owned());
    }
    // The point moves by the exponent; zeros on both sides give it room.
    let room = "0".repeat(exponent.unsigned_abs().min(100) as usize);
    let digits = format!("{room}{integer}{fraction}{room}");
    let point = (room.len() + integer.len()) as i64 + exponent;
    let (integer, fraction) = digits.split_at_checked(usize::try_from(point).ok()?)?;
    let (integer, fraction) = (integer.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let sign = if integer.is_empty() && fraction.is_empty() { "" } else { sign };
    let integer = if integer.is_empty() { "0" } else { integer };
    Some(if fraction.is_empty() { format!("{sign}{integer}") } else { format!("{sign}{integer}.{fraction}") })
}
