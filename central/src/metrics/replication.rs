use prometheus::{
    Error, Gauge, GaugeVec, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    register_gauge_vec_with_registry, register_gauge_with_registry, register_histogram_vec_with_registry,
    register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};

#[derive(Debug)]
pub struct ReplicationMetrics {
    /// 1 while this process holds the lease.
    pub is_active: IntGauge,
    /// Age of the watermark, by table. Absent where another central replicates.
    pub lag_minutes: GaugeVec,
    /// 1 while rounds of the table fail.
    pub is_failing: IntGaugeVec,
    pub windows: IntCounterVec,
    /// Windows logged as mismatch or failed at the last recheck.
    pub unsound: IntGaugeVec,
    pub rows: IntCounterVec,
    pub retries: IntCounterVec,
    pub removed: IntCounterVec,
    /// Rows deleted from hot before their copy, because cold held them already.
    pub published_again: IntCounterVec,
    /// One insert.
    pub copy_seconds: HistogramVec,
    /// A round that copied, including verification and log.
    pub round_seconds: HistogramVec,
    /// Last full recheck, all tables.
    pub recheck_seconds: Gauge,
}

impl ReplicationMetrics {
    pub fn new(r: &Registry) -> Result<Self, Error> {
        let table: &[&str] = &["table"];
        let name = |name: &str| format!("marketprism_cold_{name}");
        let gauges = |n: &str, help: &str| register_int_gauge_vec_with_registry!(name(n), help, table, r);
        let counters = |n: &str, help: &str, labels: &[&str]| {
            register_int_counter_vec_with_registry!(name(n), help, labels, r)
        };
        let histograms = |n: &str, help: &str| {
            let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
            register_histogram_vec_with_registry!(name(n), help, table, buckets, r)
        };
        let (active, lag) = (name("replicator_is_active"), name("replication_lag_minutes"));
        let recheck = name("recheck_seconds");
        Ok(Self {
            is_active: register_int_gauge_with_registry!(active, "1 while this process replicates", r)?,
            lag_minutes: register_gauge_vec_with_registry!(lag, "age of the watermark", table, r)?,
            is_failing: gauges("replication_is_failing", "1 while rounds of the table fail")?,
            windows: counters("windows_total", "entries of the window log", &["table", "state"])?,
            unsound: gauges("windows_unsound", "windows logged as mismatch or failed")?,
            rows: counters("rows_copied_total", "rows copied to cold", table)?,
            retries: counters("retries_total", "retried rounds", table)?,
            removed: counters(
                "rows_removed_from_hot_total",
                "rows deleted from hot after verification",
                table,
            )?,
            published_again: counters("published_again_total", "rows that cold held already", table)?,
            copy_seconds: histograms("copy_seconds", "duration of an insert into cold")?,
            round_seconds: histograms("round_seconds", "duration of a round that copied")?,
            recheck_seconds: register_gauge_with_registry!(recheck, "duration of the last full recheck", r)?,
        })
    }

    /// Counts the rows that arrived in cold between two digests.
    pub fn copied(&self, table: &str, rows_before: u64, rows_after: u64) {
        let came = rows_after.saturating_sub(rows_before);
        self.rows.with_label_values(&[table]).inc_by(came);
    }

    /// Resets what only the lease holder knows.
    pub fn released(&self) {
        self.is_active.set(0);
        self.lag_minutes.reset();
        self.is_failing.reset();
        self.unsound.reset();
    }
}
