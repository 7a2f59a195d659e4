//! Prometheus metrics. Updated once per batch or turn, never per message.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use marketprism_schema::{DataType, LATENCY_BOUNDS_US, UnknownName};
use marketprism_service::ProcessUsage;
use marketprism_traces::tracer;
use prometheus::local::LocalHistogram;
use prometheus::{
    Encoder, Error, Gauge, GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, TextEncoder, register_gauge_vec_with_registry as gauges, register_gauge_with_registry as gauge,
    register_histogram_vec_with_registry as histograms, register_int_counter_vec_with_registry as counters,
    register_int_counter_with_registry as counter, register_int_gauge_vec_with_registry as int_gauges,
    register_int_gauge_with_registry as int_gauge,
};

/// Most exchanges with series of their own: messages name them. Others count as [`OTHER_EXCHANGE`].
const EXCHANGES_MAX: usize = 64;
const OTHER_EXCHANGE: &str = "other";
/// Name of Prometheus for the memory of a process.
pub const RESIDENT_BYTES: &str = "process_resident_memory_bytes";

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub processed: IntCounter,
    pub failed: IntCounter,
    batch_inserts: IntCounter,
    batch_size_avg: Gauge,
    error_rate_percent: Gauge,
    pub subscriptions_active: IntGauge,
    pub is_running: IntGauge,
    pub rows: IntCounterVec,
    rows_of_all_tables: AtomicU64,
    pub duplicates: IntCounterVec,
    pub lost: IntCounterVec,
    pub confirmed: IntGaugeVec,
    pub streams_held: IntGaugeVec,
    pub stream_partitions: IntGaugeVec,
    pub clock_ahead_seconds: IntGaugeVec,
    pub fleet: FleetMetrics,
    pub certificate_expiry: IntGaugeVec,
    pub certificate_lifetime: IntGaugeVec,
    pub put_back: IntCounterVec,
    pub dead_letters: IntCounterVec,
    pub retries: IntCounterVec,
    pub ack_failures: IntCounter,
    pub consumers: ConsumerGauges,
    pub hops: Hops,
    pub reports_computed: IntCounter,
    pub ledger: LedgerMetrics,
    pub replication: ReplicationMetrics,
    traces: TraceMetrics,
    resident: IntGauge,
}

/// The broker's counts, by stream and consumer.
#[derive(Debug)]
pub struct ConsumerGauges {
    pub num_pending: IntGaugeVec,
    pub num_ack_pending: IntGaugeVec,
    pub num_redelivered: IntGaugeVec,
}

/// The edges that central knows.
#[derive(Debug)]
pub struct FleetMetrics {
    pub unknown_names: IntCounterVec,
    pub edges: IntGaugeVec,
    pub silent: IntGaugeVec,
}

impl FleetMetrics {
    /// Counts names that a newer edge wrote into a message.
    pub fn count_unknown(&self, message: &str, unknown: &[UnknownName]) {
        for UnknownName { field, .. } in unknown {
            self.unknown_names.with_label_values(&[message, field]).inc();
        }
    }

    fn new(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            unknown_names: counters!(
                "marketprism_central_unknown_names_total",
                "names in messages of edges that this version does not know",
                &["message", "field"],
                r
            )?,
            edges: int_gauges!("marketprism_central_edges", "known edges by state", &["state"], r)?,
            silent: int_gauges!(
                "marketprism_central_edge_silent",
                "1 while the edge's heartbeats stopped without a reported stop",
                &["edge"],
                r
            )?,
        })
    }
}

#[derive(Debug)]
struct TraceMetrics {
    exported: IntCounter,
    dropped: IntCounterVec,
}

impl TraceMetrics {
    fn new(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            exported: counter!(
                "marketprism_trace_spans_exported_total",
                "spans of traces that the collector has taken",
                r
            )?,
            dropped: counters!(
                "marketprism_trace_spans_dropped_total",
                "spans of traces that did not reach the collector, by reason; data is not affected",
                &["reason"],
                r
            )?,
        })
    }

    /// Copies the counts of the export.
    fn refresh(&self) {
        tracer().refresh(&self.exported, &self.dropped);
    }
}

/// Latency of every hop that central sees.
#[derive(Debug)]
pub struct Hops {
    pub decode: HistogramVec,
    pub insert: HistogramVec,
    pub edge_to_broker: HistogramVec,
    broker_to_hot: HistogramVec,
    edge_to_hot: HistogramVec,
    venue_to_hot: HistogramVec,
    /// Exchanges with series.
    exchanges: Mutex<BTreeSet<String>>,
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

fn of_certificates(r: &Registry) -> Result<[IntGaugeVec; 2], Error> {
    let seconds = |name: &str, help: &str| {
        int_gauges!(format!("marketprism_certificate_{name}_seconds"), help, &["key"], r)
    };
    let expiry = seconds(
        "expiry",
        "seconds until the certificates of a configured file end, by its key: of a chain the first, of authorities the last; 0 for a file that cannot be read",
    )?;
    let lifetime = seconds(
        "lifetime",
        "seconds from begin to end of that certificate; 0 for a file that cannot be read",
    )?;
    Ok([expiry, lifetime])
}

impl Metrics {
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let r = &registry;
        let of_stream =
            |name: &str, help: &str| int_gauges!(format!("marketprism_central_{name}"), help, &["stream"], r);
        let [certificate_expiry, certificate_lifetime] = of_certificates(r)?;
        Ok(Self {
            processed: counter!("hot_storage_messages_processed_total", "messages whose event is in hot", r)?,
            failed: counter!("hot_storage_messages_failed_total", "messages in the dead-letter table", r)?,
            batch_inserts: counter!("hot_storage_batch_inserts_total", "inserts that succeeded", r)?,
            batch_size_avg: gauge!("hot_storage_batch_size_avg", "rows of an insert on average", r)?,
            error_rate_percent: gauge!("hot_storage_error_rate_percent", "failed messages in percent", r)?,
            subscriptions_active: int_gauge!("hot_storage_subscriptions_active", "streams being pulled", r)?,
            is_running: int_gauge!("hot_storage_is_running", "1 while ingest runs", r)?,
            rows: counters!("marketprism_central_rows_inserted_total", "rows stored", &["table"], r)?,
            rows_of_all_tables: AtomicU64::new(0),
            duplicates: counters!(
                "marketprism_central_duplicates_total",
                "duplicates: recent (id in memory), in_flight (id in an open batch), stored (id in hot)",
                &["stream", "found"],
                r
            )?,
            lost: counters!(
                "marketprism_central_lost_messages_total",
                "messages, each of one or more events, that the broker discarded before they were stored",
                &["stream", "cause"],
                r
            )?,
            confirmed: of_stream("confirmed_sequence", "highest contiguous sequence stored in hot")?,
            streams_held: of_stream("streams_held", "partitions of the stream that this central owns")?,
            stream_partitions: of_stream("stream_partitions", "partitions of the stream as configured")?,
            clock_ahead_seconds: int_gauges!(
                "marketprism_central_clock_ahead_seconds",
                "clock of the hot or cold server minus that of this machine",
                &["side"],
                r
            )?,
            fleet: FleetMetrics::new(r)?,
            certificate_expiry,
            certificate_lifetime,
            put_back: counters!(
                "marketprism_central_hot_put_back_total",
                "times that hot was found put back to an earlier state",
                &["stream"],
                r
            )?,
            dead_letters: counters!(
                "marketprism_central_dead_letters_total",
                "refused messages",
                &["reason"],
                r
            )?,
            retries: counters!(
                "marketprism_central_retries_total",
                "retried inserts and lookups",
                &["table"],
                r
            )?,
            ack_failures: counter!(
                "marketprism_central_ack_failures_total",
                "acknowledgements that could not be sent",
                r
            )?,
            consumers: ConsumerGauges::new(r)?,
            hops: Hops::new(r)?,
            reports_computed: counter!(
                "marketprism_central_reports_computed_total",
                "integrity reports computed for HTTP requests; equal requests share one",
                r
            )?,
            ledger: LedgerMetrics::new(r)?,
            replication: ReplicationMetrics::new(r)?,
            traces: TraceMetrics::new(r)?,
            resident: int_gauge!(RESIDENT_BYTES, "memory of this process in RAM", r)?,
            registry,
        })
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

impl ConsumerGauges {
    fn new(r: &Registry) -> Result<Self, Error> {
        let gauges = |name: &str, help: &str| {
            int_gauges!(format!("nats_jetstream_consumer_{name}"), help, &["stream", "consumer"], r)
        };
        Ok(Self {
            num_pending: gauges("num_pending", "messages not yet delivered")?,
            num_ack_pending: gauges("num_ack_pending", "messages delivered, not acknowledged")?,
            num_redelivered: gauges("num_redelivered", "messages redelivered, not acknowledged")?,
        })
    }
}

impl Hops {
    fn new(r: &Registry) -> Result<Self, Error> {
        let family = |name: &str, help: &str, labels: &[&str]| {
            histograms!(format!("marketprism_{name}_seconds"), help, labels, latency_bounds_seconds(), r)
        };
        let hop = |name: &str, help: &str, label: &str| family(name, help, &[label]);
        let to_hot = |name: &str, help: &str| family(name, help, &["exchange", "data_type"]);
        Ok(Self {
            decode: hop("central_decode", "decoding a message, mean of a turn", "stream")?,
            insert: hop("central_insert", "an insert that succeeded", "table")?,
            edge_to_broker: hop(
                "edge_to_broker",
                "receive time of the edge to that of the broker",
                "stream",
            )?,
            broker_to_hot: to_hot("broker_to_hot", "receive time of the broker to end of insert")?,
            edge_to_hot: to_hot("edge_to_hot", "receive time of the edge to end of insert")?,
            venue_to_hot: to_hot("venue_to_hot", "venue time to end of insert")?,
            exchanges: Mutex::default(),
        })
    }

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
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
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

#[derive(Debug)]
pub struct LedgerMetrics {
    pub is_active: IntGauge,
    pub taken: IntCounter,
    pub windows: IntGaugeVec,
    pub mismatches: IntCounter,
    pub unverifiable: IntCounter,
    pub oldest_open_seconds: IntGauge,
    pub lag_seconds: IntGauge,
    pub recheck_seconds: IntGauge,
}

impl LedgerMetrics {
    pub fn new(r: &Registry) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str| int_gauge!(format!("marketprism_ledger_{name}"), help, r);
        let windows = "windows of the last 24 hours by state, one per stream and edge";
        Ok(Self {
            is_active: gauge("is_active", "1 while this process takes audits and gives verdicts")?,
            taken: counter!("marketprism_ledger_audits_taken_total", "audit messages stored", r)?,
            windows: int_gauges!("marketprism_ledger_windows", windows, &["state"], r)?,
            mismatches: counter!("marketprism_ledger_mismatches_total", "windows that became a mismatch", r)?,
            unverifiable: counter!(
                "marketprism_ledger_unverifiable_total",
                "windows that cannot be verified",
                r
            )?,
            oldest_open_seconds: gauge(
                "oldest_open_seconds",
                "age of the end of the oldest open window, or 0",
            )?,
            lag_seconds: gauge("lag_seconds", "wait of the oldest window that is due")?,
            recheck_seconds: gauge("recheck_seconds", "duration of the last full recheck")?,
        })
    }

    /// Resets what only the lease holder knows.
    pub fn released(&self) {
        for gauge in [&self.is_active, &self.lag_seconds, &self.oldest_open_seconds] {
            gauge.set(0);
        }
        self.windows.reset();
    }
}

#[derive(Debug)]
pub struct ReplicationMetrics {
    pub is_active: IntGauge,
    pub lag_minutes: GaugeVec,
    pub is_failing: IntGaugeVec,
    pub windows: IntCounterVec,
    pub unsound: IntGaugeVec,
    pub rows: IntCounterVec,
    pub retries: IntCounterVec,
    pub removed: IntCounterVec,
    pub published_again: IntCounterVec,
    pub corrected: IntCounterVec,
    pub corrections_pending: IntGaugeVec,
    pub put_back: IntCounterVec,
    pub copy_seconds: HistogramVec,
    pub round_seconds: HistogramVec,
    pub recheck_seconds: Gauge,
}

impl ReplicationMetrics {
    pub fn new(r: &Registry) -> Result<Self, Error> {
        let table: &[&str] = &["table"];
        let name = |name: &str| format!("marketprism_cold_{name}");
        let gauges = |n: &str, help: &str| int_gauges!(name(n), help, table, r);
        let counters = |n: &str, help: &str, labels: &[&str]| counters!(name(n), help, labels, r);
        let histograms = |n: &str, help: &str| {
            let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
            histograms!(name(n), help, table, buckets, r)
        };
        let (active, lag) = (name("replicator_is_active"), name("replication_lag_minutes"));
        let recheck = name("recheck_seconds");
        Ok(Self {
            is_active: int_gauge!(active, "1 while this process replicates", r)?,
            lag_minutes: gauges!(
                lag,
                "age of the newest row that cold lacks and of the rows before it",
                table,
                r
            )?,
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
            put_back: counters(
                "put_back_total",
                "times that cold was found put back to an earlier state",
                table,
            )?,
            corrections_pending: gauges(
                "corrections_pending",
                "closed corrections that are not carried out",
            )?,
            corrected: counters(
                "corrected_events_total",
                "events of corrections by table and what became of their rows",
                &["table", "what"],
            )?,
            published_again: counters("published_again_total", "rows that cold held already", table)?,
            copy_seconds: histograms("copy_seconds", "duration of an insert into cold")?,
            round_seconds: histograms("round_seconds", "duration of a round that copied")?,
            recheck_seconds: gauge!(recheck, "duration of the last full recheck", r)?,
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
