//! Counters and histograms of ingest at 0 from the start, for every known label: `increase()` misses the first event of a series that
//! begins with it.

use marketprism_schema::{Carries, InvalidKind, STREAMS, Table};

use super::known_events::FOUND;
use super::losses::LossCause;
use super::message::{NOT_FROM_A_STREAM, Refusal};
use crate::metrics::Metrics;
use crate::row::Target;

/// Creates the series.
pub fn expect_series(metrics: &Metrics) {
    for stream in &STREAMS {
        let name = stream.name;
        metrics.put_back.with_label_values(&[name]);
        if stream.carries != Carries::Events {
            continue;
        }
        for found in FOUND {
            metrics.duplicates.with_label_values(&[name, found]);
        }
        for cause in [LossCause::Retention, LossCause::PutBack] {
            metrics.lost.with_label_values(&[name, cause.as_str()]);
        }
        metrics.hops.decode.with_label_values(&[name]);
        metrics.hops.edge_to_broker.with_label_values(&[name]);
    }
    let invalid = InvalidKind::ALL.map(Refusal::Invalid);
    for refusal in Refusal::WITHOUT_KIND.into_iter().chain(invalid) {
        metrics.dead_letters.with_label_values(&[refusal.as_str()]);
    }
    metrics.dead_letters.with_label_values(&[NOT_FROM_A_STREAM]);
    let events = Table::ALL.iter().map(|table| Target::Events(table.data_type));
    for target in events.chain([Target::Copies, Target::CorrectedEvents, Target::DeadLetters]) {
        let table = &[target.table()];
        metrics.rows.with_label_values(table);
        metrics.retries.with_label_values(table);
        metrics.hops.insert.with_label_values(table);
    }
}
