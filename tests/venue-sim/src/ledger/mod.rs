//! What the simulator generated and what became of it on the way out.

mod trades;

pub use trades::{Backlog, Ledger, LedgerStats, SendAttempt, TradeKey, TradeKind, TradeRecord};
