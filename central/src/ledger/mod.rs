//! The integrity ledger: compares the audits of edges with hot, window by window.
//!
//! One central at a time keeps it, under a lease. `intake` stores audits, `instruments` keeps the versions of instruments, `reconciliation` writes
//! `verdicts`.

mod insert;
mod instruments;
mod intake;
mod reconciliation;
mod run;
mod windows;

#[cfg(test)]
pub use reconciliation::model_parts;
pub use reconciliation::{AuditComparison, ChangedWindow, VerdictState};
pub use run::run;

use crate::metrics::Metrics;

/// Creates the counters of refused audits and of restores at 0, so that `increase()` sees the first.
pub fn expect_series(metrics: &Metrics) {
    metrics.dead_letters.with_label_values(&[intake::AUDIT_DEAD_LETTER]);
}
#[cfg(test)]
pub use windows::EdgeStream;
pub use windows::WindowRange;
