//! Windows of receive time: of one length, aligned to 1970, identified by their first nanosecond.

use std::time::Duration;

pub const SECOND_NS: i64 = 1_000_000_000;

/// One window or several consecutive ones, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowRange {
    pub from: i64,
    /// Exclusive.
    pub to: i64,
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
