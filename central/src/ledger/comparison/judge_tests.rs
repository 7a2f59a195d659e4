//! The rule, case by case.

use marketprism_schema::{DataType, EventId, Fingerprint};

use super::facts::{Claim, Gaps};
use super::held::Held;
use super::judge::{Case, Due, Outcome, judge};
use super::roster::Expected;
use super::verdict::Verdict;
use crate::ledger::source::Source;
use crate::ledger::state::State;
use crate::ledger::windows::Span;

const WINDOW: Span = Span { from: 60_000_000_000, to: 120_000_000_000 };

fn ids(numbers: std::ops::Range<u128>) -> Fingerprint {
    numbers.map(|n| EventId((n << 64) | (n * 3))).collect()
}

fn source() -> Source {
    Source {
        data_type: DataType::Trade,
        exchange: "sim_spot".into(),
        market_type: "spot".into(),
        symbol: "A-B".into(),
        edge: "e1".into(),
    }
}

fn claim(numbers: std::ops::Range<u128>) -> Claim {
    Claim { from: WINDOW.from, to: WINDOW.to, stored: ids(numbers), ..Claim::default() }
}

fn case<'a>(source: &'a Source, claims: &'a [Claim], held: Option<std::ops::Range<u128>>) -> Case<'a> {
    Case {
        source,
        window: WINDOW,
        claims,
        held: held.map(|numbers| Held { ids: ids(numbers), copies: 0 }),
        unsure_away: 0,
        expected: None,
        is_first: false,
        is_known: true,
        due: Due::Past,
        is_trimmed: false,
    }
}

fn verdict(case: &Case<'_>) -> Verdict {
    match judge(case) {
        Outcome::Judged(verdict, _) => verdict,
        other => panic!("{other:?}"),
    }
}

/// Goal: the same events are verified, also of two runs; fewer, more, others are mismatches; a single missing event is named.
#[test]
fn only_the_same_events_are_verified() {
    let source = source();
    let whole = [claim(0..10)];
    assert_eq!(verdict(&case(&source, &whole, Some(0..10))).state, State::Verified);
    let runs = [Claim { to: 90_000_000_000, ..claim(0..4) }, Claim { from: 90_000_000_000, ..claim(4..10) }];
    assert_eq!(verdict(&case(&source, &runs, Some(0..10))).state, State::Verified);

    let short = verdict(&case(&source, &whole, Some(0..9)));
    assert_eq!((short.state, short.lost()), (State::Mismatch, 1));
    let id = format!("{:032x}", (9_u128 << 64) | 27);
    assert!(short.reason.contains("1 missing") && short.reason.contains(&id), "{}", short.reason);
    let more = verdict(&case(&source, &whole, Some(0..12)));
    assert!(more.state == State::Mismatch && more.reason.contains("2 too many"), "{}", more.reason);
    let other = verdict(&case(&source, &whole, Some(1..11)));
    assert!(other.state == State::Mismatch && other.reason.contains("other events"), "{}", other.reason);
}

/// Goal: nothing is final while rows or audits may be on their way.
#[test]
fn what_may_be_on_its_way_is_open() {
    let source = source();
    let claims = [claim(0..10)];
    for due in [Due::Grace, Due::Behind] {
        assert_eq!(verdict(&Case { due, ..case(&source, &claims, Some(0..9)) }).state, State::Open);
        assert_eq!(verdict(&Case { due, ..case(&source, &[], Some(0..9)) }).state, State::Open);
        assert_eq!(verdict(&Case { due, ..case(&source, &claims, Some(0..10)) }).state, State::Verified);
    }
    assert!(matches!(judge(&case(&source, &claims, None)), Outcome::Keep(v) if v.state == State::Open));
}

/// Goal: what nobody vouches for is unverifiable, never fine; rows that are missing for certain are a mismatch all the same.
#[test]
fn what_nobody_vouches_for_is_unverifiable() {
    let source = source();
    assert_eq!(judge(&case(&source, &[], Some(0..0))), Outcome::Nothing);
    let silent = Case { expected: Some(Expected::EdgeSilent(3)), ..case(&source, &[], Some(0..0)) };
    let silent = verdict(&silent);
    assert!(silent.state == State::Unverifiable && silent.reason.contains("3 windows"), "{}", silent.reason);
    assert_eq!(verdict(&case(&source, &[], Some(0..5))).state, State::Unverifiable);

    let late = [Claim { from: 70_500_000_000, ..claim(4..10) }];
    let part = verdict(&case(&source, &late, Some(0..10)));
    assert_eq!(part.state, State::Unverifiable);
    assert_eq!(part.reason, "edge e1 vouches for second 10.500 to 60.000 of 60 only");
    assert_eq!(verdict(&case(&source, &late, Some(0..5))).state, State::Mismatch);
    let truncated = [Claim { unsure_truncated: true, ..claim(0..10) }];
    assert_eq!(verdict(&case(&source, &truncated, Some(0..10))).state, State::Unverifiable);
}

/// Goal: unsure ids must be in hot, whoever stored them, and are part of both numbers.
#[test]
fn unsure_ids_must_be_in_hot() {
    let source = source();
    let claims = [Claim { unsure: vec![1, 2], ..claim(0..10) }];
    let found = verdict(&case(&source, &claims, Some(0..10)));
    assert_eq!((found.state, found.expected, found.found), (State::Verified, 12, 12));
    let away = verdict(&Case { unsure_away: 1, ..case(&source, &claims, Some(0..10)) });
    assert_eq!((away.state, away.expected, away.found), (State::Mismatch, 12, 11));
}

/// Goal: rows that hot dropped by age never turn a verdict into a mismatch.
#[test]
fn rows_dropped_by_age_leave_the_verdict() {
    let source = source();
    let claims = [claim(0..10)];
    let trimmed = |claims, held| judge(&Case { is_trimmed: true, ..case(&source, claims, Some(held)) });
    assert!(matches!(trimmed(&claims, 0..3), Outcome::Keep(v) if v.state == State::Unverifiable));
    assert!(matches!(trimmed(&[], 0..3), Outcome::Keep(v) if v.state == State::Unverifiable));
    assert!(matches!(trimmed(&claims, 0..10), Outcome::Judged(v, _) if v.state == State::Verified));
}

/// Goal: a window with gaps is verified as far as the transport goes, and carries gaps, causes and what is missing; the beginning of a run is
/// a gap only in a stream that somebody reported before.
#[test]
fn gaps_are_carried_by_a_verified_window() {
    let source = source();
    let gaps = |count, missing, cause: &str| Gaps { count, missing, causes: vec![cause.to_owned()] };
    let (named, start) = (gaps(2, 7, "venue"), gaps(1, 0, "ours"));
    let claims = [Claim { gaps: named, start, conflated: 3, duplicates: 4, ..claim(0..10) }];
    let known = verdict(&case(&source, &claims, Some(0..10)));
    assert_eq!((known.state, known.gaps, known.missing), (State::Verified, 3, 7));
    assert_eq!(known.causes, ["ours", "venue"]);
    assert_eq!((known.conflated, known.duplicates), (3, 4));
    let new = verdict(&Case { is_known: false, ..case(&source, &claims, Some(0..10)) });
    assert_eq!((new.gaps, new.causes), (2, vec!["venue".to_owned()]));
}

/// Goal: in the first window that an edge ever reports of a stream, what was before its beginning was never promised; a hole after that, or
/// rows from before, leave it unverifiable.
#[test]
fn the_first_window_begins_with_the_edge() {
    let source = source();
    let late = [Claim { from: 70_500_000_000, ..claim(0..10) }];
    let first = |claims, held| verdict(&Case { is_first: true, ..case(&source, claims, Some(held)) }).state;
    assert_eq!(first(&late, 0..10), State::Verified);
    assert_eq!(first(&late, 0..12), State::Unverifiable);
    let stopped = [Claim { from: 70_500_000_000, to: 80_000_000_000, ..claim(0..10) }];
    assert_eq!(first(&stopped, 0..10), State::Unverifiable);
}

/// Goal: what was before a stream's beginning is forgiven only in the first window, and only up to the first run's beginning.
#[test]
fn a_beginning_is_forgiven_once() {
    let source = source();
    let late = [Claim { from: 70_500_000_000, ..claim(0..10) }];
    assert_eq!(verdict(&case(&source, &late, Some(0..10))).state, State::Unverifiable);
    let runs = [
        Claim { from: 70_500_000_000, to: 80_000_000_000, ..claim(0..4) },
        Claim { from: 90_000_000_000, ..claim(4..10) },
    ];
    let first = Case { is_first: true, ..case(&source, &runs, Some(0..10)) };
    assert_eq!(verdict(&first).state, State::Unverifiable);
}

/// Goal: what is missing for certain is a mismatch whoever vouches for the rest, and is told in words; an event is named only where it is
/// the only one.
#[test]
fn what_is_missing_is_told() {
    let source = source();
    let late = [Claim { from: 70_500_000_000, unsure: vec![1, 2], ..claim(0..10) }];
    let away = verdict(&Case { unsure_away: 1, ..case(&source, &late, Some(0..10)) });
    assert_eq!(away.state, State::Mismatch);
    assert!(away.reason.contains("1 that the broker said to have are not in hot"), "{}", away.reason);
    let whole = [claim(0..10)];
    for held in [0..8, 0..12] {
        let several = case(&source, &whole, Some(held));
        let Outcome::Judged(verdict, event) = judge(&several) else { panic!("{several:?}") };
        assert!(event.is_none() && !verdict.reason.contains("event"), "{}", verdict.reason);
    }
    let one = case(&source, &whole, Some(0..9));
    assert!(matches!(judge(&one), Outcome::Judged(_, Some(event)) if event == (9_u128 << 64) | 27));
}

/// Goal: without an audit nothing is said anew before the rows were looked at, and rows of the window are told.
#[test]
fn rows_without_an_audit_are_told() {
    let source = source();
    let expected = Some(Expected::Between);
    let unseen = Case { due: Due::Grace, expected, ..case(&source, &[], None) };
    assert!(matches!(judge(&unseen), Outcome::Keep(verdict) if verdict.state == State::Open));
    let with_rows = verdict(&Case { expected, ..case(&source, &[], Some(0..3)) });
    assert!(with_rows.reason.ends_with("; hot has rows of it"), "{}", with_rows.reason);
    let without = verdict(&Case { expected, ..case(&source, &[], Some(0..0)) });
    assert!(!without.reason.contains("rows"), "{}", without.reason);
}

/// Goal: copies in hot count as duplicates beside those that the broker dropped; a cause that two runs name is told once.
#[test]
fn copies_and_causes_of_all_runs_add_up() {
    let source = source();
    let gaps = || Gaps { count: 1, missing: 2, causes: vec!["venue".to_owned()] };
    let runs = [
        Claim { to: 90_000_000_000, gaps: gaps(), duplicates: 4, ..claim(0..4) },
        Claim { from: 90_000_000_000, gaps: gaps(), ..claim(4..10) },
    ];
    let held = Some(Held { ids: ids(0..10), copies: 5 });
    let verdict = verdict(&Case { held, ..case(&source, &runs, None) });
    assert_eq!((verdict.state, verdict.duplicates), (State::Verified, 9));
    assert_eq!((verdict.gaps, verdict.missing, verdict.causes), (2, 4, vec!["venue".to_owned()]));
}
