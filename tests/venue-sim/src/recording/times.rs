//! Shifting venue times inside a message's text.

/// Keys that hold times in ms.
const KEYS: [&str; 3] = ["\"E\":", "\"T\":", "\"serverTime\":"];

/// Adds `shift_ms` to every time of a message, except times in text.
pub fn shift(text: &str, shift_ms: i64) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some((at, key)) = KEYS.iter().filter_map(|key| Some((rest.find(key)?, *key))).min() {
        let (before, value) = rest.split_at(at + key.len());
        out.push_str(before);
        let end = value.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
        let (digits, after) = value.split_at(end);
        match digits.parse::<i64>() {
            // 0 means "no time" (funding of dated contracts).
            Ok(time) if time > 0 => out.push_str(&time.saturating_add(shift_ms).to_string()),
            _ => out.push_str(digits),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_are_shifted() {
        let text = r#"{"e":"trade","E":1000,"t":1000,"p":"1000","T":2000,"o":{"T":0,"X":"E"}}"#;
        let moved = r#"{"e":"trade","E":1500,"t":1000,"p":"1000","T":2500,"o":{"T":0,"X":"E"}}"#;
        assert_eq!(shift(text, 500), moved);
        assert_eq!(shift("[]", 5), "[]");
    }
}
