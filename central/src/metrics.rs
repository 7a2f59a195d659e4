//! Prometheus metrics. Updated once per batch or turn, never per message.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use marketprism_schema::{DataType, LATENCY_BOUNDS_US, UnknownName};
use marketprism_service::ProcessUsage;
use marketprism_traces::tracer;
use prometheus::core::Collector;
use prometheus::local::LocalHistogram;
use prometheus::{
    Encoder, Error, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Most exchanges with series of their own: messages name them. Others count as [`OTHER_EXCHANGE`].
const EXCHANGES_MAX: usize = 64;
const OTHER_EXCHANGE: &str = "other";
/// Name of Prometheus for the memory of a process.
pub const RESIDENT_BYTES: &str = "process_resident_memory_bytes";

/// A group of metrics: field, type, name, labels and help text of each. The second block has other fields with their first values.
macro_rules! metrics {
    (
        $(#[$doc:meta])* $group:ident($registry:ident)
        { $($visibility:vis $field:ident: $type:ty = $name:tt $labels:tt $help:literal,)+ }
        { $($other_visibility:vis $other:ident: $other_type:ty = $value:expr,)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $group {
            $($visibility $field: $type,)+
            $($other_visibility $other: $other_type,)*
        }

        impl $group {
            fn register($registry: &Registry) -> Result<Self, Error> {
                Ok(Self {
                    $($field: registered($registry, <$type as Family>::family(Opts::new($name, $help), &$labels)?)?,)+
                    $($other: $value,)*
                })
            }
        }
    };
}

metrics! {
    Metrics(r) {
        pub processed: IntCounter = "hot_storage_messages_processed_total" [] "messages whose event is in hot",
        pub failed: IntCounter = "hot_storage_messages_failed_total" [] "messages in the dead-letter table",
        batch_inserts: IntCounter = "hot_storage_batch_inserts_total" [] "inserts that succeeded",
        batch_size_avg: Gauge = "hot_storage_batch_size_avg" [] "rows of an insert on average",
        error_rate_percent: Gauge = "hot_storage_error_rate_percent" [] "failed messages in percent",
        pub subscriptions_active: IntGauge = "hot_storage_subscriptions_active" [] "streams being pulled",
        pub is_running: IntGauge = "hot_storage_is_running" [] "1 while ingest runs",
        pub rows: IntCounterVec = "marketprism_central_rows_inserted_total" ["table"] "rows stored",
        pub duplicates: IntCounterVec = "marketprism_central_duplicates_total" ["stream", "found"]
            "duplicates: recent (id in memory), in_flight (id in an open batch), stored (id in hot)",
        pub lost: IntCounterVec = "marketprism_central_lost_messages_total" ["stream", "cause"]
            "messages, each of one or more events, that the broker discarded before they were stored",
        pub confirmed: IntGaugeVec = "marketprism_central_confirmed_sequence" ["stream"] "highest contiguous sequence stored in hot",
        pub streams_held: IntGaugeVec = "marketprism_central_streams_held" ["stream"] "partitions of the stream that this central owns",
        pub stream_partitions: IntGaugeVec = "marketprism_central_stream_partitions" ["stream"] "partitions of the stream as configured",
        pub clock_ahead_seconds: IntGaugeVec = "marketprism_central_clock_ahead_seconds" ["side"]
            "clock of the hot or cold server minus that of this machine",
        pub certificate_expiry: IntGaugeVec = "marketprism_certificate_expiry_seconds" ["key"]
            "seconds until the certificates of a configured file end, by its key: of a chain the first, of authorities the last; 0 for a file that cannot be read",
        pub certificate_lifetime: IntGaugeVec = "marketprism_certificate_lifetime_seconds" ["key"]
            "seconds from begin to end of that certificate; 0 for a file that cannot be read",
        pub put_back: IntCounterVec = "marketprism_central_hot_put_back_total" ["stream"]
            "times that hot was found put back to an earlier state",
        pub dead_letters: IntCounterVec = "marketprism_central_dead_letters_total" ["reason"] "refused messages",
        pub retries: IntCounterVec = "marketprism_central_retries_total" ["table"] "retried inserts and lookups",
        pub ack_failures: IntCounter = "marketprism_central_ack_failures_total" [] "acknowledgements that could not be sent",
        pub reports_computed: IntCounter = "marketprism_central_reports_computed_total" []
            "integrity reports computed for HTTP requests; equal requests share one",
        resident: IntGauge = RESIDENT_BYTES [] "memory of this process in RAM",
    } {
        registry: Registry = r.clone(),
        rows_of_all_tables: AtomicU64 = AtomicU64::new(0),
        pub fleet: FleetMetrics = FleetMetrics::register(r)?,
        pub consumers: ConsumerGauges = ConsumerGauges::register(r)?,
        pub hops: Hops = Hops::register(r)?,
        pub ledger: LedgerMetrics = LedgerMetrics::register(r)?,
        pub replication: ReplicationMetrics = ReplicationMetrics::register(r)?,
        traces: TraceMetrics = TraceMetrics::register(r)?,
    }
}

metrics! {
    /// The broker's counts, by stream and consumer.
    ConsumerGauges(r) {
        pub num_pending: IntGaugeVec = "nats_jetstream_consumer_num_pending" ["stream", "consumer"] "messages not yet delivered",
        pub num_ack_pending: IntGaugeVec = "nats_jetstream_consumer_num_ack_pending" ["stream", "consumer"] "messages delivered, not acknowledged",
        pub num_redelivered: IntGaugeVec = "nats_jetstream_consumer_num_redelivered" ["stream", "consumer"] "messages redelivered, not acknowledged",
    } {}
}

metrics! {
    /// The edges that central knows.
    FleetMetrics(r) {
        pub unknown_names: IntCounterVec = "marketprism_central_unknown_names_total" ["message", "field"]
            "names in messages of edges that this version does not know",
        pub edges: IntGaugeVec = "marketprism_central_edges" ["state"] "known edges by state",
        pub silent: IntGaugeVec = "marketprism_central_edge_silent" ["edge"]
            "1 while the edge's heartbeats stopped without a reported stop",
    } {}
}

metrics! {
    TraceMetrics(r) {
        exported: IntCounter = "marketprism_trace_spans_exported_total" [] "spans of traces that the collector has taken",
        dropped: IntCounterVec = "marketprism_trace_spans_dropped_total" ["reason"]
            "spans of traces that did not reach the collector, by reason; data is not affected",
    } {}
}

metrics! {
    /// Latency of every hop that central sees.
    Hops(r) {
        pub decode: HistogramVec = "marketprism_central_decode_seconds" ["stream"] "decoding a message, mean of a turn",
        pub insert: HistogramVec = "marketprism_central_insert_seconds" ["table"] "an insert that succeeded",
        pub edge_to_broker: HistogramVec = "marketprism_edge_to_broker_seconds" ["stream"] "receive time of the edge to that of the broker",
        broker_to_hot: HistogramVec = "marketprism_broker_to_hot_seconds" ["exchange", "data_type"] "receive time of the broker to end of insert",
        edge_to_hot: HistogramVec = "marketprism_edge_to_hot_seconds" ["exchange", "data_type"] "receive time of the edge to end of insert",
        venue_to_hot: HistogramVec = "marketprism_venue_to_hot_seconds" ["exchange", "data_type"] "venue time to end of insert",
    } {
        exchanges_with_series: Mutex<BTreeSet<String>> = Mutex::default(),
    }
}

metrics! {
    LedgerMetrics(r) {
        pub is_active: IntGauge = "marketprism_ledger_is_active" [] "1 while this process takes audits and gives verdicts",
        pub taken: IntCounter = "marketprism_ledger_audits_taken_total" [] "audit messages stored",
        pub windows: IntGaugeVec = "marketprism_ledger_windows" ["state"] "windows of the last 24 hours by state, one per stream and edge",
        pub mismatches: IntCounter = "marketprism_ledger_mismatches_total" [] "windows that became a mismatch",
        pub unverifiable: IntCounter = "marketprism_ledger_unverifiable_total" [] "windows that cannot be verified",
        pub oldest_open_seconds: IntGauge = "marketprism_ledger_oldest_open_seconds" [] "age of the end of the oldest open window, or 0",
        pub lag_seconds: IntGauge = "marketprism_ledger_lag_seconds" [] "wait of the oldest window that is due",
        pub recheck_seconds: IntGauge = "marketprism_ledger_recheck_seconds" [] "duration of the last full recheck",
    } {}
}

metrics! {
    ReplicationMetrics(r) {
        pub is_active: IntGauge = "marketprism_cold_replicator_is_active" [] "1 while this process replicates",
        pub lag_minutes: GaugeVec = "marketprism_cold_replication_lag_minutes" ["table"] "age of the newest row that cold lacks and of the rows before it",
        pub is_failing: IntGaugeVec = "marketprism_cold_replication_is_failing" ["table"] "1 while rounds of the table fail",
        pub windows: IntCounterVec = "marketprism_cold_windows_total" ["table", "state"] "entries of the window log",
        pub unsound: IntGaugeVec = "marketprism_cold_windows_unsound" ["table"] "windows logged as mismatch or failed",
        pub rows: IntCounterVec = "marketprism_cold_rows_copied_total" ["table"] "rows copied to cold",
        pub retries: IntCounterVec = "marketprism_cold_retries_total" ["table"] "retried rounds",
        pub removed: IntCounterVec = "marketprism_cold_rows_removed_from_hot_total" ["table"] "rows deleted from hot after verification",
        pub published_again: IntCounterVec = "marketprism_cold_published_again_total" ["table"] "rows that cold held already",
        pub corrected: IntCounterVec = "marketprism_cold_corrected_events_total" ["table", "what"]
            "events of corrections by table and what became of their rows",
        pub corrections_pending: IntGaugeVec = "marketprism_cold_corrections_pending" ["table"] "closed corrections that are not carried out",
        pub put_back: IntCounterVec = "marketprism_cold_put_back_total" ["table"]
            "times that cold was found put back to an earlier state",
        pub recheck_seconds: Gauge = "marketprism_cold_recheck_seconds" [] "duration of the last full recheck",
    } {
        pub copy_seconds: HistogramVec = of_copies(r, "marketprism_cold_copy_seconds", "duration of an insert into cold")?,
        pub round_seconds: HistogramVec = of_copies(r, "marketprism_cold_round_seconds", "duration of a round that copied")?,
    }
}

trait Family: Sized {
    fn family(opts: Opts, labels: &[&str]) -> Result<Self, Error>;
}

macro_rules! families {
    ($($type:ty, |$opts:ident, $labels:ident| $new:expr;)+) => {$(
        impl Family for $type {
            fn family($opts: Opts, $labels: &[&str]) -> Result<Self, Error> {
                $new
            }
        }
    )+};
}

families! {
    IntCounter, |opts, _labels| Self::with_opts(opts);
    IntGauge, |opts, _labels| Self::with_opts(opts);
    Gauge, |opts, _labels| Self::with_opts(opts);
    IntCounterVec, |opts, labels| Self::new(opts, labels);
    IntGaugeVec, |opts, labels| Self::new(opts, labels);
    GaugeVec, |opts, labels| Self::new(opts, labels);
    HistogramVec, |opts, labels| Self::new(HistogramOpts::from(opts).buckets(latency_bounds_seconds()), labels);
}

/// Buckets up to a minute: a copy takes longer than a hop.
fn of_copies(registry: &Registry, name: &str, help: &str) -> Result<HistogramVec, Error> {
    let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
    registered(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), &["table"])?)
}

fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M, Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Latencies up to the end of an insert, of one exchange and data type.
#[derive(Debug)]
pub struct HotLatencies {
    pub from_broker: LocalHistogram,
    pub from_edge: LocalHistogram,
    pub from_venue: LocalHistogram,
}

impl HotLatencies {
    pub fn flush(&self) {
        for histogram in [&self.from_broker, &self.from_edge, &self.from_venue] {
            histogram.flush();
        }
    }
}

impl Metrics {
    pub fn new() -> Result<Self, Error> {
        Self::register(&Registry::new())
    }

    /// Counts one successful insert.
    pub fn inserted(&self, table: &str, rows: usize, seconds: f64) {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.batch_inserts.inc();
        self.rows.with_label_values(&[table]).inc_by(rows);
        self.rows_of_all_tables.fetch_add(rows, Ordering::Relaxed);
        self.hops.insert.with_label_values(&[table]).observe(seconds);
    }

    /// Everything in the text format; computes the averages.
    pub fn render(&self) -> Result<Vec<u8>, Error> {
        let rows = self.rows_of_all_tables.load(Ordering::Relaxed);
        self.batch_size_avg.set(ratio(rows, self.batch_inserts.get()));
        let (processed, failed) = (self.processed.get(), self.failed.get());
        self.error_rate_percent.set(100.0 * ratio(failed, processed.saturating_add(failed)));
        if let Ok(usage) = ProcessUsage::now() {
            self.resident.set(i64::try_from(usage.resident_bytes).unwrap_or(i64::MAX));
        }
        self.traces.refresh();
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

impl FleetMetrics {
    /// Counts names that a newer edge wrote into a message.
    pub fn count_unknown(&self, message: &str, unknown: &[UnknownName]) {
        for UnknownName { field, .. } in unknown {
            self.unknown_names.with_label_values(&[message, field]).inc();
        }
    }
}

impl TraceMetrics {
    /// Copies the counts of the export.
    fn refresh(&self) {
        tracer().refresh(&self.exported, &self.dropped);
    }
}

impl Hops {
    /// Series of an exchange; they begin at 0 with the first call.
    pub fn to_hot(&self, exchange: &str, data_type: DataType) -> HotLatencies {
        let labels = [self.label(exchange), data_type.as_str()];
        let local = |family: &HistogramVec| family.with_label_values(&labels).local();
        HotLatencies {
            from_broker: local(&self.broker_to_hot),
            from_edge: local(&self.edge_to_hot),
            from_venue: local(&self.venue_to_hot),
        }
    }

    fn label<'a>(&self, exchange: &'a str) -> &'a str {
        // The set is consistent at every moment, so a panic of another holder does not matter.
        let mut exchanges = self.exchanges_with_series.lock().unwrap_or_else(PoisonError::into_inner);
        if exchanges.contains(exchange) {
            return exchange;
        }
        if exchanges.len() >= EXCHANGES_MAX {
            return OTHER_EXCHANGE;
        }
        exchanges.insert(exchange.to_owned());
        exchange
    }
}

/// Bounds of the latency histograms, as Prometheus takes them.
fn latency_bounds_seconds() -> Vec<f64> {
    LATENCY_BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect()
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl LedgerMetrics {
    /// Resets what only the lease holder knows.
    pub fn released(&self) {
        for gauge in [&self.is_active, &self.lag_seconds, &self.oldest_open_seconds] {
            gauge.set(0);
        }
        self.windows.reset();
    }
}

impl ReplicationMetrics {
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
        self.corrections_pending.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_exchanges_are_bounded_whatever_messages_name() {
        let metrics = Metrics::new().unwrap();
        for number in 0..10 * EXCHANGES_MAX {
            let series = metrics.hops.to_hot(&format!("x{number}"), DataType::Trade);
            series.from_edge.observe(0.5);
            series.flush();
        }
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let counts = text.lines().filter(|line| line.starts_with("marketprism_edge_to_hot_seconds_count"));
        assert_eq!(counts.count(), EXCHANGES_MAX + 1);
        let other = "marketprism_edge_to_hot_seconds_count{data_type=\"trade\",exchange=\"other\"} 576";
        assert!(text.contains(other), "{text}");
    }
}
