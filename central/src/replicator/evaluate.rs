//! Evaluation of one window against its log, and its difference row by row. Pure.

use std::fmt;

use super::window::WindowDigest;

#[derive(Debug, Clone, Copy)]
pub struct WindowFacts {
    pub log: Option<Reference>,
    pub hot: WindowDigest,
    pub cold: WindowDigest,
    /// Hot must still hold all rows: neither its TTL nor a removal can have taken any.
    pub is_hot_whole: bool,
    /// Cold must still hold all rows.
    pub is_cold_whole: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Reference {
    pub state: WindowDigest,
    /// The row hashes cover today's columns. Otherwise only event ids are compared.
    pub has_same_columns: bool,
    pub is_open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowCondition {
    Sound,
    New,
    /// Hot differs from the log, cold may be complete: a comparison by row separates late rows from lost ones.
    CompareRows,
    ColdModified,
    ColdModifiedHotGone,
    BothModifiedAlike,
    BothModified,
    NeverCopied,
}

pub fn evaluate(facts: &WindowFacts) -> WindowCondition {
    let WindowFacts { log, hot, cold, .. } = facts;
    let Some(reference) = log else {
        return match (hot.rows, cold.rows) {
            (0, 0) => WindowCondition::Sound,
            (0, _) => WindowCondition::NeverCopied,
            _ => WindowCondition::New,
        };
    };
    let is_as_logged = |state: &WindowDigest| {
        if reference.has_same_columns {
            state.is_same(&reference.state)
        } else {
            state.has_same_ids(&reference.state)
        }
    };
    let (hot_is, cold_is) = (is_as_logged(hot), is_as_logged(cold));
    if cold_is && hot_is && (reference.has_same_columns || hot.is_same(cold)) {
        return WindowCondition::Sound;
    }
    if reference.is_open {
        return WindowCondition::CompareRows;
    }
    // Nothing was verified: hot had lost the rows before their copy was logged, and has them again.
    if reference.state.rows == 0 && hot.is_same(cold) {
        return WindowCondition::New;
    }
    if !facts.is_cold_whole && !cold_is {
        return WindowCondition::Sound;
    }
    if !facts.is_hot_whole && !hot_is {
        return match (cold_is, hot.rows) {
            (true, 0) => WindowCondition::Sound,
            (true, _) => WindowCondition::CompareRows,
            _ if hot.is_same(cold) => WindowCondition::BothModifiedAlike,
            _ => WindowCondition::ColdModifiedHotGone,
        };
    }
    match (hot_is, cold_is) {
        (true, _) => WindowCondition::ColdModified,
        (false, true) => WindowCondition::CompareRows,
        (false, false) if hot.is_same(cold) => WindowCondition::BothModifiedAlike,
        (false, false) => WindowCondition::BothModified,
    }
}

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

    fn state(rows: u64, seed: u64) -> WindowDigest {
        WindowDigest {
            rows,
            ids_xor: seed,
            ids_sum: seed,
            rows_xor: seed,
            rows_sum: seed,
            ..WindowDigest::default()
        }
    }

    fn facts(log: Option<WindowDigest>, hot: WindowDigest, cold: WindowDigest) -> WindowFacts {
        let log = log.map(|state| Reference { state, has_same_columns: true, is_open: false });
        WindowFacts { log, hot, cold, is_hot_whole: true, is_cold_whole: true }
    }

    #[test]
    fn the_window_log_decides_which_side_was_modified() {
        let (l, a, b, none) = (state(5, 1), state(5, 2), state(6, 3), WindowDigest::default());
        for (log, hot, cold, expected) in [
            (Some(l), l, l, WindowCondition::Sound),
            (Some(l), l, a, WindowCondition::ColdModified),
            (Some(l), l, none, WindowCondition::ColdModified),
            (Some(l), a, l, WindowCondition::CompareRows),
            (Some(l), none, l, WindowCondition::CompareRows),
            (Some(l), a, a, WindowCondition::BothModifiedAlike),
            (Some(l), a, b, WindowCondition::BothModified),
            (Some(none), a, a, WindowCondition::New),
            (Some(none), none, b, WindowCondition::ColdModified),
            (None, a, none, WindowCondition::New),
            (None, a, b, WindowCondition::New),
            (None, none, b, WindowCondition::NeverCopied),
            (None, none, none, WindowCondition::Sound),
        ] {
            assert_eq!(evaluate(&facts(log, hot, cold)), expected, "{log:?} {hot:?} {cold:?}");
        }
    }

    #[test]
    fn changed_content_is_a_modification_and_open_windows_are_compared_by_row() {
        let logged = state(5, 1);
        let other = WindowDigest { rows_xor: 3, ..logged };
        assert_eq!(evaluate(&facts(Some(logged), logged, other)), WindowCondition::ColdModified);
        assert_eq!(evaluate(&facts(Some(logged), other, logged)), WindowCondition::CompareRows);
        let mut open = facts(Some(logged), logged, WindowDigest::default());
        open.log = open.log.map(|log| Reference { is_open: true, ..log });
        assert_eq!(evaluate(&open), WindowCondition::CompareRows);
        open.cold = logged;
        assert_eq!(evaluate(&open), WindowCondition::Sound);
    }

    /// Rows expired or removed from hot are no fault: cold is then compared with the log alone.
    #[test]
    fn rows_expired_from_hot_are_not_reported() {
        let (l, a, none) = (state(5, 1), state(5, 2), WindowDigest::default());
        let gone = |hot, cold| WindowFacts { is_hot_whole: false, ..facts(Some(l), hot, cold) };
        assert_eq!(evaluate(&gone(none, l)), WindowCondition::Sound);
        assert_eq!(evaluate(&gone(state(2, 9), l)), WindowCondition::CompareRows);
        assert_eq!(evaluate(&gone(none, a)), WindowCondition::ColdModifiedHotGone);
        assert_eq!(evaluate(&gone(a, a)), WindowCondition::BothModifiedAlike);
        assert_eq!(evaluate(&gone(l, a)), WindowCondition::ColdModified, "hot still has all");
        for hot in [none, l] {
            let facts = WindowFacts { is_cold_whole: false, ..gone(hot, none) };
            assert_eq!(evaluate(&facts), WindowCondition::Sound, "hot keeps rows for up to a day longer");
        }
    }

    /// Row hashes over other columns are incomparable; event ids still are comparable.
    #[test]
    fn row_hashes_over_other_columns_are_not_compared() {
        let logged = WindowDigest { rows_xor: 77, rows_sum: 78, ..state(5, 1) };
        let (now, other) = (state(5, 1), WindowDigest { rows_xor: 3, ..state(5, 1) });
        let judged = |hot, cold| {
            let mut facts = facts(Some(logged), hot, cold);
            facts.log = facts.log.map(|log| Reference { has_same_columns: false, ..log });
            evaluate(&facts)
        };
        assert_eq!(judged(now, now), WindowCondition::Sound);
        assert_ne!(judged(now, other), WindowCondition::Sound);
        assert_eq!(judged(now, state(4, 9)), WindowCondition::ColdModified);
    }

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
