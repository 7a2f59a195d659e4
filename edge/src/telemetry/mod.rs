//! Metrics, data coverage, rate-limited log lines.

mod coverage;
mod log_limit;
mod metrics;

pub use coverage::{Coverage, CoverageRow};
pub use log_limit::LogLimit;
pub use metrics::{Metrics, follow, gauge, seconds_between};
