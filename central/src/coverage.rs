//! Newest data in hot and event rates, per exchange and data type.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clickhouse::Row;
use marketprism_schema::DataType;
use serde::Deserialize;

/// Bounded by exchanges times data types.
#[derive(Debug, Default)]
pub struct Coverage(Mutex<ByExchange>);

type ByExchange = BTreeMap<DataType, BTreeMap<String, (Arrived, Rate)>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrived {
    pub last_success_ns: i64,
    /// Newest venue time, microseconds since 1970.
    pub newest_timestamp_us: i64,
    /// Events stored in hot since this process started, duplicates included.
    pub events: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CoverageRow {
    pub exchange: String,
    pub data_type: DataType,
    pub arrived: Arrived,
    /// Over the last minute.
    pub events_per_second: f64,
}

impl Coverage {
    /// Records events of an exchange that are in hot now.
    pub fn stored(&self, data_type: DataType, exchange: &str, arrived: Arrived) {
        let mut all = self.lock();
        let table = all.entry(data_type).or_default();
        if !table.contains_key(exchange) {
            table.insert(exchange.to_owned(), <(Arrived, Rate)>::default());
        }
        if let Some((all, rate)) = table.get_mut(exchange) {
            all.add(arrived);
            rate.add(arrived.last_success_ns, arrived.events);
        }
    }

    pub fn rows(&self, now_ns: i64) -> Vec<CoverageRow> {
        let all = self.lock();
        let mut rows = Vec::new();
        for (data_type, table) in all.iter() {
            rows.extend(table.iter().map(|(exchange, (arrived, rate))| CoverageRow {
                exchange: exchange.clone(),
                data_type: *data_type,
                arrived: *arrived,
                events_per_second: rate.per_second(now_ns),
            }));
        }
        rows
    }

    /// Adds the newest times that a hot table held when the process started. Does not count events.
    pub fn add_history(&self, data_type: DataType, history: Vec<History>) {
        let mut all = self.lock();
        let table = all.entry(data_type).or_default();
        for row in history {
            table.entry(row.exchange).or_default().0.add(Arrived {
                last_success_ns: row.created_at_ms.saturating_mul(1_000_000),
                newest_timestamp_us: row.timestamp_us,
                events: 0,
            });
        }
    }

    // The map is consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, ByExchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrived {
    fn add(&mut self, other: Self) {
        self.last_success_ns = self.last_success_ns.max(other.last_success_ns);
        self.newest_timestamp_us = self.newest_timestamp_us.max(other.newest_timestamp_us);
        self.events = self.events.saturating_add(other.events);
    }
}

#[derive(Debug, Row, Deserialize)]
pub struct History {
    pub exchange: String,
    pub created_at_ms: i64,
    pub timestamp_us: i64,
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const STEP_SECONDS: i64 = 5;
/// A minute, and the step that is growing.
const STEPS: usize = 13;

/// Counts of the last minute, in steps of five seconds.
#[derive(Debug, Clone, Default)]
struct Rate {
    counts: [u64; STEPS],
    /// Number of the newest step since 1970.
    newest: i64,
}

impl Rate {
    fn add(&mut self, now_ns: i64, events: u64) {
        self.turn(now_ns);
        if let Some(count) = self.counts.first_mut() {
            *count = count.saturating_add(events);
        }
    }

    /// Rate over the last full minute.
    pub fn per_second(&self, now_ns: i64) -> f64 {
        let mut turned = self.clone();
        turned.turn(now_ns);
        let whole: u64 = turned.counts.iter().skip(1).sum();
        let seconds = i64::try_from(STEPS - 1).unwrap_or(1) * STEP_SECONDS;
        whole as f64 / seconds as f64
    }

    fn turn(&mut self, now_ns: i64) {
        let step = now_ns / (NANOS_PER_SECOND * STEP_SECONDS);
        // After a clock step backwards, counts go into the newest step.
        let behind = usize::try_from(step - self.newest).unwrap_or(0).min(STEPS);
        if behind > 0 {
            self.counts.rotate_right(behind % STEPS);
            self.counts.iter_mut().take(behind).for_each(|count| *count = 0);
            self.newest = step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_the_newest_times_and_history_adds_no_events() {
        let coverage = Coverage::default();
        for (exchange, newest_timestamp_us) in [("a", 5), ("b", 7), ("a", 3)] {
            let arrived = Arrived { last_success_ns: 9_000_000, newest_timestamp_us, events: 1 };
            coverage.stored(DataType::Trade, exchange, arrived);
        }
        let history =
            |exchange: &str| History { exchange: exchange.into(), created_at_ms: 4, timestamp_us: 6 };
        coverage.add_history(DataType::Trade, vec![history("a"), history("c")]);
        let row = |exchange: &str, last_success_ns, newest_timestamp_us, events| CoverageRow {
            exchange: exchange.to_owned(),
            data_type: DataType::Trade,
            arrived: Arrived { last_success_ns, newest_timestamp_us, events },
            events_per_second: 0.0,
        };
        let expected = [row("a", 9_000_000, 6, 2), row("b", 9_000_000, 7, 1), row("c", 4_000_000, 6, 0)];
        assert_eq!(coverage.rows(9_000_000), expected);
    }

    #[test]
    fn the_rate_follows_events_and_falls_to_zero() {
        let mut rate = Rate::default();
        for tenth in 0..1_200 {
            rate.add(tenth * NANOS_PER_SECOND / 10, 1);
        }
        assert!((rate.per_second(120 * NANOS_PER_SECOND) - 10.0).abs() < 1e-9);
        assert!((rate.per_second(150 * NANOS_PER_SECOND) - 5.0).abs() < 1.0);
        assert!(rate.per_second(200 * NANOS_PER_SECOND).abs() < 1e-9);
    }
}
