//! Everything an exchange generated, and its fate on the way to clients.

mod events;
mod trades;

use serde::Serialize;

pub use events::{DataType, EventData, EventFilter, EventRecord, Events, Values};
pub use trades::{Backlog, SendAttempt, Tapes, TradeKey, TradeKind, TradeRecord};

/// A trade or an event number, as carried by a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LedgerEntry {
    Trade(TradeKey),
    Event(u64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LedgerStats {
    /// Trades.
    pub recorded: u64,
    /// Trades dropped from the full ledger.
    pub forgotten: u64,
    /// Trades sent again to a new subscriber.
    pub resent: u64,
    /// Trades never accepted by a socket that the limit of the backlog kept from being sent again.
    pub backlog_lost: u64,
    pub events: u64,
    /// Events dropped from the full ledger.
    pub events_forgotten: u64,
}

#[derive(Debug)]
pub struct Ledger {
    pub trades: Tapes,
    pub events: Events,
}

impl Ledger {
    /// Keeps `trades` trades per symbol and kind, and `events` events.
    pub fn new(trades: usize, events: usize) -> Ledger {
        Ledger { trades: Tapes::new(trades), events: Events::new(events) }
    }

    /// Records an event of a REST answer.
    pub fn answered(&mut self, data: EventData) {
        let number = self.events.record(data);
        self.event(number, |record| (record.sent, record.accepted) = (record.sent + 1, record.accepted + 1));
    }

    /// Notes that a frame was queued for a connection.
    pub fn attempted(&mut self, entry: LedgerEntry, connection: u64) {
        match entry {
            LedgerEntry::Trade(key) => self.trades.attempted(key, connection),
            LedgerEntry::Event(number) => self.event(number, |record| record.sent += 1),
        }
    }

    /// Notes that a fault withheld or corrupted a frame.
    pub fn withheld(&mut self, entry: LedgerEntry) {
        match entry {
            LedgerEntry::Trade(key) => self.trades.withheld(key),
            LedgerEntry::Event(number) => self.event(number, |record| record.withheld += 1),
        }
    }

    /// Notes that a connection's socket took the frame.
    pub fn accepted(&mut self, entry: LedgerEntry, connection: u64) {
        match entry {
            LedgerEntry::Trade(key) => self.trades.accepted(key, connection),
            LedgerEntry::Event(number) => self.event(number, |record| record.accepted += 1),
        }
    }

    fn event(&mut self, number: u64, change: impl FnOnce(&mut EventRecord)) {
        if let Some(record) = self.events.find(number) {
            change(record);
        }
    }

    pub fn stats(&self) -> LedgerStats {
        LedgerStats {
            events: self.events.recorded(),
            events_forgotten: self.events.forgotten,
            ..self.trades.stats
        }
    }
}
