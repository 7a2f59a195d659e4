//! Closing, contents and cost of windows.

use std::time::Instant;

use marketprism_edge::audit::{FeedCounts, GapEvent, PublishOutcome, RecordOutcome};
use marketprism_edge::telemetry::Coverage;
use marketprism_schema::{
    Audit, DUPLICATES_MAX, DataType, DataTypeMap, Gap, GapCause, GapKind, decode_audit, encode_audit,
};

use super::setup::{Audited, NUMBERED, SECOND, SYMBOLS, audited, audited_symbols, silent, trades};

fn stored(audited: &Audited, symbol: usize, id: u64, at_ns: i64) -> RecordOutcome {
    audited.record(symbol, id, at_ns, &Coverage::default()).with_outcome(PublishOutcome::Stored)
}

#[test]
fn a_window_closes_when_it_has_ended_with_all_records_settled_and_later_records_do_not_change_it() {
    let audited = audited(1_000 * SECOND + SECOND / 2);
    let auditor = &audited.auditor;
    let second = |seconds: i64| (1_000 + seconds) * SECOND;
    let record = |id| auditor.record(&[stored(&audited, 0, id, second(0) + SECOND / 2)]);
    record(7);
    auditor.observe(audited.feed, Vec::new(), Some(second(1)));
    assert_eq!(auditor.close(second(1) + SECOND / 20, i64::MAX, 9), [], "late frames have their time");
    assert_eq!(auditor.close(second(2), second(0), 9), [], "a record is in flight");
    let audits = auditor.close(second(9), auditor.frontier_ns(), 9);
    let [audit] = audits.as_slice() else { panic!("{audits:?}") };
    assert_eq!((audit.from, audit.to), (second(0) + SECOND / 2, second(1)));
    assert_eq!(audit.silent, silent("C-D"));
    let [stream] = audit.streams.as_slice() else { panic!("{audit:?}") };
    assert_eq!((stream.stored.count, stream.first_sequence, stream.last_sequence), (1, Some(7), Some(7)));
    assert_eq!(stream.oldest_timestamp, Some((second(0) + SECOND / 2) / 1_000));
    record(8);
    assert_eq!(auditor.status().late, 1);
    let (last, open) = auditor.close_all(second(1) + 5, i64::MAX);
    assert_eq!((last.len(), last[0].from, last[0].to, open), (1, second(1), second(1) + 5, 0));
    let (none, open) = auditor.close_all(second(4), second(3));
    assert_eq!((none.len(), open), (1, 1), "a record of the last window is in flight");
}

#[test]
fn duplicates_are_listed_by_id_up_to_a_bound_beyond_which_the_list_says_that_it_is_cut() {
    let audited = audited(1_000 * SECOND);
    let duplicates = |ids: std::ops::Range<u64>, at_ns: i64| {
        let coverage = Coverage::default();
        let outcome = |id| audited.record(0, id, at_ns, &coverage).with_outcome(PublishOutcome::Duplicate);
        audited.auditor.record(&ids.map(outcome).collect::<Vec<_>>());
    };
    let most = DUPLICATES_MAX as u64;
    duplicates(0..3, 1_000 * SECOND);
    // A second message of one event is a second entry.
    duplicates(1..2, 1_000 * SECOND);
    duplicates(0..most + 1, 1_001 * SECOND);
    let audits = audited.auditor.close(1_100 * SECOND, i64::MAX, 2);
    let of = |audit: &Audit| {
        let stream = &audit.streams[0];
        (stream.duplicates, stream.duplicate_ids.len(), stream.duplicates_truncated, stream.oldest_timestamp)
    };
    let second_us = SECOND / 1_000;
    assert_eq!(of(&audits[0]), (4, 4, false, Some(1_000 * second_us)));
    assert_eq!(of(&audits[1]), (most + 1, DUPLICATES_MAX, true, Some(1_001 * second_us)));
    assert!(audits[0].streams[0].duplicate_ids.is_sorted());
    for audit in &audits {
        let bytes = encode_audit(audit).unwrap();
        assert_eq!(decode_audit(&bytes).unwrap(), *audit, "{} bytes", bytes.len());
    }
    // The room of closed windows is free again.
    for window in 0..20 {
        duplicates(0..most, (1_100 + window) * SECOND);
        let audits = audited.auditor.close(2_000 * SECOND, (1_101 + window) * SECOND, 1_000);
        assert!(!audits.last().unwrap().streams[0].duplicates_truncated, "window {window}");
    }
}

#[test]
fn every_unreadable_element_of_a_frame_is_in_the_audit() {
    let audited = audited(1_000 * SECOND);
    let (auditor, feed, stream) = (&audited.auditor, audited.feed, audited.streams[0]);
    let counts = FeedCounts { malformed: 1_000, ..FeedCounts::default() };
    let at = 1_000 * SECOND;
    let events = vec![GapEvent::Counts(at, counts), GapEvent::Malformed(stream, at, 1_000)];
    auditor.observe(feed, events, Some(1_001 * SECOND));
    let audits = auditor.close(1_009 * SECOND, auditor.frontier_ns(), 1);
    assert_eq!((audits[0].feeds[0].malformed, audits[0].streams[0].malformed), (1_000, 1_000));
}

#[test]
fn without_a_broker_the_oldest_windows_are_given_up_and_counted() {
    let audited = audited(1_000 * SECOND);
    for window in 0..1_000 {
        audited.auditor.record(&[stored(&audited, 0, 1, (1_000 + window) * SECOND)]);
    }
    let status = audited.auditor.status();
    assert_eq!((status.dropped, status.late), (820, 0));
    let audits = audited.auditor.close(9_000 * SECOND, 2_000 * SECOND, 1_000);
    assert_eq!((audits.len(), audits[0].window_start), (180, 1_820 * SECOND));
}

#[test]
fn an_open_gap_is_in_every_window_it_touches_and_a_failed_feed_is_a_gap_of_ours() {
    let audited = audited(1_000 * SECOND);
    let (auditor, feed, stream) = (&audited.auditor, audited.feed, audited.streams[0]);
    let second = |seconds: i64| (1_000 + seconds) * SECOND;
    let (connection, fault) = (GapKind::Connection, GapKind::AdapterFault);
    let gap = Gap::open(connection, GapCause::Network, second(0) + 5, "lost");
    auditor.observe(feed, vec![GapEvent::Began(stream, gap)], Some(second(2)));
    let parts = |audits: &[Audit]| -> Vec<(GapKind, i64, i64)> {
        let streams = audits.iter().flat_map(|audit| &audit.streams);
        let gaps = streams.filter(|stream| stream.id.symbol == "A-B").flat_map(|stream| &stream.gaps);
        gaps.map(|gap| (gap.kind, gap.from, gap.to)).collect()
    };
    let first = auditor.close(second(9), auditor.frontier_ns(), 9);
    assert_eq!(parts(&first), [(connection, second(0) + 5, second(1)), (connection, second(1), second(2))]);
    let recovered = GapEvent::Recovered(stream, connection, second(3) + 7, None);
    auditor.observe(feed, vec![recovered], Some(second(5)));
    auditor.feed_ended(feed, Some("fault"));
    let later = auditor.close(second(7), second(6), 9);
    assert_eq!(
        parts(&later),
        [
            (connection, second(2), second(3)),
            (connection, second(3), second(3) + 7),
            (fault, second(5), second(6))
        ]
    );
    assert_eq!(later[3].feeds[0].not_running.as_deref(), Some("fault"));
    assert!(first.iter().all(|audit| audit.silent == silent("C-D")));
}

/// The monitor that began it has ended with its feed, and the next one does not know of it.
#[test]
fn a_gap_that_lasts_when_its_feed_starts_again_ends_with_that_start() {
    let audited = audited(1_000 * SECOND);
    let (auditor, feed, stream) = (&audited.auditor, audited.feed, audited.streams[0]);
    let second = |seconds: i64| (1_000 + seconds) * SECOND;
    for kind in [GapKind::Connection, GapKind::BookSequence, GapKind::BookChecksum] {
        let gap = Gap::open(kind, GapCause::Network, second(0) + 5, "lost");
        auditor.observe(feed, vec![GapEvent::Began(stream, gap)], Some(second(1)));
    }
    auditor.feed_ended(feed, Some("fault"));
    let rows = SYMBOLS.map(|symbol| {
        DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (trades(symbol), NUMBERED)))
    });
    auditor.subscribe(feed, &rows, second(2));
    auditor.observe(feed, Vec::new(), Some(second(5)));
    let audits = auditor.close(second(9), auditor.frontier_ns(), 9);
    let streams = audits.iter().flat_map(|audit| &audit.streams);
    let ends = streams.filter(|stream| stream.id.symbol == "A-B").flat_map(|stream| &stream.gaps);
    assert_eq!(ends.map(|gap| gap.to).max(), Some(second(2)), "{audits:?}");
}

#[test]
fn a_gap_that_began_in_a_closed_window_is_reported_back_to_its_begin() {
    let audited = audited(1_000 * SECOND);
    let (auditor, feed, stream) = (&audited.auditor, audited.feed, audited.streams[0]);
    let second = |seconds: i64| (1_000 + seconds) * SECOND;
    auditor.observe(feed, Vec::new(), Some(second(3)));
    assert_eq!(auditor.close(second(9), auditor.frontier_ns(), 9).len(), 3);
    let gap = Gap::open(GapKind::Connection, GapCause::Network, second(1) + 5, "half dead");
    auditor.observe(feed, vec![GapEvent::Began(stream, gap)], Some(second(4)));
    let audits = auditor.close(second(9), auditor.frontier_ns(), 9);
    let [audit] = audits.as_slice() else { panic!("{audits:?}") };
    let times: Vec<_> = audit.streams[0].gaps.iter().map(|gap| (gap.from, gap.to)).collect();
    assert_eq!(times, [(second(1) + 5, second(3)), (second(3), second(4))]);
}

/// The limit is 2 % of the 3.3 us that an event takes at 300,000 events a second; the best of many batches counts.
#[test]
fn the_tally_costs_at_most_two_percent_of_an_events_way_through_the_edge() {
    let symbols: Vec<String> = (0..100).map(|number| format!("S{number}-D")).collect();
    let audited = audited_symbols(1_000 * SECOND, &symbols);
    let batch: Vec<_> = (0..256_u64)
        .map(|id| stored(&audited, (id % 100) as usize, id, 1_000 * SECOND + i64::try_from(id).unwrap()))
        .collect();
    let best = (0..2_000).map(|_| {
        let start = Instant::now();
        audited.auditor.record(&batch);
        start.elapsed()
    });
    let each_ns = best.min().unwrap().as_secs_f64() * 1e9 / 256.0;
    println!("{each_ns:.1} ns an event");
    assert!(each_ns < 66.0, "{each_ns} ns an event");
}
