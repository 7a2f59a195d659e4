//! Order books under a lost, doubled or swapped update.

use marketprism_adapter_host::contract::{BookChange, Capability, SequenceRule};
use marketprism_adapter_sdk::testkit::OwnedFrame;
use marketprism_book::BookGapCause;

use crate::case::{Case, Cases};
use crate::names::word;
use crate::numbers::Atto;
use crate::report::{Check, Findings};
use crate::trace::{Step, Trace, books};

/// Books of one case that are looked at.
const BOOKS: usize = 12;

/// Updates of one book that are lost, doubled and swapped.
const VICTIMS: usize = 4;

/// Levels a side that a checksum covers.
const CHECKSUM_LEVELS: usize = 10;

/// An update of a LIVE book, and the one that follows it.
struct UpdatePair<'t> {
    victim: &'t Step,
    next: &'t Step,
    /// The frames hold a later snapshot of the book.
    has_later_snapshot: bool,
}

#[derive(Default)]
struct FaultCounts {
    books: usize,
    updates: usize,
    live: usize,
}

/// Runs the frames of every case through the order-book engine as they are, and again with one update dropped, doubled or swapped with
/// the next: the engine sees ids and checksums only through the adapter.
pub(crate) fn sequence(cases: &Cases<'_>) -> Check {
    let promise =
        "gives ids, checksums and snapshots with which a book detects a lost or swapped update, and recovers";
    let mut findings = Findings::new("sequence", promise);
    let mut tried = FaultCounts::default();
    let mut declared = None;
    for case in &cases.cases {
        declared = books(&case.market);
        let Some(declared) = declared else { break };
        match Trace::run(&case.market, declared, &case.frames) {
            Ok(baseline) => {
                intact_run(case, &baseline, &mut findings);
                faulted(case, declared, &baseline, &mut tried, &mut findings);
            }
            // A fault is a finding of the check of frames.
            Err(_) => continue,
        }
    }
    let Some(declared) = declared else {
        return findings.skipped("no order books are declared, or there are no frames");
    };
    if tried.updates == 0 {
        return findings.skipped(format!(
            "the frames hold no LIVE book with two updates in a row that follow each other ({} books were LIVE, the rule is {})",
            tried.live,
            word(&declared.sequence)
        ));
    }
    findings.done(format!(
        "{} updates of {} books dropped, doubled and swapped ({}, {})",
        tried.updates,
        tried.books,
        word(&declared.sequence),
        word(&declared.checksum)
    ))
}

/// The frames of a recording must fit together.
fn intact_run(case: &Case<'_>, baseline: &Trace, findings: &mut Findings) {
    for step in baseline.steps.iter().filter(|_| case.is_recording()) {
        let book = case.market.name(step.instrument);
        if let Some(rejected) = &step.rejected {
            findings.cause(format!("{}, book of {book}: {rejected}", case.place(step.frame)));
        }
        if let Some(gap) = step.gap.filter(|gap| gap.cause == BookGapCause::Checksum) {
            let (expected, got) = (gap.expected, gap.got);
            let place = case.place(step.frame);
            findings
                .cause(format!("{place}: the book of {book} has checksum {got}, the venue says {expected}"));
        }
    }
}

fn faulted(
    case: &Case<'_>,
    declared: &Capability,
    baseline: &Trace,
    tried: &mut FaultCounts,
    findings: &mut Findings,
) {
    let mut instruments: Vec<u32> = baseline.steps.iter().map(|step| step.instrument).collect();
    instruments.sort_unstable();
    instruments.dedup();
    for instrument in instruments.into_iter().take(BOOKS) {
        tried.live += usize::from(baseline.of(instrument).any(|step| step.live));
        let pairs = pairs(declared.sequence, baseline, instrument);
        tried.books += usize::from(!pairs.is_empty());
        let step = pairs.len().div_ceil(VICTIMS).max(1);
        for pair in pairs.iter().step_by(step) {
            tried.updates += 1;
            let run = FaultRun { case, declared, baseline, pair };
            for found in [run.dropped(), run.doubled(), run.swapped()].into_iter().flatten() {
                findings.cause(found);
            }
        }
    }
}

/// Updates of a LIVE book that are followed by one which builds on them.
fn pairs(rule: SequenceRule, baseline: &Trace, instrument: u32) -> Vec<UpdatePair<'_>> {
    let steps: Vec<&Step> = baseline.of(instrument).collect();
    let delta =
        |step: &Step| step.change == BookChange::Delta && step.live_before && step.applied && step.live;
    let follows = |victim: &Step, next: &Step| match rule {
        SequenceRule::Unnumbered => victim.has_checksum && next.has_checksum,
        SequenceRule::Contiguous => next.first_id == victim.last_id.wrapping_add(1),
        SequenceRule::Chained => {
            next.previous_id == Some(victim.last_id) && victim.previous_id != Some(victim.last_id)
        }
    };
    let pair = |(index, pair): (usize, &[&Step])| -> Option<(usize, usize)> {
        let (victim, next) = (pair.first()?, pair.get(1)?);
        let alone = victim.frame != next.frame
            && steps.get(index + 2).is_none_or(|after| after.frame != next.frame)
            && index
                .checked_sub(1)
                .and_then(|at| steps.get(at))
                .is_none_or(|before| before.frame != victim.frame);
        (delta(victim) && delta(next) && alone && follows(victim, next)).then_some((index, index + 1))
    };
    let found = steps.windows(2).enumerate().filter_map(pair);
    found
        .filter_map(|(victim, next)| {
            let mut later = steps.get(next + 1..)?.iter();
            let has_later_snapshot =
                later.any(|step| step.change == BookChange::Snapshot && step.applied && step.live);
            Some(UpdatePair { victim: steps.get(victim)?, next: steps.get(next)?, has_later_snapshot })
        })
        .collect()
}

struct FaultRun<'r> {
    case: &'r Case<'r>,
    declared: &'r Capability,
    baseline: &'r Trace,
    pair: &'r UpdatePair<'r>,
}

impl FaultRun<'_> {
    fn trace(&self, frames: &[OwnedFrame]) -> Result<Trace, String> {
        Trace::run(&self.case.market, self.declared, frames)
    }

    fn cause(&self, fault: &str, what: &str) -> String {
        let UpdatePair { victim, next, .. } = self.pair;
        let name = self.case.market.name(victim.instrument);
        let place = self.case.place(victim.frame);
        format!(
            "{place}, book of {name}: with this update {fault}, {what} (the next one is frame {})",
            next.frame
        )
    }

    /// The book stays the same whatever number of times an update comes.
    fn doubled(&self) -> Option<String> {
        let at = self.pair.victim.frame;
        let mut frames = self.case.frames.clone();
        frames.insert(at, frames.get(at)?.clone());
        let trace = match self.trace(&frames) {
            Ok(trace) => trace,
            Err(error) => return Some(self.cause("doubled", &error)),
        };
        let instrument = self.pair.victim.instrument;
        let gaps = |trace: &Trace| trace.of(instrument).filter(|step| step.gap.is_some()).count();
        if gaps(&trace) > gaps(self.baseline) {
            return Some(self.cause("doubled", "the book takes the copy for a gap"));
        }
        self.differs(&trace).then(|| self.cause("doubled", "the book differs at the end"))
    }

    fn dropped(&self) -> Option<String> {
        let mut frames = self.case.frames.clone();
        frames.remove(self.pair.victim.frame);
        self.detected("dropped", &frames, self.pair.next.frame.checked_sub(1)?)
    }

    fn swapped(&self) -> Option<String> {
        let mut frames = self.case.frames.clone();
        frames.swap(self.pair.victim.frame, self.pair.next.frame);
        self.detected("swapped with the next", &frames, self.pair.victim.frame)
    }

    /// By ids a hole shows at once, in the frame `at`. By checksum it shows when the best levels differ.
    fn detected(&self, fault: &str, frames: &[OwnedFrame], at: usize) -> Option<String> {
        let trace = match self.trace(frames) {
            Ok(trace) => trace,
            Err(error) => return Some(self.cause(fault, &error)),
        };
        let instrument = self.pair.victim.instrument;
        let gap = trace.of(instrument).find(|step| step.frame >= at && step.gap.is_some());
        let numbered = self.declared.sequence != SequenceRule::Unnumbered;
        match gap {
            None if numbered => {
                let (first, last) = (self.pair.next.first_id, self.pair.next.last_id);
                let previous =
                    self.pair.next.previous_id.map(|id| format!(", previous_id {id}")).unwrap_or_default();
                let ids = format!(
                    "no gap is detected: the next update still seems to follow (in the intact run it has ids {first} to {last}{previous})"
                );
                Some(self.cause(fault, &ids))
            }
            None => self
                .best_differ(&trace)
                .then(|| self.cause(fault, "the checksum matches, but the best levels differ at the end")),
            Some(step) if numbered && step.frame != at => {
                Some(self.cause(fault, &format!("the gap is detected only in frame {}", step.frame)))
            }
            Some(step) if !step.asked => Some(self.cause(fault, "no resync is requested")),
            Some(_) => (self.pair.has_later_snapshot && self.differs(&trace))
                .then(|| self.cause(fault, "the book differs from the intact one after the next snapshot")),
        }
    }

    /// Both runs end with a LIVE book, and these are not the same.
    fn differs(&self, trace: &Trace) -> bool {
        let instrument = self.pair.victim.instrument;
        match (self.baseline.books.get(&instrument), trace.books.get(&instrument)) {
            (Some(intact), Some(faulted)) => intact != faulted,
            _ => false,
        }
    }

    fn best_differ(&self, trace: &Trace) -> bool {
        let instrument = self.pair.victim.instrument;
        let best = |trace: &Trace| {
            let levels = trace.books.get(&instrument)?;
            let best = |side: &[(Atto, Atto)]| side.get(..CHECKSUM_LEVELS).unwrap_or(side).to_vec();
            Some((best(&levels.bids), best(&levels.asks)))
        };
        best(self.baseline) != best(trace)
    }
}
