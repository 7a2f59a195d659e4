//! Subscriptions, heartbeat, and the venue's errors.

use std::time::Duration;

use serde_json::Value;

use super::rpc;
use crate::clock;
use crate::venue::{ControlAction, ControlReply, SessionView};

/// Shortest period of a heartbeat, seconds.
const HEARTBEAT_MIN_S: u64 = 10;

/// The result as JSON and the action, or the error as JSON.
type Response = Result<(String, ControlAction), String>;

pub(super) fn on_message(text: &str, view: SessionView<'_>) -> ControlReply {
    let now_ms = clock::now_ms();
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return ControlReply::new(rpc::error(None, now_ms, rpc::NO_JSON), ControlAction::Nothing);
    };
    let counts = message.get("method").is_some_and(|method| method == "public/subscribe") && !view.exhausted;
    let (reply, action) = match respond(&message, view, now_ms) {
        Ok((json, action)) => (rpc::result(message.get("id"), now_ms, &json), action),
        Err(json) => (rpc::error(message.get("id"), now_ms, &json), ControlAction::Nothing),
    };
    ControlReply { counts, ..ControlReply::new(reply, action) }
}

fn respond(message: &Value, view: SessionView<'_>, now_ms: i64) -> Response {
    let params = &message["params"];
    let version = || r#"{"version":"1.2.26"}"#.to_owned();
    match message["method"].as_str().unwrap_or_default() {
        "public/subscribe" => subscribe(params, view),
        "public/unsubscribe" => {
            let names = channels(params)?.into_iter().filter(|name| view.subscriptions.contains(name));
            Ok(listing(names.collect(), ControlAction::Unsubscribe))
        }
        "public/unsubscribe_all" => {
            let all = view.subscriptions.iter().cloned().collect();
            Ok((r#""ok""#.to_owned(), ControlAction::Unsubscribe(all)))
        }
        "public/set_heartbeat" => match params["interval"].as_u64() {
            Some(seconds) if seconds >= HEARTBEAT_MIN_S => {
                Ok((r#""ok""#.to_owned(), ControlAction::Heartbeat(Duration::from_secs(seconds))))
            }
            _ => Err(rpc::bad_parameter("interval", "must be at least 10")),
        },
        "public/test" => Ok((version(), ControlAction::HeartbeatAnswered)),
        "public/hello" => Ok((version(), ControlAction::Nothing)),
        "public/get_time" => Ok((now_ms.to_string(), ControlAction::Nothing)),
        _ => Err(rpc::NO_METHOD.to_owned()),
    }
}

fn channels(params: &Value) -> Result<Vec<String>, String> {
    let list = params["channels"].as_array();
    let names = list.and_then(|list| list.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    names.ok_or_else(|| rpc::bad_parameter("channels", "must be a list of strings"))
}

fn subscribe(params: &Value, view: SessionView<'_>) -> Response {
    if view.exhausted {
        return Err(rpc::TOO_MANY.to_owned());
    }
    let names = channels(params)?;
    // One raw channel refuses the whole request.
    if names.iter().any(|name| name.ends_with(".raw")) {
        return Err(rpc::RAW_REFUSED.to_owned());
    }
    // Unknown channels are not refused, they are only missing in the result.
    let known = names.into_iter().filter(|name| (view.stream_exists)(name)).collect();
    Ok(listing(known, ControlAction::Subscribe))
}

/// The affected channels, in an order of the venue's own.
fn listing(mut names: Vec<String>, action: fn(Vec<String>) -> ControlAction) -> (String, ControlAction) {
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.dedup();
    (Value::from(names.clone()).to_string(), action(names))
}
