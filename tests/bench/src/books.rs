//! The structure of an order book at the depths of venues, against a tree of the standard library, in turn.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use marketprism_book::{Book, BookSettings, BookState, BookUpdate, Change, SequenceRule, SnapshotSource};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::pairs::{Pairs, Turn};

use crate::adapter::thread_cpu;

/// Levels of a side.
const DEPTHS: [i64; 3] = [400, 1_000, 5_000];
const PAIRS: usize = 20;
/// Of a turn. With an even number of passes the book is as before: what the first one removes, the second one adds.
const PASSES: usize = 2;
const UPDATES: usize = 4_096;
/// Levels of an update, half of them of each side.
const LEVELS: i64 = 8;
const MIDDLE: i64 = 1_000_000;
/// Nine of ten changes are among so many of the best levels, as in the recordings.
const NEAR: i64 = 20;

/// Levels of a message, by side: price and quantity.
type Sides = [Vec<i64>; 2];

pub fn measure(report: &mut Report) -> Result<()> {
    for depth in DEPTHS {
        let (snapshot, updates) = (snapshot(depth), updates(depth));
        let mut book = Book::new(BookSettings::new(SequenceRule::Unnumbered, SnapshotSource::InBand, 400));
        book.apply(&update(&snapshot, Change::Snapshot));
        ensure!(book.state() == BookState::Live, "the book is {:?}", book.state());
        let mut tree = Tree::default();
        tree.apply(&snapshot);
        let pairs = Pairs::take(
            PAIRS,
            || {
                turn(|| {
                    for one in &updates {
                        black_box(book.apply(&update(one, Change::Delta)));
                    }
                })
            },
            || turn(|| updates.iter().for_each(|one| tree.apply(black_box(one)))),
        )?;
        let view = book.view().context("the book is not live")?;
        let levels = view.bids().chain(view.asks());
        let shown: Vec<(i64, i64)> = levels.collect();
        ensure!(shown == tree.best(400), "the book and the tree differ");
        let name = format!("book of {depth} levels a side, changed level");
        for (side, spread) in [("", pairs.left()), (", in a tree", pairs.right())] {
            report.figure(format!("{name}{side}"), spread.context("no pair")?.median * 1e9, "ns");
        }
        let times = pairs.times().context("no pair")?;
        report.spread(format!("{name}: against a tree"), times, "times", Some(Goal::AtMost(1.0)));
    }
    Ok(())
}

fn turn(mut pass: impl FnMut()) -> Result<Turn> {
    let (cpu, began) = (thread_cpu()?, Instant::now());
    (0..PASSES).for_each(|_| pass());
    let levels = u64::try_from(PASSES * UPDATES)? * LEVELS.unsigned_abs();
    Ok(Turn::of(began.elapsed(), thread_cpu()?.saturating_sub(cpu), levels))
}

fn update([bids, asks]: &Sides, change: Change) -> BookUpdate<'_> {
    BookUpdate {
        change,
        time_us: None,
        received_at_ns: 0,
        first_id: 0,
        last_id: 0,
        previous_id: None,
        checksum: None,
        price_scale: 2,
        quantity_scale: 3,
        bids,
        asks,
    }
}

/// Every second price has a level.
fn snapshot(depth: i64) -> Sides {
    let side = |sign: i64| (1..=depth).flat_map(|at| [MIDDLE + sign * 2 * at, 1 + at]).collect();
    [side(-1), side(1)]
}

/// Changes of quantities, and levels that come and go.
fn updates(depth: i64) -> Vec<Sides> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: i64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        i64::try_from(seed % below.unsigned_abs()).unwrap_or_default()
    };
    let mut one = |sign: i64| {
        let mut levels = Vec::new();
        for _ in 0..LEVELS / 2 {
            let at = 1 + if next(10) == 0 { next(depth) } else { next(NEAR) };
            let is_between = next(2) == 0;
            let price = MIDDLE + sign * (2 * at + i64::from(is_between));
            // Of the prices between, half of the changes remove.
            let quantity = if is_between && next(2) == 0 { 0 } else { 1 + next(1_000) };
            levels.extend([price, quantity]);
        }
        levels
    };
    (0..UPDATES).map(|_| [one(-1), one(1)]).collect()
}

/// The peer: a sorted map of each side.
#[derive(Default)]
struct Tree([BTreeMap<i64, i64>; 2]);

impl Tree {
    fn apply(&mut self, levels: &Sides) {
        for (side, levels) in self.0.iter_mut().zip(levels) {
            for [price, quantity] in levels.as_chunks::<2>().0 {
                match quantity {
                    0 => side.remove(price),
                    quantity => side.insert(*price, *quantity),
                };
            }
        }
    }

    fn best(&self, depth: usize) -> Vec<(i64, i64)> {
        let [bids, asks] = &self.0;
        let level = |(price, quantity): (&i64, &i64)| (*price, *quantity);
        bids.iter().rev().take(depth).chain(asks.iter().take(depth)).map(level).collect()
    }
}
