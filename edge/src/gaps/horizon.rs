//! The beginning of a venue's history within a hole in trade ids: the venue refuses requests from older ids on. It is found by halves, with one
//! page at each step, before anything is filled: what is about to leave the history waits for no other trade.

use std::time::Instant;

use crate::limits::BACKFILL_TIME_MAX;
use crate::records::TradeIdRange;

/// Between the newest id that was refused and the oldest one that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct HorizonSearch {
    refused: u64,
    answered: Option<u64>,
}

impl HorizonSearch {
    pub(super) const fn after_refusal(id: u64) -> Self {
        Self { refused: id, answered: None }
    }

    pub(super) fn refused(&mut self, id: u64) {
        self.refused = self.refused.max(id);
    }

    pub(super) fn answered(&mut self, id: u64) {
        self.answered = Some(self.answered.map_or(id, |answered| answered.min(id)));
    }

    /// The newest id from before the history. `None`: no request was answered, so that the venue may refuse them for another reason.
    pub(super) fn newest_refused(&self) -> Option<u64> {
        self.answered.map(|_| self.refused)
    }

    /// The next ids to request of those up to `last`. `missing` gives the lowest missing ones of a range. `None`: the search is over.
    pub(super) fn next(
        &self,
        last: u64,
        missing: impl Fn(TradeIdRange) -> Option<TradeIdRange>,
    ) -> Option<TradeIdRange> {
        let Some(mut bound) = self.answered else {
            // If the newest one is refused too, halves would not find a beginning.
            let newer = missing(TradeIdRange { first: self.refused.saturating_add(1), last })?;
            return Some(TradeIdRange { first: newer.last, ..newer });
        };
        loop {
            let middle = self.refused.saturating_add(bound.saturating_sub(self.refused) / 2);
            if middle <= self.refused {
                return None;
            }
            let newer = missing(TradeIdRange { first: middle, last: bound.saturating_sub(1) });
            if newer.is_some() {
                return newer;
            }
            bound = middle;
        }
    }
}

/// Result of a search, for the other holes of its instrument.
#[derive(Debug)]
pub(super) struct KnownHorizon {
    pub(super) newest_refused: u64,
    pub(super) found: Instant,
    /// Refused a second time, after a pause.
    pub(super) is_confirmed: bool,
}

impl KnownHorizon {
    /// The venue may restart its trade numbering.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        now < self.found + BACKFILL_TIME_MAX
    }
}
