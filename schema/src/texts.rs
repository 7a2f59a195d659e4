//! Lists of values in their text forms, for serde. Those with an unknown name are left out (see [`crate::with_unknown_names`]).

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

use crate::names::known_entry;

pub(crate) fn serialize<T: Display, S: Serializer>(items: &[T], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(items.iter().map(ToString::to_string))
}

pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let read = |text: &String| text.parse().map_err(|e| D::Error::custom(format!("{text:?}: {e}")));
    texts.iter().filter_map(|text| known_entry(|| read(text))).collect()
}
