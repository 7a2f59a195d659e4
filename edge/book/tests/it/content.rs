//! Checksums, depth limits, and unrequested snapshots.

use crate::update;
use marketprism_book::{
    Book, BookAction, BookGap, BookGapCause, BookSettings, BookState, BookUpdate, Change, Checksum,
    ResyncReason, SequenceRule, SnapshotSource,
};

fn snapshot<'a>(id: i64, bids: &'a [i64], asks: &'a [i64]) -> BookUpdate<'a> {
    let update = update(Change::Snapshot, id, bids, asks);
    BookUpdate { time_us: Some(id), price_scale: 1, quantity_scale: 8, ..update }
}

fn delta<'a>(last_id: i64, bids: &'a [i64], asks: &'a [i64]) -> BookUpdate<'a> {
    BookUpdate { change: Change::Delta, previous_id: Some(last_id - 1), ..snapshot(last_id, bids, asks) }
}

fn book(rule: SequenceRule) -> Book {
    Book::new(BookSettings::new(rule, SnapshotSource::InBand, 10))
}

fn checked_book(depth_limit: usize) -> Book {
    let checksum = Checksum::Crc32Digits10 { price_scale: 1, quantity_scale: 8 };
    let settings = BookSettings::new(SequenceRule::Unnumbered, SnapshotSource::InBand, 10);
    Book::new(BookSettings { checksum, depth_limit: Some(depth_limit), ..settings })
}

fn prices(book: &Book) -> (Vec<i64>, Vec<i64>) {
    let view = book.view().expect("the book is live");
    (view.bids().map(|(price, _)| price).collect(), view.asks().map(|(price, _)| price).collect())
}

/// The venue's published example of the checksum: prices with one decimal place, quantities with eight.
const BIDS: [[i64; 2]; 10] = [
    [452_835, 10_000_000],
    [452_834, 154_582_015],
    [452_821, 10_000_000],
    [452_810, 10_000_000],
    [452_803, 154_592_586],
    [452_790, 7_990_000],
    [452_776, 3_310_103],
    [452_775, 30_000_000],
    [452_773, 154_602_737],
    [452_766, 15_445_238],
];
const ASKS: [[i64; 2]; 10] = [
    [452_852, 100_000],
    [452_864, 154_571_953],
    [452_866, 154_571_109],
    [452_896, 154_560_911],
    [452_902, 15_890_660],
    [452_918, 154_553_491],
    [452_947, 4_454_749],
    [452_961, 35_380_000],
    [452_975, 9_945_542],
    [452_995, 18_772_827],
];
const CHECKSUM: i64 = 3_310_070_434;

#[test]
fn a_checksum_is_that_of_the_published_example() {
    let mut book = checked_book(100);
    let example =
        BookUpdate { checksum: Some(CHECKSUM), ..snapshot(1, BIDS.as_flattened(), ASKS.as_flattened()) };
    assert_eq!(book.apply(&example).applied, 1);
    let deeper = BookUpdate { checksum: Some(CHECKSUM), ..delta(2, &[400_000, 1], &[500_000, 1]) };
    assert_eq!(book.apply(&deeper).applied, 1);
    let finer: Vec<i64> = BIDS.iter().flat_map(|[price, quantity]| [price * 100, *quantity]).collect();
    let finer_asks: Vec<i64> = ASKS.iter().flat_map(|[price, quantity]| [price * 100, *quantity]).collect();
    let finer = BookUpdate { price_scale: 3, checksum: Some(CHECKSUM), ..snapshot(3, &finer, &finer_asks) };
    assert_eq!(book.apply(&finer).applied, 1);
    assert_eq!((book.stats().checksums_verified, book.stats().checksum_mismatches, book.epoch()), (3, 0, 0));
}

#[test]
fn a_wrong_checksum_is_a_gap() {
    let mut book = checked_book(10);
    book.apply(&snapshot(1, BIDS.as_flattened(), ASKS.as_flattened()));
    let mut shown = 0;
    let wrong = BookUpdate { checksum: Some(CHECKSUM), received_at_ns: 9, ..delta(2, &[452_835, 1], &[]) };
    let outcome = book.apply_each(&wrong, &mut |_| shown += 1);
    let gap = outcome.gap.expect("a gap");
    assert_eq!((gap.cause, gap.expected, gap.at_ns, shown), (BookGapCause::Checksum, CHECKSUM, 9, 0));
    assert_ne!(gap.got, CHECKSUM);
    assert_eq!(outcome.action, Some(BookAction::Resync { reason: ResyncReason::Checksum }));
    assert_eq!((book.state(), book.epoch()), (BookState::WaitSnapshot, 1));
    let wrong = BookUpdate { checksum: Some(1), ..snapshot(3, BIDS.as_flattened(), ASKS.as_flattened()) };
    let outcome = book.apply(&wrong);
    assert!(
        matches!(outcome.gap, Some(BookGap { cause: BookGapCause::Checksum, expected: 1, .. })),
        "{outcome:?}"
    );
    assert_eq!((book.state(), book.epoch()), (BookState::WaitSnapshot, 1));
    assert_eq!(
        book.apply(&BookUpdate {
            checksum: Some(CHECKSUM),
            ..snapshot(4, BIDS.as_flattened(), ASKS.as_flattened())
        })
        .applied,
        1
    );
    let stats = book.stats();
    assert_eq!((stats.checksum_mismatches, stats.resyncs[ResyncReason::Checksum]), (2, 2));
    assert_eq!((stats.breaks[ResyncReason::Checksum], stats.gaps), (1, 0));
}

#[test]
fn a_requested_snapshot_is_checked_too() {
    let checksum = Checksum::Crc32Digits10 { price_scale: 1, quantity_scale: 8 };
    let settings = BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 10);
    let mut book = Book::new(BookSettings { checksum, ..settings });
    book.apply(&delta(11, &[452_835, 7], &[]));
    let outcome = book
        .apply(&BookUpdate { checksum: Some(2), ..snapshot(10, BIDS.as_flattened(), ASKS.as_flattened()) });
    assert_eq!(outcome.action, Some(BookAction::Resync { reason: ResyncReason::Checksum }));
    let outcome = book.apply(&BookUpdate {
        checksum: Some(CHECKSUM),
        ..snapshot(10, BIDS.as_flattened(), ASKS.as_flattened())
    });
    assert_eq!((outcome.applied, book.state()), (1, BookState::Live));
    assert_eq!(book.view().unwrap().bids().next(), Some((452_835, 7)));
}

#[test]
fn a_window_is_kept_after_each_update() {
    let settings = BookSettings::new(SequenceRule::Contiguous, SnapshotSource::InBand, 10);
    let steps = [
        snapshot(1, &[100, 1, 99, 1, 98, 1, 97, 1], &[110, 1, 111, 1]),
        delta(2, &[101, 1], &[112, 1, 113, 1]),
        delta(3, &[101, 0, 97, 5], &[]),
        delta(4, &[], &[110, 0]),
    ];
    let mut limited = Book::new(BookSettings { depth_limit: Some(3), ..settings });
    let seen: Vec<_> = steps
        .iter()
        .map(|step| {
            assert_eq!(limited.apply(step).applied, 1);
            prices(&limited)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (vec![100, 99, 98], vec![110, 111]),
            (vec![101, 100, 99], vec![110, 111, 112]),
            (vec![100, 99, 97], vec![110, 111, 112]),
            (vec![100, 99, 97], vec![111, 112]),
        ]
    );
    assert!(!limited.view().unwrap().is_short(), "the venue has no deeper levels either");
    let mut whole = Book::new(settings);
    for step in &steps {
        whole.apply(step);
    }
    assert_eq!(prices(&whole), (vec![100, 99, 98, 97], vec![111, 112, 113]));
}

#[test]
fn an_unasked_snapshot_keeps_the_epoch_only_where_it_continues() {
    let after = |rule, update: &BookUpdate<'_>| {
        let mut book = book(rule);
        book.apply(&snapshot(9, &[100, 1], &[110, 1]));
        book.apply(&delta(10, &[100, 2], &[]));
        let outcome = book.apply(update);
        assert_eq!((book.state(), outcome.action), (BookState::Live, None));
        let view = book.view().unwrap();
        (view.last_update_id(), outcome.applied, book.epoch())
    };
    let next = snapshot(11, &[100, 3], &[110, 1]);
    let linked = BookUpdate { previous_id: Some(10), ..snapshot(15, &[100, 3], &[110, 1]) };
    let later = snapshot(15, &[100, 3], &[110, 1]);
    let same = snapshot(10, &[100, 2], &[110, 1]);
    let other = snapshot(10, &[100, 9], &[110, 1]);
    let passed = snapshot(8, &[100, 7], &[110, 1]);
    let restarted = BookUpdate { time_us: Some(11), ..snapshot(1, &[100, 7], &[110, 1]) };
    let untimed = BookUpdate { time_us: None, ..snapshot(1, &[100, 7], &[110, 1]) };
    for (rule, update, wanted) in [
        (SequenceRule::Contiguous, &next, (11, 1, 0)),
        (SequenceRule::Contiguous, &linked, (15, 1, 1)),
        (SequenceRule::Contiguous, &later, (15, 1, 1)),
        (SequenceRule::Chained, &next, (11, 1, 1)),
        (SequenceRule::Chained, &linked, (15, 1, 0)),
        (SequenceRule::Unnumbered, &later, (15, 1, 0)),
        (SequenceRule::Unnumbered, &passed, (8, 1, 0)),
    ] {
        assert_eq!(after(rule, update), wanted, "{rule:?} {update:?}");
    }
    for rule in [SequenceRule::Contiguous, SequenceRule::Chained] {
        assert_eq!(after(rule, &same), (10, 0, 0), "{rule:?}: same levels");
        assert_eq!(after(rule, &other), (10, 1, 1), "{rule:?}: contradicts");
        assert_eq!(after(rule, &passed), (10, 0, 0), "{rule:?}: passed");
        assert_eq!(after(rule, &restarted), (1, 1, 1), "{rule:?}: numbering restarted");
        assert_eq!(after(rule, &untimed), (1, 1, 1), "{rule:?}: no clock decides");
    }
}

#[test]
fn an_overlapping_connection_costs_no_resync() {
    for (rule, begins, epoch) in [
        (SequenceRule::Contiguous, 17, 0),
        (SequenceRule::Chained, 17, 0),
        (SequenceRule::Contiguous, 25, 1),
        (SequenceRule::Chained, 25, 1),
    ] {
        let mut book = book(rule);
        book.apply(&snapshot(10, &[100, 10], &[110, 1]));
        let ids: Vec<i64> = (11..=30).collect();
        let levels: Vec<[i64; 2]> = ids.iter().map(|id| [100, *id]).collect();
        let send = |book: &mut Book, id: i64| {
            let outcome = book.apply(&delta(id, &levels[(id - 11) as usize], &[]));
            assert_eq!((outcome.action, outcome.gap), (None, None), "{rule:?} at {id}");
        };
        (11..=20).for_each(|id| send(&mut book, id));
        book.apply(&snapshot(begins, &[100, begins], &[110, 1]));
        for id in begins + 1..=30 {
            send(&mut book, id);
            if (21..=28).contains(&id) {
                send(&mut book, id - 2);
            }
        }
        assert_eq!(book.view().unwrap().bids().next(), Some((100, 30)), "{rule:?}");
        assert_eq!((book.epoch(), book.stats().gaps), (epoch, 0), "{rule:?}");
    }
}
