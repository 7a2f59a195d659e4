//! One instrument's market: its book, its history, its ids, and the updates of each cadence.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::book::{Book, Change, Changed, History, first_book};
use super::cadence::Cadence;
use super::model::{
    BookTicker, DepthUpdate, Event, Instrument, LevelChange, MarketRules, Side, Topic, UpdateIds,
};

const CHECKPOINT_EVERY: usize = 4000;

#[derive(Debug)]
pub struct SymbolMarket {
    pub instrument: Instrument,
    pub(super) book: Book,
    pub(super) history: History,
    pub(super) rng: StdRng,
    pub(super) rules: MarketRules,
    pub(super) last_id: u64,
    pub(super) next_trade_id: u64,
    pub(super) next_aggregate_id: u64,
    pub(super) engine_ms: i64,
    pub(super) seed: u64,
    pub(super) timer: Timer,
    first_id: u64,
    sequence: Sequence,
    pub(super) cadences: Vec<Cadence>,
    ticker: ((i64, i64), (i64, i64)),
}

impl SymbolMarket {
    /// A market with a full book. Update and trade ids start at `first_id`.
    pub fn new(
        instrument: Instrument,
        rules: MarketRules,
        seed: u64,
        first_id: u64,
        engine_ms: i64,
    ) -> SymbolMarket {
        let mut rng = StdRng::seed_from_u64(seed);
        let first_change = match rules.update_ids {
            UpdateIds::Micros => micros(engine_ms),
            _ => first_id,
        };
        let book = first_book(&instrument, &rules, &mut rng);
        let history = History::new(first_change, &book, rules.history_changes, CHECKPOINT_EVERY);
        SymbolMarket {
            book,
            history,
            last_id: first_change,
            next_trade_id: first_id + 1,
            next_aggregate_id: first_id / 2 + 1,
            engine_ms,
            cadences: Cadence::all(&rules, first_change),
            ticker: Default::default(),
            timer: Timer::new(rules.topics),
            sequence: Sequence::default(),
            first_id,
            seed,
            instrument,
            rng,
            rules,
        }
    }

    /// Sets the cadences with subscribers; the others skip their updates, their ids advance.
    pub fn want(&mut self, is_wanted: impl Fn(usize) -> bool) {
        self.cadences.iter_mut().enumerate().for_each(|(n, cadence)| cadence.wanted = is_wanted(n));
    }

    pub fn book(&self) -> &Book {
        &self.book
    }

    pub fn last_update_id(&self) -> u64 {
        self.sequence.printed(self.last_id)
    }

    /// Number of the newest update of a cadence.
    pub fn published_id(&self, cadence: usize) -> u64 {
        let cadence = self.cadences.get(cadence);
        match cadence.and_then(|cadence| cadence.numbers.as_ref()) {
            Some(numbers) => numbers.last,
            None => self.sequence.printed(cadence.map_or(self.last_id, |c| c.published_id)),
        }
    }

    /// Bids and asks for a new subscriber of a cadence whose changes are published, best first.
    pub fn first_book(&mut self, cadence: usize) -> [Vec<(i64, i64)>; 2] {
        let state = self.cadences.get_mut(cadence);
        state.map(|state| state.first_book(&self.book, &self.history)).unwrap_or_default()
    }

    pub fn last_change(&self) -> u64 {
        self.last_id
    }

    /// The book at a printed id; `None` for an id without change, or an old one.
    pub fn book_at(&self, printed: u64) -> Option<Book> {
        let numbered = |cadence: &Cadence| cadence.numbers.as_ref()?.change(printed);
        let change = match self.rules.update_ids {
            UpdateIds::PerUpdate => self.cadences.iter().find_map(numbered),
            _ => self.sequence.change(printed, self.last_id),
        };
        self.history.book_at(change?)
    }

    pub fn book_back(&self, changes: usize) -> Option<(u64, Book)> {
        let id = self.history.id_back(changes)?;
        Some((self.sequence.printed(id), self.history.book_at(id)?))
    }

    /// Time of the newest change, ms.
    pub fn engine_ms(&self) -> i64 {
        self.engine_ms
    }

    /// Changes the book and publishes on every cadence without a period. Returns the number of updates.
    pub fn book_event(&mut self, now_ms: i64, out: &mut Vec<Event>) -> usize {
        self.advance_engine(now_ms);
        self.walk();
        let mut due = 0;
        for cadence in 0..self.cadences.len() {
            if self.cadences.get(cadence).is_some_and(|c| c.period_ms == 0) {
                self.publish(cadence, now_ms, out);
                due += 1;
            }
        }
        self.publish_ticker(now_ms, out);
        due
    }

    pub fn flush(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        for cadence in 0..self.cadences.len() {
            self.publish(cadence, now_ms, out);
        }
    }

    /// Starts update numbers again from a smaller one, with one more change; false if none is left.
    pub fn restart_sequence(&mut self, now_ms: i64, out: &mut Vec<Event>) -> bool {
        self.flush(now_ms, out);
        let restarted = match self.rules.update_ids {
            UpdateIds::PerUpdate => {
                self.cadences.iter_mut().filter_map(|cadence| cadence.restart().then_some(())).count() > 0
            }
            _ => self.sequence.restart(self.last_id, self.first_id),
        };
        if let (true, Some((price, quantity))) = (restarted, self.book.farthest(Side::Bid)) {
            // An engine that starts again is later than all that it said before.
            let before_ms = self.engine_ms;
            self.engine_ms = self.advance_engine(now_ms).max(before_ms + 1);
            self.change(Side::Bid, price, quantity + 1);
            self.flush(now_ms, out);
        }
        restarted
    }

    /// Changes the best bid and publishes that with the time of the update before; false where updates are not numbered by their time.
    pub fn book_of_same_time(&mut self, now_ms: i64, out: &mut Vec<Event>) -> bool {
        self.flush(now_ms, out);
        let Some((price, quantity)) =
            self.book.best(Side::Bid).filter(|_| self.rules.update_ids == UpdateIds::Micros)
        else {
            return false;
        };
        self.sequence.repeat(self.last_id);
        self.numbered_change(self.last_id + 1, Side::Bid, price, quantity + 1);
        self.flush(now_ms, out);
        true
    }

    /// Publishes an update without changes on every cadence.
    pub fn still_book(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        self.flush(now_ms, out);
        for cadence in 0..self.cadences.len() {
            self.publish_still(cadence, now_ms, out);
        }
    }

    pub(super) fn publish_still(&mut self, cadence: usize, now_ms: i64, out: &mut Vec<Event>) {
        let Some(state) = self.cadences.get_mut(cadence) else { return };
        state.sent_ms = now_ms;
        let top = state.top(&self.book);
        let id = self.published_id(cadence);
        out.push(Event::Depth(DepthUpdate {
            cadence,
            first_id: id,
            last_id: id,
            previous_id: id,
            bids: Vec::new(),
            asks: Vec::new(),
            change_id: self.last_id,
            top,
            engine_ms: now_ms.max(self.engine_ms),
            event_ms: now_ms.max(self.engine_ms),
        }));
    }

    /// Engine time is a little before now and never decreases.
    pub(super) fn advance_engine(&mut self, now_ms: i64) -> i64 {
        let lag = self.rng.random_range(1..=4);
        self.engine_ms = self.engine_ms.max(now_ms - lag);
        self.engine_ms
    }

    pub(super) fn change(&mut self, side: Side, price: i64, quantity: i64) {
        let id = match self.rules.update_ids {
            UpdateIds::Consecutive | UpdateIds::PerUpdate => self.last_id + 1,
            UpdateIds::Leaping => self.last_id + self.rng.random_range(1..200),
            UpdateIds::Micros => {
                (micros(self.engine_ms) + self.rng.random_range(0..1000)).max(self.last_id + 1)
            }
        };
        self.numbered_change(id, side, price, quantity);
    }

    fn numbered_change(&mut self, id: u64, side: Side, price: i64, quantity: i64) {
        self.last_id = id;
        let before = self.book.quantity(side, price);
        self.book.set(side, price, quantity);
        self.history.record(Change { id: self.last_id, side, price, quantity, before }, &self.book);
    }

    /// Publishes the unpublished changes of a cadence, if any.
    pub fn publish(&mut self, cadence: usize, now_ms: i64, out: &mut Vec<Event>) {
        let Some(state) = self.cadences.get_mut(cadence) else { return };
        state.checked_ms = now_ms;
        let previous = state.published_id;
        let Some(first) = self.history.first_after(previous) else { return };
        if !state.wanted {
            state.published_id = self.last_id;
            return;
        }
        let mut changed = state.changed(&self.book, &self.history, self.rules.evicts);
        if !self.rules.announces_unknown {
            drop_unknown(&mut changed);
            if changed.bids.is_empty() && changed.asks.is_empty() {
                return;
            }
        }
        (state.published_id, state.sent_ms) = (self.last_id, now_ms);
        let (previous_id, first_id, last_id) = match &mut state.numbers {
            Some(numbers) => {
                let id = numbers.next(self.last_id, &self.history);
                (id - 1, id, id)
            }
            None => self.sequence.of_update((previous, first, self.last_id)),
        };
        out.push(Event::Depth(DepthUpdate {
            cadence,
            first_id,
            last_id,
            previous_id,
            bids: changed.bids,
            asks: changed.asks,
            change_id: self.last_id,
            top: state.top(&self.book),
            engine_ms: self.engine_ms,
            event_ms: now_ms.max(self.engine_ms),
        }));
    }

    fn publish_ticker(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        let (Some(bid), Some(ask)) = (self.book.best(Side::Bid), self.book.best(Side::Ask)) else { return };
        if self.ticker != (bid, ask) {
            self.ticker = (bid, ask);
            out.push(Event::Ticker(BookTicker {
                update_id: self.last_update_id(),
                bid,
                ask,
                event_ms: now_ms,
            }));
        }
    }
}

fn micros(ms: i64) -> u64 {
    ms.unsigned_abs() * 1000
}

fn drop_unknown(changed: &mut Changed) {
    let known = |level: &LevelChange| level.quantity != 0 || level.before != 0;
    changed.bids.retain(known);
    changed.asks.retain(known);
}

/// Offsets by first change. Numbers of different eras never overlap, so that each printed number identifies one book; a repeated number
/// identifies the newest of its books.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    eras: Vec<(u64, u64)>,
}

impl Sequence {
    pub(super) fn printed(&self, id: u64) -> u64 {
        let era = self.eras.iter().rev().find(|(after, _)| id > *after);
        id - era.map_or(0, |(_, off)| *off)
    }

    fn of_update(&self, (previous, first, last): (u64, u64, u64)) -> (u64, u64, u64) {
        (self.printed(previous), self.printed(first), self.printed(last))
    }

    pub(super) fn change(&self, printed: u64, newest: u64) -> Option<u64> {
        let mut until = newest;
        for (after, off) in self.eras.iter().rev() {
            let id = printed.checked_add(*off)?;
            if id > *after && id <= until {
                return Some(id);
            }
            until = *after;
        }
        (printed <= until).then_some(printed)
    }

    /// The next change has the number of the newest one.
    fn repeat(&mut self, newest: u64) {
        self.eras.push((newest, newest + 1 - self.printed(newest)));
    }

    /// Later changes are numbered from half of the lowest start so far; false if that leaves no room.
    pub(super) fn restart(&mut self, newest: u64, first: u64) -> bool {
        let start = first >> (self.eras.len() + 1);
        if start < 1000 {
            return false;
        }
        self.eras.push((newest, newest - start));
        true
    }
}

#[derive(Debug)]
pub(super) struct Timer {
    /// Content, period and time of the last publication.
    pub(super) topics: Vec<(Topic, i64, i64)>,
    /// Nothing is due before.
    pub(super) next_ms: i64,
    /// Time of the newest liquidation: all times are distinct.
    pub(super) liquidated_ms: i64,
}

impl Timer {
    pub(super) fn new(topics: &[(Topic, i64)]) -> Timer {
        Timer {
            topics: topics.iter().map(|(topic, period)| (*topic, *period, 0)).collect(),
            next_ms: 0,
            liquidated_ms: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    #[test]
    fn restarted_numbers_are_smaller_and_name_their_change() {
        let mut sequence = Sequence::default();
        let (first, mut newest, mut last) = (1_000_000, 1_000_500, u64::MAX);
        let mut known = vec![(sequence.printed(newest), newest)];
        for _ in 0..4 {
            assert!(sequence.restart(newest, first));
            let printed = sequence.printed(newest + 7);
            assert!(printed < last && printed < known.last().expect("some").0);
            newest += 500;
            last = printed;
            known.push((sequence.printed(newest), newest));
        }
        for (printed, id) in known {
            assert_eq!(sequence.change(printed, newest), Some(id));
        }
        assert_eq!(sequence.change(newest + 1, newest), None);
        assert!(!(0..20).all(|_| sequence.restart(newest, first)));
    }
}
