//! Venue simulator: a WebSocket and REST server with the protocols of real venues, faults on command, and a ledger of all it sent.
//!
//! `Sim::start` in a test, or the binary with its control API under `/sim/`.

mod clock;
mod config;
mod control;
mod decimal;
mod delivery;
mod exchange;
mod fault;
mod ledger;
mod market;
mod recording;
mod server;
mod sim;
mod simulation;
mod venue;
mod view;

pub use config::SimConfig;
pub use fault::{FaultAction, FaultSpec};
pub use ledger::{DataType, EventFilter, EventRecord, TradeKind};
pub use sim::Sim;
pub use simulation::{Settings, Simulation, TradeQuery, Unknown};
pub use view::{
    BookView, EndpointsView, ExchangeView, InstrumentView, RecordingView, StateView, SymbolView, TradeView,
};
