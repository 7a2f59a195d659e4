//! Sequence rules: whether an update continues a book at a given position.

use crate::settings::SequenceRule;
use crate::update::BookUpdate;

/// Two connections may lead to servers that write other times into the same message: no repetition is newer by more than this.
const CLOCKS_OF_CONNECTIONS_US: i64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct BookPosition {
    pub(crate) last_id: i64,
    pub(crate) time_us: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SequenceVerdict {
    Apply,
    Old,
    Heartbeat,
    Gap { expected: i64, got: i64 },
}

/// For an update that may be the first after a requested snapshot.
pub(crate) fn first(rule: SequenceRule, at: BookPosition, update: &BookUpdate<'_>) -> SequenceVerdict {
    match rule {
        SequenceRule::Unnumbered => SequenceVerdict::Apply,
        SequenceRule::Contiguous => contiguous(at, update),
        SequenceRule::Chained => {
            if update.previous_id == Some(at.last_id) {
                linked(at, update)
            } else if update.first_id <= at.last_id && at.last_id <= update.last_id {
                SequenceVerdict::Apply
            } else if update.last_id < at.last_id {
                SequenceVerdict::Old
            } else {
                broken_chain(at, update)
            }
        }
    }
}

/// For an update of a LIVE book.
pub(crate) fn next(rule: SequenceRule, at: BookPosition, update: &BookUpdate<'_>) -> SequenceVerdict {
    match rule {
        SequenceRule::Unnumbered => SequenceVerdict::Apply,
        SequenceRule::Contiguous => contiguous(at, update),
        SequenceRule::Chained => chained(at, update),
    }
}

/// Levels are absolute quantities: an update that overlaps the book continues it as well as one that starts
/// at the next id.
fn contiguous(at: BookPosition, update: &BookUpdate<'_>) -> SequenceVerdict {
    let expected = at.last_id.saturating_add(1);
    let gap = SequenceVerdict::Gap { expected, got: update.first_id };
    if update.last_id <= at.last_id {
        // The first messages of restarted numbers were lost: without this the book would stand still for ever.
        let restarted = update
            .time_us
            .zip(at.time_us)
            .is_some_and(|(theirs, ours)| theirs.saturating_sub(ours) > CLOCKS_OF_CONNECTIONS_US);
        if restarted { gap } else { SequenceVerdict::Old }
    } else if update.first_id <= expected {
        SequenceVerdict::Apply
    } else {
        gap
    }
}

fn chained(at: BookPosition, update: &BookUpdate<'_>) -> SequenceVerdict {
    if update.previous_id == Some(at.last_id) {
        return linked(at, update);
    }
    // A duplicate of the message that restarted the numbering: it names a predecessor from before.
    if update.last_id == at.last_id && update.time_us.is_some() && update.time_us == at.time_us {
        return SequenceVerdict::Old;
    }
    let starts_before = update.previous_id.is_none_or(|previous| previous <= at.last_id);
    if update.last_id <= at.last_id && starts_before {
        // After a restart of the numbering whose first message was lost, successors are old by id but newer
        // by the venue's time.
        let restarted = update.time_us.zip(at.time_us).is_some_and(|(theirs, ours)| theirs > ours);
        return if restarted { broken_chain(at, update) } else { SequenceVerdict::Old };
    }
    // As after a snapshot with the book's id: an update whose range covers it continues it.
    if update.first_id <= at.last_id && at.last_id < update.last_id && starts_before {
        return SequenceVerdict::Apply;
    }
    broken_chain(at, update)
}

/// The update names the book's id as its predecessor. Its last id may be smaller: the venue restarted its
/// numbering.
fn linked(at: BookPosition, update: &BookUpdate<'_>) -> SequenceVerdict {
    if update.last_id == at.last_id && update.is_empty() {
        SequenceVerdict::Heartbeat
    } else {
        SequenceVerdict::Apply
    }
}

fn broken_chain(at: BookPosition, update: &BookUpdate<'_>) -> SequenceVerdict {
    SequenceVerdict::Gap { expected: at.last_id, got: update.previous_id.unwrap_or(update.first_id) }
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

    fn at(last_id: i64) -> BookPosition {
        BookPosition { last_id, time_us: Some(1_000) }
    }

    #[test]
    fn contiguous_rule_at_its_boundaries() {
        for check in [first, next] {
            let verdict =
                |first_id, last_id| check(SequenceRule::Contiguous, at(100), &delta(first_id, last_id, None));
            assert_eq!(verdict(90, 99), SequenceVerdict::Old);
            assert_eq!(verdict(95, 100), SequenceVerdict::Old);
            assert_eq!(verdict(95, 101), SequenceVerdict::Apply);
            assert_eq!(verdict(101, 101), SequenceVerdict::Apply);
            assert_eq!(verdict(101, 110), SequenceVerdict::Apply);
            assert_eq!(verdict(102, 110), SequenceVerdict::Gap { expected: 101, got: 102 });
        }
    }

    #[test]
    fn contiguous_rule_after_restarted_numbers_whose_first_was_lost() {
        let verdict =
            |time_us| next(SequenceRule::Contiguous, at(100), &BookUpdate { time_us, ..delta(2, 2, None) });
        let limit = 1_000 + CLOCKS_OF_CONNECTIONS_US;
        for repetition in [None, Some(900), Some(1_000), Some(limit)] {
            assert_eq!(verdict(repetition), SequenceVerdict::Old, "{repetition:?}");
        }
        assert_eq!(verdict(Some(limit + 1)), SequenceVerdict::Gap { expected: 101, got: 2 });
    }

    #[test]
    fn chained_rule_after_a_snapshot() {
        let verdict = |f, l, p| first(SequenceRule::Chained, at(100), &delta(f, l, p));
        assert_eq!(verdict(90, 99, Some(89)), SequenceVerdict::Old);
        assert_eq!(verdict(90, 100, Some(89)), SequenceVerdict::Apply);
        assert_eq!(verdict(100, 105, Some(95)), SequenceVerdict::Apply);
        assert_eq!(verdict(105, 110, Some(100)), SequenceVerdict::Apply);
        assert_eq!(verdict(7, 7, Some(100)), SequenceVerdict::Apply);
        assert_eq!(verdict(105, 110, Some(102)), SequenceVerdict::Gap { expected: 100, got: 102 });
        assert_eq!(verdict(105, 110, None), SequenceVerdict::Gap { expected: 100, got: 105 });
    }

    #[test]
    fn chained_rule_when_live() {
        let verdict = |f, l, p| next(SequenceRule::Chained, at(100), &delta(f, l, p));
        assert_eq!(verdict(103, 105, Some(100)), SequenceVerdict::Apply);
        assert_eq!(verdict(3, 3, Some(100)), SequenceVerdict::Apply, "numbering restarted");
        assert_eq!(verdict(98, 100, Some(97)), SequenceVerdict::Old);
        assert_eq!(verdict(80, 90, Some(79)), SequenceVerdict::Old);
        assert_eq!(verdict(98, 105, Some(97)), SequenceVerdict::Apply, "overlap");
        assert_eq!(verdict(105, 107, Some(103)), SequenceVerdict::Gap { expected: 100, got: 103 });
        assert_eq!(
            verdict(3, 3, Some(105)),
            SequenceVerdict::Gap { expected: 100, got: 105 },
            "restart after a loss"
        );
        let overlapping = verdict(50, 200, Some(500));
        assert_eq!(
            overlapping,
            SequenceVerdict::Gap { expected: 100, got: 500 },
            "restart after a loss, ids overlap"
        );
        let mut lost_restart = delta(4, 7, Some(3));
        lost_restart.time_us = Some(1_001);
        assert_eq!(
            next(SequenceRule::Chained, at(100), &lost_restart),
            SequenceVerdict::Gap { expected: 100, got: 3 }
        );
        let mut restart_again = delta(100, 100, Some(5_000));
        restart_again.time_us = Some(1_000);
        assert_eq!(next(SequenceRule::Chained, at(100), &restart_again), SequenceVerdict::Old);
        let mut heartbeat = delta(100, 100, Some(100));
        heartbeat.bids = &[];
        assert_eq!(next(SequenceRule::Chained, at(100), &heartbeat), SequenceVerdict::Heartbeat);
    }
}
