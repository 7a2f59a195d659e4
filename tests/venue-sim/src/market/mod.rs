//! The synthetic market: instruments, order books with update ids, trades with ids, and what a venue derives
//! from them. It knows no venue's format.

pub mod book;
pub mod event;
pub mod history;
pub mod instrument;
pub mod reference;
mod rules;
mod sequence;
pub mod symbol;
mod timed;
mod walk;

pub use book::{Book, Side};
pub use event::{AggregateTrade, BookTicker, DepthUpdate, Event, LevelChange, Liquidation, Topic, Trade};
pub use history::{Change, History};
pub use instrument::{Contract, Instrument, Sizing};
pub use reference::{Funding, Ratio, RatioKind, Reference};
pub use rules::{MarketRules, UpdateIds};
pub use symbol::SymbolMarket;
pub use timed::Pace;
