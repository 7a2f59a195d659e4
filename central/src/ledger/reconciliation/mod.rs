//! Reconciliation of edge audits with hot.
//!
//! Invariant: every message ends as a row in hot, in `copies` or in `dead_letters`. So for each edge, stream and window the events in hot and
//! `copies`, without the ambiguous ones, have exactly the fingerprint that the edge reports as stored by the broker, and every ambiguous
//! event is in hot, whoever delivered it. `evaluate` is that rule; `inputs` reads what it needs.
//!
//! A window is evaluated when its audits have arrived and older messages are ingested; again at the end of its grace period while it is open;
//! whenever another audit arrives; and with everything in hot every `recheck_seconds`.

mod downtime;
mod evaluate;
#[cfg(test)]
mod evaluate_tests;
mod expected_streams;
mod inputs;
mod queries;
mod reconciler;
mod verdict;
mod verify;
mod write_verdicts;

pub use reconciler::{Recheck, Reconciler};
pub use verdict::VerdictState;
pub use verify::{AuditComparison, ChangedWindow};
pub use write_verdicts::VerdictGauges;

/// Parts of the evaluation that the model of the report runs.
#[cfg(test)]
pub mod model_parts {
    pub use super::evaluate::{Arrival, Evaluation, WindowInputs, evaluate};
    pub use super::expected_streams::ExpectedStreams;
    pub use super::queries::{DowntimeSpan, HotContents, WindowAudit};
    pub use super::verdict::{VerdictState, WindowVerdict};
}
