//! The stack: its parts, and how it is brought up, told about and taken down.

mod configuration;
mod data;
mod down;
mod guide;
mod part;
mod plan;
mod start;
mod status;
mod token;
mod up;

pub use down::{Purge, down};
pub use part::{
    CENTRAL, CLICKHOUSE, CLICKHOUSE_COLD, EDGE, NATS, PartSpec, PortUse, Ready, SIMULATOR, STOP_ORDER,
};
pub use start::Starter;
pub use status::status;
pub use up::{VenueChoice, up};
