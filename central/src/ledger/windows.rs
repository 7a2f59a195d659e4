//! Windows of receive time.

use std::time::Duration;

/// Nanoseconds of a second.
pub const SECOND_NS: i64 = 1_000_000_000;

/// Consecutive windows, or one: from the first nanosecond to the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First nanosecond.
    pub from: i64,
    /// The nanosecond after the last.
    pub to: i64,
}

/// Windows of one length, aligned to 1970. They are named by their first nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    length_ns: i64,
}

impl Windows {
    /// Windows of a length of whole seconds.
    pub fn new(length: Duration) -> Self {
        let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX).max(1);
        Self { length_ns: seconds.saturating_mul(SECOND_NS) }
    }

    /// Length in nanoseconds.
    pub const fn length_ns(self) -> i64 {
        self.length_ns
    }

    /// Length in seconds, as the tables hold it.
    pub fn seconds(self) -> u16 {
        u16::try_from(self.length_ns / SECOND_NS).unwrap_or(u16::MAX)
    }

    /// The window that holds a moment.
    pub const fn of(self, at_ns: i64) -> i64 {
        at_ns.div_euclid(self.length_ns) * self.length_ns
    }

    /// A window as a span.
    pub const fn span(self, window: i64) -> Span {
        Span { from: window, to: window.saturating_add(self.length_ns) }
    }

    /// Every window of a span, in order.
    pub fn within(self, span: Span) -> impl Iterator<Item = i64> {
        let step = usize::try_from(self.length_ns).unwrap_or(usize::MAX);
        (self.of(span.from)..span.to).step_by(step)
    }

    /// Joins neighbours, at most `most` windows in one span. The windows come in rising order.
    pub fn join(self, windows: impl IntoIterator<Item = i64>, most: i64) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for window in windows {
            match spans.last_mut() {
                Some(last) if last.to == window && last.to - last.from < most * self.length_ns => {
                    last.to += self.length_ns;
                }
                _ => spans.push(self.span(window)),
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: windows are aligned, neighbours are joined, gaps and the bound part them.
    #[test]
    fn neighbours_are_joined_up_to_the_bound() {
        let windows = Windows::new(Duration::from_secs(2));
        let at = |n: i64| n * 2 * SECOND_NS;
        assert_eq!(windows.of(at(3) + 1), at(3));
        let spans = windows.join([at(1), at(2), at(3), at(4), at(7)], 3);
        let expected = [(1, 4), (4, 5), (7, 8)].map(|(from, to)| Span { from: at(from), to: at(to) });
        assert_eq!(spans, expected);
        assert_eq!(windows.within(spans[0]).collect::<Vec<_>>(), [at(1), at(2), at(3)]);
    }
}
