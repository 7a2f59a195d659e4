//! Audits of edges become rows of `audits`, and of `feed_audits` where a feed had trouble.
//!
//! A message is acknowledged after the insert that holds its rows; what is delivered again gives the same bytes, and so the same rows.
//! Memory is bounded by one batch and the messages asked for ahead; while ClickHouse is away they are kept alive at the broker.

mod batch;
mod message;
mod row;
mod worker;

pub use batch::AUDIT;
pub use worker::{INTAKE, take_in};
