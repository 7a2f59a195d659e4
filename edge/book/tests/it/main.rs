//! State machine, content and sequence rules of order books.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod content;
mod model;
mod states;
mod windows;

use marketprism_book::{BookUpdate, Change};

/// An update with one id; prices have two decimal places, quantities three.
fn update<'a>(change: Change, id: i64, bids: &'a [i64], asks: &'a [i64]) -> BookUpdate<'a> {
    BookUpdate {
        change,
        time_us: None,
        received_at_ns: 0,
        first_id: id,
        last_id: id,
        previous_id: None,
        checksum: None,
        price_scale: 2,
        quantity_scale: 3,
        bids,
        asks,
    }
}
