//! State transitions of a book.

use crate::update;
use marketprism_book::{
    Book, BookAction, BookGap, BookGapCause, BookLimits, BookSettings, BookState, BookUpdate, Change,
    ResyncReason, SequenceRule, SnapshotSource, UpdateError,
};

fn snapshot<'a>(id: i64, bids: &'a [i64], asks: &'a [i64]) -> BookUpdate<'a> {
    update(Change::Snapshot, id, bids, asks)
}

fn delta<'a>(first_id: i64, last_id: i64, bids: &'a [i64], asks: &'a [i64]) -> BookUpdate<'a> {
    let previous_id = Some(first_id - 1);
    BookUpdate { change: Change::Delta, first_id, previous_id, ..snapshot(last_id, bids, asks) }
}

fn book(rule: SequenceRule, source: SnapshotSource) -> Book {
    Book::new(BookSettings::new(rule, source, 2))
}

fn live_book(rule: SequenceRule) -> Book {
    let mut book = book(rule, SnapshotSource::Request);
    book.apply(&snapshot(10, &[100, 1, 90, 1], &[110, 1, 120, 1]));
    book.apply(&delta(11, 11, &[100, 2], &[]));
    assert_eq!(book.state(), BookState::Live);
    book
}

fn resync(reason: ResyncReason) -> Option<BookAction> {
    Some(BookAction::Resync { reason })
}

fn bids(book: &Book) -> Vec<(i64, i64)> {
    book.view().expect("the book is live").bids().collect()
}

#[test]
fn a_snapshot_releases_the_buffer() {
    for rule in [SequenceRule::Contiguous, SequenceRule::Chained] {
        let mut book = book(rule, SnapshotSource::Request);
        assert_eq!(book.apply(&delta(5, 6, &[50, 1], &[])).action, resync(ResyncReason::Start));
        assert_eq!(book.apply(&delta(7, 9, &[91, 5], &[])).action, None, "asked once");
        book.apply(&delta(10, 10, &[91, 0], &[110, 7]));
        assert_eq!(book.state(), BookState::WaitSnapshot);
        assert!(book.view().is_none());
        let mut seen = Vec::new();
        let outcome = book.apply_each(&snapshot(8, &[100, 1, 90, 1], &[110, 1, 120, 1]), &mut |view| {
            seen.push((view.last_update_id(), view.bids().collect::<Vec<_>>(), view.asks().next()));
        });
        assert_eq!(outcome.applied, 2);
        assert_eq!(
            seen,
            [(9, vec![(100, 1), (91, 5)], Some((110, 1))), (10, vec![(100, 1), (90, 1)], Some((110, 7))),]
        );
        assert_eq!((book.state(), book.epoch(), book.stats().outdated), (BookState::Live, 0, 1));
    }
}

#[test]
fn syncing_waits_for_the_bridging_delta() {
    let mut book = book(SequenceRule::Contiguous, SnapshotSource::Request);
    book.apply(&snapshot(10, &[100, 1], &[110, 1]));
    assert_eq!(book.state(), BookState::Syncing);
    assert!(book.view().is_none());
    assert_eq!(book.apply(&delta(9, 10, &[1, 1], &[])).applied, 0);
    assert_eq!(book.state(), BookState::Syncing);
    assert_eq!(book.apply(&delta(10, 12, &[100, 9], &[])).applied, 1);
    assert_eq!((book.state(), bids(&book)), (BookState::Live, vec![(100, 9)]));
}

#[test]
fn a_gap_is_recorded_and_healed() {
    // Under the chained rule the update that ends at the snapshot's id is the one that bridges to it.
    for (rule, expected, got, released) in
        [(SequenceRule::Contiguous, 12, 13, 1), (SequenceRule::Chained, 11, 12, 2)]
    {
        let mut book = live_book(rule);
        let outcome = book.apply(&BookUpdate { received_at_ns: 77, ..delta(13, 13, &[100, 3], &[]) });
        assert_eq!(outcome.gap, Some(BookGap { cause: BookGapCause::Sequence, expected, got, at_ns: 77 }));
        assert_eq!((outcome.action, outcome.applied), (resync(ResyncReason::Gap), 0));
        assert_eq!((book.state(), book.epoch()), (BookState::WaitSnapshot, 1));
        assert_eq!(book.apply(&delta(14, 14, &[100, 4], &[])).action, None);
        let outcome = book.apply(&snapshot(13, &[100, 30], &[110, 1]));
        assert_eq!((outcome.applied, outcome.action), (released, None));
        assert_eq!((bids(&book), book.epoch(), book.stats().gaps), (vec![(100, 4)], 1, 1));
    }
}

#[test]
fn a_gap_inside_the_buffer_is_found() {
    let mut book = book(SequenceRule::Contiguous, SnapshotSource::Request);
    for id in [11, 12, 15, 16] {
        book.apply(&delta(id, id, &[100, id], &[]));
    }
    let outcome = book.apply(&snapshot(10, &[100, 1], &[110, 1]));
    assert_eq!(outcome.gap, Some(BookGap { cause: BookGapCause::Sequence, expected: 13, got: 15, at_ns: 0 }));
    assert_eq!((outcome.applied, outcome.action, book.epoch()), (2, resync(ResyncReason::Gap), 1));
    assert_eq!(book.apply(&snapshot(14, &[100, 1], &[110, 1])).applied, 2);
    assert_eq!(bids(&book), [(100, 16)]);
}

#[test]
fn a_stale_snapshot_is_asked_for_again() {
    let mut book = book(SequenceRule::Contiguous, SnapshotSource::Request);
    book.apply(&delta(20, 21, &[100, 5], &[]));
    let outcome = book.apply(&snapshot(10, &[1, 1], &[2, 1]));
    assert_eq!(outcome.action, resync(ResyncReason::StaleSnapshot));
    assert_eq!((book.state(), book.epoch()), (BookState::WaitSnapshot, 0));
    assert_eq!(book.apply(&snapshot(19, &[100, 1], &[110, 1])).applied, 1);
    assert_eq!(bids(&book), [(100, 5)]);
}

#[test]
fn what_the_book_holds_is_ignored() {
    for rule in [SequenceRule::Contiguous, SequenceRule::Chained] {
        let mut book = live_book(rule);
        for id in [11, 10, 3] {
            let outcome = book.apply(&delta(id, id, &[100, 99], &[]));
            assert_eq!((outcome.applied, outcome.action), (0, None));
        }
        book.apply(&snapshot(5, &[1, 1], &[2, 1]));
        assert_eq!(bids(&book), [(100, 2), (90, 1)]);
        assert_eq!((book.stats().outdated, book.stats().snapshots_ignored, book.epoch()), (3, 1, 0));
    }
}

#[test]
fn a_full_buffer_forces_a_fresh_snapshot() {
    let limits = BookLimits { max_pending_updates: 2, ..BookLimits::default() };
    let settings =
        BookSettings { limits, ..BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 2) };
    let mut book = Book::new(settings);
    for id in [11, 12, 13] {
        book.apply(&delta(id, id, &[100, id], &[]));
    }
    assert_eq!((book.stats().buffered, book.stats().dropped), (3, 1));
    let outcome = book.apply(&snapshot(10, &[100, 1], &[110, 1]));
    assert_eq!(outcome.action, resync(ResyncReason::BufferOverflow));
    assert_eq!(book.apply(&snapshot(11, &[100, 1], &[110, 1])).applied, 2);
    let bytes = BookLimits { max_pending_bytes: 10, ..BookLimits::default() };
    let mut book = Book::new(BookSettings { limits: bytes, ..settings });
    book.apply(&delta(11, 11, &[100, 1], &[]));
    assert_eq!(book.stats().dropped, 1);
}

#[test]
fn in_band_snapshots_reset_the_book() {
    for rule in [SequenceRule::Contiguous, SequenceRule::Chained, SequenceRule::Unnumbered] {
        let mut book = book(rule, SnapshotSource::InBand);
        book.apply(&delta(9, 9, &[1, 1], &[]));
        let outcome = book.apply(&snapshot(10, &[100, 1], &[110, 1]));
        assert_eq!((outcome.applied, book.state(), book.epoch()), (1, BookState::Live, 0));
        assert_eq!(book.apply(&delta(11, 11, &[99, 1], &[])).applied, 1);
        book.apply(&snapshot(3, &[50, 1], &[51, 1]));
        // Without numbers nothing says that updates are missing.
        let epoch = u32::from(rule != SequenceRule::Unnumbered);
        assert_eq!((bids(&book), book.epoch(), book.stats().discarded), (vec![(50, 1)], epoch, 1));
        assert_eq!(book.apply(&delta(4, 4, &[50, 2], &[])).applied, 1);
    }
}

#[test]
fn chained_numbering_may_restart() {
    let mut book = live_book(SequenceRule::Chained);
    let reset = BookUpdate { previous_id: Some(11), ..delta(2, 2, &[100, 7], &[]) };
    assert_eq!(book.apply(&reset).applied, 1);
    let heartbeat = BookUpdate { previous_id: Some(2), ..delta(2, 2, &[], &[]) };
    assert_eq!(book.apply(&heartbeat).applied, 0);
    assert_eq!(book.apply(&delta(3, 3, &[100, 8], &[])).applied, 1);
    assert_eq!((bids(&book)[0], book.stats().sequence_resets, book.stats().heartbeats), ((100, 8), 1, 1));
}

#[test]
fn scales_grow_exactly_or_not_at_all() {
    let mut book = live_book(SequenceRule::Contiguous);
    let finer = BookUpdate { price_scale: 4, quantity_scale: 5, ..delta(12, 12, &[9_950, 12_345], &[]) };
    assert_eq!(book.apply(&finer).applied, 1);
    assert_eq!(bids(&book), [(10_000, 200), (9_950, 12_345)]);
    let coarser = BookUpdate { price_scale: 0, quantity_scale: 0, ..delta(13, 13, &[1, 3], &[]) };
    assert_eq!(book.apply(&coarser).applied, 1);
    assert_eq!(bids(&book)[0], (10_000, 300_000));
    assert_eq!((book.view().unwrap().price_scale(), book.view().unwrap().quantity_scale()), (4, 5));
    let unfit = BookUpdate { price_scale: 0, ..delta(14, 14, &[5, 1, i64::MAX / 9, 1], &[]) };
    let outcome = book.apply(&unfit);
    assert_eq!(outcome.rejected, Some(UpdateError::Overflow { mantissa: i64::MAX / 9, places: 4 }));
    assert_eq!(
        (outcome.action, book.state()),
        (resync(ResyncReason::InvalidUpdate), BookState::WaitSnapshot)
    );
    let mut book = live_book(SequenceRule::Contiguous);
    book.apply(&delta(12, 12, &[i64::MAX / 2, 1], &[]));
    let outcome = book.apply(&BookUpdate { price_scale: 3, ..delta(13, 13, &[1, 1], &[]) });
    assert!(matches!(outcome.rejected, Some(UpdateError::Overflow { .. })), "{outcome:?}");
}

#[test]
fn nonsense_is_refused_whole() {
    let negative = delta(12, 12, &[100, 5, 90, -1], &[]);
    let odd = delta(12, 12, &[100, 5], &[1]);
    let scale = BookUpdate { quantity_scale: 19, ..delta(12, 12, &[100, 5], &[]) };
    let range = delta(13, 12, &[100, 5], &[]);
    let free = delta(12, 12, &[], &[0, 4]);
    let below_zero = delta(12, 12, &[-1, 0], &[]);
    for update in [negative, odd, scale, range, free, below_zero] {
        let mut book = live_book(SequenceRule::Contiguous);
        let outcome = book.apply(&update);
        assert!(outcome.rejected.is_some());
        assert_eq!((outcome.action, book.epoch()), (resync(ResyncReason::InvalidUpdate), 1));
        let outcome = book.apply(&BookUpdate { change: Change::Snapshot, ..negative });
        assert_eq!((outcome.action, book.stats().rejected), (resync(ResyncReason::InvalidUpdate), 2));
    }
}

#[test]
fn a_crossed_book_is_discarded_in_time() {
    let mut book = live_book(SequenceRule::Contiguous);
    let at = |id: i64, seconds: i64, bids: &'static [i64]| BookUpdate {
        received_at_ns: seconds * 1_000_000_000,
        ..delta(id, id, bids, &[])
    };
    assert_eq!(book.apply(&at(12, 0, &[110, 1])).action, None);
    assert_eq!(book.check_crossed(1_500_000_000), None);
    assert_eq!(book.apply(&at(13, 2, &[110, 0])).action, None);
    assert_eq!(book.apply(&at(14, 3, &[111, 1])).action, None);
    assert_eq!(book.check_crossed(4_400_000_000), None);
    assert_eq!(book.check_crossed(4_600_000_000), resync(ResyncReason::Crossed));
    assert_eq!((book.state(), book.epoch(), book.stats().crossed), (BookState::WaitSnapshot, 1, 2));
}

#[test]
fn a_thin_book_is_extended_while_live() {
    let mut book = book(SequenceRule::Contiguous, SnapshotSource::Request);
    book.apply(&snapshot(10, &[100, 1, 99, 1, 98, 1, 97, 1], &[110, 1]));
    book.apply(&delta(11, 11, &[50, 1], &[]));
    assert_eq!(book.apply(&delta(12, 12, &[100, 0], &[])).action, None);
    assert_eq!(book.apply(&delta(13, 13, &[99, 0], &[])).action, Some(BookAction::Refresh));
    assert_eq!(book.apply(&delta(14, 14, &[98, 0], &[])).action, None);
    assert_eq!(bids(&book), [(97, 1)], "50 is known, but not all between 97 and 50");
    assert!(book.view().unwrap().is_short());
    let stale = book.apply(&snapshot(12, &[99, 1, 98, 1, 97, 1, 60, 1], &[110, 1]));
    assert_eq!(stale.action, Some(BookAction::Refresh));
    let outcome = book.apply(&snapshot(13, &[98, 1, 97, 1, 60, 1, 50, 1], &[110, 1]));
    assert_eq!((outcome.action, book.state(), book.epoch()), (None, BookState::Live, 0));
    assert_eq!(bids(&book), [(97, 1), (60, 1)]);
    assert!(!book.view().unwrap().is_short());
    assert_eq!(book.view().unwrap().last_update_id(), 14);
}

#[test]
fn a_partial_side_without_levels_is_no_book() {
    let mut book = book(SequenceRule::Contiguous, SnapshotSource::Request);
    book.apply(&snapshot(10, &[100, 1, 99, 1], &[110, 1]));
    book.apply(&delta(11, 11, &[100, 0], &[]));
    assert!(book.awaits_snapshot());
    let mut shown = 0;
    let outcome = book.apply_each(&delta(12, 12, &[99, 0], &[]), &mut |_| shown += 1);
    assert_eq!((outcome.action, shown), (resync(ResyncReason::Exhausted), 0));
    assert_eq!((book.state(), book.epoch()), (BookState::WaitSnapshot, 1));
    // One ask only: that side is whole, and may be empty.
    book.apply(&snapshot(13, &[100, 1, 99, 1], &[110, 1]));
    book.apply(&delta(14, 14, &[], &[110, 0]));
    assert_eq!((book.state(), bids(&book).len(), book.awaits_snapshot()), (BookState::Live, 2, false));
}

#[test]
fn a_book_without_reserve_is_extended_after_a_part_of_its_depth() {
    let mut book = Book::new(BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 8));
    let bids: Vec<i64> = (0..8).flat_map(|level| [100 - level, 1]).collect();
    book.apply(&snapshot(10, &bids, &[110, 1]));
    for (id, price) in [(11, 100), (12, 97)] {
        assert_eq!(book.apply(&delta(id, id, &[price, 0], &[])).action, None);
    }
    assert_eq!(book.apply(&delta(13, 13, &[99, 0], &[])).action, Some(BookAction::Refresh));
}

#[test]
fn extending_aligns_and_verifies() {
    let mut book = book(SequenceRule::Contiguous, SnapshotSource::Request);
    book.apply(&snapshot(10, &[100, 1, 99, 1], &[110, 1]));
    assert_eq!(book.apply(&delta(11, 11, &[100, 0], &[])).action, Some(BookAction::Refresh));
    book.apply(&snapshot(13, &[99, 1, 98, 1, 97, 2], &[110, 1]));
    assert_eq!(bids(&book), [(99, 1)]);
    book.apply(&delta(12, 12, &[], &[]));
    book.apply(&delta(13, 13, &[97, 2], &[]));
    assert_eq!(bids(&book), [(99, 1)]);
    book.apply(&delta(14, 14, &[98, 5], &[]));
    assert_eq!((bids(&book), book.epoch()), (vec![(99, 1), (98, 5)], 0));
    book.apply(&snapshot(15, &[99, 7, 98, 5, 97, 2], &[110, 1]));
    book.apply(&delta(15, 16, &[], &[111, 1]));
    assert_eq!((bids(&book), book.epoch(), book.stats().refresh_mismatches), (vec![(99, 7), (98, 5)], 1, 1));
}

#[test]
fn a_restart_resets_the_sequence() {
    let mut book = live_book(SequenceRule::Contiguous);
    assert_eq!(Some(book.restart()), resync(ResyncReason::Restart));
    assert_eq!((book.state(), book.epoch()), (BookState::WaitSnapshot, 1));
    book.apply(&delta(12, 12, &[1, 1], &[]));
    book.restart();
    assert_eq!(
        (book.stats().discarded, book.stats().resyncs[ResyncReason::Restart], book.epoch()),
        (1, 2, 1)
    );
}
