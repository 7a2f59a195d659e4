//! The integrity ledger: compares the audits of edges with hot, window by window.
//!
//! One central at a time keeps it, under a lease. `intake` stores audits, `reconciliation` writes `verdicts`; [`verdict_state`] documents
//! their columns.

mod dirty_windows;
mod edge_stream;
mod insert;
mod intake;
mod reconciliation;
mod run;
mod verdict_state;
mod windows;

pub use run::run;
