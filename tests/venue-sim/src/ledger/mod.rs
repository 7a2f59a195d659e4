//! Everything an exchange generated, and its deliveries on the way to clients.

mod events;
mod trades;

pub use events::{DataType, Deliveries, EventData, EventFilter, EventRecord, Events, Values};
pub use trades::{Backlog, LedgerStats, Tapes, TradeKey, TradeKind, TradeRecord};

/// A trade or an event number, as carried by a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LedgerEntry {
    Trade(TradeKey),
    Event(u64),
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
        self.note(LedgerEntry::Event(number), |deliveries| {
            deliveries.sent += 1;
            deliveries.accepted += 1;
        });
    }

    /// Changes the deliveries of an entry that is still kept.
    pub fn note(&mut self, entry: LedgerEntry, change: impl FnOnce(&mut Deliveries)) {
        let deliveries = match entry {
            LedgerEntry::Trade(key) => self.trades.find(key).map(|record| &mut record.deliveries),
            LedgerEntry::Event(number) => self.events.find(number).map(|record| &mut record.deliveries),
        };
        if let Some(deliveries) = deliveries {
            change(deliveries);
        }
    }

    /// Notes that a socket took the frame.
    pub fn accepted(&mut self, entry: LedgerEntry) {
        self.note(entry, |deliveries| deliveries.accepted += 1);
        if let LedgerEntry::Trade(key) = entry {
            self.trades.accepted(key);
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
