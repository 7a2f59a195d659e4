//! Ranges of positions in the journal.

/// Consecutive positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PositionRange {
    pub(super) first: u64,
    pub(super) count: u32,
}

impl PositionRange {
    /// Joins sorted positions.
    pub(super) fn join(positions: impl IntoIterator<Item = u64>) -> Vec<Self> {
        let mut ranges: Vec<Self> = Vec::new();
        for position in positions {
            match ranges.last_mut() {
                Some(last) if last.first + u64::from(last.count) == position => last.count += 1,
                _ => ranges.push(Self { first: position, count: 1 }),
            }
        }
        ranges
    }

    pub(super) fn positions(self) -> impl Iterator<Item = u64> {
        (0..u64::from(self.count)).map(move |offset| self.first.saturating_add(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_positions_are_one_range() {
        let ranges = PositionRange::join([1, 2, 3, 7, 9, 10]);
        let found: Vec<_> = ranges.iter().map(|range| (range.first, range.count)).collect();
        assert_eq!(found, [(1, 3), (7, 1), (9, 2)]);
    }
}
