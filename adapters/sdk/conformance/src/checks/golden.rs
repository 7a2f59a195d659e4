//! Golden frames.

use std::path::Path;

use marketprism_adapter_sdk::testkit::start_lines;
use serde_json::Value;

use crate::case::Cases;
use crate::convert::ToSdk;
use crate::difference::first_line;
use crate::findings::Findings;
use crate::report::Check;
use crate::session::{Session, lines};

const BATCH: usize = 64;

/// Compares what the component makes of the golden frames with the golden output, line by line.
pub(crate) fn golden(cases: &Cases<'_>) -> Check {
    let mut findings = Findings::new("golden", "makes of the golden frames what the golden output says");
    let Some((start, expected)) = &cases.start else {
        return findings.skipped("no golden frames for this exchange");
    };
    let (instruments, plan) = (start.instruments.to_sdk(), start.plan.to_sdk());
    compare("instruments", expected, &start_lines(&instruments, &plan), &mut findings);
    let (mut count, mut frames) = (1, 0);
    for case in &cases.cases {
        let Some(expected) = &case.expected else { continue };
        count += 1;
        frames += case.frames.len();
        let normalized = Session::open(&case.market).and_then(|mut session| {
            session
                .normalize(&case.frames, BATCH)
                .map_err(|faulted| format!("{}: {}", case.place(faulted.frame), faulted.text))
        });
        match normalized {
            Ok(normalized) => compare(&case.name, expected, &lines(&case.market, &normalized), &mut findings),
            Err(error) => findings.cause(error),
        }
    }
    findings.done(format!("{count} cases, {frames} frames"))
}

fn compare(name: &str, path: &Path, came: &[Value], findings: &mut Findings) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return findings.cause(format!("{name}: expected output {}: {error}", path.display())),
    };
    let expected: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    match expected {
        Ok(expected) => {
            if let Some((line, difference)) = first_line(&expected, came) {
                findings.cause(format!("{name} line {}, {difference}", line + 1));
            }
        }
        Err(error) => findings.cause(format!("{name}: expected output {}: {error}", path.display())),
    }
}
