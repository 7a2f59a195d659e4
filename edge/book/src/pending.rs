//! Deltas that wait for a snapshot, bounded in count and bytes.

use std::collections::VecDeque;

use crate::settings::BookLimits;
use crate::update::{BookUpdate, Change};

#[derive(Clone, Debug)]
pub(crate) struct PendingDelta {
    update: BookUpdate<'static>,
    levels: Box<[i64]>,
    bids: usize,
}

impl PendingDelta {
    fn new(update: &BookUpdate<'_>) -> Self {
        let mut levels = Vec::with_capacity(update.bids.len() + update.asks.len());
        levels.extend_from_slice(update.bids);
        levels.extend_from_slice(update.asks);
        let BookUpdate { time_us, received_at_ns, first_id, last_id, previous_id, checksum, .. } = *update;
        let BookUpdate { price_scale, quantity_scale, .. } = *update;
        PendingDelta {
            update: BookUpdate {
                change: Change::Delta,
                time_us,
                received_at_ns,
                first_id,
                last_id,
                previous_id,
                checksum,
                price_scale,
                quantity_scale,
                bids: &[],
                asks: &[],
            },
            levels: levels.into_boxed_slice(),
            bids: update.bids.len(),
        }
    }

    pub(crate) fn update(&self) -> BookUpdate<'_> {
        let (bids, asks) = self.levels.split_at_checked(self.bids).unwrap_or_default();
        BookUpdate { bids, asks, ..self.update }
    }

    fn bytes(&self) -> usize {
        size_of::<PendingDelta>() + size_of_val(&*self.levels)
    }
}

/// Oldest first. A full queue drops its oldest delta: a snapshot under way is more likely younger than the
/// newest delta than older than the oldest.
#[derive(Debug)]
pub(crate) struct PendingDeltas {
    queue: VecDeque<PendingDelta>,
    bytes: usize,
    max_updates: usize,
    max_bytes: usize,
    /// A delta that belonged here was dropped.
    incomplete: bool,
}

impl PendingDeltas {
    pub(crate) fn new(limits: &BookLimits) -> Self {
        PendingDeltas {
            queue: VecDeque::new(),
            bytes: 0,
            max_updates: limits.max_pending_updates,
            max_bytes: limits.max_pending_bytes,
            incomplete: false,
        }
    }

    /// Copies the update; returns the number of updates dropped for it.
    pub(crate) fn push(&mut self, update: &BookUpdate<'_>) -> u64 {
        let delta = PendingDelta::new(update);
        self.bytes += delta.bytes();
        self.queue.push_back(delta);
        let mut dropped = 0;
        while self.queue.len() > self.max_updates || self.bytes > self.max_bytes {
            if self.pop().is_none() {
                break;
            }
            dropped += 1;
        }
        self.incomplete |= dropped > 0;
        dropped
    }

    pub(crate) fn pop(&mut self) -> Option<PendingDelta> {
        let delta = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(delta.bytes());
        Some(delta)
    }

    /// Drops the oldest until at least `bytes` are free, or none is left; returns their number.
    pub(crate) fn shrink(&mut self, bytes: usize) -> u64 {
        let (before, mut dropped) = (self.bytes, 0);
        while before - self.bytes < bytes && self.pop().is_some() {
            dropped += 1;
        }
        self.incomplete |= dropped > 0;
        dropped
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push_front(&mut self, delta: PendingDelta) {
        self.bytes += delta.bytes();
        self.queue.push_front(delta);
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
        self.incomplete = false;
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn mark_incomplete(&mut self) {
        self.incomplete = true;
    }

    pub(crate) fn is_incomplete(&self) -> bool {
        self.incomplete
    }
}
