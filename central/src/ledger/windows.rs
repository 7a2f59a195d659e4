//! Windows of receive time, and the streams of edges that they are evaluated for.
//!
//! Windows have one length, are aligned to 1970 and identified by their first nanosecond.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marketprism_schema::StreamId;

pub const SECOND_NS: i64 = 1_000_000_000;

/// One window or several consecutive ones, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowRange {
    pub from: i64,
    /// Exclusive.
    pub to: i64,
}

/// An edge on a busy machine notices a step of its clock this much after it.
pub const STEP_NOTICED_LATE_NS: i64 = 5 * SECOND_NS;

impl WindowRange {
    /// Time that a clock passed twice which was at `at` when it was set back by `-by_ns`.
    pub const fn relived(at: i64, by_ns: i64) -> Self {
        Self { from: at.saturating_sub(STEP_NOTICED_LATE_NS), to: at.saturating_sub(by_ns) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowGrid {
    length_ns: i64,
}

impl WindowGrid {
    /// The length is whole seconds.
    pub fn new(length: Duration) -> Self {
        let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX).max(1);
        Self { length_ns: seconds.saturating_mul(SECOND_NS) }
    }

    pub const fn length_ns(self) -> i64 {
        self.length_ns
    }

    /// As stored in column `window_seconds`.
    pub fn seconds(self) -> u16 {
        u16::try_from(self.length_ns / SECOND_NS).unwrap_or(u16::MAX)
    }

    pub const fn of(self, at_ns: i64) -> i64 {
        at_ns.div_euclid(self.length_ns) * self.length_ns
    }

    pub const fn range(self, window: i64) -> WindowRange {
        WindowRange { from: window, to: window.saturating_add(self.length_ns) }
    }

    pub fn within(self, range: WindowRange) -> impl Iterator<Item = i64> {
        let step = usize::try_from(self.length_ns).unwrap_or(usize::MAX);
        (self.of(range.from)..range.to).step_by(step)
    }

    /// Joins adjacent windows, at most `most` in one range. Input in ascending order.
    pub fn join(self, windows: impl IntoIterator<Item = i64>, most: i64) -> Vec<WindowRange> {
        let mut ranges: Vec<WindowRange> = Vec::new();
        for window in windows {
            match ranges.last_mut() {
                Some(last) if last.to == window && last.to - last.from < most * self.length_ns => {
                    last.to += self.length_ns;
                }
                _ => ranges.push(self.range(window)),
            }
        }
        ranges
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeStream {
    pub stream: StreamId,
    pub edge: String,
}

impl fmt::Display for EdgeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of edge {}", self.stream, self.edge)
    }
}

/// Bounded by the windows within the retention of the AUDIT stream.
#[derive(Debug, Default)]
pub struct DirtyWindows(Mutex<BTreeSet<i64>>);

impl DirtyWindows {
    pub fn add(&self, windows: impl IntoIterator<Item = i64>) {
        self.lock().extend(windows);
    }

    pub fn take(&self) -> BTreeSet<i64> {
        std::mem::take(&mut *self.lock())
    }

    pub fn is_any_in(&self, range: WindowRange) -> bool {
        self.lock().range(range.from..range.to).next().is_some()
    }

    // The set is consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_up_to_the_bound() {
        let windows = WindowGrid::new(Duration::from_secs(2));
        let at = |n: i64| n * 2 * SECOND_NS;
        assert_eq!(windows.of(at(3) + 1), at(3));
        let ranges = windows.join([at(1), at(2), at(3), at(4), at(7)], 3);
        let expected = [(1, 4), (4, 5), (7, 8)].map(|(from, to)| WindowRange { from: at(from), to: at(to) });
        assert_eq!(ranges, expected);
        assert_eq!(windows.within(ranges[0]).collect::<Vec<_>>(), [at(1), at(2), at(3)]);
    }
}
