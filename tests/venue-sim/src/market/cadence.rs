//! Progress of one cadence of book updates.

use std::collections::BTreeMap;

use super::book::{Book, Changed, History};
use super::model::{MarketRules, Side, UpdateIds};

/// First numbers of two cadences differ by this, so that a number identifies its cadence.
const APART: u64 = 1 << 40;
/// Levels a side in `DepthUpdate::top`.
const TOP: usize = 10;

#[derive(Debug)]
pub(super) struct Cadence {
    pub(super) period_ms: i64,
    pub(super) wanted: bool,
    pub(super) published_id: u64,
    pub(super) checked_ms: i64,
    pub(super) sent_ms: i64,
    /// Levels a side; `None`: all.
    depth: Option<usize>,
    /// The best levels as of the newest update, with a depth.
    shown: Book,
    pub(super) numbers: Option<Numbers>,
}

impl Cadence {
    pub(super) fn all(rules: &MarketRules, first_id: u64) -> Vec<Cadence> {
        let cadence = |(n, period_ms): (usize, &i64)| Cadence {
            period_ms: *period_ms,
            wanted: true,
            published_id: first_id,
            checked_ms: 0,
            sent_ms: 0,
            depth: rules.depths.get(n).copied(),
            shown: Book::default(),
            numbers: (rules.update_ids == UpdateIds::PerUpdate)
                .then(|| Numbers { last: first_id + APART * n as u64, changes: BTreeMap::new() }),
        };
        rules.cadences_ms.iter().enumerate().map(cadence).collect()
    }

    /// The levels that subscribers have to change.
    pub(super) fn changed(&mut self, book: &Book, history: &History, evicts: bool) -> Changed {
        let Some(depth) = self.depth else { return history.changed_after(self.published_id) };
        let shown = book.best_of(depth);
        let mut changed = shown.since(&self.shown);
        self.shown = shown;
        if !evicts {
            changed.bids.retain(|level| level.quantity > 0 || book.quantity(Side::Bid, level.price) == 0);
            changed.asks.retain(|level| level.quantity > 0 || book.quantity(Side::Ask, level.price) == 0);
        }
        changed
    }

    pub(super) fn top(&self, book: &Book) -> [Vec<(i64, i64)>; 2] {
        let count = self.depth.map_or(0, |depth| depth.min(TOP));
        [Side::Bid, Side::Ask].map(|side| book.top(side, count))
    }

    /// The book for a new subscriber, best levels first.
    pub(super) fn first_book(&mut self, book: &Book, history: &History) -> [Vec<(i64, i64)>; 2] {
        let depth = self.depth.unwrap_or(usize::MAX);
        if self.depth.is_some() {
            self.shown = book.best_of(depth);
        }
        if let (false, Some(numbers)) = (self.wanted, &mut self.numbers) {
            // Nobody got an update for the changes since the last subscriber.
            numbers.next(self.published_id, history);
        }
        [Side::Bid, Side::Ask].map(|side| book.top(side, depth))
    }

    /// The next update has the whole book and the number 1.
    pub(super) fn restart(&mut self) -> bool {
        self.shown = Book::default();
        self.numbers.as_mut().filter(|_| self.wanted).map(|numbers| numbers.last = 0).is_some()
    }
}

/// Numbers of a cadence's updates, and the newest change in each.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) last: u64,
    changes: BTreeMap<u64, u64>,
}

impl Numbers {
    pub(super) fn next(&mut self, change: u64, history: &History) -> u64 {
        self.last += 1;
        self.changes.insert(self.last, change);
        if self.changes.len() > history.kept_max() {
            let oldest = history.oldest();
            self.changes.retain(|_, change| *change >= oldest);
        }
        self.last
    }

    pub(super) fn change(&self, number: u64) -> Option<u64> {
        self.changes.get(&number).copied()
    }
}
