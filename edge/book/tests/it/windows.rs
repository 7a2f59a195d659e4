//! Books without a sequence, and books whose numbering restarts, against a simple model on a lossy network.

use crate::model::{Message, Random, Venue};
use marketprism_book::{
    Book, BookSettings, BookState, BookUpdate, Change, Checksum, ResyncReason, SequenceRule, SnapshotSource,
};

/// Price and quantity, best first.
type Levels = Vec<(i64, i64)>;

fn best(venue: &Venue, most: usize) -> (Levels, Levels) {
    let bids = venue.bids.iter().rev().take(most).map(|(p, q)| (*p, *q)).collect();
    (bids, venue.asks.iter().take(most).map(|(p, q)| (*p, *q)).collect())
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
    let deleted = before
        .iter()
        .filter(|(price, _)| !after.iter().any(|level| level.0 == *price) && !pushed_out(*price))
        .map(|(price, _)| (*price, 0));
    changed.chain(deleted).collect()
}

/// The contract's rule, computed on strings.
fn checksum(bids: &Levels, asks: &Levels) -> i64 {
    let mut text = String::new();
    for (price, quantity) in asks.iter().take(10).chain(bids.iter().take(10)) {
        let price = format!("{}.{:02}", price / 100, price % 100).replace('.', "");
        let quantity = format!("{}.{:03}", quantity / 1_000, quantity % 1_000).replace('.', "");
        text += price.trim_start_matches('0');
        text += quantity.trim_start_matches('0');
    }
    i64::from(crc32fast::hash(text.as_bytes()))
}

#[test]
fn a_windowed_book_is_the_venues_by_its_checksum() {
    const WINDOW: usize = 12;
    let (mut checked, mut found, mut lost) = (0, 0, 0);
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut venue = Venue::new();
        let checksum_rule = Checksum::Crc32Digits10 { price_scale: 2, quantity_scale: 3 };
        let settings = BookSettings::new(SequenceRule::Unnumbered, SnapshotSource::InBand, 10);
        let mut book =
            Book::new(BookSettings { checksum: checksum_rule, depth_limit: Some(WINDOW), ..settings });
        let percent = random.below(10);
        let mut before = best(&venue, WINDOW);
        let mut snapshot_due = true;
        for time in 1..=400 {
            venue.step(&mut random);
            let after = best(&venue, WINDOW);
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
            let checksum = Some(checksum(&after.0, &after.1));
            let message = crate::update(change, time, &bids, &asks);
            let outcome = book.apply_each(&BookUpdate { checksum, ..message }, &mut |view| {
                let ours: (Levels, Levels) = (view.bids().collect(), view.asks().collect());
                assert_eq!(ours, best(&venue, 10), "seed {seed}, time {time}");
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
        let mut venue = Venue::new();
        let mut book = Book::new(BookSettings::new(SequenceRule::Chained, SnapshotSource::InBand, 8));
        let percent = random.below(10);
        let (mut id, mut snapshot_due) = (1_000, true);
        for time in 1..=400 {
            let previous_id = id;
            let heartbeat = !snapshot_due && random.chance(10);
            let mut message = if heartbeat { Message::empty() } else { venue.step(&mut random) };
            if !heartbeat {
                id = if random.chance(2) { 1 + random.below(900) } else { id + 1 + random.below(3) };
            }
            if snapshot_due {
                message = venue.snapshot(usize::MAX);
            } else if time < 360 && random.chance(percent) {
                continue;
            }
            let message = Message { first_id: id, last_id: id, previous_id, time_us: time, ..message };
            venue.history.insert(id, (venue.bids.clone(), venue.asks.clone()));
            let copies = 1 + usize::from(random.chance(percent));
            snapshot_due = false;
            for copy in 0..copies {
                let mut shown = 0;
                let outcome = book.apply_each(&message.update(), &mut |view| {
                    shown += 1;
                    venue.check(view, 8, seed);
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
