//! What the simulator generated and what became of it on the way out.

mod book;
mod events;
mod trades;

pub use book::{Entry, Ledger, LedgerStats};
pub use events::{DataType, EventFilter, EventRecord, Told, Values};
pub use trades::{Backlog, SendAttempt, TradeKey, TradeKind, TradeRecord};
