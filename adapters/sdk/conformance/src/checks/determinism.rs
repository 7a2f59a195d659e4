//! Equal frames give equal output in any batches, in any instance, at any time.

use marketprism_adapter_host::contract::{Event, Normalized, Payload};
use marketprism_adapter_sdk::testkit::OwnedFrame;

use crate::case::{Case, Cases};
use crate::difference::first_line;
use crate::names::subject_of;
use crate::report::{Check, Findings};
use crate::session::{Session, lines};

/// Sizes around the alignment of batches, and the largest.
const SIZES: [usize; 3] = [7, 16, 64];

/// Compares the output at several batch sizes with that of frames given one by one.
pub(crate) fn batching(cases: &Cases<'_>) -> Check {
    let mut findings = Findings::new("batching", "gives the same output in whatever batches frames come");
    if cases.frame_count() == 0 {
        return findings.skipped(super::NO_FRAMES);
    }
    for case in &cases.cases {
        // Faults are the findings of the check of frames.
        let Ok(single) = run(case, &case.frames, 1) else { continue };
        for size in SIZES {
            let what = format!("in batches of {size}");
            match run(case, &case.frames, size) {
                Ok(other) => differs(case, &what, &single, &other, &mut findings),
                Err(error) => findings.cause(format!("{}, {what}: {error}", case.name)),
            }
        }
    }
    findings.done(format!("batches of 1, {}", SIZES.map(|size| size.to_string()).join(", ")))
}

/// Normalizes the frames in a second instance, in one instance twice, and continues in the middle with a new one: as an edge does
/// after a fault or when it exchanges the adapter.
pub(crate) fn determinism(cases: &Cases<'_>) -> Check {
    let promise =
        "gives the same output for the same frames, also in an instance that saw others or none before";
    let mut findings = Findings::new("determinism", promise);
    if cases.frame_count() == 0 {
        return findings.skipped(super::NO_FRAMES);
    }
    for case in &cases.cases {
        let Ok(first) = run(case, &case.frames, 16) else { continue };
        match run(case, &case.frames, 16) {
            Ok(second) => differs(case, "in a second instance", &first, &second, &mut findings),
            Err(error) => findings.cause(format!("{}, in a second instance: {error}", case.name)),
        }
        let half = case.frames.len() / 2;
        let (head, tail) = case.frames.split_at(half);
        if let Ok(fresh) = run(case, tail, 16) {
            let known = stateless(&first, half, case.frames.len());
            differs(
                case,
                "in an instance that begins in the middle",
                &known,
                &stateless(&fresh, 0, tail.len()),
                &mut findings,
            );
        }
        let twice = [case.frames.as_slice(), head].concat();
        if let Ok(again) = run(case, &twice, 16) {
            let again = stateless(&again, case.frames.len(), twice.len());
            differs(case, "given once more", &stateless(&first, 0, half), &again, &mut findings);
        }
    }
    findings.done(
        "trades and books also from the middle and once more, where an instance may not remember anything",
    )
}

fn run(case: &Case<'_>, frames: &[OwnedFrame], size: usize) -> Result<Normalized, String> {
    let mut session = Session::open(&case.market)?;
    session.normalize(frames, size).map_err(|faulted| format!("frame {}: {}", faulted.frame, faulted.text))
}

/// Trades and books of the frames from `from` to `to`, counted from `from`. Other types may be read with what earlier frames said.
fn stateless(normalized: &Normalized, from: usize, to: usize) -> Normalized {
    let range = u32::try_from(from).unwrap_or(u32::MAX)..u32::try_from(to).unwrap_or(u32::MAX);
    let is_stateless = |event: &&Event| {
        range.contains(&event.frame) && matches!(event.payload, Payload::Trade(_) | Payload::Book(_))
    };
    let moved = |event: &Event| Event { frame: event.frame - range.start, payload: event.payload.clone() };
    let events = normalized.events.iter().filter(is_stateless).map(moved).collect();
    Normalized { events, levels: normalized.levels.clone(), notes: Vec::new() }
}

fn differs(case: &Case<'_>, what: &str, expected: &Normalized, came: &Normalized, findings: &mut Findings) {
    if expected == came {
        return;
    }
    // Levels may stand elsewhere in the shared list: only what they say counts.
    let (expected_lines, came_lines) = (lines(&case.market, expected), lines(&case.market, came));
    if let Some((line, difference)) = first_line(&expected_lines, &came_lines) {
        let event = expected.events.get(line).map(|event| subject_of(&event.payload));
        let of =
            event.map(|(_, instrument)| format!(" ({})", case.market.name(instrument))).unwrap_or_default();
        findings.cause(format!("{}, {what}: {difference}{of}", case.name));
    }
}
