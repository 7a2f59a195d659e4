use marketprism_schema::{Capability, Completeness, DataTypeMap, MarketType, Numbering, StreamId};

use super::*;
use crate::audit::AuditOrigin;

const SECOND: i64 = 1_000_000_000;

/// Of one connection with the trades of one instrument.
fn monitor() -> GapMonitor {
    let auditor = Arc::new(Auditor::new(AuditOrigin {
        edge: "e1".to_owned(),
        region: "r1".to_owned(),
        run_ns: SECOND,
        window_seconds: 60,
        settle: std::time::Duration::ZERO,
    }));
    let feed = auditor.feed("sim_spot");
    let id = StreamId::new(DataType::Trade, "sim_spot", MarketType::Spot, "A-B").unwrap();
    let capability =
        Capability { numbering: Numbering::ByOne, completeness: Completeness::Complete, delay_seconds: 0 };
    let trades = DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (id.clone(), capability)));
    let streams = auditor.subscribe(feed, &[trades], SECOND);
    let trades = stream_of(&streams, DataType::Trade, InstrumentIndex::default());
    let source = GapSource::new("connection a".to_owned(), trades.into_iter().collect(), Some(i64::MIN));
    GapMonitor {
        auditor,
        feed,
        streams,
        sources: vec![source],
        incidents: Incidents::default(),
        recovering: Vec::new(),
        events: Vec::new(),
        counts: FeedCounts::default(),
        counts_at_ns: SECOND,
        book_gaps: Vec::new(),
        broken: BTreeMap::new(),
        silences: Silences::default(),
        conflated: BTreeMap::new(),
        frontier_ns: SECOND,
    }
}

/// A subscription begins with the last trades of each instrument: the oldest row of the rarest one made a gap of no length.
#[test]
fn a_gap_ends_by_the_venues_clock_with_the_first_event_of_the_connection() {
    let (mut monitor, source) = (monitor(), (SourceIndex::default(), 1));
    let recovered = |monitor: &GapMonitor| {
        monitor.events.iter().find_map(|event| match event {
            GapEvent::Recovered(_, _, at_ns, venue_ns) => Some((at_ns / SECOND, *venue_ns)),
            _ => None,
        })
    };
    monitor.frame(source, 10 * SECOND, Some(0));
    assert!(monitor.event(source, 20 * SECOND, Some(10_000_000)));
    monitor.closed(source, &CloseReason::Lost("reset".to_owned()), 11 * SECOND, false);
    monitor.frame(source, 20 * SECOND, Some(0));
    for second in [3, 9, 15, 19] {
        assert!(
            !monitor.event(source, 20 * SECOND, Some(second * 1_000_000)),
            "{second} s is before the connection"
        );
    }
    assert_eq!(recovered(&monitor), None);
    assert!(monitor.event(source, 20 * SECOND, Some(21_000_000)));
    assert_eq!(recovered(&monitor), Some((20, Some(21 * SECOND))));
}

/// The answer to the first of twenty paced subscriptions ended the gap of the streams of all.
#[test]
fn a_gap_ends_with_the_first_frame_behind_the_last_subscription() {
    let (mut monitor, source) = (monitor(), (SourceIndex::default(), 1));
    let ends = |monitor: &mut GapMonitor| -> Vec<i64> {
        monitor.report_recoveries(i64::MAX);
        let ends = monitor.events.iter().filter_map(|event| match event {
            GapEvent::Recovered(_, _, at_ns, _) => Some(at_ns / SECOND),
            _ => None,
        });
        ends.collect()
    };
    monitor.frame(source, 10 * SECOND, Some(9 * SECOND));
    monitor.closed(source, &CloseReason::Lost("reset".to_owned()), 11 * SECOND, false);
    for second in 12..16 {
        monitor.frame(source, second * SECOND, None);
    }
    assert!(ends(&mut monitor).is_empty(), "subscriptions wait for the message limit");
    monitor.frame(source, 17 * SECOND, Some(16 * SECOND));
    assert_eq!(ends(&mut monitor), [17]);
    monitor.closed(source, &CloseReason::Lost("reset".to_owned()), 18 * SECOND, false);
    monitor.frame(source, 20 * SECOND, Some(21 * SECOND));
    assert_eq!(ends(&mut monitor), [17, 21], "the last subscription could not be answered before");
}

/// The stream of the first subscription flowed for seconds before the venue took the second one, whose events until then were in no gap.
#[test]
fn a_gap_ends_with_the_last_answer_to_what_opened_the_connection() {
    let (mut monitor, old) = (monitor(), (SourceIndex::default(), 1));
    let ends_by = |monitor: &mut GapMonitor, now_ns: i64| -> Vec<(i64, Option<i64>)> {
        monitor.report_recoveries(now_ns);
        let ends = monitor.events.iter().filter_map(|event| match event {
            GapEvent::Recovered(_, _, at_ns, venue_ns) => {
                Some((at_ns / SECOND, venue_ns.map(|at| at / SECOND)))
            }
            _ => None,
        });
        ends.collect()
    };
    let lost = CloseReason::Lost("reset".to_owned());
    monitor.sources[0].opening_messages = 2;
    monitor.frame(old, 10 * SECOND, Some(0));
    monitor.closed(old, &lost, 11 * SECOND, false);
    let new = (old.0, 2);
    monitor.frame(new, 12 * SECOND, None);
    monitor.answered(new, 12 * SECOND);
    monitor.frame(new, 13 * SECOND, Some(13 * SECOND));
    monitor.event(new, 13 * SECOND, Some(14_000_000));
    assert!(ends_by(&mut monitor, 20 * SECOND).is_empty(), "one of two is answered");
    monitor.frame(new, 18 * SECOND, Some(13 * SECOND));
    monitor.answered(new, 18 * SECOND);
    assert!(!monitor.event(new, 18 * SECOND, Some(17_000_000)), "of before the answer");
    assert!(monitor.event(new, 18 * SECOND, Some(19_000_000)));
    assert!(ends_by(&mut monitor, 18 * SECOND).is_empty(), "another answer may follow");
    assert_eq!(ends_by(&mut monitor, 19 * SECOND), [(18, Some(19))]);

    monitor.closed(new, &lost, 20 * SECOND, false);
    monitor.frame((old.0, 3), 30 * SECOND, Some(30 * SECOND));
    assert_eq!(ends_by(&mut monitor, 39 * SECOND).len(), 1);
    assert_eq!(ends_by(&mut monitor, 40 * SECOND)[1..], [(30, None)], "the venue answers none");
}

/// The venue closed the connection while its replacement had only pongs: the next pong ended the gap, which began with the one before.
#[test]
fn the_gap_of_a_late_takeover_lasts_from_the_last_frame_before_to_the_first_event_after_it() {
    let (mut monitor, old) = (monitor(), (SourceIndex::default(), 1));
    let gap = |monitor: &GapMonitor| {
        let began = monitor.events.iter().rev().find_map(|event| match event {
            GapEvent::Began(_, gap) if gap.kind == GapKind::Connection => Some(gap.from / SECOND),
            _ => None,
        });
        let ended = monitor.events.iter().rev().find_map(|event| match event {
            GapEvent::Recovered(_, _, at_ns, _) => Some(at_ns / SECOND),
            _ => None,
        });
        (began, ended)
    };
    let new = (old.0, 2);
    monitor.frame(old, 10 * SECOND, Some(0));
    monitor.event(old, 10 * SECOND, None);
    monitor.frame(new, 14 * SECOND, Some(0));
    let lost = CloseReason::Lost("reset".to_owned());
    monitor.closed(old, &lost, 15 * SECOND, true);
    monitor.frame(new, 16 * SECOND, Some(0));
    monitor.report_recoveries(i64::MAX);
    assert_eq!(gap(&monitor), (Some(10), None), "a pong");
    monitor.frame(new, 20 * SECOND, Some(0));
    monitor.event(new, 20 * SECOND, None);
    monitor.report_recoveries(i64::MAX);
    assert_eq!(gap(&monitor), (Some(10), Some(20)));
    monitor.frame(new, 30 * SECOND, Some(0));
    monitor.event((new.0, 3), 31 * SECOND, None);
    monitor.closed(new, &lost, 32 * SECOND, true);
    assert_eq!(gap(&monitor), (Some(10), Some(20)), "its events had waited for the pipeline");
}
