//! Counts of the latency histograms since the call before, for the audits.

use std::collections::BTreeMap;

use marketprism_schema::{DataType, EdgeHop, HopLatency, LATENCIES_MAX};
use prometheus::HistogramVec;
use prometheus::core::Collector as _;

use super::Metrics;

#[derive(Debug, Default)]
pub struct HopLatencies {
    /// Totals by hop, exchange and data type, as the call before found them.
    seen: BTreeMap<(EdgeHop, String, DataType), Vec<u64>>,
}

impl HopLatencies {
    /// Hops without an event since are left out.
    pub fn take(&mut self, metrics: &Metrics) -> Vec<HopLatency> {
        let mut latencies = Vec::new();
        for hop in EdgeHop::ALL {
            let family = match hop {
                EdgeHop::VenueToEdge => &metrics.venue_to_edge,
                EdgeHop::ReceiveToPublish => &metrics.receive_to_publish,
                EdgeHop::PublishToAck => &metrics.publish_to_ack,
            };
            for (exchange, data_type, totals) in totals(family) {
                let seen = self.seen.entry((*hop, exchange.clone(), data_type)).or_default();
                let mut counts: Vec<u64> = (totals.iter().enumerate())
                    .map(|(bucket, total)| {
                        total.saturating_sub(seen.get(bucket).copied().unwrap_or_default())
                    })
                    .collect();
                *seen = totals;
                let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
                counts.truncate(used);
                if used > 0 && latencies.len() < LATENCIES_MAX {
                    latencies.push(HopLatency { exchange, data_type, hop: *hop, counts });
                }
            }
        }
        latencies
    }
}

/// Events of each exchange and data type by bucket, those above the last bound included.
fn totals(family: &HistogramVec) -> Vec<(String, DataType, Vec<u64>)> {
    let families = family.collect();
    let series = families.iter().flat_map(|family| family.get_metric());
    let read = |series: &prometheus::proto::Metric| {
        let label = |name: &str| {
            let found = series.get_label().iter().find(|label| label.name() == name)?;
            Some(found.value().to_owned())
        };
        let histogram = series.get_histogram();
        let (mut before, mut counts) = (0, Vec::new());
        let cumulative = histogram.get_bucket().iter().map(|bucket| bucket.cumulative_count());
        for total in cumulative.chain([histogram.get_sample_count()]) {
            counts.push(total.saturating_sub(before));
            before = total;
        }
        Some((label("exchange")?, label("data_type")?.parse().ok()?, counts))
    };
    series.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_reported_once_in_the_bucket_of_its_latency() {
        let metrics = Metrics::new().unwrap();
        let mut latencies = HopLatencies::default();
        let trades = metrics.venue_to_edge.with_label_values(&["sim_spot", "trade"]);
        metrics.publish_to_ack.with_label_values(&["sim_spot", "trade"]);
        for seconds in [0.000_01, 0.000_02, 400.0] {
            trades.observe(seconds);
        }
        let taken = latencies.take(&metrics);
        let [latency] = taken.as_slice() else { panic!("{taken:?}") };
        assert_eq!((latency.hop, latency.exchange.as_str()), (EdgeHop::VenueToEdge, "sim_spot"));
        assert_eq!(latency.counts.len(), marketprism_schema::LATENCY_BUCKETS);
        assert_eq!((latency.counts[0], latency.counts[1]), (1, 1));
        assert_eq!(latency.counts.last(), Some(&1));
        assert_eq!(latencies.take(&metrics), []);
        trades.observe(0.000_02);
        assert_eq!(latencies.take(&metrics)[0].counts, [0, 1]);
    }
}
