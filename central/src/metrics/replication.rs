use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
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
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let name = |name: &str, help: &str| Opts::new(format!("marketprism_cold_{name}"), help);
        let gauges = |n: &str, help: &str| IntGaugeVec::new(name(n, help), &["table"]);
        let counters = |n: &str, help: &str| IntCounterVec::new(name(n, help), &["table"]);
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
        let round = HistogramOpts::new("marketprism_cold_round_seconds", "time of a round that copied");
        let round = round.buckets(buckets.clone());
        let copy = HistogramOpts::new("marketprism_cold_copy_seconds", "time of one insert into cold")
            .buckets(buckets);
        let metrics = Self {
            is_active: IntGauge::with_opts(name("replicator_is_active", "1 while this process replicates"))?,
            lag_minutes: GaugeVec::new(name("replication_lag_minutes", "age of the watermark"), &["table"])?,
            is_failing: gauges("replication_is_failing", "1 while rounds of the table fail")?,
            windows: IntCounterVec::new(
                name("windows_total", "entries of the window log"),
                &["table", "state"],
            )?,
            unsound: gauges("windows_unsound", "windows logged as mismatched or failed")?,
            rows: counters("rows_copied_total", "rows that came to cold")?,
            retries: counters("retries_total", "rounds tried again")?,
            removed: counters("rows_removed_from_hot_total", "rows deleted from hot after verification")?,
            published_again: counters("published_again_total", "rows that cold held already")?,
            copy_seconds: HistogramVec::new(copy, &["table"])?,
            round_seconds: HistogramVec::new(round, &["table"])?,
            recheck_seconds: Gauge::with_opts(name("recheck_seconds", "time of the last whole comparison"))?,
        };
        registry.register(Box::new(metrics.is_active.clone()))?;
        registry.register(Box::new(metrics.lag_minutes.clone()))?;
        registry.register(Box::new(metrics.recheck_seconds.clone()))?;
        registry.register(Box::new(metrics.copy_seconds.clone()))?;
        registry.register(Box::new(metrics.round_seconds.clone()))?;
        for gauge in [&metrics.is_failing, &metrics.unsound] {
            registry.register(Box::new(gauge.clone()))?;
        }
        for counter in
            [&metrics.windows, &metrics.rows, &metrics.retries, &metrics.removed, &metrics.published_again]
        {
            registry.register(Box::new(counter.clone()))?;
        }
        Ok(metrics)
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
