//! One instrument's market: its book, its history, its ids, and the updates of each cadence.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::book::{Book, Side};
use super::event::{BookTicker, DepthUpdate, Event, Liquidation, MarkPrice};
use super::history::{Change, History};
use super::instrument::{Contract, Instrument};

/// How a venue numbers book changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateIds {
    /// Each change has the next number.
    Consecutive,
    /// Numbers are shared with other instruments: they grow by leaps.
    Leaping,
}

/// What a venue's market looks like, whatever its wire format.
#[derive(Debug, Clone)]
pub struct MarketRules {
    /// How changes are numbered.
    pub update_ids: UpdateIds,
    /// Periods in ms at which updates go out; 0 means with every book event. Index = cadence.
    pub cadences_ms: &'static [i64],
    /// Periods in seconds of mark prices; empty when the venue has none.
    pub mark_periods_s: &'static [u64],
    /// Whether forced orders happen.
    pub liquidations: bool,
    /// Changes kept for `book_at`.
    pub history_changes: usize,
    /// Levels per side that the book is kept above.
    pub depth_min: usize,
}

/// The market of one instrument.
#[derive(Debug)]
pub struct SymbolMarket {
    /// What is traded.
    pub instrument: Instrument,
    pub(super) book: Book,
    pub(super) history: History,
    pub(super) rng: StdRng,
    pub(super) rules: MarketRules,
    pub(super) last_id: u64,
    pub(super) next_trade_id: u64,
    pub(super) next_aggregate_id: u64,
    pub(super) engine_ms: i64,
    wanted: Vec<bool>,
    published_id: Vec<u64>,
    published_ms: Vec<i64>,
    marked_ms: Vec<i64>,
    liquidated_ms: i64,
    ticker: ((i64, i64), (i64, i64)),
}

impl SymbolMarket {
    /// A market with a full book. `first_id` is where update and trade ids start.
    #[must_use]
    pub fn new(instrument: Instrument, rules: MarketRules, seed: u64, first_id: u64) -> SymbolMarket {
        let mut rng = StdRng::seed_from_u64(seed);
        let book = super::walk::first_book(&instrument, &rules, &mut rng);
        let history = History::new(first_id, &book, rules.history_changes, 1000);
        let cadences = rules.cadences_ms.len();
        SymbolMarket {
            book,
            history,
            last_id: first_id,
            next_trade_id: first_id + 1,
            next_aggregate_id: first_id / 2 + 1,
            engine_ms: 0,
            wanted: vec![true; cadences],
            published_id: vec![first_id; cadences],
            published_ms: vec![0; cadences],
            marked_ms: vec![0; rules.mark_periods_s.len()],
            liquidated_ms: 0,
            ticker: Default::default(),
            instrument,
            rng,
            rules,
        }
    }

    /// Tells which cadences somebody wants; updates of the others are not put together, their ids go on.
    pub fn want(&mut self, is_wanted: impl Fn(usize) -> bool) {
        self.wanted.iter_mut().enumerate().for_each(|(cadence, wanted)| *wanted = is_wanted(cadence));
    }

    /// The book now.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The id of the newest change.
    #[must_use]
    pub fn last_update_id(&self) -> u64 {
        self.last_id
    }

    /// Time of the newest change, ms.
    #[must_use]
    pub fn engine_ms(&self) -> i64 {
        self.engine_ms
    }

    /// Past books.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Changes the book and publishes on every cadence without a period. Returns how many updates were due.
    pub fn book_event(&mut self, now_ms: i64, out: &mut Vec<Event>) -> usize {
        self.advance_engine(now_ms);
        self.walk();
        let mut due = 0;
        for cadence in 0..self.rules.cadences_ms.len() {
            if self.rules.cadences_ms.get(cadence) == Some(&0) {
                self.publish(cadence, now_ms, out);
                due += 1;
            }
        }
        self.publish_ticker(now_ms, out);
        due
    }

    /// Publishes what is due by time: slow cadences, mark prices, forced orders.
    pub fn timed_events(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        for cadence in 0..self.rules.cadences_ms.len() {
            let period = self.rules.cadences_ms.get(cadence).copied().unwrap_or(0);
            let published = self.published_ms.get(cadence).copied().unwrap_or(0);
            if period > 0 && now_ms - published >= period {
                self.publish(cadence, now_ms, out);
            }
        }
        for n in 0..self.marked_ms.len() {
            self.publish_mark(n, now_ms, out);
        }
        if self.rules.liquidations && now_ms - self.liquidated_ms >= 1000 {
            self.liquidated_ms = now_ms;
            if self.rng.random_range(0..3) == 0 {
                self.liquidation(now_ms, out);
            }
        }
    }

    /// Publishes every change that no update of its cadence carried yet.
    pub fn settle(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        for cadence in 0..self.rules.cadences_ms.len() {
            self.publish(cadence, now_ms, out);
        }
    }

    /// A trade happens a little before it is sent; engine time never runs backwards.
    pub(super) fn advance_engine(&mut self, now_ms: i64) -> i64 {
        let lag = self.rng.random_range(1..=4);
        self.engine_ms = self.engine_ms.max(now_ms - lag);
        self.engine_ms
    }

    /// Makes one change with the next id.
    pub(super) fn change(&mut self, side: Side, price: i64, quantity: i64) {
        let leap = match self.rules.update_ids {
            UpdateIds::Consecutive => 1,
            UpdateIds::Leaping => self.rng.random_range(1..200),
        };
        self.last_id += leap;
        self.book.set(side, price, quantity);
        self.history.record(Change { id: self.last_id, side, price, quantity }, &self.book);
    }

    fn publish(&mut self, cadence: usize, now_ms: i64, out: &mut Vec<Event>) {
        let Some(published) = self.published_id.get_mut(cadence) else { return };
        if let Some(at) = self.published_ms.get_mut(cadence) {
            *at = now_ms;
        }
        let previous_id = *published;
        let Some(first_id) = self.history.first_after(previous_id) else { return };
        *published = self.last_id;
        if self.wanted.get(cadence) == Some(&false) {
            return;
        }
        let changed = self.history.changed_after(previous_id);
        out.push(Event::Depth(DepthUpdate {
            cadence,
            first_id,
            last_id: self.last_id,
            previous_id,
            bids: changed.bids,
            asks: changed.asks,
            engine_ms: self.engine_ms,
            event_ms: now_ms.max(self.engine_ms),
        }));
    }

    fn publish_ticker(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        let (Some(bid), Some(ask)) = (self.book.best(Side::Bid), self.book.best(Side::Ask)) else { return };
        if self.ticker != (bid, ask) {
            self.ticker = (bid, ask);
            out.push(Event::Ticker(BookTicker { update_id: self.last_id, bid, ask, event_ms: now_ms }));
        }
    }

    fn publish_mark(&mut self, n: usize, now_ms: i64, out: &mut Vec<Event>) {
        let Some(period_s) = self.rules.mark_periods_s.get(n).copied() else { return };
        let Some(marked) = self.marked_ms.get_mut(n) else { return };
        let period_ms = i64::try_from(period_s * 1000).unwrap_or(i64::MAX);
        let due = now_ms - now_ms.rem_euclid(period_ms);
        if *marked >= due {
            return;
        }
        *marked = due;
        let (Some(bid), Some(ask)) = (self.book.best(Side::Bid), self.book.best(Side::Ask)) else { return };
        let mark = i64::midpoint(bid.0, ask.0);
        let dated = matches!(self.instrument.contract, Contract::Quarter { .. });
        // Funding every 8 h, at 00, 08 and 16 UTC.
        let next = now_ms - now_ms.rem_euclid(28_800_000) + 28_800_000;
        out.push(Event::Mark(MarkPrice {
            period_s,
            mark,
            index: mark + self.rng.random_range(-3..=3),
            funding_e8: (!dated).then(|| self.rng.random_range(-20_000..40_000)),
            next_funding_ms: if dated { 0 } else { next },
            event_ms: due,
        }));
    }

    fn liquidation(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        let side = if self.rng.random_bool(0.5) { Side::Bid } else { Side::Ask };
        let Some((price, _)) = self.book.best(side.opposite()) else { return };
        let quantity = self.rng.random_range(1..=self.instrument.usual_steps);
        let trade_ms = self.advance_engine(now_ms);
        out.push(Event::Liquidation(Liquidation {
            side,
            price,
            quantity,
            trade_ms,
            event_ms: now_ms.max(trade_ms),
        }));
    }
}
