//! SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY and their answers.

use serde_json::{Value, json};

use crate::venue::{Control, ControlAction, SessionView};

const METHODS: &str = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`";

fn refuse(code: u8, text: &str, id: Option<&Value>) -> Control {
    let mut reply = json!({"code": code, "msg": text});
    if let (Some(id), Some(fields)) = (id, reply.as_object_mut()) {
        fields.insert("id".into(), id.clone());
    }
    Control { replies: vec![reply.to_string()], action: ControlAction::Nothing, counts: false }
}

fn accept(result: &Value, id: &Value, action: ControlAction) -> Control {
    Control { replies: vec![format!(r#"{{"result":{result},"id":{id}}}"#)], action, counts: false }
}

/// An id is an unsigned number, a short alphanumeric string, or null.
fn id_is_valid(id: &Value) -> bool {
    match id {
        Value::Null => true,
        Value::Number(number) => number.is_u64() || number.is_i64(),
        Value::String(text) => {
            text.len() <= 36 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        }
        _ => false,
    }
}

fn stream_names(params: &Value) -> Option<Vec<String>> {
    params.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

pub(super) fn on_message(text: &str, view: SessionView<'_>) -> Control {
    let message: Value = match serde_json::from_str(text) {
        Ok(message) => message,
        Err(error) => return refuse(3, &format!("Invalid JSON: {error}"), None),
    };
    let id = message.get("id").cloned().unwrap_or(Value::Null);
    if !id_is_valid(&id) {
        return refuse(
            2,
            "Invalid request: request ID must be an unsigned integer, a short string or null",
            None,
        );
    }
    let Some(method) = message.get("method").and_then(Value::as_str) else {
        return refuse(2, "Invalid request: missing field `method`", Some(&id));
    };
    let params = message.get("params").unwrap_or(&Value::Null);
    match method {
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            let Some(names) = stream_names(params) else {
                return refuse(2, "Invalid request: params must be a list of strings", Some(&id));
            };
            if method == "UNSUBSCRIBE" {
                return accept(&Value::Null, &id, ControlAction::Unsubscribe(names));
            }
            let added = names.iter().filter(|name| !view.subscriptions.contains(*name)).count();
            if view.subscriptions.len() + added > view.streams_max {
                return refuse(2, "Invalid request: too many streams", Some(&id));
            }
            accept(&Value::Null, &id, ControlAction::Subscribe(names))
        }
        "LIST_SUBSCRIPTIONS" => accept(&json!(view.subscriptions), &id, ControlAction::Nothing),
        "SET_PROPERTY" | "GET_PROPERTY" => property(method, params, &id, view),
        other => {
            let text = format!("Invalid request: unknown variant `{other}`, expected one of {METHODS}");
            refuse(2, &text, Some(&id))
        }
    }
}

fn property(method: &str, params: &Value, id: &Value, view: SessionView<'_>) -> Control {
    if params.get(0).and_then(Value::as_str) != Some("combined") {
        return refuse(0, "Unknown property", Some(id));
    }
    if method == "GET_PROPERTY" {
        return accept(&Value::Bool(view.combined), id, ControlAction::Nothing);
    }
    match params.get(1).and_then(Value::as_bool) {
        Some(on) => accept(&Value::Null, id, ControlAction::Combined(on)),
        None => refuse(1, "Invalid value type: expected Boolean", Some(id)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // Goal: acks and errors have the venue's shapes.
    #[test]
    fn messages_get_the_venues_answers() {
        let subscriptions = BTreeSet::from(["a@trade".to_owned()]);
        let view = SessionView {
            connection: 1,
            exists: &|_| true,
            exhausted: false,
            subscriptions: &subscriptions,
            combined: true,
            streams_max: 2,
        };
        let reply = |text: &str| on_message(text, view).replies.concat();
        assert_eq!(
            reply(r#"{"method":"SUBSCRIBE","params":["b@trade"],"id":1}"#),
            r#"{"result":null,"id":1}"#
        );
        assert_eq!(
            reply(r#"{"method":"LIST_SUBSCRIPTIONS","id":"x1"}"#),
            r#"{"result":["a@trade"],"id":"x1"}"#
        );
        assert_eq!(
            reply(r#"{"method":"GET_PROPERTY","params":["combined"],"id":3}"#),
            r#"{"result":true,"id":3}"#
        );
        for (text, code) in [
            ("{", 3),
            (r#"{"id":1}"#, 2),
            (r#"{"method":"subscribe","params":[],"id":1}"#, 2),
            (r#"{"method":"SUBSCRIBE","params":"a@trade","id":1}"#, 2),
            (r#"{"method":"SUBSCRIBE","params":["b","c"],"id":1}"#, 2),
            (r#"{"method":"SET_PROPERTY","params":["combined",1],"id":1}"#, 1),
            (r#"{"method":"SET_PROPERTY","params":["other",true],"id":1}"#, 0),
        ] {
            let answer: Value = serde_json::from_str(&reply(text)).expect("JSON");
            assert_eq!(answer["code"], code, "{text}");
        }
    }
}
