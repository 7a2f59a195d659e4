//! One side of a book: levels in a sorted vector, the best at the end.
//! Nearly all changes touch the best few levels, so they move a few entries at the end of one allocation:
//! several times faster than a tree, also for books of thousands of levels.

/// Levels compared one by one from the best before a binary search.
const NEAR: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    /// The price, ordered so that a larger key is a better price (see [`BookSide::key`]).
    key: i64,
    quantity: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct BookSide {
    levels: Vec<Level>,
    asks: bool,
    /// Levels with a smaller key are unknown, so their changes are ignored. `None`: the whole side is
    /// known.
    horizon: Option<i64>,
    /// Price and new quantity of each change since the book was shown; quantity 0: deleted. `None`: these levels were not shown yet.
    changes: Option<Vec<[i64; 2]>>,
}

impl BookSide {
    pub(crate) fn new(asks: bool) -> Self {
        BookSide { levels: Vec::new(), asks, horizon: None, changes: None }
    }

    pub(crate) fn changes(&self) -> Option<&[[i64; 2]]> {
        self.changes.as_deref()
    }

    pub(crate) fn mark_new(&mut self) {
        self.changes = None;
    }

    pub(crate) fn mark_shown(&mut self) {
        self.changes.get_or_insert_default().clear();
    }

    fn changed(&mut self, key: i64, quantity: i64) {
        if let Some(changes) = &mut self.changes {
            changes.push([if self.asks { !key } else { key }, quantity]);
        }
    }

    /// Bitwise negation reverses the order of all 64-bit integers and cannot overflow, unlike arithmetic
    /// negation.
    fn key(&self, price: i64) -> i64 {
        if self.asks { !price } else { price }
    }

    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }

    /// The venue may have levels beyond those here.
    pub(crate) fn is_partial(&self) -> bool {
        self.horizon.is_some()
    }

    /// Price and quantity, best first.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + Clone + '_ {
        let asks = self.asks;
        self.levels.iter().rev().map(move |level| {
            let price = if asks { !level.key } else { level.key };
            (price, level.quantity)
        })
    }

    pub(crate) fn best_price(&self) -> Option<i64> {
        self.iter().next().map(|(price, _)| price)
    }

    /// Quantity 0 removes the level.
    pub(crate) fn set(&mut self, price: i64, quantity: i64) {
        let key = self.key(price);
        if self.horizon.is_some_and(|horizon| key < horizon) {
            return;
        }
        match self.find(key) {
            Ok(at) if quantity == 0 => {
                self.levels.remove(at);
            }
            Ok(at) => match self.levels.get_mut(at) {
                Some(level) if level.quantity != quantity => level.quantity = quantity,
                _ => return,
            },
            Err(at) if quantity != 0 => self.levels.insert(at, Level { key, quantity }),
            Err(_) => return,
        }
        self.changed(key, quantity);
    }

    fn find(&self, key: i64) -> Result<usize, usize> {
        let mut end = self.levels.len();
        for level in self.levels.iter().rev().take(NEAR) {
            if level.key < key {
                return Err(end);
            }
            end -= 1;
            if level.key == key {
                return Ok(end);
            }
        }
        self.levels.get(..end).unwrap_or_default().binary_search_by_key(&key, |level| level.key)
    }

    /// Replaces all levels with a snapshot's, in any order; of two levels with one price the later counts.
    /// With at least `cut_from` levels the snapshot may end before the side does.
    pub(crate) fn replace(&mut self, levels: &[i64], cut_from: Option<usize>) {
        self.levels.clear();
        self.horizon = None;
        let (pairs, _) = levels.as_chunks::<2>();
        self.levels.reserve(pairs.len());
        for [price, quantity] in pairs.iter().rev() {
            let key = self.key(*price);
            self.levels.push(Level { key, quantity: *quantity });
        }
        if !self.levels.is_sorted_by(|a, b| a.key < b.key) {
            // A stable sort of the reversed levels: the later level of a price survives the dedup.
            self.levels.sort_by_key(|level| level.key);
            self.levels.dedup_by_key(|level| level.key);
        }
        self.levels.retain(|level| level.quantity != 0);
        if cut_from.is_some_and(|least| self.levels.len() >= least) {
            self.horizon = self.levels.first().map(|level| level.key);
        }
    }

    /// Drops the worst levels above `most`, with slack so that this is rare.
    pub(crate) fn prune(&mut self, most: usize) {
        let slack = most / 4 + 1;
        if self.levels.len() <= most.saturating_add(slack) {
            return;
        }
        let surplus = self.levels.len() - most;
        self.drop_worst(surplus);
        self.horizon = self.levels.first().map(|level| level.key);
    }

    /// Keeps the best `most` levels. The side stays whole: the venue has no deeper ones, and names a level
    /// again when it moves up.
    pub(crate) fn truncate(&mut self, most: usize) {
        let surplus = self.levels.len().saturating_sub(most);
        self.drop_worst(surplus);
    }

    fn drop_worst(&mut self, surplus: usize) {
        for level in self.levels.drain(..surplus) {
            if let Some(changes) = &mut self.changes {
                changes.push([if self.asks { !level.key } else { level.key }, 0]);
            }
        }
    }

    /// Multiplies every price and quantity, or `None` if one exceeds 64 bits.
    pub(crate) fn scaled(&self, price_factor: i64, quantity_factor: i64) -> Option<BookSide> {
        let mut scaled = BookSide {
            levels: Vec::with_capacity(self.levels.len()),
            asks: self.asks,
            horizon: None,
            changes: None,
        };
        let scale_key = |key: i64| {
            let price = if self.asks { !key } else { key };
            price.checked_mul(price_factor).map(|price| if self.asks { !price } else { price })
        };
        for level in &self.levels {
            let key = scale_key(level.key)?;
            let quantity = level.quantity.checked_mul(quantity_factor)?;
            scaled.levels.push(Level { key, quantity });
        }
        if let Some(horizon) = self.horizon {
            scaled.horizon = Some(scale_key(horizon)?);
        }
        Some(scaled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(side: &BookSide) -> Vec<(i64, i64)> {
        side.iter().collect()
    }

    #[test]
    fn levels_stand_best_first() {
        for (asks, best) in [(false, 20), (true, 1)] {
            let mut side = BookSide::new(asks);
            for price in [5, 1, 20, 3, 19, 2, 18, 4, 17, 6, 16, 7, 15, 8, 14, 9, 13, 10, 12, 11] {
                side.set(price, price * 10);
            }
            assert_eq!(side.best_price(), Some(best));
            side.set(best, 0);
            side.set(11, 0);
            side.set(99, 0);
            side.set(12, 1);
            let mut expected: Vec<(i64, i64)> = (1..=20)
                .filter(|p| *p != best && *p != 11)
                .map(|p| (p, if p == 12 { 1 } else { p * 10 }))
                .collect();
            if !asks {
                expected.reverse();
            }
            assert_eq!(levels(&side), expected);
        }
    }

    #[test]
    fn unsorted_snapshots_are_sorted() {
        let mut side = BookSide::new(true);
        side.replace(&[5, 1, 3, 2, 5, 9, 4, 0], None);
        assert_eq!(levels(&side), [(3, 2), (5, 9)]);
        let mut side = BookSide::new(false);
        side.replace(&[5, 1, 3, 2, 5, 9, 4, 0], None);
        assert_eq!(levels(&side), [(5, 9), (3, 2)]);
    }

    #[test]
    fn nothing_is_kept_beyond_the_horizon() {
        let mut side = BookSide::new(false);
        side.replace(&[10, 1, 9, 1, 8, 1], Some(3));
        assert!(side.is_partial());
        side.set(7, 5);
        side.set(8, 5);
        assert_eq!(levels(&side), [(10, 1), (9, 1), (8, 5)]);
        side.replace(&[10, 1, 9, 1], Some(3));
        assert!(!side.is_partial());
        side.set(7, 5);
        assert_eq!(levels(&side), [(10, 1), (9, 1), (7, 5)]);
        side.prune(1);
        assert_eq!(levels(&side), [(10, 1)]);
        side.set(9, 1);
        assert_eq!(levels(&side), [(10, 1)]);
    }

    #[test]
    fn extreme_prices_are_ordered() {
        let mut side = BookSide::new(true);
        side.set(i64::MAX, 1);
        side.set(i64::MIN, 1);
        side.set(0, 1);
        assert_eq!(levels(&side), [(i64::MIN, 1), (0, 1), (i64::MAX, 1)]);
    }
}
