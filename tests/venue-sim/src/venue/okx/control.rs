//! Heartbeats, subscribing, and the venue's errors.

use serde_json::{Value, json};

use super::streams::LIQUIDATIONS;
use crate::venue::{Control, ControlAction, SessionView};

/// Channels that need a login of a higher tier.
const TIERED: [&str; 2] = ["books-l2-tbt", "books50-l2-tbt"];

/// One connection's answers.
struct Answers<'a> {
    view: SessionView<'a>,
    id: Option<Value>,
    replies: Vec<String>,
}

impl Answers<'_> {
    fn add(&mut self, mut fields: Value) {
        if let Some(object) = fields.as_object_mut() {
            object.insert("connId".into(), connection_id(self.view.connection).into());
            if let Some(id) = &self.id {
                object.insert("id".into(), id.clone());
            }
        }
        self.replies.push(fields.to_string());
    }

    fn refuse(&mut self, code: &str, text: &str) {
        self.add(json!({"event": "error", "code": code, "msg": text}));
    }
}

fn connection_id(connection: u64) -> String {
    format!("{:08x}", connection.wrapping_mul(0x9e37_79b1) & 0xffff_ffff)
}

/// The stream that an arg names.
fn stream(arg: &Value) -> Option<String> {
    let text = |name: &str| arg.get(name).and_then(Value::as_str);
    let channel = text("channel")?;
    let by = if channel == LIQUIDATIONS { text("instType")? } else { text("instId")? };
    Some(format!("{channel}:{by}"))
}

fn doubt(arg: &Value) -> String {
    let fields = arg.as_object().into_iter().flatten();
    let named: Vec<String> =
        fields.map(|(key, value)| format!("{key}:{}", value.as_str().unwrap_or("?"))).collect();
    let advice = "Please use the correct URL, channel and parameters referring to API document.";
    format!("Wrong URL or {} doesn't exist. {advice}", named.join(","))
}

pub(super) fn on_message(text: &str, view: SessionView<'_>) -> Control {
    if text == "ping" {
        return Control { replies: vec!["pong".into()], action: ControlAction::Nothing, counts: false };
    }
    let mut answers = Answers { view, id: None, replies: Vec::new() };
    let (action, counts) = request(text, &mut answers);
    Control { replies: answers.replies, action, counts }
}

fn request(text: &str, answers: &mut Answers<'_>) -> (ControlAction, bool) {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        answers.refuse("60012", &format!("Invalid request: {}", text.replace('"', "'")));
        return (ControlAction::Nothing, false);
    };
    answers.id = message.get("id").cloned();
    let op = message.get("op").and_then(Value::as_str).unwrap_or_default();
    let (Some(args), "subscribe" | "unsubscribe") = (message.get("args").and_then(Value::as_array), op)
    else {
        answers.refuse("60012", &format!("Invalid request: {}", text.replace('"', "'")));
        return (ControlAction::Nothing, false);
    };
    if answers.view.exhausted {
        answers.refuse("60014", "Requests too frequent");
        return (ControlAction::Nothing, true);
    }
    let mut names = Vec::new();
    for arg in args {
        if let Some(name) = accept(op, arg, answers) {
            names.push(name);
        }
    }
    if op == "unsubscribe" {
        return (ControlAction::Unsubscribe(names), true);
    }
    if !names.is_empty() {
        // Comes unasked now and then; sent each time, so that clients meet it.
        answers.id = None;
        answers.add(json!({"event": "channel-conn-count", "channel": "books", "connCount": "1"}));
    }
    (ControlAction::Subscribe(names), true)
}

/// Acknowledges or refuses one arg; the others stand whatever becomes of it.
fn accept(op: &str, arg: &Value, answers: &mut Answers<'_>) -> Option<String> {
    let Some(name) = stream(arg) else {
        answers.refuse("60013", "Invalid args");
        return None;
    };
    let channel = name.split(':').next().unwrap_or_default();
    if TIERED.contains(&channel) {
        answers.refuse("64003", "Your trading fee tier doesn't meet the requirement to access this channel");
        return None;
    }
    if !(answers.view.exists)(&name) {
        answers.refuse("60018", &doubt(arg));
        return None;
    }
    answers.add(json!({"event": op, "arg": arg}));
    Some(name)
}
