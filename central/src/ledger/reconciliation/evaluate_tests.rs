//! The rule, case by case.

use std::ops::Range;
use std::sync::LazyLock;

use marketprism_schema::{Capability, DowntimeReason, EventId, Fingerprint, StreamId};

use super::evaluate::{Arrival, Evaluation, WindowInputs, covers, evaluate};
use super::expected_streams::Expectation;
use super::queries::{DowntimeSpan, GapSummary, HotContents, LASTS, WindowAudit};
use super::verdict::VerdictState::{self, Mismatch, NotCollected, Open, Unverifiable, Verified};
use super::verdict::WindowVerdict;
use crate::ledger::windows::{EdgeStream, WindowRange};

const MILLI_NS: i64 = 1_000_000;
const WINDOW: WindowRange = WindowRange { from: 60_000 * MILLI_NS, to: 120_000 * MILLI_NS };
static EDGE_STREAM: LazyLock<EdgeStream> = LazyLock::new(|| EdgeStream {
    stream: StreamId::parse("trade.sim_spot.spot.A-B").unwrap(),
    edge: "e1".into(),
});

fn ids(numbers: Range<u128>) -> Fingerprint {
    numbers.map(|n| EventId((n << 64) | (n * 3))).collect()
}

/// Of a part of the window, in milliseconds.
fn run(from: i64, to: i64, numbers: Range<u128>) -> WindowAudit {
    let (from, to) = (from * MILLI_NS, to * MILLI_NS);
    let received_ms = to / MILLI_NS;
    WindowAudit { from, to, stored: ids(numbers), received_ms, ..WindowAudit::new(Capability::UNNUMBERED) }
}

fn audit(numbers: Range<u128>) -> WindowAudit {
    run(60_000, 120_000, numbers)
}

fn case(audits: &[WindowAudit], contents: Option<Range<u128>>) -> WindowInputs<'_> {
    WindowInputs {
        edge_stream: &EDGE_STREAM,
        window: WINDOW,
        audits,
        contents: contents.map(|numbers| HotContents { ids: ids(numbers), copies: 0 }),
        capability: Capability::UNNUMBERED,
        stored_ids: &[],
        downtimes: &[],
        ambiguous_missing: 0,
        duplicates_missing: 0,
        expectation: None,
        is_first: false,
        is_known: true,
        arrival: Arrival::Complete,
        is_trimmed: false,
        is_relived: false,
        was_early: false,
    }
}

fn verdict(case: &WindowInputs<'_>) -> WindowVerdict {
    match evaluate(case) {
        Evaluation::Replace(verdict, _) => verdict,
        other => panic!("{other:?}"),
    }
}

fn state(audits: &[WindowAudit], contents: Range<u128>) -> VerdictState {
    verdict(&case(audits, Some(contents))).state
}

#[test]
fn only_the_same_events_are_verified_and_a_single_missing_one_is_named() {
    let whole = [audit(0..10)];
    let runs = [run(60_000, 90_000, 0..4), run(90_000, 120_000, 4..10)];
    assert_eq!([state(&whole, 0..10), state(&runs, 0..10)], [Verified, Verified]);
    let id = (9_u128 << 64) | 27;
    let named = format!("1 missing: event {id:032x}");
    for (contents, lost, missing, reason) in [
        (0..9, 1, Some(id), named.as_str()),
        (0..8, 2, None, "2 missing"),
        (0..12, 0, None, "2 too many"),
        (1..11, 0, None, "other events"),
    ] {
        let several = case(&whole, Some(contents));
        let Evaluation::Replace(found, event) = evaluate(&several) else { panic!("{several:?}") };
        assert_eq!((found.state, found.lost(), event), (Mismatch, lost, missing), "{}", found.reason);
        assert!(found.reason.ends_with(reason), "{}", found.reason);
    }
}

#[test]
fn a_window_is_open_while_rows_or_audits_may_still_arrive() {
    let audits = [audit(0..10)];
    for arrival in [Arrival::WithinGrace, Arrival::IngestBehind] {
        let at = |audits: &[WindowAudit], contents| {
            verdict(&WindowInputs { arrival, ..case(audits, Some(contents)) }).state
        };
        assert_eq!([at(&audits, 0..9), at(&[], 0..9), at(&audits, 0..10)], [Open, Open, Verified]);
    }
    assert!(matches!(evaluate(&case(&audits, None)), Evaluation::Keep(v) if v.state == Open));
}

#[test]
fn a_window_without_complete_audit_is_unverifiable_unless_rows_are_missing_for_certain() {
    assert_eq!(evaluate(&case(&[], Some(0..0))), Evaluation::Nothing);
    let expectation = Some(Expectation::EdgeSilent(3));
    let silent = verdict(&WindowInputs { expectation, ..case(&[], Some(0..0)) });
    assert!(silent.state == Unverifiable && silent.reason.contains("3 windows"), "{}", silent.reason);
    assert_eq!(state(&[], 0..5), Unverifiable);
    let late = [run(70_500, 120_000, 4..10)];
    let part = verdict(&case(&late, Some(0..10)));
    assert_eq!(part.reason, "audit of edge e1 covers only 10.500-60.000 s of the 60 s window");
    assert_eq!([part.state, state(&late, 0..5)], [Unverifiable, Mismatch]);
    let truncated = [WindowAudit { is_ambiguous_truncated: true, ..audit(0..10) }];
    assert_eq!(state(&truncated, 0..10), Unverifiable);
}

/// Another message took the id of an event: the broker called the event a duplicate and dropped it.
#[test]
fn events_that_the_broker_called_duplicates_must_be_in_hot_whoever_stored_them() {
    let audits = [WindowAudit { duplicates: 3, names_duplicates: true, ..audit(0..10) }];
    assert_eq!(state(&audits, 0..10), Verified);
    let taken = WindowInputs { duplicates_missing: 2, ..case(&audits, Some(0..10)) };
    let found = verdict(&taken);
    assert_eq!((found.state, found.lost()), (Mismatch, 2));
    assert!(
        found.reason.contains("2 events that the broker called duplicates are not in hot"),
        "{}",
        found.reason
    );
    let early = verdict(&WindowInputs { arrival: Arrival::IngestBehind, ..taken });
    assert_eq!(early.state, Open, "their rows may still arrive");
    let truncated = [WindowAudit { are_duplicates_truncated: true, ..audit(0..10) }];
    let found = verdict(&case(&truncated, Some(0..10)));
    assert_eq!(found.state, Unverifiable);
    assert!(found.reason.contains("too many duplicate acknowledgements to list"), "{}", found.reason);
}

#[test]
fn ambiguous_events_must_be_in_hot_whoever_stored_them() {
    let audits = [WindowAudit { ambiguous: vec![1, 2], ..audit(0..10) }];
    let late = [WindowAudit { ambiguous: vec![1, 2], ..run(70_500, 120_000, 0..10) }];
    let found = verdict(&case(&audits, Some(0..10)));
    assert_eq!((found.state, found.expected, found.found), (Verified, 12, 12));
    for audits in [&audits, &late] {
        let missing = verdict(&WindowInputs { ambiguous_missing: 1, ..case(audits, Some(0..10)) });
        assert_eq!((missing.state, missing.expected, missing.found), (Mismatch, 12, 11));
        assert!(
            missing.reason.contains("1 ambiguously acknowledged events are not in hot"),
            "{}",
            missing.reason
        );
    }
}

#[test]
fn an_event_listed_as_stored_and_as_ambiguous_is_expected_once() {
    let id = (9_u128 << 64) | 27;
    let twice = [WindowAudit { ambiguous: vec![id, 77], ..audit(0..10) }];
    let found = verdict(&case(&twice, Some(0..9)));
    assert_eq!((found.state, found.expected, found.found), (Verified, 11, 11));
    assert_eq!(state(&twice, 0..8), Mismatch);
    let missing = WindowInputs { ambiguous_missing: 1, ..case(&twice, Some(0..9)) };
    assert_eq!(verdict(&missing).state, Mismatch, "hot may not have it");
}

#[test]
fn windows_that_a_clock_passed_twice_are_unverifiable_and_missing_rows_a_mismatch() {
    let audits = [audit(0..10)];
    let relived = |contents| verdict(&WindowInputs { is_relived: true, ..case(&audits, Some(contents)) });
    assert_eq!([relived(0..10).state, relived(0..9).state], [Unverifiable, Mismatch]);
    let found = relived(0..14);
    assert_eq!((found.state, found.lost()), (Unverifiable, 0));
    assert!(
        found
            .reason
            .ends_with("was set back over this time: edge e1 published 10 events, hot has 14: 4 too many"),
        "{}",
        found.reason
    );
}

/// The clock was set forward, and back before the window was over.
#[test]
fn more_events_than_an_edge_counted_when_its_clock_was_ahead_are_unverifiable() {
    let closed_at = |received_ms, contents| {
        let audits = [WindowAudit { received_ms, ..audit(0..10) }];
        verdict(&case(&audits, Some(contents)))
    };
    assert_eq!(closed_at(120_000, 0..14).state, Mismatch, "an audit follows its window");
    assert_eq!([closed_at(119_999, 0..9).state, closed_at(119_999, 0..10).state], [Mismatch, Verified]);
    let found = closed_at(119_999, 0..14);
    assert_eq!((found.state, found.lost()), (Unverifiable, 0));
    assert!(found.reason.contains("was ahead when it closed this window"), "{}", found.reason);
}

/// The broker lost the audit, the edge sent it again, and hot gets its rows back meanwhile.
#[test]
fn a_window_that_was_closed_early_stays_so_whatever_its_verdicts_were_since() {
    let after = |before: &WindowVerdict, arrival, contents| {
        let again = [audit(0..10)];
        verdict(&WindowInputs { was_early: before.is_early, arrival, ..case(&again, Some(contents)) })
    };
    let first = |received_ms| {
        let audits = [WindowAudit { received_ms, ..audit(0..10) }];
        verdict(&case(&audits, Some(0..14)))
    };
    let ahead = first(119_999);
    for (arrival, contents, state) in [
        (Arrival::IngestBehind, 0..14, Open),
        (Arrival::WithinGrace, 0..14, Open),
        (Arrival::Complete, 0..9, Mismatch),
        (Arrival::Complete, 0..10, Verified),
        (Arrival::Complete, 0..14, Unverifiable),
    ] {
        let between = after(&ahead, arrival, contents);
        assert_eq!(between.state, state);
        assert_eq!(after(&between, Arrival::Complete, 0..14), ahead, "{state:?}");
    }
    assert_eq!(after(&first(120_000), Arrival::Complete, 0..14).state, Mismatch);
}

#[test]
fn rows_expired_from_hot_never_make_a_mismatch() {
    let audits = [audit(0..10)];
    let trimmed = |audits: &[WindowAudit], contents| {
        evaluate(&WindowInputs { is_trimmed: true, ..case(audits, Some(contents)) })
    };
    assert!(matches!(trimmed(&audits, 0..3), Evaluation::Keep(v) if v.state == Unverifiable));
    assert!(matches!(trimmed(&[], 0..3), Evaluation::Keep(v) if v.state == Unverifiable));
    assert!(matches!(trimmed(&audits, 0..10), Evaluation::Replace(v, _) if v.state == Verified));
}

#[test]
fn numbers_gaps_and_causes_of_all_runs_add_up() {
    let gaps = |count, missing, cause: &str| GapSummary { count, missing, causes: vec![cause.to_owned()] };
    let first = run(60_000, 90_000, 0..4);
    let (named, start) = (gaps(2, 7, "venue"), gaps(1, 0, "ours"));
    let runs = [
        WindowAudit { gaps: named, start, conflated: 3, duplicates: 4, ..first },
        WindowAudit { gaps: gaps(1, 2, "venue"), ..run(90_000, 120_000, 4..10) },
    ];
    let contents = Some(HotContents { ids: ids(0..10), copies: 5 });
    let known = WindowInputs { contents, ..case(&runs, None) };
    let found = verdict(&known);
    assert_eq!((found.state, found.gaps, found.missing), (Verified, 4, 9));
    assert_eq!((found.conflated, found.duplicates), (3, 9));
    assert_eq!(found.causes, ["ours", "venue"]);
    let new = verdict(&WindowInputs { is_known: false, ..known });
    assert_eq!((new.gaps, new.causes), (3, vec!["venue".to_owned()]));
}

#[test]
fn only_the_first_window_of_a_stream_may_begin_late() {
    let first = |audits: &[WindowAudit], contents| {
        verdict(&WindowInputs { is_first: true, ..case(audits, Some(contents)) }).state
    };
    let late = [run(70_500, 120_000, 0..10)];
    assert_eq!([first(&late, 0..10), first(&late, 0..12)], [Verified, Unverifiable]);
    assert_eq!(state(&late, 0..10), Unverifiable);
    let stopped = [run(70_500, 80_000, 0..10)];
    let interrupted = [run(70_500, 80_000, 0..4), run(90_000, 120_000, 4..10)];
    assert_eq!([first(&stopped, 0..10), first(&interrupted, 0..10)], [Unverifiable, Unverifiable]);
}

#[test]
fn rows_without_an_audit_are_reported() {
    let expectation = Some(Expectation::BetweenReports);
    let unseen = WindowInputs { arrival: Arrival::WithinGrace, expectation, ..case(&[], None) };
    assert!(matches!(evaluate(&unseen), Evaluation::Keep(verdict) if verdict.state == Open));
    let reason = |contents| verdict(&WindowInputs { expectation, ..case(&[], Some(contents)) }).reason;
    assert!(reason(0..3).ends_with("; hot has rows of this window"), "{}", reason(0..3));
    assert!(!reason(0..0).contains("rows"), "{}", reason(0..0));
}

#[test]
fn runs_cover_a_window_in_any_order_and_holes_are_named() {
    let covered = |parts: &[(i64, i64)]| {
        let audits: Vec<WindowAudit> = parts.iter().map(|(from, to)| run(*from, *to, 0..0)).collect();
        covers(audits.iter().map(WindowAudit::range), WINDOW)
    };
    assert_eq!(covered(&[(60_000, 120_000)]), Ok(()));
    assert_eq!(covered(&[(90_000, 120_000), (60_005, 90_000)]), Ok(()));
    assert_eq!(covered(&[(60_000, 90_000), (90_005, 119_995)]), Ok(()), "within the clock tolerance");
    assert_eq!(covered(&[(60_000, 120_000), (70_000, 80_000)]), Ok(()), "one run within another");
    let hole = "0.000-30.000 and 30.020-60.000 s of the 60 s window";
    assert_eq!(covered(&[(60_000, 90_000), (90_020, 120_000)]).unwrap_err(), hole);
}

fn down(from: i64, to: i64) -> DowntimeSpan {
    let to = if to == LASTS { LASTS } else { to * MILLI_NS };
    let range = WindowRange { from: from * MILLI_NS, to };
    DowntimeSpan { range, reason: DowntimeReason::Stopped, detail: String::new() }
}

#[test]
fn a_clean_stop_and_the_next_start_enclose_a_time_that_is_not_collected() {
    let runs = [run(60_000, 80_000, 0..5), run(104_000, 120_000, 5..9)];
    let stopped = [down(80_000, 104_000)];
    let between = |downtimes: &[DowntimeSpan], contents| {
        verdict(&WindowInputs { downtimes, ..case(&runs, Some(contents)) })
    };
    let known = between(&stopped, 0..9);
    assert_eq!(known.state, NotCollected);
    assert_eq!(known.reason, "not collected 00:01:20 to 00:01:44, stopped by operator");
    assert_eq!(between(&stopped, 0..8).state, Mismatch, "what was collected must be there");
    assert_eq!(between(&[], 0..9).state, Unverifiable, "a kill without a recovered audit");
    assert_eq!(between(&[down(81_000, 104_000)], 0..9).state, Unverifiable, "audits end before the stop");
    assert_eq!(between(&[down(80_000, 90_000)], 0..9).state, Unverifiable, "killed before its first audit");
}

#[test]
fn a_whole_window_of_downtime_has_no_audit_and_must_have_no_rows() {
    let without = |downtimes: &[DowntimeSpan], contents| {
        let expectation = Some(Expectation::BetweenReports);
        verdict(&WindowInputs { downtimes, expectation, ..case(&[], Some(contents)) })
    };
    let lasting = without(&[down(10_000, LASTS)], 0..0);
    assert_eq!(lasting.state, NotCollected);
    assert_eq!(lasting.reason, "not collected since 00:00:10, stopped by operator");
    let days = without(&[down(10_000, 90_000_000)], 0..0);
    assert_eq!(days.reason, "not collected 00:00:10 to 1970-01-02 01:00:00, stopped by operator");
    assert_eq!(without(&[down(10_000, LASTS)], 0..1).state, Unverifiable);
    assert_eq!(without(&[down(70_000, LASTS)], 0..0).state, Unverifiable);
}

#[test]
fn the_pauses_around_a_stop_belong_to_the_time_that_is_not_collected() {
    let mut audits = [run(60_000, 80_000, 0..5), run(104_000, 120_000, 5..9)];
    let range = |from: i64, to: i64| WindowRange { from: from * MILLI_NS, to: to * MILLI_NS };
    (audits[0].pause, audits[1].pause) = (Some(range(79_000, 80_000)), Some(range(104_000, 106_000)));
    let stopped = [down(80_000, 104_000)];
    let found = verdict(&WindowInputs { downtimes: &stopped, ..case(&audits, Some(0..9)) });
    assert_eq!(found.reason, "not collected 00:01:19 to 00:01:46, stopped by operator");
    let mut only_start = audit(0..9);
    only_start.pause = Some(range(60_000, 61_000));
    assert_eq!(state(&[only_start], 0..9), NotCollected);
}

#[test]
fn a_delisted_stream_ends_and_is_no_gap() {
    let ended = [DowntimeSpan { reason: DowntimeReason::Delisted, ..down(80_000, LASTS) }];
    let expectation = Some(Expectation::StreamLeftOut(1));
    let of_end = verdict(&WindowInputs { downtimes: &ended, ..case(&[audit(0..9)], Some(0..9)) });
    let after = WindowInputs { downtimes: &ended, expectation, ..case(&[], Some(0..0)) };
    let after = verdict(&WindowInputs {
        window: WindowRange { from: 120_000 * MILLI_NS, to: 180_000 * MILLI_NS },
        ..after
    });
    for found in [of_end, after] {
        assert_eq!((found.state, found.gaps), (NotCollected, 0));
        assert!(found.reason.ends_with("00:01:20, ended: delisted"), "{}", found.reason);
    }
}

#[test]
fn a_killed_edge_is_verified_up_to_its_last_record_and_the_rest_is_named() {
    let killed = DowntimeSpan { reason: DowntimeReason::Killed, ..down(80_000, 104_000) };
    let runs = [run(60_000, 80_000, 0..5), run(104_000, 120_000, 5..9)];
    let of = |audits: &[WindowAudit], contents| {
        let expectation = Some(Expectation::BetweenReports);
        verdict(&WindowInputs {
            downtimes: std::slice::from_ref(&killed),
            expectation,
            ..case(audits, Some(contents))
        })
    };
    let found = of(&runs, 0..9);
    assert_eq!(found.state, Unverifiable);
    let time = "has no audit of 00:01:20 to 00:01:44, edge killed";
    assert!(found.reason.ends_with(&format!("{time}, verified before and after")), "{}", found.reason);
    assert_eq!(of(&runs, 0..8).state, Mismatch, "what it had recorded must be there");
    assert_eq!(of(&runs[1..], 0..4).state, Unverifiable, "its audit has not arrived");
    let long = DowntimeSpan { reason: DowntimeReason::Killed, ..down(10_000, 900_000) };
    let whole = WindowInputs {
        downtimes: &[long],
        expectation: Some(Expectation::BetweenReports),
        ..case(&[], Some(0..0))
    };
    let found = verdict(&whole);
    assert_eq!(found.state, Unverifiable);
    assert!(found.reason.ends_with("has no audit of 00:00:10 to 00:15:00, edge killed"), "{}", found.reason);
}
