//! Promise: a benchmark that misses a goal fails.

use marketprism_tests::figures::{Goal, Report};

#[test]
fn a_missed_goal_fails_the_run() {
    let mut report = Report::default();
    report.figure("plain", 1.0, "x");
    report.goal("fast", 10.0, "x", Goal::AtLeast(9.0));
    report.goal("small", 10.0, "x", Goal::AtMost(11.0));
    assert!(report.print("bench", &mut Vec::new()).unwrap());
    report.goal("slow", 10.0, "x", Goal::AtLeast(11.5));
    report.goal("large", 10.0, "x", Goal::AtMost(2.5));
    let mut out = Vec::new();
    assert!(!report.print("bench", &mut out).unwrap());
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("goal: at least 11.5, MISSED") && text.contains("goal: at most 2.5, MISSED"),
        "{text}"
    );
}
