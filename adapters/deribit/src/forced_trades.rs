//! The forced trades of an instance, so that none is published twice.

use std::collections::BTreeSet;

/// Forced trades that are kept: more than the venue has in the hours that polls cover.
const FORCED_TRADES_MAX: usize = 100_000;

/// The forced trades that were published, by instrument and sequence number: polled windows overlap. Beyond the limit an instrument's
/// oldest makes room; published again it has the same content, so the same event id.
#[derive(Debug, Default)]
pub(crate) struct ForcedTrades {
    published: BTreeSet<(u32, u64)>,
    fresh: Vec<(u32, u64)>,
}

impl ForcedTrades {
    pub(crate) fn insert(&mut self, instrument: u32, sequence: u64) -> bool {
        let new = self.published.insert((instrument, sequence));
        if new {
            self.fresh.push((instrument, sequence));
        }
        new
    }

    #[inline(always)]
    pub(crate) fn commit(&mut self) {
        if !self.fresh.is_empty() {
            self.commit_fresh();
        }
    }

    #[cold]
    fn commit_fresh(&mut self) {
        for (instrument, _) in self.fresh.drain(..) {
            if self.published.len() > FORCED_TRADES_MAX
                && let Some(oldest) = self.published.range((instrument, 0)..).next().copied()
            {
                self.published.remove(&oldest);
            }
        }
    }

    #[cold]
    pub(crate) fn roll_back(&mut self) {
        for fresh in self.fresh.drain(..) {
            self.published.remove(&fresh);
        }
    }
}
