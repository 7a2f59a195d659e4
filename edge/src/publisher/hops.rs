//! Latency of the publisher's hops, by exchange and data type.

use std::sync::Arc;
use std::time::Instant;

use prometheus::Histogram;

use super::inflight::InFlightMessage;
use crate::queue::{EventRecord, QueueEntry};
use crate::telemetry::{Coverage, CoverageIndex, Metrics, seconds_between};

pub(super) struct HopTimers {
    metrics: Metrics,
    coverage: Arc<Coverage>,
    /// By row of the coverage. Events without a row are not timed.
    rows: Vec<Option<RowTimers>>,
}

#[derive(Clone)]
struct RowTimers {
    receive_to_publish: Histogram,
    publish_to_ack: Histogram,
    receive_to_ack: Histogram,
}

impl HopTimers {
    pub(super) const fn new(metrics: Metrics, coverage: Arc<Coverage>) -> Self {
        Self { metrics, coverage, rows: Vec::new() }
    }

    pub(super) fn sent(&mut self, record: &EventRecord, now_ns: i64) {
        if let Some(timers) = self.row(record.coverage) {
            timers.receive_to_publish.observe(seconds_between(record.received_at_ns, now_ns));
        }
    }

    pub(super) fn acknowledged(&mut self, flight: &InFlightMessage, now: Instant, now_ns: i64) {
        let on_way = now.saturating_duration_since(flight.first_sent).as_secs_f64();
        for QueueEntry { record, .. } in &flight.message.entries {
            if let Some(timers) = self.row(record.coverage) {
                timers.publish_to_ack.observe(on_way);
                timers.receive_to_ack.observe(seconds_between(record.received_at_ns, now_ns));
            }
        }
    }

    fn row(&mut self, row: CoverageIndex) -> Option<&RowTimers> {
        let position = usize::from(row.number());
        if self.rows.get(position).is_none_or(Option::is_none) {
            let (exchange, data_type) = self.coverage.names(row)?;
            let labels = [exchange.as_str(), data_type.as_str()];
            if self.rows.len() <= position {
                self.rows.resize(position + 1, None);
            }
            let Metrics { receive_to_publish, publish_to_ack, receive_to_ack, .. } = &self.metrics;
            *self.rows.get_mut(position)? = Some(RowTimers {
                receive_to_publish: receive_to_publish.with_label_values(&labels),
                publish_to_ack: publish_to_ack.with_label_values(&labels),
                receive_to_ack: receive_to_ack.with_label_values(&labels),
            });
        }
        self.rows.get(position)?.as_ref()
    }
}
