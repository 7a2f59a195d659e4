//! Ages of segments, for what is kept.

/// Limits of what is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepLimits {
    pub(super) bytes: u64,
    pub(super) age_ns: i64,
    pub(super) confirmed_ns: i64,
}

/// Clocks at one moment. No event expires, or stays, because the wall clock was set.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgeClocks {
    /// The wall clock at the start, and the time that has passed since.
    pub(super) passed_to_ns: i64,
    pub(super) wall_ns: i64,
}

impl AgeClocks {
    /// For segments of this run, or of earlier ones: those have times of the wall clock. If it was set back since the start, it was ahead then.
    pub(super) fn now_ns(self, is_of_run: bool) -> i64 {
        if is_of_run { self.passed_to_ns } else { self.passed_to_ns.min(self.wall_ns) }
    }
}
