//! The order books of one feed: settings, updates, requests for snapshots, publishing at an interval.

use std::collections::VecDeque;
use std::time::Duration;

use marketprism_adapter_host::contract::{Capability, Instrument, Plan};
use marketprism_adapter_host::{InstrumentIndex, ResyncIndex, contract};
use marketprism_book::{
    Book, BookAction, BookGap, BookSettings, BookState, BookStats, BookView, PublishGate, ResyncBackoff,
    SequenceRule, UpdateOutcome,
};

use crate::limits::{BOOK_GAPS_MAX, BOOKS_PENDING_BYTES_MAX};

/// Time for a requested snapshot to arrive. Passed: it is requested again.
const RESYNC_ANSWER_NS: i64 = 30_000_000_000;

#[derive(Debug)]
struct BookSlot {
    book: Book,
    gate: PublishGate,
    backoff: ResyncBackoff,
    resync: Option<ResyncIndex>,
    resync_at_ns: Option<i64>,
    gaps: VecDeque<BookGap>,
    short: u64,
    is_changed: bool,
    /// Receive times of the update before the latest one, and of the latest.
    updates_ns: [i64; 2],
    /// Bytes of updates that waited for a snapshot after the latest one.
    pending_bytes: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct BookReport {
    pub instrument: InstrumentIndex,
    pub state: BookState,
    /// Incremented by each resync of a live book.
    pub epoch: u32,
    pub stats: BookStats,
    /// States replaced by a newer one before they were published.
    pub conflated: u64,
    /// Published states in which a side has fewer levels than both the depth and the venue's book.
    pub short: u64,
    pub gaps: Vec<BookGap>,
    /// Receive time of the newest update.
    pub updated_ns: i64,
}

/// Each book is created with its first update.
#[derive(Debug)]
pub struct OrderBooks {
    plan: BooksPlan,
    slots: Vec<Option<Box<BookSlot>>>,
    /// Instruments with a book state to publish.
    changed: Vec<InstrumentIndex>,
    /// Instruments that wait for a snapshot.
    resyncing: Vec<InstrumentIndex>,
    /// No book is published before.
    next_due_ns: i64,
    /// Sum over all books.
    pending_bytes: usize,
    pending_bytes_max: usize,
}

impl OrderBooks {
    pub fn new(plan: BooksPlan) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(plan.books.len(), || None);
        let (changed, resyncing) = (Vec::new(), Vec::new());
        let pending_bytes_max = BOOKS_PENDING_BYTES_MAX;
        Self { plan, slots, changed, resyncing, next_due_ns: i64::MAX, pending_bytes: 0, pending_bytes_max }
    }

    /// Applies one book event; `levels` are those of its batch. `each` is called with the live book after every applied update.
    pub fn apply(
        &mut self,
        event: &contract::Book,
        levels: &[i64],
        received_at_ns: i64,
        now_ns: i64,
        each: &mut dyn FnMut(InstrumentIndex, BookView<'_>),
    ) -> UpdateOutcome {
        let instrument = InstrumentIndex::from(event.instrument);
        let Some(update) = event.update(levels, received_at_ns) else {
            return UpdateOutcome::default();
        };
        let Some(slot) = self.slot_or_new(instrument, received_at_ns) else {
            return UpdateOutcome::default();
        };
        slot.updates_ns = [slot.updates_ns[1], received_at_ns];
        let outcome = slot.book.apply_each(&update, &mut |view| each(instrument, view));
        if let Some(gap) = outcome.gap {
            if slot.gaps.len() >= BOOK_GAPS_MAX {
                slot.gaps.pop_front();
            }
            slot.gaps.push_back(gap);
        }
        self.bound_pending(instrument);
        self.after_update(instrument, &outcome, now_ns);
        outcome
    }

    /// Hundreds of books wait for snapshots at a start: each alone is bounded in the book.
    fn bound_pending(&mut self, instrument: InstrumentIndex) {
        let Some(slot) = self.slots.get_mut(instrument.position()).and_then(Option::as_deref_mut) else {
            return;
        };
        let others = self.pending_bytes.saturating_sub(slot.pending_bytes);
        let above = others.saturating_add(slot.book.pending_bytes()).saturating_sub(self.pending_bytes_max);
        if above > 0 {
            slot.book.drop_pending(above);
        }
        slot.pending_bytes = slot.book.pending_bytes();
        self.pending_bytes = others + slot.pending_bytes;
    }

    fn after_update(&mut self, instrument: InstrumentIndex, outcome: &UpdateOutcome, now_ns: i64) {
        let pace = self.plan.pace;
        let Some(slot) = self.slot(instrument) else { return };
        if slot.book.state() == BookState::Live {
            if !slot.book.awaits_snapshot() {
                slot.resync_at_ns = None;
            }
            slot.backoff.live(now_ns);
            if outcome.applied > 0 {
                slot.gate.changed(outcome.applied);
                let due = slot.gate.due_at_ns().unwrap_or(i64::MAX);
                if pace == StatePace::Newest || (pace == StatePace::Sampled && due <= now_ns) {
                    let is_new = !std::mem::replace(&mut slot.is_changed, true);
                    self.next_due_ns = self.next_due_ns.min(due);
                    if is_new {
                        self.changed.push(instrument);
                    }
                } else {
                    slot.gate.withdraw();
                }
            }
        } else {
            slot.gate.withdraw();
        }
        match outcome.action {
            None => {}
            Some(BookAction::Resync { .. }) => self.request_snapshot(instrument, now_ns),
            Some(BookAction::Refresh) => {
                self.request_at(instrument, |backoff| backoff.next_refresh_at_ns(now_ns));
            }
        }
    }

    /// Throws a book away and requests a snapshot: the stream asks for it, or a lost update could not be detected otherwise.
    pub fn restart(&mut self, instrument: InstrumentIndex, now_ns: i64) {
        if let Some(slot) = self.slot(instrument) {
            // Whatever the action, a snapshot is requested below.
            let _action = slot.book.restart();
            slot.gate.withdraw();
            self.bound_pending(instrument);
            self.request_snapshot(instrument, now_ns);
        }
    }

    /// As [`Self::restart`], also of a book without any update: the venue refused its subscription for now.
    pub fn begin_again(&mut self, instrument: InstrumentIndex, now_ns: i64) {
        // `None`: the feed has no such book.
        let _slot = self.slot_or_new(instrument, now_ns);
        self.restart(instrument, now_ns);
    }

    /// Restarts a live book without sequence numbers.
    pub fn restart_unnumbered(&mut self, instrument: InstrumentIndex, now_ns: i64) {
        if self.is_unnumbered(instrument) && self.is_live(instrument) {
            self.restart(instrument, now_ns);
        }
    }

    /// Throws a book away for good: no update of it comes any more.
    pub fn remove(&mut self, instrument: InstrumentIndex) {
        if let Some(slot) = self.slots.get_mut(instrument.position()).and_then(Option::take) {
            self.pending_bytes = self.pending_bytes.saturating_sub(slot.pending_bytes);
        }
    }

    pub fn is_live(&self, instrument: InstrumentIndex) -> bool {
        let slot = self.slots.get(instrument.position()).and_then(Option::as_deref);
        slot.is_some_and(|slot| slot.book.state() == BookState::Live)
    }

    /// Requests a snapshot (again), with back-off.
    pub fn request_snapshot(&mut self, instrument: InstrumentIndex, now_ns: i64) {
        self.request_at(instrument, |backoff| backoff.next_at_ns(now_ns, rand::random()));
    }

    fn request_at(&mut self, instrument: InstrumentIndex, pace: impl FnOnce(&mut ResyncBackoff) -> i64) {
        let Some(slot) = self.slot(instrument) else { return };
        slot.resync_at_ns = Some(pace(&mut slot.backoff));
        if !self.resyncing.contains(&instrument) {
            self.resyncing.push(instrument);
        }
    }

    pub fn resyncs_due(&mut self, now_ns: i64) -> Vec<ResyncIndex> {
        let mut due = Vec::new();
        let resyncing = std::mem::take(&mut self.resyncing);
        for instrument in resyncing {
            let Some(slot) = self.slot(instrument) else { continue };
            let Some(at_ns) = slot.resync_at_ns else { continue };
            if at_ns <= now_ns {
                due.extend(slot.resync);
                // Again when nothing comes of it; the snapshot clears it.
                slot.resync_at_ns = Some(now_ns.saturating_add(RESYNC_ANSWER_NS));
            }
            self.resyncing.push(instrument);
        }
        due
    }

    pub fn is_resyncing(&self) -> bool {
        !self.resyncing.is_empty()
    }

    /// When the next book is due; `i64::MAX` for none.
    pub const fn next_due_ns(&self) -> i64 {
        self.next_due_ns
    }

    /// Receive time of the update before a book's latest one; 0 for a book without any.
    pub fn previous_update_ns(&self, instrument: InstrumentIndex) -> i64 {
        let slot = self.slots.get(instrument.position()).and_then(Option::as_deref);
        slot.map_or(0, |slot| slot.updates_ns[0])
    }

    pub fn oldest_waiting_ns(&self) -> Option<i64> {
        let slot = |instrument: &InstrumentIndex| self.slots.get(instrument.position())?.as_deref();
        let waiting = self.changed.iter().filter_map(slot).filter(|slot| slot.gate.due_at_ns().is_some());
        waiting.filter_map(|slot| Some(slot.book.view()?.received_at_ns())).min()
    }

    /// Calls `publish` for every book that is due.
    pub fn publish_due(&mut self, now_ns: i64, publish: &mut dyn FnMut(InstrumentIndex, BookView<'_>)) {
        if now_ns >= self.next_due_ns {
            self.publish_where(now_ns, &|gate| gate.is_due(now_ns), publish);
        }
    }

    /// Calls `publish` for every book that changed since it was published: for the end.
    pub fn publish_rest(&mut self, now_ns: i64, publish: &mut dyn FnMut(InstrumentIndex, BookView<'_>)) {
        self.publish_where(now_ns, &|gate| gate.due_at_ns().is_some(), publish);
    }

    fn publish_where(
        &mut self,
        now_ns: i64,
        is_due: &dyn Fn(&PublishGate) -> bool,
        publish: &mut dyn FnMut(InstrumentIndex, BookView<'_>),
    ) {
        let mut next_due_ns = i64::MAX;
        let changed = std::mem::take(&mut self.changed);
        for instrument in changed {
            let Some(slot) = self.slot(instrument) else { continue };
            if is_due(&slot.gate)
                && let Some(view) = slot.book.view()
            {
                // The next update uncrosses it, or it is thrown away.
                if view.is_crossed() {
                    slot.gate.withdraw();
                } else {
                    slot.short += u64::from(view.is_short());
                    publish(instrument, view);
                    slot.gate.published(now_ns);
                }
            }
            match slot.gate.due_at_ns() {
                Some(due) => {
                    next_due_ns = next_due_ns.min(due);
                    self.changed.push(instrument);
                }
                None => slot.is_changed = false,
            }
        }
        self.next_due_ns = next_due_ns;
    }

    /// Throws away books that have been crossed for too long while their stream was silent.
    pub fn check_crossed(&mut self, now_ns: i64) {
        let mut crossed = Vec::new();
        for (instrument, slot) in InstrumentIndex::enumerate(&mut self.slots) {
            if let Some(slot) = slot
                && slot.book.check_crossed(now_ns).is_some()
            {
                slot.gate.withdraw();
                crossed.push(instrument);
            }
        }
        for instrument in crossed {
            self.request_snapshot(instrument, now_ns);
        }
    }

    /// True without sequence numbers: after a lost connection the book must restart.
    pub fn is_unnumbered(&self, instrument: InstrumentIndex) -> bool {
        let plan = self.plan.books.get(instrument.position());
        plan.is_some_and(|plan| plan.settings.rule == SequenceRule::Unnumbered)
    }

    pub fn reports(&self) -> Vec<BookReport> {
        let report = |(instrument, slot): (InstrumentIndex, &Option<Box<BookSlot>>)| {
            let slot = slot.as_ref()?;
            Some(BookReport {
                instrument,
                state: slot.book.state(),
                epoch: slot.book.epoch(),
                stats: *slot.book.stats(),
                conflated: slot.gate.conflated(),
                short: slot.short,
                gaps: slot.gaps.iter().copied().collect(),
                updated_ns: slot.updates_ns[1],
            })
        };
        InstrumentIndex::enumerate(&self.slots).filter_map(report).collect()
    }

    fn slot(&mut self, instrument: InstrumentIndex) -> Option<&mut BookSlot> {
        self.slots.get_mut(instrument.position())?.as_deref_mut()
    }

    fn slot_or_new(&mut self, instrument: InstrumentIndex, update_ns: i64) -> Option<&mut BookSlot> {
        let index = instrument.position();
        let plan = self.plan.books.get(index)?;
        let slot = self.slots.get_mut(index)?.get_or_insert_with(|| {
            let interval = i64::try_from(self.plan.publish_interval.as_nanos()).unwrap_or(i64::MAX);
            Box::new(BookSlot {
                book: Book::new(plan.settings),
                gate: PublishGate::new(interval),
                backoff: ResyncBackoff::new(),
                resync: plan.resync,
                resync_at_ns: None,
                gaps: VecDeque::new(),
                short: 0,
                is_changed: false,
                updates_ns: [update_ns; 2],
                pending_bytes: 0,
            })
        });
        Some(slot)
    }
}

#[derive(Debug, Clone, Copy)]
pub struct BookPlan {
    pub settings: BookSettings,
    pub resync: Option<ResyncIndex>,
}

#[derive(Debug, Clone)]
pub struct BooksPlan {
    pub books: Vec<BookPlan>,
    /// Least time between two published states of one book.
    pub publish_interval: Duration,
    pub pace: StatePace,
}

/// Choice of the states that are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatePace {
    /// The newest one waits for the end of the interval.
    Newest,
    /// The first one after an interval. None waits: a long interval would hold up the audits of the whole edge.
    Sampled,
    Off,
}

impl BooksPlan {
    pub fn new(
        capability: &Capability,
        instruments: &[Instrument],
        plan: &Plan,
        depth: u32,
        publish_interval: Duration,
        pace: StatePace,
    ) -> Self {
        let mut resyncs = vec![(None, None); instruments.len()];
        for (resync, planned) in ResyncIndex::enumerate(&plan.resyncs) {
            if let Some(of) = resyncs.get_mut(InstrumentIndex::from(planned.instrument).position()) {
                *of = (Some(resync), planned.depth_limit);
            }
        }
        let books = instruments.iter().zip(resyncs).map(|(instrument, (resync, limit))| BookPlan {
            settings: capability.book_settings(Some(instrument), depth, limit),
            resync,
        });
        Self { books: books.collect(), publish_interval, pace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marketprism_adapter_host::contract::BookChange;
    use marketprism_book::SnapshotSource;

    fn delta(instrument: u32, id: i64) -> contract::Book {
        contract::Book {
            instrument,
            change: BookChange::Delta,
            time_us: None,
            first_id: id,
            last_id: id,
            previous_id: None,
            checksum: None,
            price_scale: 0,
            quantity_scale: 0,
            levels_at: 0,
            bids: 100,
            asks: 0,
        }
    }

    #[test]
    fn updates_that_wait_for_snapshots_are_bounded_over_all_books() {
        let settings = BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 20);
        let plan = BooksPlan {
            books: (0..50_u32).map(|i| BookPlan { settings, resync: Some(i.into()) }).collect(),
            publish_interval: Duration::from_millis(100),
            pace: StatePace::Newest,
        };
        let mut books = OrderBooks::new(plan);
        books.pending_bytes_max = 1 << 20;
        let levels: Vec<i64> = (1..=100).flat_map(|price| [price, 1]).collect();
        let waiting = |books: &OrderBooks| -> usize {
            books.slots.iter().flatten().map(|slot| slot.book.pending_bytes()).sum()
        };
        for id in 1..=40 {
            for instrument in 0..50 {
                books.apply(&delta(instrument, id), &levels, id, id, &mut |_, _| {});
                assert!(waiting(&books) <= 1 << 20);
            }
        }
        assert!(waiting(&books) > 900 << 10);
        let dropped: u64 = books.reports().iter().map(|book| book.stats.dropped).sum();
        assert!(dropped > 1_000, "{dropped} of 2,000 are dropped");
        books.restart(0.into(), 100);
        assert_eq!(waiting(&books), books.pending_bytes);
    }

    /// The venue refused its subscription: without updates nothing else shows that it is missing.
    #[test]
    fn a_book_without_any_update_is_subscribed_again_until_its_snapshot_comes() {
        let settings = BookSettings::new(SequenceRule::Unnumbered, SnapshotSource::InBand, 4);
        let mut books = OrderBooks::new(BooksPlan {
            books: vec![BookPlan { settings, resync: Some(0.into()) }],
            publish_interval: Duration::from_millis(100),
            pace: StatePace::Newest,
        });
        books.begin_again(0.into(), 0);
        books.begin_again(9.into(), 0);
        assert_eq!(books.resyncs_due(i64::MAX / 4), [0.into()]);
        assert_eq!(books.resyncs_due(i64::MAX / 2), [0.into()], "refused again");
        snapshot(&mut books, 1, i64::MAX / 2);
        assert_eq!(books.resyncs_due(i64::MAX), []);
    }

    fn snapshot(books: &mut OrderBooks, id: i64, at_ns: i64) {
        let levels = [100, 1, 99, 1, 98, 1, 97, 1, 200, 1, 201, 1, 202, 1, 203, 1];
        let event = contract::Book { change: BookChange::Snapshot, bids: 4, asks: 4, ..delta(0, id) };
        books.apply(&event, &levels, at_ns, at_ns, &mut |_, _| {});
    }

    fn bid(books: &mut OrderBooks, id: i64, level: [i64; 2], at_ns: i64) {
        books.apply(&contract::Book { bids: 1, ..delta(0, id) }, &level, at_ns, at_ns, &mut |_, _| {});
    }

    #[test]
    fn the_snapshot_of_a_refresh_is_requested_until_it_comes() {
        const SECOND: i64 = 1_000_000_000;
        let settings = BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 2);
        let books = vec![BookPlan { settings, resync: Some(ResyncIndex::from(0_u32)) }];
        let mut books =
            OrderBooks::new(BooksPlan { books, publish_interval: Duration::ZERO, pace: StatePace::Newest });
        snapshot(&mut books, 10, 0);
        for (id, level) in [(11, [100, 0]), (12, [99, 0]), (13, [98, 2])] {
            bid(&mut books, id, level, 0);
        }
        assert!(books.is_live(0_u32.into()));
        assert_eq!(books.resyncs_due(0).len(), 1, "thin since 12");
        bid(&mut books, 14, [98, 3], SECOND);
        assert_eq!(books.resyncs_due(20 * SECOND).len(), 0, "it is under way");
        assert_eq!(books.resyncs_due(30 * SECOND).len(), 1, "no answer came");
        snapshot(&mut books, 14, 31 * SECOND);
        assert_eq!(books.reports()[0].stats.refresh_mismatches, 1, "its levels are others");
        bid(&mut books, 15, [98, 3], 31 * SECOND);
        assert_eq!(books.resyncs_due(90 * SECOND).len(), 0);

        // A market that takes the reserve at once again.
        for (id, level) in [(16, [100, 0]), (17, [99, 0]), (18, [98, 2])] {
            bid(&mut books, id, level, 90 * SECOND);
        }
        assert_eq!(books.resyncs_due(90 * SECOND).len(), 1);
        snapshot(&mut books, 18, 91 * SECOND);
        for (id, level) in [(19, [100, 0]), (20, [99, 0]), (21, [98, 2])] {
            bid(&mut books, id, level, 91 * SECOND);
        }
        assert_eq!(books.resyncs_due(94 * SECOND).len(), 0);
        bid(&mut books, 22, [98, 3], 94 * SECOND);
        assert_eq!(books.resyncs_due(95 * SECOND).len(), 1);
    }
}
