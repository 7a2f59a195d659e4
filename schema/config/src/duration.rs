//! Durations as whole numbers; the key ends in the unit. Use with `#[serde(with = "..")]` and `#[schemars(with = "u64")]`.

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $from:ident, $to:ident) => {
        $(#[$doc])*
        pub mod $name {
            use std::time::Duration;

            use serde::{Deserialize, Deserializer, Serializer};

            /// Writes the whole number.
            pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_u64(u64::try_from(value.$to()).unwrap_or(u64::MAX))
            }

            /// Reads a whole number.
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
                u64::deserialize(from).map(Duration::$from)
            }
        }
    };
}

unit!(
    /// Milliseconds.
    millis,
    from_millis,
    as_millis
);
unit!(
    /// A whole number of seconds in configuration.
    seconds,
    from_secs,
    as_secs
);
