//! Books without a sequence, and books whose numbering restarts, against a simple model on a lossy network.

use std::collections::BTreeMap;

use crate::random::Random;
use marketprism_book::{
    Book, BookSettings, BookState, BookUpdate, Change, Checksum, ResyncReason, SequenceRule, SnapshotSource,
};

/// Price and quantity, best first.
type Levels = Vec<(i64, i64)>;

/// Every level of both sides. Prices have one decimal place, quantities three.
struct Market {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    middle: i64,
}

impl Market {
    fn new() -> Self {
        let bids = (1..=60).map(|i| (1_000 - i, i)).collect();
        let asks = (1..=60).map(|i| (1_000 + i, i)).collect();
        Market { bids, asks, middle: 1_000 }
    }

    fn step(&mut self, random: &mut Random) {
        self.middle += random.below(5) - 2;
        for _ in 0..=random.below(4) {
            let away = 1 + random.below(25);
            let quantity = if random.chance(40) { 0 } else { 1 + random.below(1_000) };
            let (side, price) = if random.chance(50) {
                (&mut self.bids, self.middle - away)
            } else {
                (&mut self.asks, self.middle + away)
            };
            if quantity == 0 {
                side.remove(&price)
            } else {
                side.insert(price, quantity)
            };
        }
        self.bids.retain(|price, _| *price < self.middle);
        self.asks.retain(|price, _| *price > self.middle);
    }

    fn best(&self, most: usize) -> (Levels, Levels) {
        let bids = self.bids.iter().rev().take(most).map(|(p, q)| (*p, *q)).collect();
        (bids, self.asks.iter().take(most).map(|(p, q)| (*p, *q)).collect())
    }
}

fn flat(levels: &[(i64, i64)]) -> Vec<i64> {
    levels.iter().flat_map(|(price, quantity)| [*price, *quantity]).collect()
}

/// Changes of one side as a venue with a window sends them: new and changed levels, and deletions, except of levels that better ones
/// pushed out.
fn window_change(before: &Levels, after: &Levels, is_better: fn(i64, i64) -> bool, window: usize) -> Levels {
    let changed = after.iter().filter(|level| !before.contains(level)).copied();
    let worst = after.last().filter(|_| after.len() == window).map(|(price, _)| *price);
    let pushed_out = |price: i64| worst.is_some_and(|worst| is_better(worst, price));
    let gone = before
        .iter()
        .filter(|(price, _)| !after.iter().any(|level| level.0 == *price) && !pushed_out(*price))
        .map(|(price, _)| (*price, 0));
    changed.chain(gone).collect()
}

/// The contract's rule, computed on strings.
fn checksum(bids: &Levels, asks: &Levels) -> i64 {
    let mut text = String::new();
    for (price, quantity) in asks.iter().take(10).chain(bids.iter().take(10)) {
        let price = format!("{}.{}", price / 10, price % 10).replace('.', "");
        let quantity = format!("{}.{:03}", quantity / 1_000, quantity % 1_000).replace('.', "");
        text += price.trim_start_matches('0');
        text += quantity.trim_start_matches('0');
    }
    i64::from(crc32fast::hash(text.as_bytes()))
}

fn timed_update<'a>(change: Change, time_us: i64, bids: &'a [i64], asks: &'a [i64]) -> BookUpdate<'a> {
    let update = crate::update(change, time_us, bids, asks);
    BookUpdate { time_us: Some(time_us), received_at_ns: time_us * 1_000, price_scale: 1, ..update }
}

#[test]
fn a_windowed_book_is_the_venues_by_its_checksum() {
    const WINDOW: usize = 12;
    let (mut checked, mut found, mut lost) = (0, 0, 0);
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut market = Market::new();
        let checksum_rule = Checksum::Crc32Digits10 { price_scale: 1, quantity_scale: 3 };
        let settings = BookSettings::new(SequenceRule::Unnumbered, SnapshotSource::InBand, 10);
        let mut book =
            Book::new(BookSettings { checksum: checksum_rule, depth_limit: Some(WINDOW), ..settings });
        let percent = random.below(10);
        let mut before = market.best(WINDOW);
        let mut snapshot_due = true;
        for time in 1..=400 {
            market.step(&mut random);
            let after = market.best(WINDOW);
            let sides = if snapshot_due {
                after.clone()
            } else {
                let bids = window_change(&before.0, &after.0, |a, b| a > b, WINDOW);
                (bids, window_change(&before.1, &after.1, |a, b| a < b, WINDOW))
            };
            let change = if snapshot_due { Change::Snapshot } else { Change::Delta };
            before = after.clone();
            if !snapshot_due && time < 360 && random.chance(percent) {
                lost += 1;
                continue;
            }
            let (bids, asks) = (flat(&sides.0), flat(&sides.1));
            let message = timed_update(change, time, &bids, &asks);
            let sum = Some(checksum(&after.0, &after.1));
            let outcome = book.apply_each(&BookUpdate { checksum: sum, ..message }, &mut |view| {
                let ours: (Levels, Levels) = (view.bids().collect(), view.asks().collect());
                let best = |levels: &Levels| levels.iter().take(10).copied().collect::<Levels>();
                assert_eq!(ours, (best(&after.0), best(&after.1)), "seed {seed}, time {time}");
                checked += 1;
            });
            snapshot_due = outcome.action.is_some();
        }
        assert_eq!(book.state(), BookState::Live, "seed {seed}");
        found += book.stats().breaks[ResyncReason::Checksum];
    }
    assert!(checked > 50_000 && found > 500, "{checked} books compared, {lost} messages lost, {found} found");
}

#[test]
fn a_chained_book_survives_new_numberings() {
    let (mut resets, mut heartbeats, mut gaps) = (0, 0, 0);
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut market = Market::new();
        let mut book = Book::new(BookSettings::new(SequenceRule::Chained, SnapshotSource::InBand, 8));
        let percent = random.below(10);
        let (mut id, mut snapshot_due) = (1_000, true);
        for time in 1..=400 {
            let previous = id;
            let heartbeat = !snapshot_due && random.chance(10);
            let before = market.best(usize::MAX);
            if !heartbeat {
                market.step(&mut random);
                id = if random.chance(2) { 1 + random.below(900) } else { id + 1 + random.below(3) };
            }
            let after = market.best(usize::MAX);
            let (bids, asks) = if snapshot_due {
                (flat(&after.0), flat(&after.1))
            } else {
                let side = |before, after| flat(&window_change(before, after, |_, _| false, usize::MAX));
                (side(&before.0, &after.0), side(&before.1, &after.1))
            };
            let change = if snapshot_due { Change::Snapshot } else { Change::Delta };
            if !snapshot_due && time < 360 && random.chance(percent) {
                continue;
            }
            let message = timed_update(change, time, &bids, &asks);
            let message = BookUpdate { first_id: id, last_id: id, previous_id: Some(previous), ..message };
            let copies = 1 + usize::from(random.chance(percent));
            snapshot_due = false;
            for copy in 0..copies {
                let mut shown = 0;
                let outcome = book.apply_each(&message, &mut |view| {
                    shown += 1;
                    let bids: Levels = view.bids().collect();
                    let wanted: Levels = after.0.iter().take(8).copied().collect();
                    assert_eq!(bids, wanted, "seed {seed}, time {time}");
                });
                assert!(shown == 0 || copy == 0, "seed {seed}, time {time}: a copy is shown");
                assert!(!heartbeat || shown == 0, "seed {seed}, time {time}: a heartbeat is shown");
                snapshot_due |= outcome.action.is_some();
            }
        }
        assert_eq!(book.state(), BookState::Live, "seed {seed}");
        resets += book.stats().sequence_resets;
        heartbeats += book.stats().heartbeats;
        gaps += book.stats().gaps;
    }
    assert!(resets > 500 && heartbeats > 5_000 && gaps > 1_000, "{resets} {heartbeats} {gaps}");
}
