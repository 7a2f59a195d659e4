//! SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY and their answers.

use serde_json::{Value, json};

use crate::venue::{ControlAction, ControlReply, SessionView};

const METHODS: &str = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`";

type ControlError = (u8, String);

pub(super) fn on_message(text: &str, view: SessionView<'_>) -> ControlReply {
    let message: Value = match serde_json::from_str(text) {
        Ok(message) => message,
        Err(error) => return refuse((3, format!("Invalid JSON: {error}")), None),
    };
    let id = message.get("id").cloned().unwrap_or(Value::Null);
    if !id_is_valid(&id) {
        let text = "Invalid request: request ID must be an unsigned integer, a short string or null";
        return refuse((2, text.to_owned()), None);
    }
    match answer(&message, view) {
        Ok((result, action)) => ControlReply::new(format!(r#"{{"result":{result},"id":{id}}}"#), action),
        Err(refusal) => refuse(refusal, Some(&id)),
    }
}

fn refuse((code, text): ControlError, id: Option<&Value>) -> ControlReply {
    let mut reply = json!({"code": code, "msg": text});
    if let (Some(id), Some(fields)) = (id, reply.as_object_mut()) {
        fields.insert("id".into(), id.clone());
    }
    ControlReply::new(reply.to_string(), ControlAction::Nothing)
}

/// An id is an integer, a short alphanumeric string, or null.
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

fn answer(message: &Value, view: SessionView<'_>) -> Result<(Value, ControlAction), ControlError> {
    let invalid = |text: &str| (2, format!("Invalid request: {text}"));
    let method = message["method"].as_str().ok_or_else(|| invalid("missing field `method`"))?;
    let params = &message["params"];
    match method {
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            let names: Option<Vec<String>> = params
                .as_array()
                .and_then(|names| names.iter().map(|n| n.as_str().map(str::to_owned)).collect());
            let names = names.ok_or_else(|| invalid("params must be a list of strings"))?;
            if method == "UNSUBSCRIBE" {
                return Ok((Value::Null, ControlAction::Unsubscribe(names)));
            }
            let added = names.iter().filter(|name| !view.subscriptions.contains(*name)).count();
            if view.subscriptions.len() + added > view.streams_max {
                return Err(invalid("too many streams"));
            }
            Ok((Value::Null, ControlAction::Subscribe(names)))
        }
        "LIST_SUBSCRIPTIONS" => Ok((json!(view.subscriptions), ControlAction::Nothing)),
        "SET_PROPERTY" | "GET_PROPERTY" if params[0] != "combined" => Err((0, "Unknown property".to_owned())),
        "GET_PROPERTY" => Ok((view.combined.into(), ControlAction::Nothing)),
        "SET_PROPERTY" => match params[1].as_bool() {
            Some(on) => Ok((Value::Null, ControlAction::Combined(on))),
            None => Err((1, "Invalid value type: expected Boolean".to_owned())),
        },
        other => Err(invalid(&format!("unknown variant `{other}`, expected one of {METHODS}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn messages_get_the_venues_answers() {
        let subscriptions = BTreeSet::from(["a@trade".to_owned()]);
        let view = SessionView {
            connection: 1,
            stream_exists: &|_| true,
            exhausted: false,
            subscriptions: &subscriptions,
            combined: true,
            streams_max: 2,
        };
        let reply = |text: &str| on_message(text, view).texts.concat();
        for (text, expected) in [
            (r#"{"method":"SUBSCRIBE","params":["b@trade"],"id":1}"#, r#"{"result":null,"id":1}"#),
            (r#"{"method":"LIST_SUBSCRIPTIONS","id":"x1"}"#, r#"{"result":["a@trade"],"id":"x1"}"#),
            (r#"{"method":"GET_PROPERTY","params":["combined"],"id":3}"#, r#"{"result":true,"id":3}"#),
        ] {
            assert_eq!(reply(text), expected);
        }
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
