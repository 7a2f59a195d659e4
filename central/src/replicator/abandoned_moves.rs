//! Moves of the watermark that got no answer.

/// Moves of the watermark without an answer: the server may carry one out later.
#[derive(Debug, Default)]
pub struct AbandonedMoves(Option<(Option<i64>, i64)>);

impl AbandonedMoves {
    pub fn add(&mut self, (from_ms, to_ms): (Option<i64>, i64)) {
        let (first_ms, last_ms) = self.0.unwrap_or((from_ms, to_ms));
        self.0 = Some((first_ms.min(from_ms), last_ms.max(to_ms)));
    }

    /// This watermark is of such a move. One beyond them, or from before, ends them.
    pub fn explain(&mut self, found_ms: Option<i64>) -> bool {
        self.0 = self.0.filter(|(first_ms, last_ms)| (*first_ms..=Some(*last_ms)).contains(&found_ms));
        self.0.is_some_and(|(first_ms, _)| found_ms > first_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_that_is_carried_out_late_is_no_restored_cold() {
        let mut moves = AbandonedMoves::default();
        assert!(!moves.explain(Some(10)));
        moves.add((Some(10), 20));
        assert!(!moves.explain(Some(10)), "not carried out yet");
        moves.add((Some(10), 30));
        assert!(moves.explain(Some(20)), "the first of them");
        assert!(!moves.explain(Some(5)), "cold was put back");
        assert!(!moves.explain(Some(20)), "and they no longer hold");
        moves.add((None, 20));
        assert!(moves.explain(Some(20)));
        assert!(!moves.explain(Some(40)), "a later move was stored");
        assert!(!moves.explain(Some(20)), "put back");
    }
}
