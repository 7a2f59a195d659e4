//! An order book: absolute quantities by price, in ticks and steps.

use std::collections::BTreeMap;

/// Side of the book or of a taker (`Bid` buys).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Bid,
    Ask,
}

impl Side {
    pub fn opposite(self) -> Side {
        match self {
            Side::Bid => Side::Ask,
            Side::Ask => Side::Bid,
        }
    }

    /// Side of an order: `buy` or `sell`.
    pub fn order(self) -> &'static str {
        match self {
            Side::Bid => "buy",
            Side::Ask => "sell",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Book {
    /// Sets the quantity at a price; zero removes the level, if it exists.
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

    pub fn quantity(&self, side: Side, price: i64) -> i64 {
        self.levels(side).get(&price).copied().unwrap_or(0)
    }

    pub fn len(&self, side: Side) -> usize {
        self.levels(side).len()
    }

    pub fn nth(&self, side: Side, n: usize) -> Option<(i64, i64)> {
        match side {
            Side::Bid => self.bids.iter().rev().nth(n),
            Side::Ask => self.asks.iter().nth(n),
        }
        .map(|(p, q)| (*p, *q))
    }

    pub fn best(&self, side: Side) -> Option<(i64, i64)> {
        self.nth(side, 0)
    }

    pub fn farthest(&self, side: Side) -> Option<(i64, i64)> {
        match side {
            Side::Bid => self.bids.iter().next(),
            Side::Ask => self.asks.iter().next_back(),
        }
        .map(|(p, q)| (*p, *q))
    }

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
