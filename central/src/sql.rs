//! SQL fragments: the one place that quotes texts, converts times and reads stream identities for ClickHouse.

use marketprism_schema::StreamId;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

/// Subject of a row's stream, to be read with [`stream_id`].
pub const SUBJECT: &str = "concatWithSeparator('.', toString(data_type), toString(exchange), toString(market_type), toString(symbol))";

pub fn stream_id<'de, D: Deserializer<'de>>(column: D) -> Result<StreamId, D::Error> {
    StreamId::parse(&String::deserialize(column)?).map_err(D::Error::custom)
}

/// None for a stream with names that this version does not know.
pub fn known_stream<'de, D: Deserializer<'de>>(column: D) -> Result<Option<StreamId>, D::Error> {
    String::deserialize(column).map(|subject| StreamId::parse(&subject).ok())
}

/// String literal. Symbols and exchange names are text from outside.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Comma-separated event ids. Quoted: ClickHouse reads a bare number above 64 bits as a float.
pub fn ids(ids: impl IntoIterator<Item = u128>) -> String {
    ids.into_iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",")
}

/// `DateTime64(3)` of milliseconds since 1970.
pub fn millis(ms: i64) -> String {
    format!("fromUnixTimestamp64Milli(toInt64({ms}), 'UTC')")
}

/// `DateTime64(6)` of microseconds since 1970.
pub fn micros(us: i64) -> String {
    format!("fromUnixTimestamp64Micro(toInt64({us}), 'UTC')")
}

/// `DateTime64(9)` of nanoseconds since 1970.
pub fn nanos(ns: i64) -> String {
    format!("fromUnixTimestamp64Nano(toInt64({ns}), 'UTC')")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_cannot_end_the_literal_that_it_stands_in() {
        assert_eq!(quote("a'b\\"), "'a\\'b\\\\'");
    }
}
