//! An order book in ticks and steps, its initial state, and its history by update id.

use std::collections::{BTreeMap, VecDeque};

use rand::Rng as _;
use rand::rngs::StdRng;

use super::model::{Instrument, LevelChange, MarketRules, Side};

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

    pub fn best_of(&self, depth: usize) -> Book {
        Book {
            bids: self.top(Side::Bid, depth).into_iter().collect(),
            asks: self.top(Side::Ask, depth).into_iter().collect(),
        }
    }

    /// The levels that differ from those of an older book.
    pub(super) fn since(&self, older: &Book) -> Changed {
        let changes = |side| {
            let (now, then) = (self.levels(side), older.levels(side));
            let gone = then.keys().filter(|price| !now.contains_key(price)).map(|price| (*price, 0));
            let kept = now.iter().map(|(price, quantity)| (*price, *quantity));
            let change = |(price, quantity)| {
                let before = older.quantity(side, price);
                (before != quantity).then_some(LevelChange { price, quantity, before })
            };
            gone.chain(kept).filter_map(change).collect()
        };
        let mut changed = Changed { bids: changes(Side::Bid), asks: changes(Side::Ask) };
        changed.bids.sort_unstable_by_key(|change: &LevelChange| std::cmp::Reverse(change.price));
        changed.asks.sort_unstable_by_key(|change| change.price);
        changed
    }

    fn levels(&self, side: Side) -> &BTreeMap<i64, i64> {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }
}

/// Levels per side above the minimum before the far end is trimmed.
pub(super) const DEPTH_SLACK: usize = 250;

/// A book around the instrument's start price, somewhat deeper than the minimum.
pub(super) fn first_book(instrument: &Instrument, rules: &MarketRules, rng: &mut StdRng) -> Book {
    let mut book = Book::default();
    for side in [Side::Bid, Side::Ask] {
        let mut price = instrument.start_ticks;
        for _ in 0..rules.depth_min + DEPTH_SLACK / 2 {
            price += away(side) * rng.random_range(1..=2);
            if price > 0 {
                book.set(side, price, rng.random_range(1..=instrument.usual_steps));
            }
        }
    }
    book
}

/// Direction away from the middle of the book.
pub(super) fn away(side: Side) -> i64 {
    match side {
        Side::Bid => -1,
        Side::Ask => 1,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Increasing; consecutive on some venues.
    pub id: u64,
    pub side: Side,
    pub price: i64,
    pub quantity: i64,
    pub before: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    pub bids: Vec<LevelChange>,
    pub asks: Vec<LevelChange>,
}

/// Changes and checkpoints of one book. When full, the oldest checkpoint and its changes are dropped.
#[derive(Debug)]
pub struct History {
    changes: VecDeque<Change>,
    checkpoints: VecDeque<(u64, Book)>,
    checkpoint_every: usize,
    since_checkpoint: usize,
    capacity: usize,
}

impl History {
    /// Keeps about `capacity` changes, and a checkpoint every `checkpoint_every`.
    pub fn new(id: u64, book: &Book, capacity: usize, checkpoint_every: usize) -> History {
        History {
            changes: VecDeque::new(),
            checkpoints: VecDeque::from([(id, book.clone())]),
            checkpoint_every: checkpoint_every.max(1),
            since_checkpoint: 0,
            capacity: capacity.max(checkpoint_every.max(1)),
        }
    }

    pub fn record(&mut self, change: Change, book: &Book) {
        self.changes.push_back(change);
        self.since_checkpoint += 1;
        if self.since_checkpoint >= self.checkpoint_every {
            self.since_checkpoint = 0;
            self.checkpoints.push_back((change.id, book.clone()));
        }
        if self.changes.len() > self.capacity + self.checkpoint_every {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if self.checkpoints.len() < 2 {
            return;
        }
        self.checkpoints.pop_front();
        if let Some((oldest, _)) = self.checkpoints.front() {
            let known = self.changes.partition_point(|c| c.id <= *oldest);
            self.changes.drain(..known);
        }
    }

    /// `None` for an id without change, or an old one.
    pub fn book_at(&self, id: u64) -> Option<Book> {
        let after = self.checkpoints.partition_point(|(at, _)| *at <= id);
        let (from, start) = self.checkpoints.get(after.checked_sub(1)?)?;
        let mut book = start.clone();
        let mut last = *from;
        let first = self.changes.partition_point(|c| c.id <= *from);
        for change in self.changes.range(first..).take_while(|c| c.id <= id) {
            book.set(change.side, change.price, change.quantity);
            last = change.id;
        }
        (last == id).then_some(book)
    }

    pub fn oldest(&self) -> u64 {
        self.checkpoints.front().map_or(0, |(id, _)| *id)
    }

    /// More than ever kept, by a margin that makes reaching it rare.
    pub fn kept_max(&self) -> usize {
        self.capacity + 3 * self.checkpoint_every
    }

    /// The id of the `back`-th newest change.
    pub fn id_back(&self, back: usize) -> Option<u64> {
        let index = self.changes.len().saturating_sub(back + 1);
        self.changes.get(index).map(|c| c.id)
    }

    pub fn first_after(&self, id: u64) -> Option<u64> {
        self.changes.get(self.changes.partition_point(|c| c.id <= id)).map(|c| c.id)
    }

    pub fn changed_after(&self, id: u64) -> Changed {
        let first = self.changes.partition_point(|c| c.id <= id);
        let mut levels: BTreeMap<(Side, i64), LevelChange> = BTreeMap::new();
        for c in self.changes.range(first..) {
            let change = LevelChange { price: c.price, quantity: c.quantity, before: c.before };
            levels.entry((c.side, c.price)).or_insert(change).quantity = c.quantity;
        }
        let mut changed = Changed::default();
        for ((side, _), level) in levels {
            match side {
                Side::Bid => changed.bids.push(level),
                Side::Ask => changed.asks.push(level),
            }
        }
        changed.bids.reverse();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kept_update_id_gives_its_book() {
        let mut book = Book::default();
        let mut history = History::new(10, &book, 200, 50);
        let mut kept = Vec::new();
        for n in 0..1000u64 {
            let side = if n % 2 == 0 { Side::Bid } else { Side::Ask };
            let change = Change {
                id: 12 + 2 * n,
                side,
                price: i64::try_from(n % 37).expect("small"),
                quantity: i64::try_from(n % 5).expect("small"),
                before: 0,
            };
            book.set(change.side, change.price, change.quantity);
            history.record(change, &book);
            kept.push((change.id, book.clone()));
        }
        for (id, expected) in &kept[800..] {
            assert_eq!(history.book_at(*id).as_ref(), Some(expected), "id {id}");
            assert_eq!(history.book_at(id + 1), None);
        }
        assert_eq!(history.book_at(12), None);
        assert!(history.changes.len() <= 300);
        assert!(kept.windows(2).any(|w| w[0].1 != w[1].1));
    }
}
