//! `[ledger]`: what edges say about their windows, compared with what hot holds.

use std::time::Duration;

use marketprism_config::Section;

/// How windows are judged.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// Length of a window of `received_at`, whole seconds; divides an hour. Audits of shorter windows are added up.
    pub window: Duration,
    /// A window may be open for so long after its end: the audit and the last rows are on their way.
    pub grace: Duration,
    /// Pause between two rounds.
    pub interval: Duration,
    /// Time between two comparisons of everything that hot holds.
    pub recheck: Duration,
    /// Days that audits and verdicts live.
    pub retention_days: u32,
}

impl Ledger {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let seconds = |key, default, range| Duration::from_secs(section.integer_or(key, default, range));
        let window = section.integer_or("window_seconds", 60, 1..=3_600);
        if window > 0 && 3_600 % window != 0 {
            section.report("window_seconds", format!("is {window}"), "a number that divides an hour");
        }
        let days = section.integer_or("retention_days", 35, 1..=3_650);
        Self {
            window: Duration::from_secs(window.max(1)),
            grace: seconds("grace_seconds", 120, 1..=86_400),
            interval: section.millis_or("interval_ms", 5_000, 50..=600_000),
            recheck: seconds("recheck_seconds", 600, 1..=86_400),
            retention_days: u32::try_from(days).unwrap_or(u32::MAX),
        }
    }
}
