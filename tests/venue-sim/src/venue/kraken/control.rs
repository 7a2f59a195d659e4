//! Subscriptions and pings, each symbol answered for itself, and the venue's errors.

use serde_json::{Map, Value, json};

use super::DEPTHS;
use crate::venue::{ControlAction, ControlReply, SessionView};

/// Channels that exist and are not simulated.
const OTHER_CHANNELS: [&str; 4] = ["ticker", "ohlc", "instrument", "level3"];

pub(super) fn on_message(text: &str, view: SessionView<'_>, now: &str) -> ControlReply {
    if view.exhausted {
        return told(vec![r#"{"Error":"Exceeded msg rate"}"#.to_owned()]);
    }
    respond(&serde_json::from_str(text).unwrap_or_default(), view, now)
}

fn told(texts: Vec<String>) -> ControlReply {
    ControlReply { texts, action: ControlAction::Nothing, counts: true }
}

fn respond(message: &Value, view: SessionView<'_>, now: &str) -> ControlReply {
    let reply = |fields: Value| answer(message, fields, now);
    let method = match message["method"].as_str() {
        Some("ping") => return told(vec![reply(json!({"method": "pong"}))]),
        Some(method @ ("subscribe" | "unsubscribe")) => method,
        Some(method) => return told(vec![reply(refused(method, "Unknown method", None))]),
        None => return told(vec![reply(json!({"error": "Malformed request", "success": false}))]),
    };
    let mut names = Vec::new();
    let texts = match wanted(&message["params"]) {
        Ok((symbols, request)) => {
            let each = |symbol| reply(one(method, symbol, &request, view, &mut names));
            symbols.into_iter().map(each).collect()
        }
        Err(problem) => vec![reply(refused(method, &problem, None))],
    };
    let action = match method {
        "unsubscribe" => ControlAction::Unsubscribe(names),
        _ if has_snapshot(&message["params"]) => ControlAction::Subscribe(names),
        _ => ControlAction::SubscribeFromNow(names),
    };
    ControlReply { texts, action, counts: true }
}

/// An answer with the request's id and the times of the venue.
fn answer(message: &Value, mut fields: Value, now: &str) -> String {
    if let Some(fields) = fields.as_object_mut() {
        for name in ["time_in", "time_out"] {
            fields.insert(name.to_owned(), now.into());
        }
        if let Some(id) = message.get("req_id") {
            fields.insert("req_id".to_owned(), id.clone());
        }
    }
    fields.to_string()
}

fn refused(method: &str, problem: &str, symbol: Option<&str>) -> Value {
    let mut fields = json!({"error": problem, "method": method, "success": false});
    if let (Some(fields), Some(symbol)) = (fields.as_object_mut(), symbol) {
        fields.insert("symbol".to_owned(), symbol.into());
    }
    fields
}

/// Books begin with one unless it is declined (which is not simulated), trades only if it is asked for.
fn has_snapshot(params: &Value) -> bool {
    params["snapshot"].as_bool().unwrap_or(params["channel"] == "book")
}

/// The symbols of a request, and what is asked of each of them.
fn wanted(params: &Value) -> Result<(Vec<&str>, Map<String, Value>), String> {
    let channel = params["channel"].as_str().unwrap_or_default();
    let mut request = Map::from_iter([("channel".to_owned(), channel.into())]);
    match channel {
        "book" => {
            let depth = params.get("depth").cloned().unwrap_or_else(|| DEPTHS[0].into());
            if !DEPTHS.iter().any(|known| depth == *known) {
                return Err("Subscription depth not supported".to_owned());
            }
            request.insert("depth".to_owned(), depth);
        }
        "trade" => {}
        other if OTHER_CHANNELS.contains(&other) => return Err(format!("Channel {other} is not simulated")),
        _ => return Err("Unsupported channel".to_owned()),
    }
    request.insert("snapshot".to_owned(), has_snapshot(params).into());
    let symbols = params["symbol"].as_array();
    let symbols = symbols.and_then(|symbols| symbols.iter().map(Value::as_str).collect());
    Ok((symbols.ok_or("Malformed request: symbol must be an array of strings")?, request))
}

fn one(
    method: &str,
    symbol: &str,
    request: &Map<String, Value>,
    view: SessionView<'_>,
    names: &mut Vec<String>,
) -> Value {
    let name = match (request["channel"].as_str(), request.get("depth")) {
        (Some("book"), Some(depth)) => format!("book:{symbol}:{depth}"),
        _ => format!("trade:{symbol}"),
    };
    let has = view.subscriptions.contains(&name) || names.contains(&name);
    let problem = match method {
        _ if !(view.stream_exists)(&name) => format!("Currency pair not supported {symbol}"),
        "subscribe" if has => "Already subscribed".to_owned(),
        "unsubscribe" if !has => "Subscription Not Found".to_owned(),
        _ => {
            names.push(name);
            let mut result = request.clone();
            result.insert("symbol".to_owned(), symbol.into());
            if method == "unsubscribe" {
                result.remove("snapshot");
            }
            return json!({"method": method, "result": result, "success": true});
        }
    };
    refused(method, &problem, Some(symbol))
}
