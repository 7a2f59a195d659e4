//! Intake of audits: rows of `audits`, of `feed_audits` for feeds with problems, of `edge_audits` for clocks and latencies, of
//! `downtimes` for stops of edges, of `edge_changes` and `corrections`, and reports about instruments.
//!
//! A message is acknowledged after the insert of its rows; a redelivery gives the same bytes, and so the same rows. Memory is bounded by one
//! batch and the messages requested ahead; while ClickHouse is unreachable they are kept in progress at the broker.

mod batch;
mod change_rows;
mod correction_rows;
mod downtime_rows;
mod edge_rows;
mod position;
mod worker;

pub use batch::AUDIT_DEAD_LETTER;
pub use worker::{INTAKE, take_in};
