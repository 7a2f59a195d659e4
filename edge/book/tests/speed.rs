//! A measurement, not a test: `cargo test --release -p marketprism-book --test speed -- --ignored
//! --nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::time::Instant;

use marketprism_book::{Book, BookSettings, BookUpdate, Change, SequenceRule, SnapshotSource};

const LEVELS: i64 = 5_000;
const UPDATES: usize = 20_000;
const CHANGES: usize = 20;

fn changes() -> Vec<Vec<i64>> {
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as i64
    };
    // As in recordings of real books: half of the changes are among the best ten levels, nine of ten among
    // the best fifty, one of fifty is some hundred levels deep. A third of the near ones removes the level.
    let mut change = move || match next() % 50 {
        0 => (next() % 1_000, 5),
        1..=4 => (50 + next() % 100, 5),
        5..=24 => (10 + next() % 40, 5),
        _ => (next() % 10, next() % 3 * 10),
    };
    (0..UPDATES)
        .map(|_| {
            (0..CHANGES)
                .map(|_| change())
                .flat_map(|(distance, quantity)| [100_000 - distance, quantity])
                .collect()
        })
        .collect()
}

fn update<'a>(change: Change, id: i64, bids: &'a [i64]) -> BookUpdate<'a> {
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
        asks: &[],
    }
}

// Goal: the price of one level change, against a tree. Method: the same seeded changes on a book of thousands
// of levels.
#[test]
#[ignore = "a measurement"]
fn nanoseconds_per_level_change() {
    let changes = changes();
    let start: Vec<i64> = (0..LEVELS).flat_map(|i| [100_000 - i, 5]).collect();
    let mut book = Book::new(BookSettings::new(SequenceRule::Contiguous, SnapshotSource::InBand, 400));
    book.apply(&update(Change::Snapshot, 0, &start));
    let began = Instant::now();
    for (i, levels) in changes.iter().enumerate() {
        assert_eq!(book.apply(&update(Change::Delta, i as i64 + 1, levels)).applied, 1);
    }
    let ours = began.elapsed();
    let mut tree: BTreeMap<i64, i64> = start.chunks(2).map(|level| (level[0], level[1])).collect();
    let began = Instant::now();
    for levels in &changes {
        for level in levels.chunks(2) {
            if level[1] == 0 {
                tree.remove(&level[0])
            } else {
                tree.insert(level[0], level[1])
            };
        }
    }
    let theirs = began.elapsed();
    let view = book.view().unwrap();
    assert!(view.bids().eq(tree.iter().rev().take(400).map(|(p, q)| (*p, *q))));
    let began = Instant::now();
    let mut sum = 0_i64;
    for _ in 0..1_000 {
        sum = sum.wrapping_add(view.bids().map(|(price, quantity)| price ^ quantity).sum::<i64>());
    }
    let read = began.elapsed();
    let per = |time: std::time::Duration, count: usize| time.as_nanos() as f64 / count as f64;
    println!(
        "book {:.1} ns, tree {:.1} ns a level change; reading 400 levels {:.0} ns (checksum {sum})",
        per(ours, UPDATES * CHANGES),
        per(theirs, UPDATES * CHANGES),
        per(read, 1_000)
    );
}
