//! The order books of one feed: settings, updates, requests for snapshots, publishing at an interval.

use std::collections::VecDeque;
use std::time::Duration;

use marketprism_adapter_host::contract::{Capability, Instrument, Plan};
use marketprism_adapter_host::{InstrumentIndex, ResyncIndex, contract};
use marketprism_book::{
    Book, BookAction, BookGap, BookSettings, BookState, BookStats, BookView, PublishGate, ResyncBackoff,
    SequenceRule, UpdateOutcome,
};

use crate::clocks::nanos;
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
    /// The resync of that time has its place in the back-off, and nothing was requested since.
    is_paced: bool,
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

    /// Discards a book and requests a snapshot: the stream asks for it, or a lost update could not be detected otherwise.
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

    /// Discards a book for good: no update of it comes any more.
    pub fn remove(&mut self, instrument: InstrumentIndex) {
        if let Some(slot) = self.slots.get_mut(instrument.position()).and_then(Option::take) {
            self.pending_bytes = self.pending_bytes.saturating_sub(slot.pending_bytes);
        }
    }

    pub fn is_live(&self, instrument: InstrumentIndex) -> bool {
        let slot = self.slots.get(instrument.position()).and_then(Option::as_deref);
        slot.is_some_and(|slot| slot.book.state() == BookState::Live)
    }

    /// Requests a snapshot (again), with back-off. What is asked for before the request goes out is the same try: several updates that cannot
    /// be read come together.
    pub fn request_snapshot(&mut self, instrument: InstrumentIndex, now_ns: i64) {
        if self.slot(instrument).is_some_and(|slot| slot.resync_at_ns.is_some() && slot.is_paced) {
            return;
        }
        self.request_at(instrument, |backoff| backoff.next_at_ns(now_ns, rand::random()));
        if let Some(slot) = self.slot(instrument) {
            slot.is_paced = true;
        }
    }

    fn request_at(&mut self, instrument: InstrumentIndex, pace: impl FnOnce(&mut ResyncBackoff) -> i64) {
        let Some(slot) = self.slot(instrument) else { return };
        (slot.resync_at_ns, slot.is_paced) = (Some(pace(&mut slot.backoff)), false);
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
                (slot.resync_at_ns, slot.is_paced) = (Some(now_ns.saturating_add(RESYNC_ANSWER_NS)), false);
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
                // The next update uncrosses it, or it is discarded.
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

    /// Discards books that have been crossed for too long while their stream was silent.
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
            Box::new(BookSlot {
                book: Book::new(plan.settings),
                gate: PublishGate::new(nanos(self.plan.publish_interval)),
                backoff: ResyncBackoff::new(),
                resync: plan.resync,
                resync_at_ns: None,
                is_paced: false,
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
mod tests;
