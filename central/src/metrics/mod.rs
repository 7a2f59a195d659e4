//! Prometheus metrics. Updated once per batch or turn, never per message.

mod ledger;
mod replication;

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use ledger::LedgerMetrics;
pub use replication::ReplicationMetrics;

/// 50 us to a minute: decoding takes tens of microseconds, an insert up to its timeout.
const BUCKETS: [f64; 19] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Messages whose event is stored, duplicates included.
    pub processed: IntCounter,
    /// Messages in the dead-letter table.
    pub failed: IntCounter,
    batch_inserts: IntCounter,
    batch_size_avg: Gauge,
    error_rate_percent: Gauge,
    pub subscriptions_active: IntGauge,
    pub is_running: IntGauge,
    rows: IntCounterVec,
    rows_of_all_tables: AtomicU64,
    /// By stream and way of recognition.
    pub duplicates: IntCounterVec,
    /// Discarded by the broker before they were stored, by stream and cause.
    pub lost: IntCounterVec,
    /// Sequence of each stream up to which everything is stored.
    pub confirmed: IntGaugeVec,
    /// 1 while this central owns the stream.
    pub streams_held: IntGaugeVec,
    /// By reason.
    pub dead_letters: IntCounterVec,
    /// Retried inserts and lookups, by table.
    pub retries: IntCounterVec,
    /// Acknowledgements not sent; their messages are redelivered.
    pub ack_failures: IntCounter,
    pub consumers: ConsumerGauges,
    pub hops: Hops,
    pub ledger: LedgerMetrics,
    pub replication: ReplicationMetrics,
}

/// The broker's counts, by stream and consumer.
#[derive(Debug)]
pub struct ConsumerGauges {
    pub num_pending: IntGaugeVec,
    pub num_ack_pending: IntGaugeVec,
    pub num_redelivered: IntGaugeVec,
}

/// Latency of every hop that central sees.
#[derive(Debug)]
pub struct Hops {
    /// Decoding a message and encoding its row, mean of a turn, by stream.
    pub decode: HistogramVec,
    /// One successful insert, by table.
    pub insert: HistogramVec,
    /// Receive time of the edge to that of the broker, by stream.
    pub edge_to_broker: HistogramVec,
    /// Receive time of the broker to the end of the insert, by table.
    pub broker_to_hot: HistogramVec,
    /// Venue time to the end of the insert, by table.
    pub venue_to_hot: HistogramVec,
}

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let duplicates =
            "copies recognized: recent (id in memory), in_flight (id in an open batch), stored (id in hot)";
        Ok(Self {
            processed: counter(r, "hot_storage_messages_processed_total", "messages whose event is in hot")?,
            failed: counter(r, "hot_storage_messages_failed_total", "messages in the dead-letter table")?,
            batch_inserts: counter(r, "hot_storage_batch_inserts_total", "inserts that succeeded")?,
            batch_size_avg: gauge(r, "hot_storage_batch_size_avg", "rows of an insert on average")?,
            error_rate_percent: gauge(r, "hot_storage_error_rate_percent", "failed messages in percent")?,
            subscriptions_active: int_gauge(r, "hot_storage_subscriptions_active", "streams being pulled")?,
            is_running: int_gauge(r, "hot_storage_is_running", "1 while ingest runs")?,
            rows: counters(r, "marketprism_central_rows_inserted_total", "rows stored", &["table"])?,
            rows_of_all_tables: AtomicU64::new(0),
            duplicates: counters(
                r,
                "marketprism_central_duplicates_total",
                duplicates,
                &["stream", "found"],
            )?,
            lost: counters(
                r,
                "marketprism_central_lost_messages_total",
                "messages that the broker discarded before they were taken",
                &["stream", "cause"],
            )?,
            confirmed: of_streams(r, "confirmed_sequence", "everything up to it is in hot")?,
            streams_held: of_streams(r, "streams_held", "1 while this central takes the stream")?,
            dead_letters: counters(r, "marketprism_central_dead_letters_total", "refused", &["reason"])?,
            retries: counters(
                r,
                "marketprism_central_retries_total",
                "inserts and lookups again",
                &["table"],
            )?,
            ack_failures: counter(r, "marketprism_central_ack_failures_total", "acks that did not leave")?,
            consumers: ConsumerGauges::new(r)?,
            hops: Hops::new(r)?,
            ledger: LedgerMetrics::new(r)?,
            replication: ReplicationMetrics::new(r)?,
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
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let rows = self.rows_of_all_tables.load(Ordering::Relaxed);
        self.batch_size_avg.set(ratio(rows, self.batch_inserts.get()));
        let (processed, failed) = (self.processed.get(), self.failed.get());
        self.error_rate_percent.set(100.0 * ratio(failed, processed.saturating_add(failed)));
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

impl ConsumerGauges {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            num_pending: gauges(registry, "num_pending", "messages not yet delivered")?,
            num_ack_pending: gauges(registry, "num_ack_pending", "messages delivered, not acknowledged")?,
            num_redelivered: gauges(
                registry,
                "num_redelivered",
                "messages delivered again, not acknowledged",
            )?,
        })
    }
}

impl Hops {
    fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            decode: histograms(r, "central_decode", "decoding a message, mean of a turn", "stream")?,
            insert: histograms(r, "central_insert", "an insert that succeeded", "table")?,
            edge_to_broker: histograms(r, "edge_to_broker", "from edge's to broker's receipt", "stream")?,
            broker_to_hot: histograms(r, "broker_to_hot", "from broker's receipt to insert's end", "table")?,
            venue_to_hot: histograms(r, "venue_to_hot", "from venue's time to insert's end", "table")?,
        })
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

pub fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let metric = IntCounter::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    let metric = Gauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

pub fn int_gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(registry: &Registry, name: &str, help: &str) -> Result<IntGaugeVec, prometheus::Error> {
    let options = Opts::new(format!("nats_jetstream_consumer_{name}"), help);
    let metric = IntGaugeVec::new(options, &["stream", "consumer"])?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn of_streams(registry: &Registry, name: &str, help: &str) -> Result<IntGaugeVec, prometheus::Error> {
    let metric = IntGaugeVec::new(Opts::new(format!("marketprism_central_{name}"), help), &["stream"])?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

pub fn int_gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histograms(
    registry: &Registry,
    hop: &str,
    help: &str,
    label: &str,
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(format!("marketprism_{hop}_seconds"), help).buckets(BUCKETS.to_vec());
    let metric = HistogramVec::new(options, &[label])?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
