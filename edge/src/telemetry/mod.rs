//! Metrics, data coverage, rate-limited log lines.

mod coverage;
mod metrics;

pub use coverage::{Coverage, CoverageRow};
pub use marketprism_service::LogLimit;
pub use metrics::{Metrics, follow, gauge, seconds_between};
