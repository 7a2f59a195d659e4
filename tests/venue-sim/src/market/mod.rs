//! The synthetic market: instruments, order books with update ids, trades with ids. It knows no venue's
//! format.

pub mod book;
pub mod event;
pub mod history;
pub mod instrument;
pub mod symbol;
mod walk;

pub use book::{Book, Side};
pub use event::{AggregateTrade, BookTicker, DepthUpdate, Event, Liquidation, MarkPrice, Trade};
pub use history::{Change, History};
pub use instrument::{Contract, Instrument};
pub use symbol::{MarketRules, SymbolMarket, UpdateIds};
