//! The rule: what is known of a window makes its verdict. No clock, no input, no output.

use std::collections::BTreeSet;

use marketprism_schema::Fingerprint;

use super::cover::cover;
use super::facts::{Claim, Gaps};
use super::held::Held;
use super::roster::Expected;
use super::verdict::Verdict;
use crate::ledger::source::Source;
use crate::ledger::state::State;
use crate::ledger::windows::Span;

/// Everything known of one window of one source.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The source.
    pub source: &'a Source,
    /// The window.
    pub window: Span,
    /// What runs of its edge say.
    pub claims: &'a [Claim],
    /// What hot holds of it; nothing while that was not looked up.
    pub held: Option<Held>,
    /// Unsure ids that are not in hot.
    pub unsure_away: usize,
    /// Why an audit is expected.
    pub expected: Option<Expected>,
    /// Whether the edge reported this stream for the first time: what was before its beginning, nobody promised.
    pub is_first: bool,
    /// Whether anybody reported this stream before: then the beginning of a run is a gap in it.
    pub is_known: bool,
    /// Whether nothing more is on its way.
    pub due: Due,
    /// Whether hot may have dropped rows of it on purpose, by age.
    pub is_trimmed: bool,
}

/// Whether more may be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing more.
    Past,
    /// The window's end and the grace are not over.
    Grace,
    /// The broker holds messages that are older than the audit, and not taken in.
    Behind,
}

/// What becomes of the verdict of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to judge.
    Nothing,
    /// What stands is left, and this is said where nothing stands.
    Keep(Verdict),
    /// This.
    Judged(Verdict, Option<u128>),
}

/// Judges.
pub fn judge(case: &Case<'_>) -> Outcome {
    let held_ids = case.held.map(|held| held.ids.count).unwrap_or_default();
    if case.claims.is_empty() {
        if case.expected.is_none() && held_ids == 0 {
            return Outcome::Nothing;
        }
        return without_audit(case);
    }
    let Some(held) = case.held else {
        let reason = "the audit is here, the rows are not compared yet";
        return Outcome::Keep(base(case, State::Open, reason.to_owned()));
    };
    let stored = sum_up(case.claims);
    let is_whole = stored == held.ids && case.unsure_away == 0;
    let truncated = case.claims.iter().any(|claim| claim.unsure_truncated);
    let covered = cover(case.claims, case.window);
    let edge = &case.source.edge;
    let is_promised = covered.is_ok() || case.is_first && cover(case.claims, from_beginning(case)).is_ok();
    if is_whole && !truncated && is_promised {
        return judged(base(case, State::Verified, gaps_in_words(case)));
    }
    let (what, event) = difference(case, stored, held.ids);
    if case.is_trimmed {
        let reason = format!("hot has dropped rows of this window by age; last seen: {what}");
        return Outcome::Keep(base(case, State::Unverifiable, reason));
    }
    match case.due {
        Due::Grace => {
            return judged(base(case, State::Open, "waiting for rows or a further audit".to_owned()));
        }
        Due::Behind => {
            let reason = "the broker holds older messages that are not in hot yet";
            return judged(base(case, State::Open, reason.to_owned()));
        }
        Due::Past => {}
    }
    let is_short = held.ids.count < stored.count || case.unsure_away > 0;
    if is_short {
        return Outcome::Judged(base(case, State::Mismatch, what), event);
    }
    if let Err(part) = covered {
        let reason = format!("edge {edge} vouches for {part} only");
        return judged(base(case, State::Unverifiable, reason));
    }
    if truncated {
        let reason =
            format!("edge {edge} does not know of more messages than it could name whether they are its own");
        return judged(base(case, State::Unverifiable, reason));
    }
    Outcome::Judged(base(case, State::Mismatch, what), event)
}

fn judged(verdict: Verdict) -> Outcome {
    Outcome::Judged(verdict, None)
}

fn without_audit(case: &Case<'_>) -> Outcome {
    let edge = &case.source.edge;
    if case.due != Due::Past {
        let verdict = base(case, State::Open, format!("no audit of edge {edge} yet"));
        return if case.held.is_none() { Outcome::Keep(verdict) } else { judged(verdict) };
    }
    let rows = case.held.map(|held| held.ids.count).unwrap_or_default();
    let windows = |count: i64| if count == 1 { "1 window".to_owned() } else { format!("{count} windows") };
    let mut reason = match case.expected {
        Some(Expected::Between) => format!("edge {edge} reported windows before and after, not this one"),
        Some(Expected::EdgeSilent(count)) => {
            format!("edge {edge} has reported nothing for {}", windows(count))
        }
        Some(Expected::StreamLeftOut(count)) => {
            format!("edge {edge} reports other streams, and nothing of this one for {}", windows(count))
        }
        None => format!("edge {edge} never reported this stream up to here"),
    };
    if rows > 0 {
        reason.push_str("; hot has rows of it");
    }
    let verdict = base(case, State::Unverifiable, reason);
    if case.is_trimmed { Outcome::Keep(verdict) } else { judged(verdict) }
}

/// A verdict with the numbers of a case.
fn base(case: &Case<'_>, state: State, reason: String) -> Verdict {
    let sum = |of: fn(&Claim) -> u64| case.claims.iter().map(of).fold(0, u64::saturating_add);
    let unsure = count(case.claims.iter().flat_map(|claim| &claim.unsure).collect::<BTreeSet<_>>().len());
    let held = case.held.unwrap_or_default();
    let gaps = gaps_of(case);
    Verdict {
        state,
        reason,
        expected: sum(|claim| claim.stored.count).saturating_add(unsure),
        found: held.ids.count.saturating_add(match case.held {
            Some(_) => unsure.saturating_sub(count(case.unsure_away)),
            None => 0,
        }),
        duplicates: sum(|claim| claim.duplicates).saturating_add(held.copies),
        conflated: sum(|claim| claim.conflated),
        gaps: u32::try_from(gaps.count).unwrap_or(u32::MAX),
        missing: gaps.missing,
        causes: gaps.causes,
    }
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

fn sum_up(claims: &[Claim]) -> Fingerprint {
    let mut sum = Fingerprint::default();
    for claim in claims {
        sum.merge(&claim.stored);
    }
    sum
}

/// What is different, in words; and the event that is missing or too much where it is a single one, which the fingerprints give.
fn difference(case: &Case<'_>, stored: Fingerprint, held: Fingerprint) -> (String, Option<u128>) {
    let edge = &case.source.edge;
    let single = |more: Fingerprint, less: Fingerprint| {
        let high = more.sum.wrapping_sub(less.sum);
        (more.count.wrapping_sub(less.count) == 1)
            .then_some((u128::from(high) << 64) | u128::from(more.xor ^ less.xor))
    };
    let (expected, found) = (stored.count, held.count);
    let mut words = Vec::new();
    let mut event = None;
    if found < expected {
        event = single(stored, held);
        let named = event.map(|id| format!(": event {id:032x}")).unwrap_or_default();
        let missing = expected - found;
        words.push(format!("edge {edge} stored {expected}, hot has {found}: {missing} missing{named}"));
    } else if found > expected {
        let named = single(held, stored).map(|id| format!(": event {id:032x}")).unwrap_or_default();
        let surplus = found - expected;
        words.push(format!("edge {edge} stored {expected}, hot has {found}: {surplus} too many{named}"));
    } else if held != stored {
        words.push(format!("edge {edge} stored {expected}, hot has as many, but other events"));
    }
    if case.unsure_away > 0 {
        words.push(format!("{} that the broker said to have are not in hot", case.unsure_away));
    }
    (words.join("; "), event)
}

fn gaps_in_words(case: &Case<'_>) -> String {
    match gaps_of(case).count {
        0 => String::new(),
        1 => format!("edge {} names 1 gap", case.source.edge),
        gaps => format!("edge {} names {gaps} gaps", case.source.edge),
    }
}

/// The gaps that count, of all runs together.
fn gaps_of(case: &Case<'_>) -> Gaps {
    let starts = case.claims.iter().map(|claim| &claim.start).filter(|_| case.is_known);
    let mut sum = Gaps::default();
    for gaps in case.claims.iter().map(|claim| &claim.gaps).chain(starts) {
        sum.count = sum.count.saturating_add(gaps.count);
        sum.missing = sum.missing.saturating_add(gaps.missing);
        sum.causes.extend(gaps.causes.iter().cloned());
    }
    sum.causes.sort_unstable();
    sum.causes.dedup();
    sum
}

/// The window from the first moment that anybody vouches for.
fn from_beginning(case: &Case<'_>) -> Span {
    let first = case.claims.iter().map(|claim| claim.from).min().unwrap_or(case.window.from);
    Span { from: first.clamp(case.window.from, case.window.to), to: case.window.to }
}
