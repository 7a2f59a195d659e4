//! The integrity ledger: compares the audits of edges with hot, window by window.
//!
//! One central at a time keeps it, under a lease. `intake` stores audits, `reconciliation` writes `verdicts`.

mod insert;
mod intake;
mod reconciliation;
mod run;
mod windows;

#[cfg(test)]
pub use reconciliation::model_parts;
pub use reconciliation::{AuditComparison, ChangedWindow, VerdictState};
pub use run::run;
#[cfg(test)]
pub use windows::EdgeStream;
pub use windows::WindowRange;
