//! Metrics of the ledger.

use prometheus::{Error, IntCounter, IntGauge, IntGaugeVec, Registry};

use super::{counter, int_gauge, int_gauges};

#[derive(Debug)]
pub struct LedgerMetrics {
    pub taken: IntCounter,
    /// Last 24 hours, by state.
    pub windows: IntGaugeVec,
    pub mismatches: IntCounter,
    /// Age of the end of the oldest open window; 0 when none is open.
    pub oldest_open_seconds: IntGauge,
    /// Wait of the oldest window that is due.
    pub lag_seconds: IntGauge,
    /// Duration of the last full recheck.
    pub recheck_seconds: IntGauge,
}

impl LedgerMetrics {
    pub fn new(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            taken: counter(r, "marketprism_ledger_audits_taken_total", "audit messages stored")?,
            windows: int_gauges(
                r,
                "marketprism_ledger_windows",
                "windows of the last 24 hours by state, each per stream and edge",
                &["state"],
            )?,
            mismatches: counter(
                r,
                "marketprism_ledger_mismatches_total",
                "windows that turned into a mismatch",
            )?,
            oldest_open_seconds: int_gauge(
                r,
                "marketprism_ledger_oldest_open_seconds",
                "age of the end of the oldest open window, 0 when none is open",
            )?,
            lag_seconds: int_gauge(
                r,
                "marketprism_ledger_lag_seconds",
                "how long the oldest window that is due has been waiting to be compared",
            )?,
            recheck_seconds: int_gauge(
                r,
                "marketprism_ledger_recheck_seconds",
                "how long the last comparison of everything that hot holds took",
            )?,
        })
    }
}
