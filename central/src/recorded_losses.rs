//! Losses that this process has recorded lately. A scan that fails after it recorded some, a start that fails, and the recovery of a hot that was
//! put back find them again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits;
use crate::seq_range::SeqRange;

/// Name and creation time of a stream of the broker: another one gives the same sequences to other messages.
type StreamKey = (&'static str, i64);

#[derive(Debug, Default)]
pub struct RecordedLosses(Mutex<VecDeque<(Instant, StreamKey, SeqRange)>>);

impl RecordedLosses {
    /// The parts of lost ranges that are not recorded.
    pub fn unrecorded(&self, stream: StreamKey, lost: &[SeqRange]) -> Vec<SeqRange> {
        let mut all = self.lock();
        // A broker that was put back gives sequences again.
        all.retain(|(at, ..)| at.elapsed() < limits::LOSS_FOUND_AGAIN);
        let known = all.iter().filter(|(_, of, _)| *of == stream).map(|(.., span)| *span);
        let mut known: Vec<SeqRange> = known.collect();
        known.sort_unstable_by_key(|span| span.from);
        lost.iter().flat_map(|span| span.without_ranges(&known)).collect()
    }

    /// Bounded: the oldest ones are forgotten.
    pub fn add(&self, stream: StreamKey, recorded: &[SeqRange]) {
        let mut all = self.lock();
        all.extend(recorded.iter().map(|span| (Instant::now(), stream, *span)));
        let excess = all.len().saturating_sub(limits::GAPS * 4);
        all.drain(..excess);
    }

    // The list is consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, StreamKey, SeqRange)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(from: u64, to: u64) -> SeqRange {
        SeqRange { from, to }
    }

    /// The recovery of hot joins ranges that the scan had named one by one.
    #[test]
    fn a_loss_that_is_found_again_in_other_ranges_is_recorded_once() {
        let (losses, stream, other) = (RecordedLosses::default(), ("A", 1), ("A", 2));
        let lost = [span(40, 45), span(10, 20), span(25, 30)];
        assert_eq!(losses.unrecorded(stream, &lost), lost);
        losses.add(stream, &lost);
        assert_eq!(losses.unrecorded(stream, &lost), []);
        assert_eq!(losses.unrecorded(stream, &[span(5, 42)]), [span(5, 9), span(21, 24), span(31, 39)]);
        assert_eq!(losses.unrecorded(stream, &[span(15, 15), span(45, 50)]), [span(46, 50)]);
        assert_eq!(losses.unrecorded(other, &lost), lost, "of another stream with the same name");
    }
}
