//! What a frame costs.

use std::time::{Duration, Instant};

use marketprism_adapter_host::{FrameBatch, PushError, Sandbox};

use crate::case::{Case, Cases};
use crate::report::Cost;
use crate::subject::Subject;

/// Frames in a batch: what an edge gives when frames queue.
const BATCH: usize = 64;

/// Rounds, of which the median counts.
const ROUNDS: usize = 9;

/// Shortest round.
const ROUND: Duration = Duration::from_millis(30);

/// Measures all frames, with the deadline and every other limit on. Nothing where there are no frames, or where they fault.
pub(crate) fn cost(subject: &Subject, cases: &Cases<'_>) -> Option<Cost> {
    let mut loaded = Vec::new();
    for case in cases.cases.iter().filter(|case| !case.frames.is_empty()) {
        loaded.push((case.market.instance().ok()?, batches(case)?));
    }
    let frames: usize = cases.frame_count();
    if frames == 0 {
        return None;
    }
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let (began, mut passes) = (Instant::now(), 0_u128);
        while began.elapsed() < ROUND {
            pass(&mut loaded)?;
            passes += 1;
        }
        rounds.push(began.elapsed().as_nanos() / (passes * u128::try_from(frames).ok()?).max(1));
    }
    rounds.sort_unstable();
    let stats = subject.stats.snapshot();
    Some(Cost {
        frames: u64::try_from(frames).ok()?,
        ns_per_frame: u64::try_from(*rounds.get(ROUNDS / 2)?).ok()?,
        longest_call_ns: stats.longest_call_ns,
        memory_high_water_bytes: stats.memory_high_water_bytes,
    })
}

fn batches(case: &Case<'_>) -> Option<Vec<FrameBatch>> {
    let mut batches = vec![FrameBatch::new()];
    for frame in &case.frames {
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

fn pass(loaded: &mut [(Sandbox, Vec<FrameBatch>)]) -> Option<()> {
    for (sandbox, batches) in loaded {
        for batch in batches.iter() {
            std::hint::black_box(sandbox.normalize(batch).ok()?);
        }
    }
    Some(())
}
