//! Numbers are exact.

use marketprism_adapter_host::contract::{Normalized, Payload};
use serde_json::Value;

use crate::case::{Case, Cases};
use crate::evidence::{Evidence, unexplained};
use crate::findings::Findings;
use crate::names::subject_of;
use crate::numbers::Numbers;
use crate::report::Check;
use crate::session::Session;

/// Looks for every number of every event in the text of its frame.
pub(crate) fn decimals(cases: &Cases<'_>) -> Check {
    let promise =
        "gives only numbers that stand in the frame, exactly, or follow from contract size and value";
    let mut findings = Findings::new("decimals", promise);
    if cases.frame_count() == 0 {
        return findings.skipped(super::NO_FRAMES);
    }
    let mut events = 0;
    for case in &cases.cases {
        let Some(normalized) = run(case) else { continue };
        events += normalized.events.len();
        let mut earlier = Numbers::default();
        let mut rest = normalized.events.as_slice();
        for (index, frame) in case.frames.iter().enumerate() {
            let count = rest.iter().take_while(|event| event.frame as usize == index).count();
            let (own, behind) = rest.split_at(count);
            rest = behind;
            let is_json = serde_json::from_slice::<Value>(&frame.bytes).is_ok();
            let numbers = Numbers::of(&frame.bytes, is_json);
            let evidence =
                Evidence { frame: &numbers, earlier: &earlier, instruments: &case.market.instruments };
            for event in own {
                if let Some(found) = unexplained(&event.payload, &normalized.levels, evidence) {
                    let (_, instrument) = subject_of(&event.payload);
                    findings.cause(format!(
                        "{}, {}: {found}",
                        case.place(index),
                        case.market.name(instrument)
                    ));
                }
            }
            // A book's numbers explain nothing else.
            if own.iter().all(|event| !matches!(event.payload, Payload::Book(_))) {
                earlier.add(&numbers);
            }
        }
    }
    findings.done(format!("{events} events"))
}

/// The result of all frames; faults are reported by the check `frames`.
pub(super) fn run(case: &Case<'_>) -> Option<Normalized> {
    Session::open(&case.market).ok()?.normalize(&case.frames, 64).ok()
}
