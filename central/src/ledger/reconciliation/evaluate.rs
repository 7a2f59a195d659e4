//! Rule that turns the inputs of one window into its verdict. No clock, no I/O.

use std::collections::BTreeSet;

use marketprism_schema::{Capability, EventId, Fingerprint};

use super::downtime::downtime_as_text;
use super::expected_streams::Expectation;
use super::queries::{DowntimeSpan, GapSummary, HotContents, WindowAudit};
use super::verdict::{IdRange, VerdictState, WindowVerdict};
use crate::ledger::windows::{EdgeStream, SECOND_NS, WindowRange};

const MILLI_NS: i64 = 1_000_000;

#[derive(Debug, Clone)]
pub struct WindowInputs<'a> {
    pub edge_stream: &'a EdgeStream,
    pub window: WindowRange,
    /// Audits of all runs of the edge.
    pub audits: &'a [WindowAudit],
    /// None while hot was not read.
    pub contents: Option<HotContents>,
    pub capability: Capability,
    pub stored_ids: &'a [IdRange],
    /// Of the edge and stream, those that touch the window.
    pub downtimes: &'a [DowntimeSpan],
    /// Number of ambiguous events that are not in hot.
    pub ambiguous_missing: usize,
    /// Number of events that the broker called duplicates and that are not in hot.
    pub duplicates_missing: usize,
    /// Why an audit is expected.
    pub expectation: Option<Expectation>,
    /// First window that the edge reports of this stream: it need not be covered before the run's start.
    pub is_first: bool,
    /// Some edge reported this stream before, so the start of a run is a gap in it.
    pub is_known: bool,
    pub arrival: Arrival,
    /// Rows may have been removed from hot on purpose (TTL).
    pub is_trimmed: bool,
    /// The edge's clock was set back over this time: its audits are of the first pass, or of none.
    pub is_relived: bool,
    /// The stored verdict has it: an audit that is sent again has a later receive time.
    pub was_early: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Complete,
    /// The grace period is not over.
    WithinGrace,
    /// Messages older than the audit are still pending at the broker.
    IngestBehind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluation {
    /// No audit, no rows, none expected.
    Nothing,
    /// The stored verdict stays; this one is for windows without any.
    Keep(WindowVerdict),
    /// New verdict, and the missing event where it is a single one.
    Replace(WindowVerdict, Option<u128>),
}

pub fn evaluate(inputs: &WindowInputs<'_>) -> Evaluation {
    match counted_once(inputs) {
        Some((audits, contents)) => {
            compare(&WindowInputs { audits: &audits, contents: Some(contents), ..inputs.clone() })
        }
        None => compare(inputs),
    }
}

/// An edge that subscribes again while the broker loses messages may publish one state of a book twice, and list it among the stored and
/// among the ambiguous events of a window. Its row is left out as ambiguous, and then the only one that is missing. Returns audits and rows
/// with the event among the stored ones alone.
fn counted_once(inputs: &WindowInputs<'_>) -> Option<(Vec<WindowAudit>, HotContents)> {
    let mut contents = inputs.contents.filter(|_| inputs.ambiguous_missing == 0)?;
    let id = single(stored_by_broker(inputs.audits), contents.ids)?;
    if !inputs.audits.iter().any(|audit| audit.ambiguous.contains(&id)) {
        return None;
    }
    contents.ids.add(EventId(id));
    let mut audits = inputs.audits.to_vec();
    audits.iter_mut().for_each(|audit| audit.ambiguous.retain(|one| *one != id));
    Some((audits, contents))
}

fn compare(inputs: &WindowInputs<'_>) -> Evaluation {
    let rows = inputs.contents.map(|contents| contents.ids.count).unwrap_or_default();
    if inputs.audits.is_empty() {
        if inputs.expectation.is_none() && rows == 0 {
            return Evaluation::Nothing;
        }
        return without_audit(inputs, rows);
    }
    let Some(contents) = inputs.contents else {
        return Evaluation::Keep(verdict(
            inputs,
            VerdictState::Open,
            "audit received, rows not compared yet",
        ));
    };
    let stored = stored_by_broker(inputs.audits);
    let missing = inputs.ambiguous_missing.saturating_add(inputs.duplicates_missing);
    let is_equal = stored == contents.ids && missing == 0;
    let truncated = truncated(inputs.audits);
    let covered = covers(pieces(inputs), inputs.window);
    let edge = &inputs.edge_stream.edge;
    let is_covered =
        covered.is_ok() || inputs.is_first && covers(pieces(inputs), from_first_start(inputs)).is_ok();
    let relived = inputs.is_relived.then(|| format!("the clock of edge {edge} was set back over this time"));
    if is_equal && truncated.is_none() && is_covered {
        // What was lost of a second pass is in no audit.
        let second_pass = relived.map(|what| format!("{what}: the second pass is in no audit"));
        return replace(match (killed_time(inputs).or(second_pass), idle_time(inputs)) {
            (Some(reason), _) => verdict(inputs, VerdictState::Unverifiable, reason),
            (None, Some(reason)) => verdict(inputs, VerdictState::NotCollected, reason),
            (None, None) => verdict(inputs, VerdictState::Verified, gaps_as_text(inputs)),
        });
    }
    let (difference, event) = difference(inputs, stored, contents.ids);
    if inputs.is_trimmed {
        let reason = format!("rows of this window have expired from hot; last comparison: {difference}");
        return Evaluation::Keep(verdict(inputs, VerdictState::Unverifiable, reason));
    }
    match inputs.arrival {
        Arrival::WithinGrace => {
            return replace(verdict(inputs, VerdictState::Open, "waiting for rows or another audit"));
        }
        Arrival::IngestBehind => {
            let reason = "older messages are still pending at the broker";
            return replace(verdict(inputs, VerdictState::Open, reason));
        }
        Arrival::Complete => {}
    }
    let is_short = contents.ids.count < stored.count || missing > 0;
    if is_short {
        return Evaluation::Replace(verdict(inputs, VerdictState::Mismatch, difference), event);
    }
    if let Some(what) = relived.or_else(|| closed_early(inputs)) {
        return replace(verdict(inputs, VerdictState::Unverifiable, format!("{what}: {difference}")));
    }
    if let Err(part) = covered {
        let reason = format!("audit of edge {edge} covers only {part}");
        return replace(verdict(inputs, VerdictState::Unverifiable, reason));
    }
    if let Some(kind) = truncated {
        let reason =
            format!("edge {edge}: too many {kind} acknowledgements to list; window cannot be verified");
        return replace(verdict(inputs, VerdictState::Unverifiable, reason));
    }
    Evaluation::Replace(verdict(inputs, VerdictState::Mismatch, difference), event)
}

/// Hot may have more events than an audit that came before the end of its own time: the clock of the edge was ahead, and set right afterwards. An
/// edge reports such a step once its clock is where it had been, and never if it is killed before. Equal numbers verify such a window all the
/// same: the clock may be ahead all the time, and only a step makes a second pass, of which events could be lost that no audit names.
fn closed_early(inputs: &WindowInputs<'_>) -> Option<String> {
    let edge = &inputs.edge_stream.edge;
    is_early(inputs).then(|| format!("the clock of edge {edge} was ahead when it closed this window"))
}

fn is_early(inputs: &WindowInputs<'_>) -> bool {
    inputs.was_early || inputs.audits.iter().any(|audit| audit.received_ms < audit.to / MILLI_NS)
}

/// Kind of acknowledgements of which there are more than the audits list.
fn truncated(audits: &[WindowAudit]) -> Option<&'static str> {
    let is_any = |of: fn(&WindowAudit) -> bool| audits.iter().any(of);
    if is_any(|audit| audit.is_ambiguous_truncated) {
        return Some("ambiguous");
    }
    is_any(|audit| audit.are_duplicates_truncated).then_some("duplicate")
}

fn replace(verdict: WindowVerdict) -> Evaluation {
    Evaluation::Replace(verdict, None)
}

fn without_audit(inputs: &WindowInputs<'_>, rows: u64) -> Evaluation {
    let edge = &inputs.edge_stream.edge;
    let lost = killed_time(inputs).map(|reason| (VerdictState::Unverifiable, reason));
    let known = lost.or_else(|| idle_time(inputs).map(|reason| (VerdictState::NotCollected, reason)));
    if rows == 0
        && covers(pieces(inputs), inputs.window).is_ok()
        && let Some((state, reason)) = known
    {
        let verdict = verdict(inputs, state, reason);
        return if inputs.contents.is_none() { Evaluation::Keep(verdict) } else { replace(verdict) };
    }
    if inputs.arrival != Arrival::Complete {
        let verdict = verdict(inputs, VerdictState::Open, format!("no audit of edge {edge} yet"));
        return if inputs.contents.is_none() { Evaluation::Keep(verdict) } else { replace(verdict) };
    }
    let windows = |count: i64| if count == 1 { "1 window".to_owned() } else { format!("{count} windows") };
    let mut reason = match inputs.expectation {
        Some(Expectation::BetweenReports) => {
            format!("edge {edge} reported windows before and after this one, not this one")
        }
        Some(Expectation::EdgeSilent(count)) => {
            format!("edge {edge} has published no audit for {}", windows(count))
        }
        Some(Expectation::StreamLeftOut(count)) => {
            format!("edge {edge} reports other streams, but not this one for {}", windows(count))
        }
        None => format!("edge {edge} has never reported this stream until this window"),
    };
    if rows > 0 {
        reason.push_str("; hot has rows of this window");
    }
    let verdict = verdict(inputs, VerdictState::Unverifiable, reason);
    if inputs.is_trimmed { Evaluation::Keep(verdict) } else { replace(verdict) }
}

fn verdict(inputs: &WindowInputs<'_>, state: VerdictState, reason: impl Into<String>) -> WindowVerdict {
    let sum = |of: fn(&WindowAudit) -> u64| inputs.audits.iter().map(of).fold(0, u64::saturating_add);
    let count = |of: usize| u64::try_from(of).unwrap_or(u64::MAX);
    let ambiguous: BTreeSet<_> = inputs.audits.iter().flat_map(|audit| &audit.ambiguous).collect();
    let ambiguous = count(ambiguous.len());
    let contents = inputs.contents.unwrap_or_default();
    let gaps = gaps_of(inputs);
    WindowVerdict {
        state,
        reason: reason.into(),
        expected: sum(|audit| audit.stored.count)
            .saturating_add(ambiguous)
            .saturating_add(count(inputs.duplicates_missing)),
        found: contents.ids.count.saturating_add(match inputs.contents {
            Some(_) => ambiguous.saturating_sub(count(inputs.ambiguous_missing)),
            None => 0,
        }),
        duplicates: sum(|audit| audit.duplicates).saturating_add(contents.copies),
        conflated: sum(|audit| audit.conflated),
        gaps: u32::try_from(gaps.count).unwrap_or(u32::MAX),
        missing: gaps.missing,
        causes: gaps.causes,
        capability: inputs.capability,
        stored_ids: inputs.stored_ids.to_vec(),
        is_early: is_early(inputs),
    }
}

/// Events that all runs of the edge report as stored.
pub fn stored_by_broker(audits: &[WindowAudit]) -> Fingerprint {
    let mut sum = Fingerprint::default();
    for audit in audits {
        sum.merge(&audit.stored);
    }
    sum
}

/// The only event that one side has more, which the fingerprints reveal.
fn single(more: Fingerprint, less: Fingerprint) -> Option<u128> {
    let high = more.sum.wrapping_sub(less.sum);
    (more.count.wrapping_sub(less.count) == 1)
        .then_some((u128::from(high) << 64) | u128::from(more.xor ^ less.xor))
}

/// The difference as text; and the event that is missing where it is a single one.
fn difference(inputs: &WindowInputs<'_>, stored: Fingerprint, hot: Fingerprint) -> (String, Option<u128>) {
    let edge = &inputs.edge_stream.edge;
    let named = |event: Option<u128>| event.map(|id| format!(": event {id:032x}")).unwrap_or_default();
    let (expected, found) = (stored.count, hot.count);
    let counts = format!("edge {edge} published {expected} events, hot has {found}");
    let mut parts = Vec::new();
    let mut event = None;
    if found < expected {
        event = single(stored, hot);
        parts.push(format!("{counts}: {} missing{}", expected - found, named(event)));
    } else if found > expected {
        parts.push(format!("{counts}: {} too many{}", found - expected, named(single(hot, stored))));
    } else if hot != stored {
        parts.push(format!("{counts}, but other events"));
    }
    if inputs.ambiguous_missing > 0 {
        parts.push(format!("{} ambiguously acknowledged events are not in hot", inputs.ambiguous_missing));
    }
    if inputs.duplicates_missing > 0 {
        let count = inputs.duplicates_missing;
        parts.push(format!(
            "{count} events that the broker called duplicates are not in hot: other messages took their ids"
        ));
    }
    (parts.join("; "), event)
}

fn gaps_as_text(inputs: &WindowInputs<'_>) -> String {
    match gaps_of(inputs).count {
        0 => String::new(),
        1 => format!("edge {} reports 1 gap", inputs.edge_stream.edge),
        gaps => format!("edge {} reports {gaps} gaps", inputs.edge_stream.edge),
    }
}

/// Gaps of all runs; starts only in a stream that was reported before.
fn gaps_of(inputs: &WindowInputs<'_>) -> GapSummary {
    let starts = inputs.audits.iter().map(|audit| &audit.start).filter(|_| inputs.is_known);
    let mut sum = GapSummary::default();
    for gaps in inputs.audits.iter().map(|audit| &audit.gaps).chain(starts) {
        sum.add(gaps);
    }
    sum
}

/// The time in or around the window of which a killed edge has no audit. The rest of the window is compared.
fn killed_time(inputs: &WindowInputs<'_>) -> Option<String> {
    let killed = inputs.downtimes.iter().filter(|downtime| !downtime.reason.is_on_purpose());
    let time = downtime_as_text(killed, std::iter::empty(), inputs.window)?;
    let rest = if inputs.audits.is_empty() { "" } else { ", verified before and after" };
    Some(format!("edge {} has no audit of {time}{rest}", inputs.edge_stream.edge))
}

/// The time around the window that is not collected on purpose. Before an edge's first start nothing was to be collected.
fn idle_time(inputs: &WindowInputs<'_>) -> Option<String> {
    let pauses = inputs.audits.iter().filter(|_| !inputs.is_first).filter_map(|audit| audit.pause);
    let on_purpose = inputs.downtimes.iter().filter(|downtime| downtime.reason.is_on_purpose());
    Some(format!("not collected {}", downtime_as_text(on_purpose, pauses, inputs.window)?))
}

/// Times of which everything is known: audited, or not collected on purpose.
fn pieces(inputs: &WindowInputs<'_>) -> impl Iterator<Item = WindowRange> {
    let WindowRange { from, to } = inputs.window;
    let known = inputs.downtimes.iter().filter(|downtime| downtime.touches(inputs.window));
    let known = known.map(move |downtime| WindowRange {
        from: downtime.range.from.clamp(from, to),
        to: downtime.range.to.clamp(from, to),
    });
    inputs.audits.iter().map(WindowAudit::range).chain(known)
}

/// The window without the part before the first run's start.
fn from_first_start(inputs: &WindowInputs<'_>) -> WindowRange {
    let first = inputs.audits.iter().map(|audit| audit.from).min().unwrap_or(inputs.window.from);
    WindowRange { from: first.clamp(inputs.window.from, inputs.window.to), to: inputs.window.to }
}

/// Audits that adjoin within this tolerance leave no hole: clock readings of one edge may differ by as much.
const TOLERANCE_NS: i64 = 10_000_000;

/// Ok when the audits cover the whole window; otherwise the covered parts as text.
pub fn covers(parts: impl Iterator<Item = WindowRange>, window: WindowRange) -> Result<(), String> {
    let mut parts: Vec<WindowRange> = parts.collect();
    parts.sort_unstable();
    let mut joined: Vec<WindowRange> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            Some(last) if part.from <= last.to.saturating_add(TOLERANCE_NS) => last.to = last.to.max(part.to),
            _ => joined.push(part),
        }
    }
    if let [one] = joined.as_slice()
        && one.from <= window.from + TOLERANCE_NS
        && one.to >= window.to - TOLERANCE_NS
    {
        return Ok(());
    }
    let second = |at: i64| {
        let milli = (at - window.from).clamp(0, window.to - window.from) / (SECOND_NS / 1_000);
        format!("{}.{:03}", milli / 1_000, milli % 1_000)
    };
    let parts: Vec<String> =
        joined.iter().map(|part| format!("{}-{}", second(part.from), second(part.to))).collect();
    let length = (window.to - window.from) / SECOND_NS;
    Err(format!("{} s of the {length} s window", parts.join(" and ")))
}
