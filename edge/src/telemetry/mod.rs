//! Metrics, and the time of the last event that the broker confirmed per exchange and data type. Labels of metrics come from closed sets:
//! exchanges, data types, reasons. Hot loops add once per batch.

mod care;
mod coverage;
mod label_sets;
mod latencies;

pub use care::{CareLimit, RestartCause};
pub use coverage::{Coverage, CoverageIndex, CoverageRow};
pub(crate) use label_sets::labels;
pub use latencies::HopLatencies;

use marketprism_schema::LATENCY_BOUNDS_US;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $type:ty = $name:literal $labels:tt),+ $(,)?) => {
        #[derive(Debug, Clone)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $type),+
        }

        impl Metrics {
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let $field = <$type as Family>::family(Opts::new($name, concat!($($help),+).trim()), &$labels)?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { registry, $($field),+ })
            }

            /// Every metric, in the order of the README.
            pub const METRICS: &[MetricDefinition] = &[$(MetricDefinition {
                name: $name,
                kind: <$type as Family>::KIND,
                labels: &$labels,
                help: concat!($($help),+),
            }),+];
        }
    };
}

metrics! {
    /// Unusable frames and failed requests, by reason.
    collector_errors: IntCounterVec = "marketprism_collector_errors_total" ["exchange", "data_type", "code"],
    /// Time of the last event that the broker confirmed.
    last_success: IntGaugeVec = "marketprism_collector_last_success_timestamp_seconds" ["exchange", "data_type"],
    /// Frames received from sockets, polls and snapshot requests.
    frames: IntCounterVec = "marketprism_edge_frames_total" ["exchange"],
    /// Bytes of frames received.
    frame_bytes: IntCounterVec = "marketprism_edge_frame_bytes_total" ["exchange"],
    /// Events put into the queue.
    events: IntCounterVec = "marketprism_edge_events_total" ["exchange", "data_type"],
    /// Duplicate events that were not published.
    duplicates: IntCounterVec = "marketprism_edge_duplicate_events_total" ["exchange", "data_type"],
    /// Events outside the subscription, not published.
    unasked: IntCounterVec = "marketprism_edge_unasked_events_total" ["exchange", "data_type"],
    /// Times that a stream was silent for longer than its adapter expects, by kind of silence.
    silent_streams: IntCounterVec = "marketprism_edge_silent_streams_total" ["exchange", "data_type", "hint"],
    /// Usable answers of polls.
    poll_answers: IntCounterVec = "marketprism_edge_poll_answers_total" ["exchange", "data_type"],
    /// Failed tries of polls and unusable answers, by reason.
    poll_failures: IntCounterVec = "marketprism_edge_poll_failures_total" ["exchange", "data_type", "reason"],
    /// Oldest of the last successes of a data type's polls; 0 while any poll never succeeded.
    poll_success: IntGaugeVec = "marketprism_edge_poll_oldest_success_timestamp_seconds" ["exchange", "data_type"],
    /// Frames, or parts of them, without an event to publish, by reason.
    ignored: IntCounterVec = "marketprism_edge_ignored_total" ["exchange", "reason"],
    /// Gaps in trade ids that rise by one.
    trade_gaps: IntCounterVec = "marketprism_edge_trade_gaps_total" ["exchange"],
    /// Trades that are missing now, by trade id.
    trades_missing: IntGaugeVec = "marketprism_edge_trades_missing" ["exchange"],
    /// Trades of gaps by the outcome of their backfill; `discarded`: rows of answers whose ids were not missing.
    backfill_trades: IntCounterVec = "marketprism_edge_backfill_trades_total" ["exchange", "outcome"],
    /// Requests for past trades, including those that failed.
    backfill_requests: IntCounterVec = "marketprism_edge_backfill_requests_total" ["exchange"],
    /// Gaps of live order books, by detection: sequence or checksum.
    book_gaps: IntCounterVec = "marketprism_edge_orderbook_gaps_total" ["exchange", "cause"],
    /// Live order books discarded, by reason.
    book_breaks: IntCounterVec = "marketprism_edge_orderbook_breaks_total" ["exchange", "reason"],
    /// Requested order-book snapshots, by reason; `refresh`: for a live book that soon knows fewer levels than its depth.
    book_resyncs: IntCounterVec = "marketprism_edge_orderbook_resyncs_total" ["exchange", "reason"],
    /// Receive time of the newest order-book update of any instrument; 0 before the first.
    book_updated: IntGaugeVec = "marketprism_last_orderbook_update_timestamp_seconds" ["exchange"],
    /// Updates applied to live order books.
    book_updates: IntCounterVec = "marketprism_edge_orderbook_updates_total" ["exchange"],
    /// Order-book updates that were discarded, by reason.
    book_discarded: IntCounterVec = "marketprism_edge_orderbook_discarded_total" ["exchange", "reason"],
    /// Published order-book states in which a side has fewer levels than both the depth and the venue's book: a refresh is under way.
    book_short: IntCounterVec = "marketprism_edge_orderbook_short_total" ["exchange"],
    /// Order books by state.
    books: IntGaugeVec = "marketprism_edge_orderbooks" ["exchange", "state"],
    /// 1 while a feed runs, 0 while it starts.
    feed_running: IntGaugeVec = "marketprism_edge_feed_running" ["exchange"],
    /// Symbols of the configuration that the venue does not list.
    not_listed: IntGaugeVec = "marketprism_edge_symbols_not_listed" ["exchange"],
    /// 1 while the venue's ranking of a feed with `top` cannot be read, else 0.
    ranking_unreadable: IntGaugeVec = "marketprism_edge_ranking_unreadable" ["exchange"],
    /// Instruments that the venue listed, delisted or gave other terms while the feed ran, by change.
    listing_changes: IntCounterVec = "marketprism_edge_listing_changes_total" ["exchange", "change"],
    /// Reloads of the configuration, by result.
    reloads: IntCounterVec = "marketprism_edge_reloads_total" ["result"],
    /// Connections by state.
    connections: IntGaugeVec = "marketprism_edge_connections" ["exchange", "state"],
    /// Discarded, refused and repeated operations of the sockets, by kind.
    socket_events: IntCounterVec = "marketprism_edge_socket_events_total" ["exchange", "what"],
    /// Age of the newest frame of each connection, in milliseconds.
    last_frame_age: IntGaugeVec = "marketprism_edge_last_frame_age_milliseconds" ["exchange", "connection"],
    /// Faults of adapters, by cause. Each replaces the instance.
    adapter_faults: IntCounterVec = "marketprism_edge_adapter_faults_total" ["exchange", "cause"],
    /// Calls and starts of adapter instances that this host denied memory or addresses.
    host_limits: IntCounterVec = "marketprism_edge_host_limits_total" ["exchange"],
    /// Adapter instances created after a fault.
    adapter_restarts: IntCounterVec = "marketprism_edge_adapter_restarts_total" ["exchange"],
    /// Calls into adapters, including those that faulted.
    adapter_calls: IntCounterVec = "marketprism_edge_adapter_calls_total" ["exchange"],
    /// Time spent in adapters, in microseconds.
    adapter_micros: IntCounterVec = "marketprism_edge_adapter_microseconds_total" ["exchange"],
    /// Ended changes of adapters, by outcome.
    adapter_swaps: IntCounterVec = "marketprism_edge_adapter_swaps_total" ["outcome"],
    /// Failed requests for the adapter versions that central wants, or for their components. The running versions stay.
    adapter_follow_failures: IntCounterVec = "marketprism_edge_adapter_follow_failures_total" ["cause"],
    /// Time in which a change of its adapter kept a feed's pipeline from taking frames.
    adapter_swap_pause: HistogramVec = "marketprism_edge_adapter_swap_pause_seconds" ["exchange"],
    /// Bytes that were read and wait for the pipeline.
    input_bytes: IntGaugeVec = "marketprism_edge_input_queue_bytes" ["exchange"],
    /// Seconds for which sockets, or inputs in the queue, have been waiting for the pipeline; 0 while it keeps up.
    behind: IntGaugeVec = "marketprism_edge_feed_behind_seconds" ["exchange"],
    /// Frames deleted from quarantine to keep its bounds.
    quarantine_deleted: IntCounter = "marketprism_edge_quarantine_deleted_total" [],
    /// Frames in quarantine since the start.
    quarantined: IntCounterVec = "marketprism_edge_quarantined_frames_total" ["exchange"],
    /// Peak memory of an adapter's instances, in bytes.
    adapter_memory: IntGaugeVec = "marketprism_edge_adapter_memory_bytes" ["exchange"],
    /// Events in the queue, including those in flight.
    queue_messages: IntGauge = "marketprism_edge_queue_messages" [],
    /// Bytes in the queue.
    queue_bytes: IntGauge = "marketprism_edge_queue_bytes" [],
    /// Events that were lost, by cause; for the cause `stop_unprocessed` frames.
    lost: IntCounterVec = "marketprism_edge_lost_events_total" ["data_type", "cause"],
    /// Order-book states and quotes replaced by a newer one in the queue.
    queue_conflated: IntCounter = "marketprism_edge_queue_conflated_total" [],
    /// Times that a pipeline waited for room in the queue.
    queue_waits: IntCounter = "marketprism_edge_queue_waits_total" [],
    /// Bytes of the journal on disk.
    journal_bytes: IntGauge = "marketprism_edge_journal_bytes" [],
    /// Files of the journal on disk.
    journal_segments: IntGauge = "marketprism_edge_journal_segments" [],
    /// Age of the oldest event in the journal, in seconds.
    journal_oldest_age: IntGauge = "marketprism_edge_journal_oldest_age_seconds" [],
    /// Events that are in the journal only and wait for the broker.
    journal_waiting: IntGauge = "marketprism_edge_journal_waiting_events" [],
    /// 1 while events that wait for the broker take more than half of the journal, else 0.
    journal_tight: IntGauge = "marketprism_edge_journal_tight" [],
    /// 1 while the disk does not take the journal, else 0.
    journal_failing: IntGauge = "marketprism_edge_journal_failing" [],
    /// Age of the oldest write to the journal that a power cut would lose, in seconds.
    journal_unsynced: IntGauge = "marketprism_edge_journal_unsynced_seconds" [],
    /// Syncs of the journal before whose end a power cut would have lost more than two intervals, 200 ms at least.
    journal_late_syncs: IntCounter = "marketprism_edge_journal_late_syncs_total" [],
    /// Events of earlier runs that were found at the start and are sent again.
    journal_recovered: IntCounter = "marketprism_edge_journal_recovered_events_total" [],
    /// Stored events that are sent again, because the broker or hot lost them or central asked for them.
    journal_sent_again: IntCounter = "marketprism_edge_journal_sent_again_events_total" [],
    /// Stored events that left the journal for want of room before they were confirmed in hot.
    journal_freed_unconfirmed: IntCounter = "marketprism_edge_journal_freed_unconfirmed_events_total" [],
    /// Failed writes and reads, torn tails and damaged records of the journal.
    journal_errors: IntCounterVec = "marketprism_edge_journal_errors_total" ["what"],
    /// Events that were published without a place in the journal.
    journal_skipped: IntCounterVec = "marketprism_edge_journal_skipped_events_total" ["data_type"],
    /// Bytes of the raw frames on disk.
    raw_bytes: IntGaugeVec = "marketprism_edge_raw_bytes" ["exchange"],
    /// Segments of the raw frames on disk.
    raw_segments: IntGaugeVec = "marketprism_edge_raw_segments" ["exchange"],
    /// Age of the oldest raw frame on disk, in seconds.
    raw_oldest_age: IntGaugeVec = "marketprism_edge_raw_oldest_age_seconds" ["exchange"],
    /// 1 while the disk does not take the raw frames, else 0.
    raw_failing: IntGaugeVec = "marketprism_edge_raw_failing" ["exchange"],
    /// Frames, answers and openings written to the raw frames.
    raw_written: IntCounterVec = "marketprism_edge_raw_frames_total" ["exchange"],
    /// Frames that are missing in the raw frames, by reason; events are not affected.
    raw_lost: IntCounterVec = "marketprism_edge_raw_lost_frames_total" ["exchange", "reason"],
    /// Segments of raw frames that were deleted, by reason.
    raw_deleted: IntCounterVec = "marketprism_edge_raw_deleted_segments_total" ["exchange", "reason"],
    /// Failed writes of raw frames and copies of their components; torn tails and damaged blocks of the run before.
    raw_errors: IntCounterVec = "marketprism_edge_raw_errors_total" ["exchange", "what"],
    /// Events published to the broker, including repeats.
    published: IntCounter = "marketprism_edge_published_total" [],
    /// Messages of one or more events published to the broker, including repeats.
    published_messages: IntCounter = "marketprism_edge_published_messages_total" [],
    /// Events acknowledged by the broker.
    acknowledged: IntCounter = "marketprism_edge_acknowledged_total" [],
    /// Acknowledged events whose message the broker had before.
    acknowledged_duplicates: IntCounter = "marketprism_edge_acknowledged_duplicates_total" [],
    /// Events published again, by reason.
    republished: IntCounterVec = "marketprism_edge_republished_total" ["reason"],
    /// Live events that were mirrored to core NATS.
    mirrored: IntCounter = "marketprism_edge_mirrored_total" [],
    /// Live events that were not mirrored to core NATS, by reason: full, late, failed, denied. JetStream gets them all the same.
    mirror_dropped: IntCounterVec = "marketprism_edge_mirror_dropped_total" ["reason"],
    /// Messages without an acknowledgement.
    in_flight: IntGauge = "marketprism_edge_in_flight_messages" [],
    /// Seconds without an acknowledgement by the stream while messages wait for one; 0 below the limit.
    unacknowledged: IntGaugeVec = "marketprism_edge_unacknowledged_seconds" ["stream"],
    /// Restarts of the edge by itself since its first run, by cause.
    selfcare_restarts: IntCounterVec = "marketprism_edge_selfcare_restarts_total" ["cause"],
    /// 1 while a limit of self-care is passed, else 0.
    selfcare_exceeded: IntGaugeVec = "marketprism_edge_selfcare_exceeded" ["limit"],
    /// Pipelines and connections of the publisher restarted because they made no progress.
    stuck_restarts: IntCounterVec = "marketprism_edge_stuck_restarts_total" ["exchange", "part"],
    /// Seconds until the certificates of a configured file end, by its key: of a chain the first, of authorities the last; 0 for a file that cannot be read.
    certificate_expiry: IntGaugeVec = "marketprism_certificate_expiry_seconds" ["key"],
    /// Seconds from begin to end of that certificate; 0 for a file that cannot be read.
    certificate_lifetime: IntGaugeVec = "marketprism_certificate_lifetime_seconds" ["key"],
    /// 1 while the broker is connected, else 0.
    nats_connected: IntGauge = "marketprism_edge_nats_connected" [],
    /// Connections made to the broker.
    nats_connects: IntCounter = "marketprism_edge_nats_connects_total" [],
    /// Audit messages that wait for the broker.
    audits_pending: IntGauge = "marketprism_edge_audits_pending" [],
    /// Audit messages that the broker stored.
    audits_sent: IntCounter = "marketprism_edge_audits_sent_total" [],
    /// Audit messages lost and windows given up; those windows cannot be verified.
    audits_dropped: IntCounter = "marketprism_edge_audits_dropped_total" [],
    /// Outcomes and gaps that came after the audit of their window.
    audit_late: IntCounter = "marketprism_edge_audit_late_total" [],
    /// This machine's clock minus the venue's, in seconds: the newest measurement. Times of events are not corrected by it.
    clock_offset: GaugeVec = "marketprism_edge_clock_offset_seconds" ["exchange"],
    /// Bound of the error of the clock's offset, in seconds, in both directions.
    clock_error: GaugeVec = "marketprism_edge_clock_error_seconds" ["exchange"],
    /// Age of the newest measurement of the clock's offset, in seconds.
    clock_age: IntGaugeVec = "marketprism_edge_clock_age_seconds" ["exchange"],
    /// Measurements of the clock's offset, by outcome.
    clock_measurements: IntCounterVec = "marketprism_edge_clock_measurements_total" ["exchange", "outcome"],
    /// Times that this machine's clock was set against its monotonic clock, or the machine was suspended.
    clock_steps: IntCounterVec = "marketprism_edge_clock_steps_total" ["direction"],
    /// Time from the venue's time of an event to its receipt, in seconds; 0 where the venue's clock is ahead, so it is as right as
    /// `marketprism_edge_clock_offset_seconds` is small. Backlogs and histories count too.
    venue_to_edge: HistogramVec = "marketprism_venue_to_edge_seconds" ["exchange", "data_type"],
    /// Time from the receipt of a frame to the end of its normalization, in seconds.
    receive_to_normalized: HistogramVec = "marketprism_edge_receive_to_normalized_seconds" ["exchange"],
    /// Time from the receipt of an event to its first publish, in seconds; the time on disk included.
    receive_to_publish: HistogramVec = "marketprism_edge_receive_to_publish_seconds" ["exchange", "data_type"],
    /// Time from the first publish of an event to its acknowledgement, in seconds.
    publish_to_ack: HistogramVec = "marketprism_edge_publish_to_ack_seconds" ["exchange", "data_type"],
    /// Time from the receipt of an event to its acknowledgement, in seconds; the time on disk included.
    receive_to_ack: HistogramVec = "marketprism_edge_receive_to_ack_seconds" ["exchange", "data_type"],
    /// Spans of traces that the collector has taken.
    trace_spans: IntCounter = "marketprism_trace_spans_exported_total" [],
    /// Spans of traces that did not reach the collector, by reason. Data is not affected.
    trace_spans_dropped: IntCounterVec = "marketprism_trace_spans_dropped_total" ["reason"],
    /// Memory of this process in RAM.
    resident: IntGauge = "process_resident_memory_bytes" [],
}

/// A metric as the README lists it.
#[derive(Debug, Clone, Copy)]
pub struct MetricDefinition {
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Metrics {
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Counts what the stop left behind, and is logged by the caller.
    pub fn lost_at_stop(&self, what: LossAtStop, count: u64) {
        self.lost.with_label_values(&[ANY, what.as_str()]).inc_by(count);
    }

    /// The count so far.
    pub fn left_at_stop(&self, what: LossAtStop) -> u64 {
        self.lost.with_label_values(&[ANY, what.as_str()]).get()
    }

    pub const fn content_type() -> &'static str {
        "text/plain; version=0.0.4"
    }
}

/// Outcomes of measurements of the clock.
pub const CLOCK_MEASURED: &str = "measured";
pub const CLOCK_NOT_MEASURED: &str = "failed";
/// Directions of steps of the clock.
pub const CLOCK_SET_FORWARD: &str = "forward";
pub const CLOCK_SET_BACK: &str = "back";

/// Label for what belongs to no single data type.
pub const ANY: &str = "any";

labels! {
    LossAtStop {
        /// Frames and answers that no pipeline processed in time.
        Unprocessed = "stop_unprocessed",
        /// Events that the broker did not acknowledge in time.
        Undelivered = "stop_undelivered",
    }
}

/// Raises a counter to a total that is counted elsewhere.
pub fn follow(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Bounds of the latency histograms, as Prometheus takes them.
#[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^52")]
fn latency_bounds_seconds() -> Vec<f64> {
    LATENCY_BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect()
}

/// Seconds from one time in nanoseconds to a later one, for latency metrics; 0 when the clock went back.
#[expect(clippy::cast_precision_loss, reason = "a latency needs no 64 bits")]
pub fn seconds_between(from_ns: i64, to_ns: i64) -> f64 {
    to_ns.saturating_sub(from_ns).max(0) as f64 / 1e9
}

/// Numbers above 63 bits become the largest value.
pub fn gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

trait Family: Sized {
    const KIND: &'static str;

    fn family(opts: Opts, labels: &[&str]) -> Result<Self, prometheus::Error>;
}

macro_rules! families {
    ($($type:ty => $kind:literal, |$opts:ident, $labels:ident| $new:expr;)+) => {$(
        impl Family for $type {
            const KIND: &'static str = $kind;

            fn family($opts: Opts, $labels: &[&str]) -> Result<Self, prometheus::Error> {
                $new
            }
        }
    )+};
}

families! {
    IntCounter => "counter", |opts, _labels| Self::with_opts(opts);
    IntGauge => "gauge", |opts, _labels| Self::with_opts(opts);
    GaugeVec => "gauge", |opts, labels| Self::new(opts, labels);
    IntCounterVec => "counter", |opts, labels| Self::new(opts, labels);
    IntGaugeVec => "gauge", |opts, labels| Self::new(opts, labels);
    HistogramVec => "histogram", |opts, labels| {
        Self::new(HistogramOpts::from(opts).buckets(latency_bounds_seconds()), labels)
    };
}
