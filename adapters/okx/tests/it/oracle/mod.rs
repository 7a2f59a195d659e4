//! The events of a frame, calculated without the adapter's code: a JSON library's values, and arithmetic on digits.

mod number;

use number::Number;

use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Unit {
    Base,
    Contracts(Number),
    /// Contracts of this value in quote units; decimal places of the base quantity.
    Value(Number, u32),
}

/// An instrument of the recording, as its own list describes it.
#[derive(Clone, Debug)]
struct Instrument {
    label: String,
    derivative: bool,
    unit: Unit,
}

#[derive(Debug)]
pub struct Oracle {
    instruments: BTreeMap<String, Instrument>,
    derivatives: bool,
}

impl Oracle {
    /// From the bodies of the instrument lists.
    pub fn new<'a>(lists: impl Iterator<Item = &'a str>, exchange: &str) -> Oracle {
        let mut instruments = BTreeMap::new();
        for list in lists {
            let list: Value = serde_json::from_str(list).unwrap();
            for one in list["data"].as_array().unwrap() {
                instruments.insert(one["instId"].as_str().unwrap().to_owned(), instrument(one));
            }
        }
        Oracle { instruments, derivatives: exchange == "okx_derivatives" }
    }

    fn find(&self, name: &str) -> Option<&Instrument> {
        self.instruments.get(name).filter(|one| one.derivative == self.derivatives)
    }

    /// Golden lines without frame numbers and scales; `None` for a frame without events, or not of the venue's form.
    pub fn events(&self, bytes: &[u8]) -> Option<Vec<Value>> {
        let frame: Value = serde_json::from_slice(bytes).ok()?;
        if frame.get("event").is_some() {
            return None;
        }
        let name = frame["arg"]["instId"].as_str()?;
        let instrument = self.find(name)?;
        let items = frame["data"].as_array()?;
        // An element that cannot be read costs only itself.
        let events: Vec<Value> = match frame["arg"]["channel"].as_str()? {
            "trades" => items.iter().filter_map(|item| trade(instrument, name, item)).flatten().collect(),
            "books" => {
                let change = match frame["action"].as_str()? {
                    "snapshot" => "snapshot",
                    "update" => "delta",
                    _ => return None,
                };
                items.iter().filter_map(|item| book(instrument, name, item, change)).collect()
            }
            _ => return None,
        };
        (!events.is_empty()).then_some(events)
    }
}

fn instrument(one: &Value) -> Instrument {
    let text = |key: &str| one[key].as_str().unwrap();
    let contract = || {
        let number = |key: &str| Number::parse(text(key)).unwrap();
        number("ctVal").times(&number("ctMult")).unwrap()
    };
    let unit = match text("ctType") {
        "" => Unit::Base,
        "linear" => Unit::Contracts(contract()),
        "inverse" => {
            let tick = Number::parse(text("tickSz")).unwrap();
            Unit::Value(contract(), (13 - tick.places().min(9)).clamp(4, 12))
        }
        other => panic!("contract type {other}"),
    };
    let label = match text("instType") {
        "SPOT" => format!("spot {}-{}", text("baseCcy"), text("quoteCcy")),
        "SWAP" => format!("perpetual {}", text("uly")),
        "FUTURES" => format!("futures {}-{}", text("uly"), text("instId").rsplit('-').next().unwrap()),
        other => panic!("type {other}"),
    };
    Instrument { label, derivative: text("instType") != "SPOT", unit }
}

fn quantity(instrument: &Instrument, price: &Number, size: &Number) -> Option<Number> {
    match &instrument.unit {
        Unit::Base => Some(size.clone()),
        Unit::Contracts(contract) => size.times(contract),
        Unit::Value(_, _) if size.is_zero() => Some(Number::zero()),
        Unit::Value(value, places) => {
            size.times(value)?.divided_by(price, *places).filter(|number| !number.is_zero())
        }
    }
}

/// None for what is malformed, an inner none for a trade without a time.
fn trade(instrument: &Instrument, name: &str, item: &Value) -> Option<Option<Value>> {
    if item.get("instId").is_some_and(|named| named != name) {
        return None;
    }
    let (price, size) = (amount(&item["px"])?, amount(&item["sz"])?);
    let side = item["side"].as_str()?.to_ascii_lowercase();
    if side != "buy" && side != "sell" {
        return None;
    }
    let id = match &item["tradeId"] {
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) if text.parse().is_ok_and(|id: u64| id.to_string() == *text) => {
            json!(text.parse::<u64>().unwrap())
        }
        Value::String(text) => json!(text),
        Value::Number(number) => json!(number.as_u64()?),
        _ => return None,
    };
    let Some(time_us) = micros(item.get("ts")?)? else { return Some(None) };
    Some(Some(json!({"kind": "trade", "event": {
        "instrument": instrument.label, "time_us": time_us, "id": id, "price": price.text(),
        "quantity": quantity(instrument, &price, &size)?.text(), "side": side,
    }})))
}

fn book(instrument: &Instrument, name: &str, item: &Value, change: &str) -> Option<Value> {
    if item.get("instId").is_some_and(|named| named != name) {
        return None;
    }
    let side = |key: &str| -> Option<Value> {
        let level = |level: &Value| {
            let (price, size) = (amount(&level[0])?, amount(&level[1])?);
            Some(json!([price.text(), quantity(instrument, &price, &size)?.text()]))
        };
        if matches!(&item[key], Value::Null) || item[key] == "" {
            return Some(json!([]));
        }
        item[key].as_array()?.iter().map(level).collect::<Option<Vec<_>>>().map(Value::from)
    };
    if !item["bids"].is_array() && !item["asks"].is_array() {
        return None;
    }
    let last = item["seqId"].as_i64()?;
    let previous = match &item["prevSeqId"] {
        Value::Null if change == "snapshot" => None,
        unset if unset == "" && change == "snapshot" => None,
        previous => Some(previous.as_i64()?).filter(|_| change == "delta"),
    };
    Some(json!({"kind": "book", "event": {
        "instrument": instrument.label, "change": change, "time_us": micros(&item["ts"])?,
        "first_id": last, "last_id": last, "previous_id": previous,
        "checksum": null, "bids": side("bids")?, "asks": side("asks")?,
    }}))
}

fn amount(value: &Value) -> Option<Number> {
    let number = match value {
        Value::String(text) => Number::parse(text)?,
        Value::Number(number) => Number::parse(&number.to_string())?,
        _ => return None,
    };
    Some(number).filter(|number| !number.is_negative())
}

/// None for what is no time, an inner none where the venue left it out.
fn micros(value: &Value) -> Option<Option<i64>> {
    let millis: i64 = match value {
        Value::Null => 0,
        Value::String(text) if text.is_empty() => 0,
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
        Value::Number(number) => i64::try_from(number.as_u64()?).ok()?,
        _ => return None,
    };
    let micros = millis.checked_mul(1000)?;
    Some((micros != 0).then_some(micros))
}
