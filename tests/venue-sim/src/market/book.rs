//! An order book: absolute quantities by price, in ticks and steps.

use std::collections::BTreeMap;

use serde::Serialize;

/// A side of the book, or the side of a taker (`Bid` buys).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Buyers.
    Bid,
    /// Sellers.
    Ask,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn opposite(self) -> Side {
        match self {
            Side::Bid => Side::Ask,
            Side::Ask => Side::Bid,
        }
    }
}

/// Price levels of one instrument.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Book {
    /// Sets the absolute quantity at a price; zero removes the level, and removing an unknown one is normal.
    pub fn set(&mut self, side: Side, price: i64, quantity: i64) {
        let levels = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        if quantity == 0 {
            levels.remove(&price);
        } else {
            levels.insert(price, quantity);
        }
    }

    /// Quantity at a price, zero when there is none.
    #[must_use]
    pub fn quantity(&self, side: Side, price: i64) -> i64 {
        self.levels(side).get(&price).copied().unwrap_or(0)
    }

    /// Number of levels of a side.
    #[must_use]
    pub fn len(&self, side: Side) -> usize {
        self.levels(side).len()
    }

    /// The level `n` steps from the best one.
    #[must_use]
    pub fn nth(&self, side: Side, n: usize) -> Option<(i64, i64)> {
        match side {
            Side::Bid => self.bids.iter().rev().nth(n),
            Side::Ask => self.asks.iter().nth(n),
        }
        .map(|(p, q)| (*p, *q))
    }

    /// The best level of a side.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<(i64, i64)> {
        self.nth(side, 0)
    }

    /// The level farthest from the best one.
    #[must_use]
    pub fn farthest(&self, side: Side) -> Option<(i64, i64)> {
        match side {
            Side::Bid => self.bids.iter().next(),
            Side::Ask => self.asks.iter().next_back(),
        }
        .map(|(p, q)| (*p, *q))
    }

    /// The first `depth` levels of a side, best first.
    #[must_use]
    pub fn top(&self, side: Side, depth: usize) -> Vec<(i64, i64)> {
        match side {
            Side::Bid => self.bids.iter().rev().take(depth).map(|(p, q)| (*p, *q)).collect(),
            Side::Ask => self.asks.iter().take(depth).map(|(p, q)| (*p, *q)).collect(),
        }
    }

    fn levels(&self, side: Side) -> &BTreeMap<i64, i64> {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }
}
