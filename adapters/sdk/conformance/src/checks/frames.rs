//! Every frame has a meaning.

use marketprism_adapter_host::contract::Remark;

use crate::case::Cases;
use crate::findings::Findings;
use crate::report::Check;
use crate::session::Session;

/// Gives all frames one by one. The host refuses a result in which a frame has neither an event nor a note; a recording, which a
/// venue really sent, has to be read without a malformed frame.
pub(crate) fn frames(cases: &Cases<'_>) -> Check {
    let promise = "gives every frame an event or a note, and calls nothing malformed that a venue sent";
    let mut findings = Findings::new("frames", promise);
    if cases.frame_count() == 0 {
        return findings.skipped(super::NO_FRAMES);
    }
    let (mut events, mut notes) = (0, 0);
    for case in &cases.cases {
        let normalized = match Session::open(&case.market) {
            Ok(mut session) => session.normalize(&case.frames, 1),
            Err(error) => {
                findings.cause(format!("{}: {error}", case.name));
                continue;
            }
        };
        let normalized = match normalized {
            Ok(normalized) => normalized,
            Err(faulted) => {
                findings.cause(format!("{}: {}", case.place(faulted.frame), faulted.text));
                continue;
            }
        };
        events += normalized.events.len();
        notes += normalized.notes.len();
        for note in normalized.notes.iter().filter(|_| case.is_recording()) {
            if let Remark::Malformed(malformed) = &note.remark {
                let place = case.place(note.frame as usize);
                findings.cause(format!("{place}: malformed at byte {}: {}", malformed.at, malformed.what));
            }
        }
    }
    findings.done(format!("{} frames: {events} events, {notes} notes", cases.frame_count()))
}
