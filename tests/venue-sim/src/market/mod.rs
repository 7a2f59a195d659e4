//! The synthetic market: instruments, order books with update ids, trades with ids, and derived values. Knows no venue's format.

mod book;
mod event;
mod first_book;
mod history;
mod instrument;
mod reference;
mod rules;
mod sequence;
mod symbol;
mod timed;
mod timer;
mod walk;

pub use book::{Book, Side};
pub use event::{BookTicker, DepthUpdate, Event, LevelChange, Liquidation, Topic, Trade};
pub use instrument::{Contract, Instrument, Sizing};
pub use reference::{Ratio, RatioKind, Reference, draw_in, volatility};
pub use rules::{MarketRules, UpdateIds};
pub use symbol::SymbolMarket;
pub use timed::Pace;
