//! Damaged frames: no trap, and no event that the frame does not hold.

use marketprism_adapter_sdk::testkit::{OwnedFrame, Random};
use serde_json::Value;

use crate::case::{Case, Cases, Options, snippet};
use crate::evidence::{Evidence, unexplained_events};
use crate::mutation::damage;
use crate::numbers::Numbers;
use crate::report::{Check, Findings};
use crate::session::Session;

const BLOCK: usize = 64;

const BATCH: usize = 16;

/// Longer frames are taken less often: they are slow to check, and mostly alike.
const LONG: usize = 20_000;

struct DamagedFrame {
    frame: OwnedFrame,
    /// Position of the undamaged frame.
    origin: usize,
    is_json: bool,
}

/// Damages golden and recorded frames by the seed: the adapter may neither fail nor say what a damaged frame does not say.
pub(crate) fn malformed(cases: &Cases<'_>, options: &Options) -> Check {
    let promise = "survives damaged frames, and never makes an event of what they do not say";
    let mut findings = Findings::new("malformed", promise);
    if cases.frame_count() == 0 {
        return findings.skipped(super::NO_FRAMES);
    }
    let mut random = Random::new(options.seed);
    let (mut done, mut events) = (0_u32, 0);
    while done < options.mutations && !findings.is_full() {
        let Some(case) = pick(cases, &mut random) else { break };
        let block = block(case, cases, &mut random);
        events += check_block(case, &block, options.seed, done, &mut findings);
        done += u32::try_from(block.len()).unwrap_or(u32::MAX);
    }
    findings.done(format!("{done} damaged frames by seed {}, {events} events", options.seed))
}

/// A case, by how many frames it has.
fn pick<'c, 'a>(cases: &'c Cases<'a>, random: &mut Random) -> Option<&'c Case<'a>> {
    let mut at = random.below(cases.frame_count());
    cases.cases.iter().find(|case| {
        let here = at < case.frames.len();
        at = at.saturating_sub(case.frames.len());
        here
    })
}

fn block(case: &Case<'_>, cases: &Cases<'_>, random: &mut Random) -> Vec<DamagedFrame> {
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        let origin = random.below(case.frames.len());
        let Some(frame) = case.frames.get(origin) else { break };
        if frame.bytes.len() > LONG && random.below(16) > 0 {
            // An adapter whose every frame is long is tested all the same.
            if random.below(64) > 0 {
                continue;
            }
        }
        let other = pick(cases, random).and_then(|other| other.frames.get(random.below(other.frames.len())));
        let other = other.map(|frame| frame.bytes.clone()).unwrap_or_default();
        let is_json = serde_json::from_slice::<Value>(&frame.bytes).is_ok();
        let mut frame = frame.clone();
        damage(&mut frame.bytes, &other, random);
        block.push(DamagedFrame { frame, origin, is_json });
    }
    block
}

fn check_block(
    case: &Case<'_>,
    block: &[DamagedFrame],
    seed: u64,
    first: u32,
    findings: &mut Findings,
) -> usize {
    let place = |index: usize| {
        let Some(damaged) = block.get(index) else { return String::new() };
        let (name, origin, bytes) = (&case.name, damaged.origin, &damaged.frame.bytes);
        let number = first as usize + index;
        format!(
            "seed {seed}, mutation {number}, of {name} frame {origin} `{}` ({} bytes)",
            snippet(bytes),
            bytes.len()
        )
    };
    let frames: Vec<OwnedFrame> = block.iter().map(|damaged| damaged.frame.clone()).collect();
    let normalized = match Session::open(&case.market).map(|mut session| session.normalize(&frames, BATCH)) {
        Ok(Ok(normalized)) => normalized,
        Ok(Err(faulted)) => {
            findings.cause(format!("{}: {}", place(faulted.frame), faulted.text));
            return 0;
        }
        Err(error) => {
            findings.cause(error);
            return 0;
        }
    };
    let mut earlier = Numbers::default();
    for (index, (damaged, (_, own, _))) in block.iter().zip(normalized.by_frame(block.len())).enumerate() {
        let numbers = Numbers::of(&damaged.frame.bytes, damaged.is_json);
        if damaged.is_json && !own.is_empty() && ends_early(&damaged.frame.bytes) {
            findings.cause(format!("{}: an event of a frame that ends too early", place(index)));
        }
        let evidence = Evidence { frame: &numbers, earlier: &earlier, instruments: &case.market.instruments };
        for found in unexplained_events(own, &normalized.levels, evidence) {
            findings.cause(format!("{}, {found}", place(index)));
        }
        if damaged.frame.bytes.len() < LONG {
            earlier.add(&numbers);
        }
    }
    normalized.events.len()
}

fn ends_early(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err_and(|error| error.is_eof())
}
