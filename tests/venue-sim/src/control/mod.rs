//! Commands and questions over HTTP, under `/sim/`.

mod query;
mod routes;

pub use query::pairs;
pub use routes::{answer, error};
