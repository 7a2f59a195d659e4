//! Pings, subscriptions, and the venue's errors.

use serde_json::{Value, json};

use crate::clock;
use crate::venue::{ControlAction, ControlReply, SessionView};

/// Topics in a request.
const SPOT_ARGS_MAX: usize = 10;
/// Characters of all topics of a connection.
const CHARACTERS_MAX: usize = 21_000;

pub(super) fn on_message(spot: bool, text: &str, view: SessionView<'_>) -> ControlReply {
    let message: Value = match serde_json::from_str(text) {
        Ok(message) => message,
        Err(problem) => {
            let problem = format!("Failed to decode incoming data:{problem}");
            return ControlReply::new(reply(view, "", "", Err(problem)), ControlAction::Nothing);
        }
    };
    let text_of = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
    let (op, id) = (text_of("op"), text_of("req_id"));
    if op == "ping" {
        return ControlReply::new(pong(spot, view, id), ControlAction::Nothing);
    }
    let (result, action) = match request(spot, op, message.get("args"), view) {
        Ok(action) => (Ok(if spot { op } else { "" }), action),
        Err(problem) => (Err(problem), ControlAction::Nothing),
    };
    ControlReply::new(reply(view, op, id, result), action)
}

fn connection_id(view: SessionView<'_>) -> String {
    super::frames::uuid(view.connection)
}

fn reply(view: SessionView<'_>, op: &str, id: &str, result: Result<&str, String>) -> String {
    let success = result.is_ok();
    let said = result.map_or_else(|problem| problem, str::to_owned);
    json!({"success": success, "ret_msg": said, "conn_id": connection_id(view), "req_id": id, "op": op})
        .to_string()
}

/// The form depends on the address.
fn pong(spot: bool, view: SessionView<'_>, id: &str) -> String {
    if spot {
        return reply(view, "ping", id, Ok("pong"));
    }
    let now = clock::now_ms().to_string();
    json!({"req_id": id, "op": "pong", "args": [now], "conn_id": connection_id(view)}).to_string()
}

/// A wrong topic refuses its whole request.
fn request(
    spot: bool,
    op: &str,
    args: Option<&Value>,
    view: SessionView<'_>,
) -> Result<ControlAction, String> {
    let subscribes = op == "subscribe";
    if !subscribes && op != "unsubscribe" {
        return Err("error:invalid op".to_owned());
    }
    let args = args.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
    if names.is_empty() {
        return Err("error:args is empty".to_owned());
    }
    if spot && names.len() > SPOT_ARGS_MAX {
        return Err("args size >10".to_owned());
    }
    if let Some(unknown) = names.iter().find(|name| !(view.stream_exists)(name)) {
        return Err(match spot {
            true => format!("Invalid symbol :[{unknown}]"),
            false => format!("error:handler not found,topic:{unknown}"),
        });
    }
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    if !subscribes {
        return Ok(ControlAction::Unsubscribe(names));
    }
    if let Some(known) = names.iter().find(|name| view.subscriptions.contains(*name)) {
        return Err(format!("error:already subscribed,topic:{known}"));
    }
    let characters: usize = view.subscriptions.iter().chain(&names).map(String::len).sum();
    if characters > CHARACTERS_MAX {
        return Err(format!("args length {characters} >{CHARACTERS_MAX}"));
    }
    Ok(ControlAction::Subscribe(names))
}
