//! Where two golden lines differ, by the name of the field.

use serde_json::Value;

/// The first difference: the path of the field, what was expected, what came. Nothing when they are equal.
pub(crate) fn difference(expected: &Value, came: &Value) -> Option<String> {
    let mut path = String::new();
    let (expected, came) = first(expected, came, &mut path)?;
    let field = if path.is_empty() { "the line".to_owned() } else { path };
    Some(format!("{field} is {}, expected {}", shown(came), shown(expected)))
}

fn first<'a>(
    expected: &'a Value,
    came: &'a Value,
    path: &mut String,
) -> Option<(Option<&'a Value>, Option<&'a Value>)> {
    match (expected, came) {
        (Value::Object(left), Value::Object(right)) => {
            let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
            for name in names {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                match (left.get(name), right.get(name)) {
                    (Some(left), Some(right)) => {
                        if let Some(found) = first(left, right, path) {
                            return Some(found);
                        }
                    }
                    (left, right) => return Some((left, right)),
                }
                path.truncate(length);
            }
            None
        }
        (Value::Array(left), Value::Array(right)) => {
            for index in 0..left.len().max(right.len()) {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                match (left.get(index), right.get(index)) {
                    (Some(left), Some(right)) => {
                        if let Some(found) = first(left, right, path) {
                            return Some(found);
                        }
                    }
                    (left, right) => return Some((left, right)),
                }
                path.truncate(length);
            }
            None
        }
        (left, right) => (left != right).then_some((Some(left), Some(right))),
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let end = (0..=300.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default().to_owned()
}

/// The first line in which two outputs differ: its number (from 0), its frame, and the difference.
pub(crate) fn first_line(expected: &[Value], came: &[Value]) -> Option<(usize, String)> {
    for index in 0..expected.len().max(came.len()) {
        let (left, right) = (expected.get(index), came.get(index));
        let frame =
            left.or(right).and_then(|line| line.get("frame")).map_or(0, |frame| frame.as_u64().unwrap_or(0));
        let found = match (left, right) {
            (Some(left), Some(right)) => difference(left, right),
            (left, right) => Some(format!("the line is {}, expected {}", shown(right), shown(left))),
        };
        if let Some(found) = found {
            return Some((index, format!("frame {frame}: {found}")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_name_their_field() {
        let line = |side: &str, bids: Value| json!({"frame": 3, "event": {"side": side, "bids": bids}});
        let expected = line("buy", json!([["1", "2"]]));
        assert_eq!(difference(&expected, &expected), None);
        let came = line("sell", json!([["1", "2"]]));
        assert_eq!(difference(&expected, &came).unwrap(), "event.side is \"sell\", expected \"buy\"");
        let came = line("buy", json!([["1", "3"]]));
        assert_eq!(difference(&expected, &came).unwrap(), "event.bids[0][1] is \"3\", expected \"2\"");
        let came = line("buy", json!([]));
        assert_eq!(difference(&expected, &came).unwrap(), "event.bids[0] is nothing, expected [\"1\",\"2\"]");
        let (number, text) = first_line(std::slice::from_ref(&expected), &[]).unwrap();
        assert_eq!(number, 0);
        assert!(text.starts_with("frame 3: the line is nothing, expected {"), "{text}");
    }
}
