//! The two sides of a calculated book.

use std::collections::BTreeMap;

use serde_json::Value;

use super::DEPTH;
use marketprism_tests::number::{key, plain};

pub type Levels = Vec<[String; 2]>;

/// Prices and the venue's own quantities, with the texts they were written in.
#[derive(Debug, Default)]
pub struct Sides {
    pub bids: BTreeMap<i128, [String; 2]>,
    pub asks: BTreeMap<i128, [String; 2]>,
}

impl Sides {
    /// Sets or removes levels; each is a list that starts with the texts of price and quantity.
    pub fn change(&mut self, bids: &Value, asks: &Value) {
        for (side, changes) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for change in changes.as_array().unwrap() {
                let texts = [0, 1].map(|place| change[place].as_str().unwrap().to_owned());
                Self::set(side, texts);
            }
        }
    }

    /// Sets one level, or removes it when its quantity is zero.
    pub fn set(side: &mut BTreeMap<i128, [String; 2]>, texts: [String; 2]) {
        let [price, quantity] = [0, 1].map(|place| key(&texts[place]));
        match quantity {
            0 => drop(side.remove(&price)),
            _ => drop(side.insert(price, texts)),
        }
    }

    /// The best levels, quantities converted by a function of price and quantity.
    pub fn top(&self, quantity: impl Fn(i128, i128) -> i128) -> (Levels, Levels) {
        let level =
            |(price, [_, text]): (&i128, &[String; 2])| [plain(*price), plain(quantity(*price, key(text)))];
        let bids = self.bids.iter().rev().take(DEPTH).map(level).collect();
        let asks = self.asks.iter().take(DEPTH).map(level).collect();
        (bids, asks)
    }
}
