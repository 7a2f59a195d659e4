//! The form of the answer: documented, stable, with a version. OpenAPI is made from these types.

mod findings;
mod gaps;
mod streams;
mod systems;
mod tables;
mod whole;

pub use findings::{Finding, Level, Listed, Unanswered, Verdict};
pub use gaps::{Gap, Loss};
pub use streams::{CELL, GapCount, HeatMap, StreamState, TableRow, Windows, WorstWindow};
pub use systems::{
    BrokerConsumer, BrokerStream, Disk, LeaseState, SchemaDifference, SchemaState, ServerState,
};
pub use tables::{Held, TableState, VenueState};
pub use whole::{DeadLetters, Report, VERSION};
