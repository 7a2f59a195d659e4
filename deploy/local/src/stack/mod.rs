//! The stack of parts: start, status, stop.

mod broker;
mod configuration;
mod data;
mod diagnose;
mod down;
mod logs;
mod part;
mod plan;
mod start;
mod status;
mod up;

pub use diagnose::diagnose;
pub use down::{DataAfterStop, down};
pub use logs::logs;
pub use part::{
    CENTRAL, CLICKHOUSE, CLICKHOUSE_COLD, EDGE, NATS, PartSpec, PortUse, ReadyCheck, SIMULATOR, STOP_ORDER,
};
pub use start::Starter;
pub use status::status;
pub use up::{VenueChoice, up};
