//! Cost of frames.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use marketprism_adapter_host::{FrameBatch, PushError, Sandbox};
use marketprism_adapter_sdk::testkit::OwnedFrame;

use crate::case::{Case, Cases};
use crate::convert::ToSdk;
use crate::market::TestedAdapter;
use crate::names::kind;
use crate::report::{Cost, KindCost};
use crate::session::Session;

/// Frames in a batch, as an edge fills it when frames queue.
const BATCH: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct BenchEffort {
    /// Rounds of each kind; the median and the best count.
    pub rounds: usize,
    pub round: Duration,
}

impl BenchEffort {
    pub(crate) const REPORT: BenchEffort = BenchEffort { rounds: 5, round: Duration::from_millis(15) };
}

/// Some frames of one case, with the instance that takes them.
struct Part {
    sandbox: Sandbox,
    batches: Vec<FrameBatch>,
}

/// Measures all frames, and those of each kind, with the deadline and every other limit on. Nothing where there are no frames, or where
/// they fault.
pub(crate) fn cost(subject: &TestedAdapter, cases: &Cases<'_>, effort: BenchEffort) -> Option<Cost> {
    if cases.frame_count() == 0 {
        return None;
    }
    let mut kinds = Vec::new();
    kinds.extend(measured("all from sockets", cases, effort, &|case, index| {
        case.frames
            .get(index)
            .is_some_and(|frame| (frame.source as usize) < case.market.plan.connections.len())
    }));
    let found = classified(cases)?;
    let mut names: Vec<&str> = found.values().flatten().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let is_kind = |case: &Case<'_>, index: usize| {
            found.get(&case.name).and_then(|kinds| kinds.get(index)).is_some_and(|kind| kind == name)
        };
        kinds.extend(measured(name, cases, effort, &is_kind));
    }
    let stats = subject.stats.snapshot();
    Some(Cost {
        kinds,
        longest_call_ns: stats.longest_call_ns,
        memory_high_water_bytes: stats.memory_high_water_bytes,
    })
}

/// The kind of every frame, by case.
fn classified(cases: &Cases<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let mut all = BTreeMap::new();
    for case in &cases.cases {
        let mut session = Session::open(&case.market).ok()?;
        let mut kinds = Vec::with_capacity(case.frames.len());
        for frame in &case.frames {
            let normalized = session.normalize(std::slice::from_ref(frame), 1).ok()?;
            kinds.push(kind(&normalized.to_sdk()));
        }
        all.insert(case.name.clone(), kinds);
    }
    Some(all)
}

/// Measures the frames that are chosen; nothing when there are none.
fn measured(
    name: &str,
    cases: &Cases<'_>,
    effort: BenchEffort,
    chosen: &dyn Fn(&Case<'_>, usize) -> bool,
) -> Option<KindCost> {
    let (mut parts, mut frames, mut bytes) = (Vec::new(), 0_u64, 0_u64);
    for case in &cases.cases {
        let own = case.frames.iter().enumerate().filter(|(index, _)| chosen(case, *index));
        let own: Vec<&OwnedFrame> = own.map(|(_, frame)| frame).collect();
        if own.is_empty() {
            continue;
        }
        frames += u64::try_from(own.len()).ok()?;
        bytes += own.iter().map(|frame| frame.bytes.len() as u64).sum::<u64>();
        parts.push(Part { sandbox: case.market.instance().ok()?, batches: batches(&own)? });
    }
    if frames == 0 {
        return None;
    }
    let mut rounds = Vec::with_capacity(effort.rounds);
    for _ in 0..effort.rounds.max(1) {
        let (began, mut passes) = (Instant::now(), 0_u64);
        while began.elapsed() < effort.round {
            pass(&mut parts)?;
            passes += 1;
        }
        let taken = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        rounds.push(taken / (passes * frames).max(1));
    }
    rounds.sort_unstable();
    Some(KindCost {
        kind: name.to_owned(),
        frames,
        bytes_per_frame: bytes / frames,
        ns_per_frame: *rounds.get(rounds.len() / 2)?,
        best_ns_per_frame: *rounds.first()?,
    })
}

fn batches(frames: &[&OwnedFrame]) -> Option<Vec<FrameBatch>> {
    let mut batches = vec![FrameBatch::new()];
    for frame in frames {
        let last = batches.last_mut()?;
        let full =
            last.len() >= BATCH || last.push(&frame.bytes, frame.source, frame.at) == Err(PushError::Full);
        if full {
            let mut next = FrameBatch::new();
            next.push(&frame.bytes, frame.source, frame.at).ok()?;
            batches.push(next);
        }
    }
    Some(batches)
}

fn pass(parts: &mut [Part]) -> Option<()> {
    for Part { sandbox, batches } in parts {
        for batch in batches.iter() {
            std::hint::black_box(sandbox.normalize(batch).ok()?);
        }
    }
    Some(())
}
