//! The synthetic market: instruments, order books with update ids, trades with ids, and derived values. Knows no venue's format.

mod book;
mod cadence;
mod model;
mod symbol;
mod timed;
mod walk;

pub use book::Book;
pub use model::{
    BookTicker, Contract, DepthUpdate, Event, Instrument, LevelChange, Liquidation, MarketRules, Ratio,
    RatioKind, Reference, Side, Sizing, Topic, Trade, UpdateIds, draw_in, volatility,
};
pub use symbol::SymbolMarket;
pub use timed::Pace;
