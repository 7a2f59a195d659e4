//! The sequence rules: what an update means for a book that stands at some id.

use crate::settings::SequenceRule;
use crate::update::BookUpdate;

/// Where a book stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) last_id: i64,
    pub(crate) time_us: Option<i64>,
}

/// What to do with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It continues the book.
    Apply,
    /// The book already holds it.
    Old,
    /// It says that nothing changed.
    Heartbeat,
    /// Something between the book and this update is missing.
    Gap {
        /// The id that would have continued the book.
        expected: i64,
        /// The id that came in its place.
        got: i64,
    },
}

/// Judges an update that may be the first after a requested snapshot.
pub(crate) fn first(rule: SequenceRule, at: Position, update: &BookUpdate<'_>) -> Verdict {
    match rule {
        SequenceRule::Unnumbered => Verdict::Apply,
        SequenceRule::Contiguous => contiguous(at, update),
        SequenceRule::Chained => {
            if update.previous_id == Some(at.last_id) {
                linked(at, update)
            } else if update.first_id <= at.last_id && at.last_id <= update.last_id {
                Verdict::Apply
            } else if update.last_id < at.last_id {
                Verdict::Old
            } else {
                broken_chain(at, update)
            }
        }
    }
}

/// Judges an update of a live book.
pub(crate) fn next(rule: SequenceRule, at: Position, update: &BookUpdate<'_>) -> Verdict {
    match rule {
        SequenceRule::Unnumbered => Verdict::Apply,
        SequenceRule::Contiguous => contiguous(at, update),
        SequenceRule::Chained => chained(at, update),
    }
}

/// Levels are absolute quantities: an update that begins in what the book holds and ends after it is as good
/// as one that continues exactly.
fn contiguous(at: Position, update: &BookUpdate<'_>) -> Verdict {
    let expected = at.last_id.saturating_add(1);
    if update.last_id <= at.last_id {
        Verdict::Old
    } else if update.first_id <= expected {
        Verdict::Apply
    } else {
        Verdict::Gap { expected, got: update.first_id }
    }
}

fn chained(at: Position, update: &BookUpdate<'_>) -> Verdict {
    if update.previous_id == Some(at.last_id) {
        return linked(at, update);
    }
    // The message that restarted the numbering, once more: it names a predecessor from before.
    if update.last_id == at.last_id && update.time_us.is_some() && update.time_us == at.time_us {
        return Verdict::Old;
    }
    let starts_before = update.previous_id.is_none_or(|previous| previous <= at.last_id);
    if update.last_id <= at.last_id && starts_before {
        // Ids may restart below. When the message that said so was lost, its successors look old by their
        // ids, but are newer than the book by the venue's clock.
        let restarted = update.time_us.zip(at.time_us).is_some_and(|(theirs, ours)| theirs > ours);
        return if restarted { broken_chain(at, update) } else { Verdict::Old };
    }
    // A book at some id is as good as a snapshot with that id: an update whose range covers it continues it.
    if update.first_id <= at.last_id && at.last_id < update.last_id && starts_before {
        return Verdict::Apply;
    }
    broken_chain(at, update)
}

/// The update names the book's own id as its predecessor. Its last id may be smaller: the venue restarted its
/// numbering.
fn linked(at: Position, update: &BookUpdate<'_>) -> Verdict {
    if update.last_id == at.last_id && update.is_empty() { Verdict::Heartbeat } else { Verdict::Apply }
}

fn broken_chain(at: Position, update: &BookUpdate<'_>) -> Verdict {
    Verdict::Gap { expected: at.last_id, got: update.previous_id.unwrap_or(update.first_id) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::Change;

    fn delta(first_id: i64, last_id: i64, previous_id: Option<i64>) -> BookUpdate<'static> {
        BookUpdate {
            change: Change::Delta,
            time_us: None,
            received_at_ns: 0,
            first_id,
            last_id,
            previous_id,
            checksum: None,
            price_scale: 0,
            quantity_scale: 0,
            bids: &[1, 1],
            asks: &[],
        }
    }

    fn at(last_id: i64) -> Position {
        Position { last_id, time_us: Some(1_000) }
    }

    // Goal: the contiguous rule holds at each boundary, for the first update and for later ones.
    // Method: one update at every position around a book at id 100.
    #[test]
    fn contiguous_rule_at_its_boundaries() {
        for judge in [first, next] {
            let verdict =
                |first_id, last_id| judge(SequenceRule::Contiguous, at(100), &delta(first_id, last_id, None));
            assert_eq!(verdict(90, 99), Verdict::Old);
            assert_eq!(verdict(95, 100), Verdict::Old);
            assert_eq!(verdict(95, 101), Verdict::Apply);
            assert_eq!(verdict(101, 101), Verdict::Apply);
            assert_eq!(verdict(101, 110), Verdict::Apply);
            assert_eq!(verdict(102, 110), Verdict::Gap { expected: 101, got: 102 });
        }
    }

    // Goal: the chained rule for the first update after a snapshot.
    // Method: ranges around a snapshot at id 100, and links to it.
    #[test]
    fn chained_rule_after_a_snapshot() {
        let verdict = |f, l, p| first(SequenceRule::Chained, at(100), &delta(f, l, p));
        assert_eq!(verdict(90, 99, Some(89)), Verdict::Old);
        assert_eq!(verdict(90, 100, Some(89)), Verdict::Apply);
        assert_eq!(verdict(100, 105, Some(95)), Verdict::Apply);
        assert_eq!(verdict(105, 110, Some(100)), Verdict::Apply);
        assert_eq!(verdict(7, 7, Some(100)), Verdict::Apply);
        assert_eq!(verdict(105, 110, Some(102)), Verdict::Gap { expected: 100, got: 102 });
        assert_eq!(verdict(105, 110, None), Verdict::Gap { expected: 100, got: 105 });
    }

    // Goal: the chained rule for a live book: links, duplicates, overlaps, gaps, restarted numbering and its
    // loss.
    // Method: one update for each case around a book at id 100 and venue time 1000.
    #[test]
    fn chained_rule_when_live() {
        let verdict = |f, l, p| next(SequenceRule::Chained, at(100), &delta(f, l, p));
        assert_eq!(verdict(103, 105, Some(100)), Verdict::Apply);
        assert_eq!(verdict(3, 3, Some(100)), Verdict::Apply, "numbering restarted");
        assert_eq!(verdict(98, 100, Some(97)), Verdict::Old);
        assert_eq!(verdict(80, 90, Some(79)), Verdict::Old);
        assert_eq!(verdict(98, 105, Some(97)), Verdict::Apply, "overlap");
        assert_eq!(verdict(105, 107, Some(103)), Verdict::Gap { expected: 100, got: 103 });
        assert_eq!(
            verdict(3, 3, Some(105)),
            Verdict::Gap { expected: 100, got: 105 },
            "restart after a loss"
        );
        let overlapping = verdict(50, 200, Some(500));
        assert_eq!(
            overlapping,
            Verdict::Gap { expected: 100, got: 500 },
            "restart after a loss, ids overlap"
        );
        let mut lost_restart = delta(4, 7, Some(3));
        lost_restart.time_us = Some(1_001);
        assert_eq!(
            next(SequenceRule::Chained, at(100), &lost_restart),
            Verdict::Gap { expected: 100, got: 3 }
        );
        let mut restart_again = delta(100, 100, Some(5_000));
        restart_again.time_us = Some(1_000);
        assert_eq!(next(SequenceRule::Chained, at(100), &restart_again), Verdict::Old);
        let mut heartbeat = delta(100, 100, Some(100));
        heartbeat.bids = &[];
        assert_eq!(next(SequenceRule::Chained, at(100), &heartbeat), Verdict::Heartbeat);
    }
}
