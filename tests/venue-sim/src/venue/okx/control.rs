//! Heartbeats, subscriptions, and the venue's errors.

use serde_json::{Value, json};

use super::instruments::LIQUIDATIONS;
use crate::venue::{ControlAction, ControlReply, SessionView};

/// Channels that need a login of a higher tier.
const TIERED: [&str; 2] = ["books-l2-tbt", "books50-l2-tbt"];

type OkxError = (&'static str, String);

struct Replies<'a> {
    view: SessionView<'a>,
    id: Option<Value>,
    texts: Vec<String>,
}

impl Replies<'_> {
    fn add(&mut self, mut reply: Value) {
        let Some(fields) = reply.as_object_mut() else { return };
        let connection = self.view.connection.wrapping_mul(0x9e37_79b1) & 0xffff_ffff;
        fields.insert("connId".to_owned(), format!("{connection:08x}").into());
        if let Some(id) = &self.id {
            fields.insert("id".to_owned(), id.clone());
        }
        self.texts.push(reply.to_string());
    }

    fn refuse(&mut self, (code, text): OkxError) {
        self.add(json!({"event": "error", "code": code, "msg": text}));
    }
}

pub(super) fn on_message(text: &str, view: SessionView<'_>) -> ControlReply {
    if text == "ping" {
        return ControlReply::new("pong".to_owned(), ControlAction::Nothing);
    }
    let mut replies = Replies { view, id: None, texts: Vec::new() };
    let (action, counts) = request(text, &mut replies);
    ControlReply { texts: replies.texts, action, counts }
}

fn request(text: &str, replies: &mut Replies<'_>) -> (ControlAction, bool) {
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    replies.id = message.get("id").cloned();
    let (Some(args), Some(op @ ("subscribe" | "unsubscribe"))) =
        (message.get("args").and_then(Value::as_array), message.get("op").and_then(Value::as_str))
    else {
        replies.refuse(("60012", format!("Invalid request: {}", text.replace('"', "'"))));
        return (ControlAction::Nothing, false);
    };
    if replies.view.exhausted {
        replies.refuse(("60014", "Requests too frequent".to_owned()));
        return (ControlAction::Nothing, true);
    }
    // Each arg is acknowledged or refused for itself.
    let mut names = Vec::new();
    for arg in args {
        match stream(arg, &replies.view) {
            Ok(name) => {
                replies.add(json!({"event": op, "arg": arg}));
                names.push(name);
            }
            Err(refusal) => replies.refuse(refusal),
        }
    }
    if op == "unsubscribe" {
        return (ControlAction::Unsubscribe(names), true);
    }
    if !names.is_empty() {
        // The venue sends it now and then without request; sent each time here, so that clients meet it.
        replies.id = None;
        replies.add(json!({"event": "channel-conn-count", "channel": "books", "connCount": "1"}));
    }
    (ControlAction::Subscribe(names), true)
}

/// The existing stream that an arg refers to.
fn stream(arg: &Value, view: &SessionView<'_>) -> Result<String, OkxError> {
    let channel = arg["channel"].as_str().unwrap_or_default();
    let subject = arg[if channel == LIQUIDATIONS { "instType" } else { "instId" }].as_str();
    let (Some(subject), false) = (subject, channel.is_empty()) else {
        return Err(("60013", "Invalid args".to_owned()));
    };
    if TIERED.contains(&channel) {
        let text = "Your trading fee tier doesn't meet the requirement to access this channel";
        return Err(("64003", text.to_owned()));
    }
    let name = format!("{channel}:{subject}");
    if !(view.stream_exists)(&name) {
        let fields = arg.as_object().into_iter().flatten();
        let fields: Vec<_> =
            fields.map(|(key, value)| format!("{key}:{}", value.as_str().unwrap_or("?"))).collect();
        let advice = "Please use the correct URL, channel and parameters referring to API document.";
        return Err(("60018", format!("Wrong URL or {} doesn't exist. {advice}", fields.join(","))));
    }
    Ok(name)
}
