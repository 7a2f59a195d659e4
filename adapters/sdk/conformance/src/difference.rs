//! Where two golden lines differ, by the name of the field.

use serde_json::Value;

/// The first difference: the path of the field, what was expected, what came. Nothing when they are equal.
pub(crate) fn difference(expected: &Value, came: &Value) -> Option<String> {
    let (path, expected, came) = first(expected, came)?;
    let field = if path.is_empty() { "the line" } else { path.trim_start_matches('.') };
    Some(format!("{field} is {}, expected {}", shown(came), shown(expected)))
}

type Difference<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn first<'a>(expected: &'a Value, came: &'a Value) -> Option<Difference<'a>> {
    let parts: Vec<Difference<'a>> = match (expected, came) {
        _ if expected == came => return None,
        (Value::Object(left), Value::Object(right)) => {
            let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
            names.map(|name| (format!(".{name}"), left.get(name), right.get(name))).collect()
        }
        (Value::Array(left), Value::Array(right)) => (0..left.len().max(right.len()))
            .map(|index| (format!("[{index}]"), left.get(index), right.get(index)))
            .collect(),
        _ => return Some((String::new(), Some(expected), Some(came))),
    };
    parts.into_iter().find_map(|(name, left, right)| match (left, right) {
        (Some(left), Some(right)) => {
            first(left, right).map(|(path, left, right)| (name + &path, left, right))
        }
        _ => Some((name, left, right)),
    })
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
