//! Row-by-row difference of a window between hot and cold.

use std::fmt;

/// Event ids of differing rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowDiff {
    pub only_hot: Vec<u128>,
    pub only_cold: Vec<u128>,
    /// Same id, different content or number of rows.
    pub differing: Vec<u128>,
    pub doubled_hot: u64,
    pub doubled_cold: u64,
}

impl RowDiff {
    /// Compares event ids and row hashes, both sorted.
    pub fn between(hot: &[(u128, u64)], cold: &[(u128, u64)]) -> Self {
        let mut diff = Self::default();
        let mut hot = hot.chunk_by(|a, b| a.0 == b.0).peekable();
        let mut cold = cold.chunk_by(|a, b| a.0 == b.0).peekable();
        loop {
            let id = |rows: Option<&&[(u128, u64)]>| rows.and_then(|rows| rows.first()).map(|row| row.0);
            let (left, right) = (id(hot.peek()), id(cold.peek()));
            let takes_left = left.is_some_and(|left| right.is_none_or(|right| left <= right));
            let takes_right = right.is_some_and(|right| left.is_none_or(|left| right <= left));
            let hot_rows = if takes_left { hot.next() } else { None };
            let cold_rows = if takes_right { cold.next() } else { None };
            diff.doubled_hot += u64::from(hot_rows.is_some_and(|rows| rows.len() > 1));
            diff.doubled_cold += u64::from(cold_rows.is_some_and(|rows| rows.len() > 1));
            match (left.filter(|_| takes_left), right.filter(|_| takes_right)) {
                (Some(id), None) => diff.only_hot.push(id),
                (None, Some(id)) => diff.only_cold.push(id),
                (Some(id), Some(_)) if hot_rows != cold_rows => diff.differing.push(id),
                (Some(_), Some(_)) => {}
                (None, None) => return diff,
            }
        }
    }

    /// Every row of cold is equal in hot: copying the missing rows makes both equal.
    pub fn is_cold_within_hot(&self) -> bool {
        self.only_cold.is_empty() && self.differing.is_empty()
    }

    /// Every row of hot is equal in cold.
    pub fn is_hot_within_cold(&self) -> bool {
        self.only_hot.is_empty() && self.differing.is_empty()
    }
}

impl fmt::Display for RowDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.only_hot.len() as u64, "in hot only"),
            (self.only_cold.len() as u64, "in cold only"),
            (self.differing.len() as u64, "with other content"),
            (self.doubled_hot, "doubled in hot"),
            (self.doubled_cold, "doubled in cold"),
        ];
        let named: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if named.is_empty() { f.write_str("no row differs") } else { write!(f, "rows: {}", named.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_row_difference_is_listed() {
        let hot = [(1, 10), (2, 20), (3, 30), (5, 50), (5, 50), (9, 90)];
        let cold = [(2, 20), (3, 31), (4, 40), (5, 50), (6, 60), (6, 60)];
        let diff = RowDiff::between(&hot, &cold);
        let expected = RowDiff {
            only_hot: vec![1, 9],
            only_cold: vec![4, 6],
            differing: vec![3, 5],
            doubled_hot: 1,
            doubled_cold: 1,
        };
        assert_eq!(diff, expected);
        assert_eq!(RowDiff::between(&hot, &hot).differing, Vec::<u128>::new());
        assert!(RowDiff::between(&hot, &hot[..2]).is_cold_within_hot());
        assert!(RowDiff::between(&[], &cold).is_hot_within_cold());
        assert_eq!(RowDiff::between(&hot[..1], &[]).to_string(), "rows: 1 in hot only");
    }
}
