//! The order books of one feed: which update goes to which book, when to ask for a new starting state, when to publish.

use std::collections::VecDeque;

use marketprism_adapter_host::contract::{self, BookChange};
use marketprism_adapter_host::{InstrumentIndex, ResyncIndex};
use marketprism_book::{
    Book, BookGap, BookState, BookStats, BookUpdate, BookView, Change, PublishGate, ResyncBackoff,
    SequenceRule, UpdateOutcome,
};

use super::plan::BooksPlan;
use crate::limits::BOOK_GAPS_MAX;

/// A book that was asked for a starting state and has none after this time is asked for again.
const RESYNC_ANSWER_NS: i64 = 30_000_000_000;

#[derive(Debug)]
struct Slot {
    book: Book,
    gate: PublishGate,
    backoff: ResyncBackoff,
    resync: Option<ResyncIndex>,
    /// When to ask for a starting state.
    ask_at_ns: Option<i64>,
    gaps: VecDeque<BookGap>,
    is_changed: bool,
    /// Receive times of the update before the latest one, and of the latest.
    updates_ns: [i64; 2],
}

/// A book as `/coverage` tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct BookReport {
    /// Position of the instrument.
    pub instrument: InstrumentIndex,
    /// Where it stands.
    pub state: BookState,
    /// Rises with each resync of a live book.
    pub epoch: u32,
    /// Counters.
    pub stats: BookStats,
    /// States that a newer one replaced before they were published.
    pub conflated: u64,
    /// The latest holes.
    pub gaps: Vec<BookGap>,
}

/// The order books of one feed. Made when their first update comes.
#[derive(Debug)]
pub struct OrderBooks {
    plan: BooksPlan,
    slots: Vec<Option<Box<Slot>>>,
    /// Instruments whose book has something to publish.
    changed: Vec<InstrumentIndex>,
    /// Instruments that wait for a starting state.
    asking: Vec<InstrumentIndex>,
    /// No book is due before.
    next_due_ns: i64,
    /// Spreads the back-off of the books.
    random: u64,
}

impl OrderBooks {
    /// No book yet.
    #[must_use]
    pub fn new(plan: BooksPlan) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(plan.books.len(), || None);
        let (changed, asking) = (Vec::new(), Vec::new());
        Self { plan, slots, changed, asking, next_due_ns: i64::MAX, random: rand::random() }
    }

    /// Applies one book event; `levels` are those of its batch. `each` sees the live book after every update that is applied.
    pub fn apply(
        &mut self,
        event: &contract::Book,
        levels: &[i64],
        received_at_ns: i64,
        now_ns: i64,
        each: &mut dyn FnMut(InstrumentIndex, BookView<'_>),
    ) -> UpdateOutcome {
        let instrument = InstrumentIndex::from(event.instrument);
        let Some(update) = book_update(event, levels, received_at_ns) else {
            return UpdateOutcome::default();
        };
        let Some(slot) = self.slot_made(instrument, received_at_ns) else { return UpdateOutcome::default() };
        slot.updates_ns = [slot.updates_ns[1], received_at_ns];
        let outcome = slot.book.apply_each(&update, &mut |view| each(instrument, view));
        if let Some(gap) = outcome.gap {
            if slot.gaps.len() >= BOOK_GAPS_MAX {
                slot.gaps.pop_front();
            }
            slot.gaps.push_back(gap);
        }
        self.after_update(instrument, &outcome, now_ns);
        outcome
    }

    fn after_update(&mut self, instrument: InstrumentIndex, outcome: &UpdateOutcome, now_ns: i64) {
        let random = self.next_random();
        let Some(slot) = self.slot(instrument) else { return };
        if slot.book.state() == BookState::Live {
            if outcome.action.is_none() {
                slot.ask_at_ns = None;
            }
            slot.backoff.live(now_ns);
            if outcome.applied > 0 {
                slot.gate.changed(outcome.applied);
                let due = slot.gate.due_at_ns().unwrap_or(i64::MAX);
                let is_new = !std::mem::replace(&mut slot.is_changed, true);
                self.next_due_ns = self.next_due_ns.min(due);
                if is_new {
                    self.changed.push(instrument);
                }
            }
        } else {
            slot.gate.withdraw();
        }
        if outcome.action.is_some() {
            self.ask_with(instrument, now_ns, random);
        }
    }

    /// The stream says that this book must start anew, or nothing else can prove that none of its updates is missing.
    pub fn restart(&mut self, instrument: InstrumentIndex, now_ns: i64) {
        if let Some(slot) = self.slot(instrument) {
            // Whatever the action, it is to ask for a starting state.
            let _action = slot.book.restart();
            slot.gate.withdraw();
            self.ask(instrument, now_ns);
        }
    }

    /// The asked-for starting state did not come, or could not be read: ask again, later each time.
    pub fn ask(&mut self, instrument: InstrumentIndex, now_ns: i64) {
        let random = self.next_random();
        self.ask_with(instrument, now_ns, random);
    }

    fn ask_with(&mut self, instrument: InstrumentIndex, now_ns: i64, random: u64) {
        let Some(slot) = self.slot(instrument) else { return };
        slot.ask_at_ns = Some(slot.backoff.next_at_ns(now_ns, random));
        if !self.asking.contains(&instrument) {
            self.asking.push(instrument);
        }
    }

    /// The resyncs of the plan that are to be asked for now.
    pub fn resyncs_due(&mut self, now_ns: i64) -> Vec<ResyncIndex> {
        let mut due = Vec::new();
        let asking = std::mem::take(&mut self.asking);
        for instrument in asking {
            let Some(slot) = self.slot(instrument) else { continue };
            let Some(at_ns) = slot.ask_at_ns else { continue };
            if at_ns <= now_ns {
                due.extend(slot.resync);
                // Subscription again when nothing comes of it; a live book clears it.
                slot.ask_at_ns = Some(now_ns.saturating_add(RESYNC_ANSWER_NS));
            }
            self.asking.push(instrument);
        }
        due
    }

    /// Whether any book waits for a starting state.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        !self.asking.is_empty()
    }

    /// When the next book is due, nanoseconds; `i64::MAX` for none.
    #[must_use]
    pub const fn next_due_ns(&self) -> i64 {
        self.next_due_ns
    }

    /// Receive time of the update before a book's latest one; 0 for a book without any.
    #[must_use]
    pub fn previous_update_ns(&self, instrument: InstrumentIndex) -> i64 {
        let slot = self.slots.get(instrument.position()).and_then(Option::as_deref);
        slot.map_or(0, |slot| slot.updates_ns[0])
    }

    /// Receive time of the oldest state that waits to be published; the record of that book is not older.
    #[must_use]
    pub fn oldest_waiting_ns(&self) -> Option<i64> {
        let slot = |instrument: &InstrumentIndex| self.slots.get(instrument.position())?.as_deref();
        let waiting = self.changed.iter().filter_map(slot).filter(|slot| slot.gate.due_at_ns().is_some());
        waiting.filter_map(|slot| Some(slot.book.view()?.received_at_ns())).min()
    }

    /// Shows every book that is due, and counts it as published.
    pub fn publish_due(&mut self, now_ns: i64, publish: &mut dyn FnMut(InstrumentIndex, BookView<'_>)) {
        if now_ns >= self.next_due_ns {
            self.publish_where(now_ns, &|gate| gate.is_due(now_ns), publish);
        }
    }

    /// Shows every book that changed since it was published: for the end.
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
                publish(instrument, view);
                slot.gate.published(now_ns);
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

    /// Throws away books that are crossed for too long though their stream is silent.
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
            self.ask(instrument, now_ns);
        }
    }

    /// Whether the book's updates carry no sequence: only a restart can make up for a lost connection.
    #[must_use]
    pub fn is_unnumbered(&self, instrument: InstrumentIndex) -> bool {
        let plan = self.plan.books.get(instrument.position());
        plan.is_some_and(|plan| plan.settings.rule == SequenceRule::Unnumbered)
    }

    /// Every book.
    #[must_use]
    pub fn reports(&self) -> Vec<BookReport> {
        let report = |(instrument, slot): (InstrumentIndex, &Option<Box<Slot>>)| {
            let slot = slot.as_ref()?;
            Some(BookReport {
                instrument,
                state: slot.book.state(),
                epoch: slot.book.epoch(),
                stats: *slot.book.stats(),
                conflated: slot.gate.conflated(),
                gaps: slot.gaps.iter().copied().collect(),
            })
        };
        InstrumentIndex::enumerate(&self.slots).filter_map(report).collect()
    }

    fn slot(&mut self, instrument: InstrumentIndex) -> Option<&mut Slot> {
        self.slots.get_mut(instrument.position())?.as_deref_mut()
    }

    fn slot_made(&mut self, instrument: InstrumentIndex, update_ns: i64) -> Option<&mut Slot> {
        let index = instrument.position();
        let plan = self.plan.books.get(index)?;
        let slot = self.slots.get_mut(index)?.get_or_insert_with(|| {
            let interval = i64::try_from(self.plan.publish_interval.as_nanos()).unwrap_or(i64::MAX);
            Box::new(Slot {
                book: Book::new(plan.settings),
                gate: PublishGate::new(interval),
                backoff: ResyncBackoff::new(),
                resync: plan.resync,
                ask_at_ns: None,
                gaps: VecDeque::new(),
                is_changed: false,
                updates_ns: [update_ns; 2],
            })
        });
        Some(slot)
    }

    fn next_random(&mut self) -> u64 {
        // splitmix64: back-off needs spread, not secrecy.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The host has checked that the levels are within the batch; anything else gives nothing.
fn book_update<'a>(event: &contract::Book, levels: &'a [i64], received_at_ns: i64) -> Option<BookUpdate<'a>> {
    let from = usize::try_from(event.levels_at).ok()?;
    let bids = usize::try_from(event.bids).ok()?.checked_mul(2)?;
    let asks = usize::try_from(event.asks).ok()?.checked_mul(2)?;
    let (bids, rest) = levels.get(from..)?.split_at_checked(bids)?;
    Some(BookUpdate {
        change: match event.change {
            BookChange::Snapshot => Change::Snapshot,
            BookChange::Delta => Change::Delta,
        },
        time_us: event.time_us,
        received_at_ns,
        first_id: event.first_id,
        last_id: event.last_id,
        previous_id: event.previous_id,
        checksum: event.checksum,
        price_scale: event.price_scale,
        quantity_scale: event.quantity_scale,
        bids,
        asks: rest.get(..asks)?,
    })
}
