//! Corrupted frames.

use serde_json::Value;

use super::spec::FaultAction;

pub fn corrupted(action: FaultAction, text: &str) -> String {
    match action {
        FaultAction::Half => half(text).to_owned(),
        FaultAction::WrongTypes => wrong_types(text),
        _ => garbage_text().to_owned(),
    }
}

pub fn garbage_text() -> &'static str {
    "\u{1}\u{fffd}no frame of this venue <html>502 Bad Gateway</html>}{"
}

pub fn garbage_binary() -> &'static [u8] {
    &[0xff, 0xfe, 0x00, 0x80, 0xc3, 0x28, 0x7b, 0x22]
}

pub fn half(text: &str) -> &str {
    let mut end = text.len() / 2;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

/// The frame with numbers and strings exchanged, still JSON.
pub fn wrong_types(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            exchange_types(&mut value);
            value.to_string()
        }
        Err(_) => half(text).to_owned(),
    }
}

fn exchange_types(value: &mut Value) {
    let replaced = match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(exchange_types);
            return;
        }
        Value::Array(items) => {
            items.iter_mut().for_each(exchange_types);
            return;
        }
        Value::Number(number) => Value::String(number.to_string()),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(number @ Value::Number(_)) => number,
            _ => return,
        },
        Value::Bool(flag) => Value::from(u8::from(*flag)),
        Value::Null => return,
    };
    *value = replaced;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrupted_frames_are_wrong_in_the_way_asked_for() {
        let frame = r#"{"e":"trade","E":1672515782136,"s":"BNBBTC","p":"0.5","m":true}"#;
        assert!(serde_json::from_str::<Value>(half(frame)).is_err());
        assert!(serde_json::from_str::<Value>(garbage_text()).is_err());
        assert!(std::str::from_utf8(garbage_binary()).is_err());
        let wrong: Value = serde_json::from_str(&wrong_types(frame)).expect("still JSON");
        assert_eq!(wrong["E"], "1672515782136");
        assert!(wrong["p"].is_number() && wrong["m"] == 1 && wrong["s"] == "BNBBTC");
    }
}
