//! A venue simulator: a websocket and REST server that behaves as a real venue does, misbehaves on command,
//! and knows everything it sent. `Sim::start` in a test, or the binary with its control interface under
//! `/sim/`.

pub mod cli;
mod clock;
mod commands;
pub mod config;
mod control;
mod decimal;
mod engine;
pub mod exchange;
pub mod fault;
mod frame;
pub mod ledger;
pub mod market;
pub mod recording;
pub mod server;
mod sim;
mod simulation;
pub mod venue;
mod view;

pub use config::{RecordingConfig, SimConfig};
pub use fault::{FaultAction, FaultSpec};
pub use ledger::{DataType, EventFilter, TradeKind};
pub use sim::{Sim, SimError};
pub use simulation::{Settings, Simulation, TradeQuery, Unknown};
pub use view::{
    BookView, EndpointsView, EventView, ExchangeView, InstrumentView, RecordingView, StateView, SymbolView,
    TradeView,
};
