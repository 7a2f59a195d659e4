//! Deltas that wait for a snapshot, bounded in count and bytes.

use std::collections::VecDeque;

use crate::settings::BookLimits;
use crate::update::{BookUpdate, Change};

/// An update that owns its levels.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    update: BookUpdate<'static>,
    levels: Box<[i64]>,
    bids: usize,
}

impl Held {
    fn new(update: &BookUpdate<'_>) -> Self {
        let mut levels = Vec::with_capacity(update.bids.len() + update.asks.len());
        levels.extend_from_slice(update.bids);
        levels.extend_from_slice(update.asks);
        let BookUpdate { time_us, received_at_ns, first_id, last_id, previous_id, checksum, .. } = *update;
        let BookUpdate { price_scale, quantity_scale, .. } = *update;
        Held {
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
        size_of::<Held>() + size_of_val(&*self.levels)
    }
}

/// The deltas, oldest first. When a bound is reached the oldest goes: a snapshot that is still under way is
/// younger than the newest of them more likely than older than the oldest.
#[derive(Debug)]
pub(crate) struct Pending {
    queue: VecDeque<Held>,
    bytes: usize,
    max_updates: usize,
    max_bytes: usize,
    /// Something that belonged here was dropped.
    holed: bool,
}

impl Pending {
    pub(crate) fn new(limits: &BookLimits) -> Self {
        Pending {
            queue: VecDeque::new(),
            bytes: 0,
            max_updates: limits.max_pending_updates,
            max_bytes: limits.max_pending_bytes,
            holed: false,
        }
    }

    /// Keeps a copy of the update; gives the number of updates dropped for it.
    pub(crate) fn push(&mut self, update: &BookUpdate<'_>) -> u64 {
        let held = Held::new(update);
        self.bytes += held.bytes();
        self.queue.push_back(held);
        let mut dropped = 0;
        while self.queue.len() > self.max_updates || self.bytes > self.max_bytes {
            if self.pop().is_none() {
                break;
            }
            dropped += 1;
        }
        self.holed |= dropped > 0;
        dropped
    }

    /// Takes the oldest.
    pub(crate) fn pop(&mut self) -> Option<Held> {
        let held = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(held.bytes());
        Some(held)
    }

    /// Puts back what [`Pending::pop`] gave.
    pub(crate) fn unpop(&mut self, held: Held) {
        self.bytes += held.bytes();
        self.queue.push_front(held);
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
        self.holed = false;
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Notes that an update which belonged here was not kept.
    pub(crate) fn mark_holed(&mut self) {
        self.holed = true;
    }

    pub(crate) fn is_holed(&self) -> bool {
        self.holed
    }
}
