//! The state of a book rebuilt from its deltas. Every record is applied in the order of its number; a hole is an error, never a state.

use std::collections::BTreeMap;

use crate::{BookLevels, Decimal, OrderBookDelta};

/// A record that does not continue the state, which has to begin with a snapshot again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaHole {
    /// The first record is a change.
    #[error("record {number} is a change, expected a snapshot")]
    NoSnapshot {
        /// Position of the change in its epoch.
        number: u64,
    },
    /// Records are missing.
    #[error("record {got} follows record {last}: those between are missing")]
    Numbers {
        /// The newest number that was applied.
        last: u64,
        /// The next one.
        got: u64,
    },
    /// The record belongs to an epoch that began later or earlier: what happened between the two is unknown.
    #[error("a record of the epoch that began at {got_ns} ns follows one of {expected_ns} ns")]
    Epoch {
        /// Begin of the state's epoch, nanoseconds.
        expected_ns: i64,
        /// Begin of the record's, nanoseconds.
        got_ns: i64,
    },
}

/// Levels of one side: price at 18 decimal places, and the level as the record gave it.
type RebuiltSide = BTreeMap<i128, [Decimal; 2]>;

/// A book rebuilt from deltas of one edge.
#[derive(Debug, Clone, Default)]
pub struct RebuiltBook {
    position: Option<(i64, u64)>,
    parts_left: u32,
    bids: RebuiltSide,
    asks: RebuiltSide,
}

impl RebuiltBook {
    /// Applies the next record. After an error the state is that before it.
    ///
    /// # Errors
    /// The record does not continue the state.
    pub fn apply(&mut self, delta: &OrderBookDelta<'_>) -> Result<(), DeltaHole> {
        let (number, started_ns) = (delta.number, delta.epoch_started_ns);
        match self.position {
            None if !delta.is_snapshot => return Err(DeltaHole::NoSnapshot { number }),
            Some((expected_ns, _)) if expected_ns != started_ns => {
                return Err(DeltaHole::Epoch { expected_ns, got_ns: started_ns });
            }
            Some((_, last)) if last.checked_add(1) != Some(number) => {
                return Err(DeltaHole::Numbers { last, got: number });
            }
            _ => {}
        }
        if delta.is_snapshot {
            self.bids.clear();
            self.asks.clear();
        }
        let BookLevels { price_scale, quantity_scale, bids, asks } = &delta.levels;
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for [price, quantity] in levels.iter() {
                let price = Decimal { mantissa: *price, scale: *price_scale };
                let quantity = Decimal { mantissa: *quantity, scale: *quantity_scale };
                match quantity.mantissa {
                    0 => side.remove(&price.to_scale_18()),
                    _ => side.insert(price.to_scale_18(), [price, quantity]),
                };
            }
        }
        self.position = Some((started_ns, number));
        self.parts_left = delta.parts_left;
        Ok(())
    }

    /// False between the parts of one update.
    pub const fn is_whole(&self) -> bool {
        self.position.is_some() && self.parts_left == 0
    }

    /// Price and quantity of the known bids, best first.
    pub fn bids(&self) -> impl ExactSizeIterator<Item = [Decimal; 2]> + '_ {
        self.bids.values().rev().copied()
    }

    /// Price and quantity of the known asks, best first.
    pub fn asks(&self) -> impl ExactSizeIterator<Item = [Decimal; 2]> + '_ {
        self.asks.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(number: u64, is_snapshot: bool, bids: &[[i64; 2]]) -> OrderBookDelta<'_> {
        let levels = BookLevels { price_scale: 1, bids: bids.into(), ..BookLevels::default() };
        OrderBookDelta { epoch_started_ns: 7, number, is_snapshot, levels, ..OrderBookDelta::default() }
    }

    fn bids(book: &RebuiltBook) -> Vec<String> {
        book.bids().map(|[price, quantity]| format!("{price}={quantity}")).collect()
    }

    #[test]
    fn a_lost_record_and_another_epoch_are_holes_and_no_state() {
        let mut book = RebuiltBook::default();
        assert_eq!(book.apply(&delta(4, false, &[[10, 1]])), Err(DeltaHole::NoSnapshot { number: 4 }));
        book.apply(&delta(5, true, &[[10, 1], [9, 2]])).unwrap();
        book.apply(&delta(6, false, &[[10, 0], [8, 3]])).unwrap();
        assert_eq!(bids(&book), ["0.9=2", "0.8=3"]);
        assert_eq!(book.apply(&delta(8, false, &[])), Err(DeltaHole::Numbers { last: 6, got: 8 }));
        assert_eq!(book.apply(&delta(8, true, &[])), Err(DeltaHole::Numbers { last: 6, got: 8 }));
        let other = OrderBookDelta { epoch_started_ns: 8, ..delta(7, true, &[]) };
        assert_eq!(book.apply(&other), Err(DeltaHole::Epoch { expected_ns: 7, got_ns: 8 }));
        assert_eq!(bids(&book), ["0.9=2", "0.8=3"], "an error changes nothing");
        // The same price at another scale.
        let mut finer = delta(7, false, &[[900, 5]]);
        finer.levels.price_scale = 3;
        book.apply(&OrderBookDelta { parts_left: 1, ..finer }).unwrap();
        assert_eq!(bids(&book), ["0.9=5", "0.8=3"]);
        assert!(!book.is_whole(), "a part follows");
    }
}
