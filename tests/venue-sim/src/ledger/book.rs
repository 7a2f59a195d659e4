//! The ledger of one exchange: its trades and its other events.

use serde::Serialize;

use super::events::{DataType, EventFilter, EventRecord, Events, Told};
use super::trades::{Backlog, Tapes, TradeKey, TradeKind, TradeRecord};

/// Names one thing that a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A trade.
    Trade(TradeKey),
    /// Another event, by its number.
    Event(u64),
}

/// Sums over a ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LedgerStats {
    /// Trades recorded.
    pub recorded: u64,
    /// Trades forgotten because the ledger was full.
    pub forgotten: u64,
    /// Trades sent again to a new subscriber.
    pub resent: u64,
    /// Trades never accepted by any socket that the backlog bound kept from being sent again.
    pub backlog_lost: u64,
    /// Other events recorded.
    pub events: u64,
    /// Other events forgotten because the ledger was full.
    pub events_forgotten: u64,
}

/// Trades by symbol and kind, and all other events by number.
#[derive(Debug)]
pub struct Ledger {
    tapes: Tapes,
    events: Events,
}

impl Ledger {
    /// A ledger keeping `trades` trades per symbol and kind, and `events` other events.
    #[must_use]
    pub fn new(trades: usize, events: usize) -> Ledger {
        Ledger { tapes: Tapes::new(trades), events: Events::new(events) }
    }

    /// Records a new trade. Ids must grow; an id seen before is ignored.
    pub fn record(&mut self, symbol: usize, kind: TradeKind, record: TradeRecord) {
        self.tapes.record(symbol, kind, record);
    }

    /// Numbers what a message tells, once.
    pub fn tell(&mut self, told: Told) -> u64 {
        self.events.record(told)
    }

    /// Notes that a REST answer tells it.
    pub fn answered(&mut self, told: Told) {
        let number = self.events.record(told);
        if let Some(record) = self.events.find(number) {
            record.sent += 1;
            record.accepted += 1;
        }
    }

    /// Notes that a frame was queued for a connection.
    pub fn attempted(&mut self, entry: Entry, connection: u64) {
        match entry {
            Entry::Trade(key) => self.tapes.attempted(key, connection),
            Entry::Event(number) => self.event(number, |record| record.sent += 1),
        }
    }

    /// Notes that a fault kept it from a connection, or spoiled it.
    pub fn withheld(&mut self, entry: Entry) {
        match entry {
            Entry::Trade(key) => self.tapes.withheld(key),
            Entry::Event(number) => self.event(number, |record| record.withheld += 1),
        }
    }

    /// Notes that a connection's socket took the frame.
    pub fn accepted(&mut self, entry: Entry, connection: u64) {
        match entry {
            Entry::Trade(key) => self.tapes.accepted(key, connection),
            Entry::Event(number) => self.event(number, |record| record.accepted += 1),
        }
    }

    fn event(&mut self, number: u64, change: impl FnOnce(&mut EventRecord)) {
        if let Some(record) = self.events.find(number) {
            change(record);
        }
    }

    /// Notes that the client proved to have read everything up to this trade.
    pub fn confirmed(&mut self, key: TradeKey) {
        self.tapes.confirmed(key);
    }

    /// The trades a new subscriber of a stream is sent first.
    pub fn backlog(&mut self, symbol: usize, kind: TradeKind, backlog: Backlog) -> Vec<TradeRecord> {
        self.tapes.backlog(symbol, kind, backlog)
    }

    /// Recorded trades from an id on.
    #[must_use]
    pub fn list(&self, symbol: usize, kind: TradeKind, from_id: u64, limit: usize) -> Vec<TradeRecord> {
        self.tapes.list(symbol, kind, from_id, limit)
    }

    /// The newest trades, oldest of them first.
    #[must_use]
    pub fn newest(&self, symbol: usize, kind: TradeKind, limit: usize) -> Vec<TradeRecord> {
        self.tapes.newest(symbol, kind, limit)
    }

    /// Recorded trades of a stretch of time, both ends included.
    #[must_use]
    pub fn between(&self, symbol: usize, kind: TradeKind, from_ms: i64, to_ms: i64) -> Vec<TradeRecord> {
        self.tapes.between(symbol, kind, from_ms, to_ms)
    }

    /// First and last recorded id of a symbol's trades of a kind.
    #[must_use]
    pub fn bounds(&self, symbol: usize, kind: TradeKind) -> Option<(u64, u64)> {
        self.tapes.bounds(symbol, kind)
    }

    /// Other events.
    #[must_use]
    pub fn events(&self, filter: EventFilter<'_>) -> Vec<EventRecord> {
        self.events.list(filter)
    }

    /// The newest events of a kind whose symbol fits, oldest of them first.
    #[must_use]
    pub fn newest_events(
        &self,
        data_type: DataType,
        fits: &dyn Fn(&str) -> bool,
        limit: usize,
    ) -> Vec<EventRecord> {
        self.events.newest(data_type, fits, limit)
    }

    /// Sums.
    #[must_use]
    pub fn stats(&self) -> LedgerStats {
        let trades = self.tapes.stats;
        LedgerStats {
            recorded: trades.recorded,
            forgotten: trades.forgotten,
            resent: trades.resent,
            backlog_lost: trades.backlog_lost,
            events: self.events.recorded(),
            events_forgotten: self.events.forgotten,
        }
    }
}
