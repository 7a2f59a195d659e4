//! Subscribing, the heartbeat, and the venue's errors.

use std::time::Duration;

use serde_json::Value;

use super::rpc;
use crate::clock;
use crate::venue::{Control, ControlAction, SessionView};

/// Shortest period of a heartbeat, seconds.
const HEARTBEAT_MIN_S: u64 = 10;

/// What becomes of a request: its result or error as JSON, and what changes.
struct Outcome {
    answer: Result<String, String>,
    action: ControlAction,
    counts: bool,
}

impl Outcome {
    fn result(json: &str, action: ControlAction) -> Outcome {
        Outcome { answer: Ok(json.to_owned()), action, counts: false }
    }

    fn error(json: &str) -> Outcome {
        Outcome { answer: Err(json.to_owned()), action: ControlAction::Nothing, counts: false }
    }
}

pub(super) fn on_message(text: &str, view: SessionView<'_>) -> Control {
    let now_ms = clock::now_ms();
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        let reply = rpc::error(None, now_ms, rpc::NO_JSON);
        return Control { replies: vec![reply], action: ControlAction::Nothing, counts: false };
    };
    let Outcome { answer, action, counts } = request(&message, view, now_ms);
    let reply = match answer {
        Ok(json) => rpc::result(message.get("id"), now_ms, &json),
        Err(json) => rpc::error(message.get("id"), now_ms, &json),
    };
    Control { replies: vec![reply], action, counts }
}

fn request(message: &Value, view: SessionView<'_>, now_ms: i64) -> Outcome {
    let params = message.get("params");
    let version = r#"{"version":"1.2.26"}"#;
    match message.get("method").and_then(Value::as_str).unwrap_or_default() {
        "public/subscribe" => subscribe(params, view),
        "public/unsubscribe" => match channels(params) {
            Ok(names) => {
                let known = names.into_iter().filter(|name| view.subscriptions.contains(name)).collect();
                listing(known, ControlAction::Unsubscribe)
            }
            Err(error) => Outcome::error(&error),
        },
        "public/unsubscribe_all" => {
            let all = view.subscriptions.iter().cloned().collect();
            Outcome::result(r#""ok""#, ControlAction::Unsubscribe(all))
        }
        "public/set_heartbeat" => heartbeat(params),
        "public/test" => Outcome::result(version, ControlAction::Answered),
        "public/hello" => Outcome::result(version, ControlAction::Nothing),
        "public/get_time" => Outcome::result(&now_ms.to_string(), ControlAction::Nothing),
        _ => Outcome::error(rpc::NO_METHOD),
    }
}

fn channels(params: Option<&Value>) -> Result<Vec<String>, String> {
    let list = params.and_then(|params| params.get("channels")).and_then(Value::as_array);
    let names = list.map(|list| list.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    names.flatten().ok_or_else(|| rpc::bad_parameter("channels", "must be a list of strings"))
}

fn subscribe(params: Option<&Value>, view: SessionView<'_>) -> Outcome {
    if view.exhausted {
        return Outcome::error(rpc::TOO_MANY);
    }
    match channels(params) {
        // Nothing of the request is done, its good channels neither.
        Ok(names) if names.iter().any(|name| name.ends_with(".raw")) => {
            Outcome { counts: true, ..Outcome::error(rpc::RAW_REFUSED) }
        }
        Ok(names) => {
            // Unknown channels are not refused, they are only missing in the answer.
            let known = names.into_iter().filter(|name| (view.exists)(name)).collect();
            Outcome { counts: true, ..listing(known, ControlAction::Subscribe) }
        }
        Err(error) => Outcome { counts: true, ..Outcome::error(&error) },
    }
}

/// Answers with the channels that something is done with, in an order of the venue's own.
fn listing(mut names: Vec<String>, action: fn(Vec<String>) -> ControlAction) -> Outcome {
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.dedup();
    Outcome::result(&Value::from(names.clone()).to_string(), action(names))
}

fn heartbeat(params: Option<&Value>) -> Outcome {
    match params.and_then(|params| params.get("interval")).and_then(Value::as_u64) {
        Some(seconds) if seconds >= HEARTBEAT_MIN_S => {
            Outcome::result(r#""ok""#, ControlAction::Heartbeat(Duration::from_secs(seconds)))
        }
        _ => Outcome::error(&rpc::bad_parameter("interval", "must be at least 10")),
    }
}
