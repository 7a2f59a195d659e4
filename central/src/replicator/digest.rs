//! Row counts and fingerprints of one window in one table.

use serde::Deserialize;

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

impl WindowDigest {
    pub fn is_same(&self, other: &Self) -> bool {
        self.has_same_ids(other) && self.rows_xor == other.rows_xor && self.rows_sum == other.rows_sum
    }

    /// Same number of rows, of the same events.
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

/// A digest as ClickHouse returns it.
#[derive(Debug, clickhouse::Row, Deserialize)]
pub(super) struct StateRow {
    pub(super) start_ms: i64,
    rows: u64,
    ids_xor: u64,
    ids_sum: u64,
    rows_xor: u64,
    rows_sum: u64,
    oldest_us: i64,
    distinct: u64,
}

impl From<&StateRow> for WindowDigest {
    fn from(row: &StateRow) -> Self {
        let &StateRow { rows, ids_xor, ids_sum, rows_xor, rows_sum, oldest_us, distinct, .. } = row;
        Self { rows, ids_xor, ids_sum, rows_xor, rows_sum, oldest_us, distinct }
    }
}
