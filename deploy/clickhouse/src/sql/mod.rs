//! Just enough of ClickHouse's SQL to know where a statement ends, where the data of an insert begins and
//! where the output clause goes. Everything else is the engine's.

mod classify;
mod insert;
mod token;

pub use classify::{Parsed, ResultStatement, parse};
pub use insert::InsertHead;
