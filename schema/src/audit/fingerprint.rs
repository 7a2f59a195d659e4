//! A number by which two sets of event ids are compared without their ids.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::EventId;

/// The columns that make [`Fingerprint`] of a table's rows, in its order: count, xor, sum.
pub const FINGERPRINT_SQL: &str =
    "count(), groupBitXor(toUInt64(event_id)), sum(toUInt64(bitShiftRight(event_id, 64)))";

/// Number of event ids, the XOR of their low halves and the wrapping sum of their high halves.
///
/// Order does not matter, fingerprints of disjoint parts add up, and [`Fingerprint::remove`] takes ids out again. Event ids are 128-bit
/// hashes: two different sets of one size agree by chance once in 2^128.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Fingerprint {
    /// Ids.
    pub count: u64,
    /// XOR of the low 64 bits.
    pub xor: u64,
    /// Sum of the high 64 bits, modulo 2^64.
    pub sum: u64,
}

impl Fingerprint {
    /// Adds an id.
    pub const fn add(&mut self, id: EventId) {
        let (high, low) = halves(id);
        self.count = self.count.wrapping_add(1);
        self.xor ^= low;
        self.sum = self.sum.wrapping_add(high);
    }

    /// Takes an id out that was added before.
    pub const fn remove(&mut self, id: EventId) {
        let (high, low) = halves(id);
        self.count = self.count.wrapping_sub(1);
        self.xor ^= low;
        self.sum = self.sum.wrapping_sub(high);
    }

    /// Adds all ids of another one.
    pub const fn merge(&mut self, other: &Self) {
        self.count = self.count.wrapping_add(other.count);
        self.xor ^= other.xor;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Takes all ids of another one out, which were added before.
    pub const fn subtract(&mut self, other: &Self) {
        self.count = self.count.wrapping_sub(other.count);
        self.xor ^= other.xor;
        self.sum = self.sum.wrapping_sub(other.sum);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
const fn halves(id: EventId) -> (u64, u64) {
    ((id.0 >> 64) as u64, id.0 as u64)
}

impl FromIterator<EventId> for Fingerprint {
    fn from_iter<T: IntoIterator<Item = EventId>>(ids: T) -> Self {
        let mut fingerprint = Self::default();
        for id in ids {
            fingerprint.add(id);
        }
        fingerprint
    }
}

/// `count:xor:sum`, the halves as 16 hex digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}:{:016x}", self.count, self.xor, self.sum)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The halves are text, because many readers of JSON lose digits of 64-bit numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    count: u64,
    xor: String,
    sum: String,
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (xor, sum) = (format!("{:016x}", self.xor), format!("{:016x}", self.sum));
        Written { count: self.count, xor, sum }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let half = |field: &str, text: &str| {
            let hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let half = hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
            half.ok_or_else(|| serde::de::Error::custom(format!("{field}: {text:?} is not 16 hex digits")))
        };
        Ok(Self { count: written.count, xor: half("xor", &written.xor)?, sum: half("sum", &written.sum)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(high: u64, low: u64) -> EventId {
        EventId((u128::from(high) << 64) | u128::from(low))
    }

    #[test]
    fn sets_have_one_fingerprint() {
        let ids = [id(u64::MAX, 1), id(2, u64::MAX), id(3, 3), id(4, 0)];
        let all: Fingerprint = ids.into_iter().collect();
        assert_eq!(all, Fingerprint { count: 4, xor: u64::MAX ^ 1 ^ 3, sum: 8 });
        assert_eq!(all, ids.into_iter().rev().collect());
        let mut parts: Fingerprint = ids[..1].iter().copied().collect();
        parts.merge(&ids[1..].iter().copied().collect());
        assert_eq!(parts, all);
        let mut rest = all;
        rest.subtract(&ids[1..].iter().copied().collect());
        assert_eq!(rest, ids[..1].iter().copied().collect());
        parts.remove(ids[2]);
        assert_eq!(parts, [ids[0], ids[1], ids[3]].into_iter().collect());
    }

    #[test]
    fn the_written_form_keeps_every_bit() {
        let one: Fingerprint = [id(u64::MAX, 0xab)].into_iter().collect();
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(text, r#"{"count":1,"xor":"00000000000000ab","sum":"ffffffffffffffff"}"#);
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), one);
        let wrong = text.replace("00ab", "00xy");
        let error = serde_json::from_str::<Fingerprint>(&wrong).unwrap_err().to_string();
        assert!(error.contains("xor") && error.contains("16 hex digits"), "{error}");
    }
}
