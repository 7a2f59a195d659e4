//! A minimal parser of ClickHouse's SQL: the end of a statement, the start of an insert's data, the
//! position of the output clause, and what the engine's grants cannot refuse. The rest is left to the engine.

mod classify;
mod guard;
mod insert;
mod token;

pub use classify::{Parsed, ResultStatement, parse};
pub use insert::InsertHead;
