//! Everything an exchange generated, and its fate on the way to clients.

mod events;
mod trades;

use serde::Serialize;

pub use events::{DataType, EventData, EventFilter, EventRecord, Events, Values};
pub use trades::{Backlog, Tapes, TradeKey, TradeKind, TradeRecord};

/// A trade or an event number, as carried by a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LedgerEntry {
    Trade(TradeKey),
    Event(u64),
}

/// Deliveries of a trade or event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fate {
    /// Times queued for a connection, or put into a REST answer.
    pub sent: u32,
    /// Times taken by a socket (a reset connection may still lose the frame); REST answers count as taken.
    pub accepted: u32,
    /// Times withheld or corrupted by a fault.
    pub withheld: u32,
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
        self.note(LedgerEntry::Event(number), |fate| {
            (fate.sent, fate.accepted) = (fate.sent + 1, fate.accepted + 1)
        });
    }

    /// Changes the fate of an entry that is still kept.
    pub fn note(&mut self, entry: LedgerEntry, change: impl FnOnce(&mut Fate)) {
        let fate = match entry {
            LedgerEntry::Trade(key) => self.trades.find(key).map(|record| &mut record.fate),
            LedgerEntry::Event(number) => self.events.find(number).map(|record| &mut record.fate),
        };
        if let Some(fate) = fate {
            change(fate);
        }
    }

    /// Notes that a socket took the frame.
    pub fn accepted(&mut self, entry: LedgerEntry) {
        self.note(entry, |fate| fate.accepted += 1);
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
