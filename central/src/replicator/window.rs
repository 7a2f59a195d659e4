//! Windows: ranges of `created_at`, and the digest of one window in one table.

use std::collections::BTreeMap;

use crate::sql;

/// Row count and fingerprints of a window. Sums wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowDigest {
    pub rows: u64,
    /// XOR of the low halves of the event ids.
    pub ids_xor: u64,
    /// Sum of the high halves of the event ids.
    pub ids_sum: u64,
    /// XOR of the row hashes.
    pub rows_xor: u64,
    /// Sum of the row hashes.
    pub rows_sum: u64,
    pub oldest_us: i64,
    /// Distinct event ids; 0 if not counted.
    pub distinct: u64,
}

/// By start of the window.
pub type Digests = BTreeMap<i64, WindowDigest>;

impl WindowDigest {
    pub fn is_same(&self, other: &Self) -> bool {
        self.has_same_ids(other) && self.rows_xor == other.rows_xor && self.rows_sum == other.rows_sum
    }

    pub fn has_same_ids(&self, other: &Self) -> bool {
        self.rows == other.rows && self.ids_xor == other.ids_xor && self.ids_sum == other.ids_sum
    }

    /// Text that differs whenever the rows differ.
    pub fn token(&self) -> String {
        format!(
            "{:x}.{:x}.{:x}.{:x}.{:x}",
            self.rows, self.ids_xor, self.ids_sum, self.rows_xor, self.rows_sum
        )
    }
}

/// Half-open range of `created_at`, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeRange {
    pub from_ms: i64,
    pub to_ms: i64,
}

impl TimeRange {
    pub const fn new(from_ms: i64, to_ms: i64) -> Self {
        Self { from_ms, to_ms }
    }

    pub const fn window(start_ms: i64, width_ms: i64) -> Self {
        Self { from_ms: start_ms, to_ms: start_ms.saturating_add(width_ms) }
    }

    pub fn condition(self) -> String {
        self.of("created_at")
    }

    /// Condition on a column of type `DateTime64(3)`.
    pub fn of(self, column: &str) -> String {
        format!("{column} >= {} AND {column} < {}", sql::millis(self.from_ms), sql::millis(self.to_ms))
    }

    /// Equal parts, as far as milliseconds allow.
    pub fn pieces(self, count: i64) -> Vec<Self> {
        let count = count.clamp(1, (self.to_ms - self.from_ms).max(1));
        let edge = |i: i64| self.from_ms + (self.to_ms - self.from_ms) * i / count;
        (0..count).map(|i| Self::new(edge(i), edge(i + 1))).collect()
    }
}

/// Start of the window that contains a time.
pub const fn align(ms: i64, width_ms: i64) -> i64 {
    ms - ms.rem_euclid(width_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_and_pieces_cover_their_range() {
        assert_eq!((align(60_001, 60_000), align(-1, 60_000)), (60_000, -60_000));
        for (span, count) in
            [(TimeRange::new(0, 60_000), 7), (TimeRange::new(5, 8), 64), (TimeRange::new(5, 5), 2)]
        {
            let pieces = span.pieces(count);
            assert_eq!((pieces[0].from_ms, pieces[pieces.len() - 1].to_ms), (span.from_ms, span.to_ms));
            assert!(pieces.windows(2).all(|pair| pair[0].to_ms == pair[1].from_ms));
        }
    }
}
