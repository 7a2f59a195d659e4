//! The types that only USD-M has.

use super::{micros, name, plain, state_time};
use marketprism_adapter_binance::Binance;
use marketprism_adapter_sdk::testkit::Session;
use marketprism_adapter_sdk::{DataType, MarketType, Poll};
use serde_json::{Value, json};

pub fn funding(
    session: &Session<Binance>,
    data: &Value,
    instrument: u32,
    intervals: Option<&Value>,
    received_at_ns: i64,
) -> Option<Value> {
    let known = &session.instruments[instrument as usize];
    let unset = |key: &str| data[key].is_null() || data[key] == "";
    if unset("r") || unset("T") || data["T"] == 0 || known.market_type != MarketType::Perpetual {
        return None;
    }
    let interval = intervals.map(|list| {
        let mut rows = list.as_array().into_iter().flatten();
        rows.find(|row| row["symbol"] == known.venue_symbol.as_str())
            .map_or(json!(8), |row| row["fundingIntervalHours"].clone())
    });
    let price = |key: &str| -> Option<Value> {
        let given = data.get(key).is_some_and(|price| *price != "");
        Some(if given { not_negative(&data[key])?.into() } else { Value::Null })
    };
    Some(json!({"kind": "funding_rate", "event": {
        "instrument": name(session, instrument), "time_us": state_time(&data["E"], received_at_ns)?,
        "rate": plain(&data["r"])?,
        "funding_time_us": null, "next_funding_time_us": micros(&data["T"])?, "interval_hours": interval,
        "mark_price": price("p")?, "index_price": price("i")?,
    }}))
}

pub fn liquidation(session: &Session<Binance>, order: &Value, instrument: u32) -> Option<Value> {
    if order["X"] != "FILLED" {
        return None;
    }
    // The first of two figures that is given and not zero.
    let first = |one: &str, other: &str| {
        [one, other].iter().filter_map(|key| not_negative(&order[*key])).find(|number| number != "0")
    };
    let time_us = micros(&order["T"])?;
    let side = match order["S"].as_str()? {
        "SELL" => "sell",
        "BUY" => "buy",
        _ => return None,
    };
    Some(json!({"kind": "liquidation", "event": {
        "instrument": name(session, instrument), "time_us": time_us, "liquidation_time_us": time_us,
        "side": side, "price": first("ap", "p")?, "quantity": first("z", "q")?, "id": null,
    }}))
}

pub fn events(
    session: &Session<Binance>,
    poll: &Poll,
    answer: &Value,
    received_at_ns: i64,
) -> Option<Vec<Value>> {
    let instrument = poll.instrument?;
    let symbol = session.instruments[instrument as usize].venue_symbol.as_str();
    if poll.data_type == DataType::OpenInterest {
        let event = json!({"kind": "open_interest", "event": {
            "instrument": name(session, instrument), "time_us": state_time(&answer["time"], received_at_ns)?,
            "base": not_negative(&answer["openInterest"])?, "contracts": null, "value_usd": null,
        }});
        return Some(if is_of(&answer["symbol"], symbol) { vec![event] } else { Vec::new() });
    }
    let kind =
        if poll.data_type == DataType::LsrTopPosition { "lsr_top_position" } else { "lsr_all_account" };
    let row = |row: &Value| {
        let ratio = match row.get("longShortRatio") {
            None | Some(Value::Null) => Value::Null,
            Some(Value::String(empty)) if empty.is_empty() => Value::Null,
            Some(ratio) => Value::from(not_negative(ratio)?),
        };
        is_of(&row["symbol"], symbol).then_some(json!({"kind": kind, "event": {
            "instrument": name(session, instrument), "time_us": micros(&row["timestamp"])?,
            "long": not_negative(&row["longAccount"])?, "short": not_negative(&row["shortAccount"])?,
            "ratio": ratio, "period": "5m",
        }}))
    };
    Some(answer.as_array()?.iter().filter_map(row).collect())
}

/// True for the symbol of the request, also where the answer does not name it.
fn is_of(named: &Value, symbol: &str) -> bool {
    named.is_null() || named == "" || named == symbol
}

fn not_negative(number: &Value) -> Option<String> {
    plain(number).filter(|text| !text.starts_with('-'))
}
