//! Cost of frames.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
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

/// Rounds of each kind; the median and the best count.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(15);

/// Some frames of one case, with the instance that takes them.
struct Part {
    sandbox: Sandbox,
    batches: Vec<FrameBatch>,
}

/// Frames of one kind with the instances that take them, all limits on: for measurements.
pub struct KindFrames {
    /// `trade`, `book delta`, `ignored`, ..., or `all from sockets`.
    pub kind: String,
    pub frames: u64,
    pub bytes_per_frame: u64,
    parts: Vec<Part>,
}

impl KindFrames {
    /// Normalizes all of them once.
    ///
    /// # Errors
    /// The fault.
    pub fn pass(&mut self) -> anyhow::Result<()> {
        for Part { sandbox, batches } in &mut self.parts {
            for batch in batches.iter() {
                std::hint::black_box(sandbox.normalize(batch).with_context(|| self.kind.clone())?);
            }
        }
        Ok(())
    }
}

/// All frames from sockets, then those of each kind.
pub(crate) fn by_kind(cases: &Cases<'_>) -> Option<Vec<KindFrames>> {
    let mut kinds = Vec::new();
    kinds.extend(chosen("all from sockets", cases, &|case, index| {
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
        kinds.extend(chosen(name, cases, &is_kind));
    }
    Some(kinds)
}

/// Measures all frames, and those of each kind, with the deadline and every other limit on. Nothing where there are no frames, or where
/// they fault.
pub(crate) fn cost(subject: &TestedAdapter, cases: &Cases<'_>) -> Option<Cost> {
    if cases.frame_count() == 0 {
        return None;
    }
    let kinds = by_kind(cases)?.into_iter().filter_map(measured).collect();
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

/// The frames that are chosen; nothing when there are none.
fn chosen(name: &str, cases: &Cases<'_>, is_chosen: &dyn Fn(&Case<'_>, usize) -> bool) -> Option<KindFrames> {
    let (mut parts, mut frames, mut bytes) = (Vec::new(), 0_u64, 0_u64);
    for case in &cases.cases {
        let own = case.frames.iter().enumerate().filter(|(index, _)| is_chosen(case, *index));
        let own: Vec<&OwnedFrame> = own.map(|(_, frame)| frame).collect();
        if own.is_empty() {
            continue;
        }
        frames += u64::try_from(own.len()).ok()?;
        bytes += own.iter().map(|frame| frame.bytes.len() as u64).sum::<u64>();
        parts.push(Part { sandbox: case.market.instance().ok()?, batches: batches(&own)? });
    }
    let bytes_per_frame = bytes.checked_div(frames)?;
    Some(KindFrames { kind: name.to_owned(), frames, bytes_per_frame, parts })
}

fn measured(mut kind: KindFrames) -> Option<KindCost> {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let (began, mut passes) = (Instant::now(), 0_u64);
        while began.elapsed() < ROUND {
            kind.pass().ok()?;
            passes += 1;
        }
        let taken = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        rounds.push(taken / (passes * kind.frames).max(1));
    }
    rounds.sort_unstable();
    Some(KindCost {
        ns_per_frame: *rounds.get(rounds.len() / 2)?,
        best_ns_per_frame: *rounds.first()?,
        bytes_per_frame: kind.bytes_per_frame,
        frames: kind.frames,
        kind: kind.kind,
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
