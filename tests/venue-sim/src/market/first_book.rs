//! The initial book of a market.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::book::{Book, Side};
use super::instrument::Instrument;
use super::rules::MarketRules;

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
