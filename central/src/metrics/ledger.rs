//! Metrics of the ledger.

use prometheus::{
    Error, IntCounter, IntGauge, IntGaugeVec, Registry, register_int_counter_with_registry as counter,
    register_int_gauge_vec_with_registry as int_gauges, register_int_gauge_with_registry as int_gauge,
};

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
        let gauge = |name: &str, help: &str| int_gauge!(format!("marketprism_ledger_{name}"), help, r);
        let windows = "windows of the last 24 hours by state, one per stream and edge";
        Ok(Self {
            taken: counter!("marketprism_ledger_audits_taken_total", "audit messages stored", r)?,
            windows: int_gauges!("marketprism_ledger_windows", windows, &["state"], r)?,
            mismatches: counter!("marketprism_ledger_mismatches_total", "windows that became a mismatch", r)?,
            oldest_open_seconds: gauge(
                "oldest_open_seconds",
                "age of the end of the oldest open window, or 0",
            )?,
            lag_seconds: gauge("lag_seconds", "wait of the oldest window that is due")?,
            recheck_seconds: gauge("recheck_seconds", "duration of the last full recheck")?,
        })
    }
}
