//! The venue's book in the venue's own words, checked with the venue's own checksum.

use super::number::Number;
use serde_json::Value;
use std::collections::BTreeMap;

/// Prices to price and size as written. Prices are compared at twenty places.
#[derive(Debug, Default)]
pub struct RawBook {
    bids: BTreeMap<i128, (String, String)>,
    asks: BTreeMap<i128, (String, String)>,
}

impl RawBook {
    /// Applies an item of the `books` channel.
    pub fn apply(&mut self, item: &Value, snapshot: bool) {
        if snapshot {
            *self = RawBook::default();
        }
        for (key, side) in [("bids", &mut self.bids), ("asks", &mut self.asks)] {
            for level in item[key].as_array().unwrap() {
                let (price, size) = (level[0].as_str().unwrap(), level[1].as_str().unwrap());
                let at = rank(price);
                if Number::parse(size).unwrap().is_zero() {
                    side.remove(&at);
                } else {
                    side.insert(at, (price.to_owned(), size.to_owned()));
                }
            }
        }
    }

    /// Best first.
    pub fn bids(&self) -> Vec<(String, String)> {
        self.bids.values().rev().cloned().collect()
    }

    /// Best first.
    pub fn asks(&self) -> Vec<(String, String)> {
        self.asks.values().cloned().collect()
    }

    /// The venue's checksum of old: CRC-32, as a signed number, over price and size of the best 25 levels, bid
    /// and ask in turn, as written, joined by colons.
    pub fn checksum(&self) -> i64 {
        let (bids, asks) = (self.bids(), self.asks());
        let mut parts = Vec::new();
        for depth in 0..25 {
            for side in [&bids, &asks] {
                parts.extend(side.get(depth).into_iter().flat_map(|(price, size)| [&**price, &**size]));
            }
        }
        i64::from(crc32(parts.join(":").as_bytes()).cast_signed())
    }
}

/// A price as a whole number of 10^-20.
fn rank(price: &str) -> i128 {
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    format!("{whole}{fraction:0<20}").parse().unwrap()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

// Goal: the checksum's algorithm is CRC-32 (IEEE). Method: its well-known check value.
#[test]
fn crc32_has_its_check_value() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
