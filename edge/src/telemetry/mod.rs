//! Metrics and data coverage.

mod coverage;
mod metrics;

pub use coverage::{Coverage, CoverageIndex, CoverageRow};
pub use metrics::{Metrics, follow, gauge, seconds_between};
