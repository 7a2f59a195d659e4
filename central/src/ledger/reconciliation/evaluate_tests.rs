//! The rule, case by case.

use marketprism_schema::{EventId, Fingerprint, StreamId};

use super::evaluate::{Arrival, Evaluation, WindowInputs, evaluate};
use super::expected_streams::Expectation;
use super::queries::{GapSummary, HotContents, WindowAudit};
use super::verdict::{VerdictState, WindowVerdict};
use crate::ledger::windows::{EdgeStream, WindowRange};

const WINDOW: WindowRange = WindowRange { from: 60_000_000_000, to: 120_000_000_000 };

fn ids(numbers: std::ops::Range<u128>) -> Fingerprint {
    numbers.map(|n| EventId((n << 64) | (n * 3))).collect()
}

fn source() -> EdgeStream {
    EdgeStream { stream: StreamId::parse("trade.sim_spot.spot.A-B").unwrap(), edge: "e1".into() }
}

fn audit(numbers: std::ops::Range<u128>) -> WindowAudit {
    WindowAudit { from: WINDOW.from, to: WINDOW.to, stored: ids(numbers), ..WindowAudit::default() }
}

fn case<'a>(
    source: &'a EdgeStream,
    audits: &'a [WindowAudit],
    contents: Option<std::ops::Range<u128>>,
) -> WindowInputs<'a> {
    WindowInputs {
        edge_stream: source,
        window: WINDOW,
        audits,
        contents: contents.map(|numbers| HotContents { ids: ids(numbers), copies: 0 }),
        ambiguous_missing: 0,
        expectation: None,
        is_first: false,
        is_known: true,
        arrival: Arrival::Complete,
        is_trimmed: false,
    }
}

fn verdict(case: &WindowInputs<'_>) -> WindowVerdict {
    match evaluate(case) {
        Evaluation::Replace(verdict, _) => verdict,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_same_events_are_verified() {
    let source = source();
    let whole = [audit(0..10)];
    assert_eq!(verdict(&case(&source, &whole, Some(0..10))).state, VerdictState::Verified);
    let runs = [
        WindowAudit { to: 90_000_000_000, ..audit(0..4) },
        WindowAudit { from: 90_000_000_000, ..audit(4..10) },
    ];
    assert_eq!(verdict(&case(&source, &runs, Some(0..10))).state, VerdictState::Verified);

    let short = verdict(&case(&source, &whole, Some(0..9)));
    assert_eq!((short.state, short.lost()), (VerdictState::Mismatch, 1));
    let id = format!("{:032x}", (9_u128 << 64) | 27);
    assert!(short.reason.contains("1 missing") && short.reason.contains(&id), "{}", short.reason);
    let more = verdict(&case(&source, &whole, Some(0..12)));
    assert!(more.state == VerdictState::Mismatch && more.reason.contains("2 too many"), "{}", more.reason);
    let other = verdict(&case(&source, &whole, Some(1..11)));
    assert!(
        other.state == VerdictState::Mismatch && other.reason.contains("other events"),
        "{}",
        other.reason
    );
}

#[test]
fn a_window_is_open_while_rows_or_audits_may_still_arrive() {
    let source = source();
    let audits = [audit(0..10)];
    for arrival in [Arrival::WithinGrace, Arrival::IngestBehind] {
        assert_eq!(
            verdict(&WindowInputs { arrival, ..case(&source, &audits, Some(0..9)) }).state,
            VerdictState::Open
        );
        assert_eq!(
            verdict(&WindowInputs { arrival, ..case(&source, &[], Some(0..9)) }).state,
            VerdictState::Open
        );
        assert_eq!(
            verdict(&WindowInputs { arrival, ..case(&source, &audits, Some(0..10)) }).state,
            VerdictState::Verified
        );
    }
    assert!(
        matches!(evaluate(&case(&source, &audits, None)), Evaluation::Keep(v) if v.state == VerdictState::Open)
    );
}

#[test]
fn a_window_without_complete_audit_is_unverifiable_unless_rows_are_missing_for_certain() {
    let source = source();
    assert_eq!(evaluate(&case(&source, &[], Some(0..0))), Evaluation::Nothing);
    let silent =
        WindowInputs { expectation: Some(Expectation::EdgeSilent(3)), ..case(&source, &[], Some(0..0)) };
    let silent = verdict(&silent);
    assert!(
        silent.state == VerdictState::Unverifiable && silent.reason.contains("3 windows"),
        "{}",
        silent.reason
    );
    assert_eq!(verdict(&case(&source, &[], Some(0..5))).state, VerdictState::Unverifiable);

    let late = [WindowAudit { from: 70_500_000_000, ..audit(4..10) }];
    let part = verdict(&case(&source, &late, Some(0..10)));
    assert_eq!(part.state, VerdictState::Unverifiable);
    assert_eq!(part.reason, "audit of edge e1 covers only 10.500-60.000 s of the 60 s window");
    assert_eq!(verdict(&case(&source, &late, Some(0..5))).state, VerdictState::Mismatch);
    let truncated = [WindowAudit { is_ambiguous_truncated: true, ..audit(0..10) }];
    assert_eq!(verdict(&case(&source, &truncated, Some(0..10))).state, VerdictState::Unverifiable);
}

#[test]
fn ambiguous_events_must_be_in_hot_whoever_stored_them() {
    let source = source();
    let audits = [WindowAudit { ambiguous: vec![1, 2], ..audit(0..10) }];
    let found = verdict(&case(&source, &audits, Some(0..10)));
    assert_eq!((found.state, found.expected, found.found), (VerdictState::Verified, 12, 12));
    let away = verdict(&WindowInputs { ambiguous_missing: 1, ..case(&source, &audits, Some(0..10)) });
    assert_eq!((away.state, away.expected, away.found), (VerdictState::Mismatch, 12, 11));
}

#[test]
fn rows_expired_from_hot_never_make_a_mismatch() {
    let source = source();
    let audits = [audit(0..10)];
    let trimmed = |audits, contents| {
        evaluate(&WindowInputs { is_trimmed: true, ..case(&source, audits, Some(contents)) })
    };
    assert!(matches!(trimmed(&audits, 0..3), Evaluation::Keep(v) if v.state == VerdictState::Unverifiable));
    assert!(matches!(trimmed(&[], 0..3), Evaluation::Keep(v) if v.state == VerdictState::Unverifiable));
    assert!(
        matches!(trimmed(&audits, 0..10), Evaluation::Replace(v, _) if v.state == VerdictState::Verified)
    );
}

#[test]
fn a_verified_window_carries_gaps_and_causes() {
    let source = source();
    let gaps = |count, missing, cause: &str| GapSummary { count, missing, causes: vec![cause.to_owned()] };
    let (named, start) = (gaps(2, 7, "venue"), gaps(1, 0, "ours"));
    let audits = [WindowAudit { gaps: named, start, conflated: 3, duplicates: 4, ..audit(0..10) }];
    let known = verdict(&case(&source, &audits, Some(0..10)));
    assert_eq!((known.state, known.gaps, known.missing), (VerdictState::Verified, 3, 7));
    assert_eq!(known.causes, ["ours", "venue"]);
    assert_eq!((known.conflated, known.duplicates), (3, 4));
    let new = verdict(&WindowInputs { is_known: false, ..case(&source, &audits, Some(0..10)) });
    assert_eq!((new.gaps, new.causes), (2, vec!["venue".to_owned()]));
}

#[test]
fn the_first_window_of_a_stream_begins_with_the_edge() {
    let source = source();
    let late = [WindowAudit { from: 70_500_000_000, ..audit(0..10) }];
    let first = |audits, contents| {
        verdict(&WindowInputs { is_first: true, ..case(&source, audits, Some(contents)) }).state
    };
    assert_eq!(first(&late, 0..10), VerdictState::Verified);
    assert_eq!(first(&late, 0..12), VerdictState::Unverifiable);
    let stopped = [WindowAudit { from: 70_500_000_000, to: 80_000_000_000, ..audit(0..10) }];
    assert_eq!(first(&stopped, 0..10), VerdictState::Unverifiable);
}

#[test]
fn only_the_first_window_may_begin_late() {
    let source = source();
    let late = [WindowAudit { from: 70_500_000_000, ..audit(0..10) }];
    assert_eq!(verdict(&case(&source, &late, Some(0..10))).state, VerdictState::Unverifiable);
    let runs = [
        WindowAudit { from: 70_500_000_000, to: 80_000_000_000, ..audit(0..4) },
        WindowAudit { from: 90_000_000_000, ..audit(4..10) },
    ];
    let first = WindowInputs { is_first: true, ..case(&source, &runs, Some(0..10)) };
    assert_eq!(verdict(&first).state, VerdictState::Unverifiable);
}

#[test]
fn a_single_missing_event_is_named() {
    let source = source();
    let late = [WindowAudit { from: 70_500_000_000, ambiguous: vec![1, 2], ..audit(0..10) }];
    let away = verdict(&WindowInputs { ambiguous_missing: 1, ..case(&source, &late, Some(0..10)) });
    assert_eq!(away.state, VerdictState::Mismatch);
    assert!(away.reason.contains("1 ambiguously acknowledged events are not in hot"), "{}", away.reason);
    let whole = [audit(0..10)];
    for contents in [0..8, 0..12] {
        let several = case(&source, &whole, Some(contents));
        let Evaluation::Replace(verdict, event) = evaluate(&several) else { panic!("{several:?}") };
        assert!(event.is_none() && !verdict.reason.contains(": event"), "{}", verdict.reason);
    }
    let one = case(&source, &whole, Some(0..9));
    assert!(matches!(evaluate(&one), Evaluation::Replace(_, Some(event)) if event == (9_u128 << 64) | 27));
}

#[test]
fn rows_without_an_audit_are_reported() {
    let source = source();
    let expectation = Some(Expectation::BetweenReports);
    let unseen = WindowInputs { arrival: Arrival::WithinGrace, expectation, ..case(&source, &[], None) };
    assert!(matches!(evaluate(&unseen), Evaluation::Keep(verdict) if verdict.state == VerdictState::Open));
    let with_rows = verdict(&WindowInputs { expectation, ..case(&source, &[], Some(0..3)) });
    assert!(with_rows.reason.ends_with("; hot has rows of this window"), "{}", with_rows.reason);
    let without = verdict(&WindowInputs { expectation, ..case(&source, &[], Some(0..0)) });
    assert!(!without.reason.contains("rows"), "{}", without.reason);
}

#[test]
fn duplicates_and_causes_of_all_runs_add_up() {
    let source = source();
    let gaps = || GapSummary { count: 1, missing: 2, causes: vec!["venue".to_owned()] };
    let runs = [
        WindowAudit { to: 90_000_000_000, gaps: gaps(), duplicates: 4, ..audit(0..4) },
        WindowAudit { from: 90_000_000_000, gaps: gaps(), ..audit(4..10) },
    ];
    let contents = Some(HotContents { ids: ids(0..10), copies: 5 });
    let verdict = verdict(&WindowInputs { contents, ..case(&source, &runs, None) });
    assert_eq!((verdict.state, verdict.duplicates), (VerdictState::Verified, 9));
    assert_eq!((verdict.gaps, verdict.missing, verdict.causes), (2, 4, vec!["venue".to_owned()]));
}
