//! Order-book deltas: the changes of each book, numbered without a hole from the snapshot that an epoch starts with.
//! A number is used up even if its record is refused, so that the hole is visible.

use std::borrow::Cow;

use marketprism_book::BookView;
use marketprism_schema::{BookLevels, DELTA_LEVELS_MAX, OrderBookDelta};

use crate::clocks::nanos;
use crate::limits::{DELTA_SNAPSHOT_INTERVAL, LOST_RECORD_PAUSE};

/// Numbers of one book's deltas.
#[derive(Debug)]
pub(super) struct DeltaEpoch {
    epoch: u32,
    started_ns: i64,
    next: u64,
    snapshot_ns: i64,
}

impl DeltaEpoch {
    /// Continues the numbers, or begins an epoch with this view.
    fn of<'a>(state: &'a mut Option<Self>, view: &BookView<'_>) -> &'a mut Self {
        let at_ns = view.received_at_ns();
        let started_ns = match state {
            Some(current) if current.epoch == view.epoch() => current.started_ns,
            // Two epochs may begin in one frame.
            Some(ended) => at_ns.max(ended.started_ns.saturating_add(1)),
            None => at_ns,
        };
        if state.as_ref().is_none_or(|current| current.epoch != view.epoch()) {
            *state = None;
        }
        state.get_or_insert(Self { epoch: view.epoch(), started_ns, next: 0, snapshot_ns: at_ns })
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }

    fn needs_snapshot(&self, at_ns: i64, lost_ns: i64) -> bool {
        let is_old = at_ns.saturating_sub(self.snapshot_ns) >= nanos(DELTA_SNAPSHOT_INTERVAL);
        is_old || is_repeated(self.snapshot_ns, at_ns, lost_ns)
    }
}

/// True if what was sent at `sent_ns` may be among the records that the queue dropped up to `lost_ns`, and no more are lost now.
pub(super) fn is_repeated(sent_ns: i64, at_ns: i64, lost_ns: i64) -> bool {
    sent_ns <= lost_ns && at_ns.saturating_sub(lost_ns) >= nanos(LOST_RECORD_PAUSE)
}

/// Calls `emit` with each record of one update. The first view of an epoch, and known levels that were replaced, make a snapshot;
/// a snapshot follows an update once the newest one is [`DELTA_SNAPSHOT_INTERVAL`] old, or a record was lost: `emit` gives false for one that
/// was refused, `lost_ns` is the time of the newest one that the queue dropped.
pub(super) fn each_delta(
    state: &mut Option<DeltaEpoch>,
    view: &BookView<'_>,
    lost_ns: i64,
    emit: &mut dyn FnMut(OrderBookDelta<'_>) -> bool,
) {
    let at_ns = view.received_at_ns();
    let is_new = state.as_ref().is_none_or(|epoch| epoch.epoch != view.epoch());
    let epoch = DeltaEpoch::of(state, view);
    let changes = view.changes().filter(|_| !is_new);
    if let Some([bids, asks]) = changes {
        emit_parts(epoch, view, false, [latest(bids, true), latest(asks, false)], emit);
    }
    if changes.is_none() || epoch.needs_snapshot(at_ns, lost_ns) {
        epoch.snapshot_ns = at_ns;
        let bids = view.known_bids().map(|(price, quantity)| [price, quantity]).collect();
        let asks = view.known_asks().map(|(price, quantity)| [price, quantity]).collect();
        emit_parts(epoch, view, true, [bids, asks], emit);
    }
}

/// The last change of each price, best first.
fn latest(changes: &[[i64; 2]], descending: bool) -> Vec<[i64; 2]> {
    let mut levels: Vec<[i64; 2]> = changes.iter().rev().copied().collect();
    // Stable: the last change of a price comes first.
    levels.sort_by(|[a, _], [b, _]| if descending { b.cmp(a) } else { a.cmp(b) });
    levels.dedup_by_key(|[price, _]| *price);
    levels
}

fn emit_parts(
    epoch: &mut DeltaEpoch,
    view: &BookView<'_>,
    is_snapshot: bool,
    [mut bids, mut asks]: [Vec<[i64; 2]>; 2],
    emit: &mut dyn FnMut(OrderBookDelta<'_>) -> bool,
) {
    let [is_bids_partial, is_asks_partial] = view.is_partial();
    let mut is_first = true;
    loop {
        let later_bids = bids.split_off(bids.len().min(DELTA_LEVELS_MAX));
        let later_asks = asks.split_off(asks.len().min(DELTA_LEVELS_MAX - bids.len()));
        let left = (later_bids.len() + later_asks.len()).div_ceil(DELTA_LEVELS_MAX);
        let is_kept = emit(OrderBookDelta {
            epoch: epoch.epoch,
            epoch_started_ns: epoch.started_ns,
            number: epoch.take_number(),
            is_snapshot: is_snapshot && is_first,
            parts_left: u32::try_from(left).unwrap_or(u32::MAX),
            first_update_id: view.first_update_id(),
            previous_update_id: view.previous_update_id(),
            last_update_id: view.last_update_id(),
            checksum: view.checksum(),
            is_bids_partial,
            is_asks_partial,
            levels: BookLevels {
                price_scale: view.price_scale(),
                quantity_scale: view.quantity_scale(),
                bids: Cow::Borrowed(&bids),
                asks: Cow::Borrowed(&asks),
            },
        });
        if !is_kept {
            epoch.snapshot_ns = i64::MIN;
        }
        if left == 0 {
            return;
        }
        (bids, asks, is_first) = (later_bids, later_asks, false);
    }
}
