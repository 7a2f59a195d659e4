use super::*;
use marketprism_adapter_host::contract::BookChange;
use marketprism_book::SnapshotSource;

fn delta(instrument: u32, id: i64) -> contract::Book {
    contract::Book {
        instrument,
        change: BookChange::Delta,
        time_us: None,
        first_id: id,
        last_id: id,
        previous_id: None,
        checksum: None,
        price_scale: 0,
        quantity_scale: 0,
        levels_at: 0,
        bids: 100,
        asks: 0,
    }
}

#[test]
fn updates_that_wait_for_snapshots_are_bounded_over_all_books() {
    let settings = BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 20);
    let plan = BooksPlan {
        books: (0..50_u32).map(|i| BookPlan { settings, resync: Some(i.into()) }).collect(),
        publish_interval: Duration::from_millis(100),
        pace: StatePace::Newest,
    };
    let mut books = OrderBooks::new(plan);
    books.pending_bytes_max = 1 << 20;
    let levels: Vec<i64> = (1..=100).flat_map(|price| [price, 1]).collect();
    let waiting = |books: &OrderBooks| -> usize {
        books.slots.iter().flatten().map(|slot| slot.book.pending_bytes()).sum()
    };
    for id in 1..=40 {
        for instrument in 0..50 {
            books.apply(&delta(instrument, id), &levels, id, id, &mut |_, _| {});
            assert!(waiting(&books) <= 1 << 20);
        }
    }
    assert!(waiting(&books) > 900 << 10);
    let dropped: u64 = books.reports().iter().map(|book| book.stats.dropped).sum();
    assert!(dropped > 1_000, "{dropped} of 2,000 are dropped");
    books.restart(0.into(), 100);
    assert_eq!(waiting(&books), books.pending_bytes);
}

fn one_unnumbered_book() -> OrderBooks {
    let settings = BookSettings::new(SequenceRule::Unnumbered, SnapshotSource::InBand, 4);
    OrderBooks::new(BooksPlan {
        books: vec![BookPlan { settings, resync: Some(0.into()) }],
        publish_interval: Duration::from_millis(100),
        pace: StatePace::Newest,
    })
}

/// The venue refused its subscription: without updates nothing else shows that it is missing.
#[test]
fn a_book_without_any_update_is_subscribed_again_until_its_snapshot_comes() {
    let mut books = one_unnumbered_book();
    books.begin_again(0.into(), 0);
    books.begin_again(9.into(), 0);
    assert_eq!(books.resyncs_due(i64::MAX / 4), [0.into()]);
    assert_eq!(books.resyncs_due(i64::MAX / 2), [0.into()], "refused again");
    snapshot(&mut books, 1, i64::MAX / 2);
    assert_eq!(books.resyncs_due(i64::MAX), []);
}

fn snapshot(books: &mut OrderBooks, id: i64, at_ns: i64) {
    let levels = [100, 1, 99, 1, 98, 1, 97, 1, 200, 1, 201, 1, 202, 1, 203, 1];
    let event = contract::Book { change: BookChange::Snapshot, bids: 4, asks: 4, ..delta(0, id) };
    books.apply(&event, &levels, at_ns, at_ns, &mut |_, _| {});
}

fn bid(books: &mut OrderBooks, id: i64, level: [i64; 2], at_ns: i64) {
    books.apply(&contract::Book { bids: 1, ..delta(0, id) }, &level, at_ns, at_ns, &mut |_, _| {});
}

#[test]
fn the_snapshot_of_a_refresh_is_requested_until_it_comes() {
    const SECOND: i64 = 1_000_000_000;
    let settings = BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 2);
    let books = vec![BookPlan { settings, resync: Some(ResyncIndex::from(0_u32)) }];
    let mut books =
        OrderBooks::new(BooksPlan { books, publish_interval: Duration::ZERO, pace: StatePace::Newest });
    snapshot(&mut books, 10, 0);
    for (id, level) in [(11, [100, 0]), (12, [99, 0]), (13, [98, 2])] {
        bid(&mut books, id, level, 0);
    }
    assert!(books.is_live(0_u32.into()));
    assert_eq!(books.resyncs_due(0).len(), 1, "thin since 12");
    bid(&mut books, 14, [98, 3], SECOND);
    assert_eq!(books.resyncs_due(20 * SECOND).len(), 0, "it is under way");
    assert_eq!(books.resyncs_due(30 * SECOND).len(), 1, "no answer came");
    snapshot(&mut books, 14, 31 * SECOND);
    assert_eq!(books.reports()[0].stats.refresh_mismatches, 1, "its levels are others");
    bid(&mut books, 15, [98, 3], 31 * SECOND);
    assert_eq!(books.resyncs_due(90 * SECOND).len(), 0);

    // A market that takes the reserve at once again.
    for (id, level) in [(16, [100, 0]), (17, [99, 0]), (18, [98, 2])] {
        bid(&mut books, id, level, 90 * SECOND);
    }
    assert_eq!(books.resyncs_due(90 * SECOND).len(), 1);
    snapshot(&mut books, 18, 91 * SECOND);
    for (id, level) in [(19, [100, 0]), (20, [99, 0]), (21, [98, 2])] {
        bid(&mut books, id, level, 91 * SECOND);
    }
    assert_eq!(books.resyncs_due(94 * SECOND).len(), 0);
    bid(&mut books, 22, [98, 3], 94 * SECOND);
    assert_eq!(books.resyncs_due(95 * SECOND).len(), 1);
}

/// A batch has up to 64 frames; what they ask for goes out at the end of the turn.
#[test]
fn updates_of_a_turn_that_cannot_be_read_are_one_try_of_the_back_off() {
    const SECOND: i64 = 1_000_000_000;
    let mut books = one_unnumbered_book();
    snapshot(&mut books, 1, 0);
    let restarts = |books: &mut OrderBooks, at_ns| (0..7).for_each(|_| books.begin_again(0.into(), at_ns));
    restarts(&mut books, 100 * SECOND);
    assert_eq!(books.resyncs_due(100 * SECOND), [0.into()], "at once");
    // The venue refuses it for now, and goes on with updates.
    restarts(&mut books, 101 * SECOND);
    restarts(&mut books, 102 * SECOND - SECOND / 2);
    assert_eq!(books.resyncs_due(102 * SECOND + SECOND / 4), [0.into()], "the second try is a second later");
}
