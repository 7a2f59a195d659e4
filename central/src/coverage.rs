//! Newest data in hot and event rates, per exchange and data type.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clickhouse::Row;
use marketprism_schema::DataType;
use serde::Deserialize;

use crate::rate::Rate;

/// Bounded by exchanges times data types.
#[derive(Debug, Default)]
pub struct Coverage {
    arrived: Mutex<BTreeMap<DataType, BTreeMap<String, Arrived>>>,
    rates: Mutex<BTreeMap<DataType, BTreeMap<String, Rate>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrived {
    pub last_success_ns: i64,
    /// Newest venue time, microseconds since 1970.
    pub newest_timestamp_us: i64,
    /// Events stored in hot since this process started, duplicates included.
    pub events: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverageRow {
    pub exchange: String,
    pub data_type: DataType,
    pub arrived: Arrived,
}

impl Coverage {
    /// Records events that are in hot now, by subject and venue time.
    pub fn stored<'a>(&self, data_type: DataType, events: impl Iterator<Item = (&'a str, i64)>, now_ns: i64) {
        let mut all = self.lock();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let table = all.entry(data_type).or_default();
        let rates = rates.entry(data_type).or_default();
        for (subject, timestamp_us) in events {
            let exchange = subject.split('.').nth(1).unwrap_or_default();
            match rates.get_mut(exchange) {
                Some(rate) => rate.add(now_ns),
                None => rates.entry(exchange.to_owned()).or_default().add(now_ns),
            }
            let seen = Arrived { last_success_ns: now_ns, newest_timestamp_us: timestamp_us, events: 1 };
            match table.get_mut(exchange) {
                Some(arrived) => arrived.add(seen),
                None => {
                    table.insert(exchange.to_owned(), seen);
                }
            }
        }
    }

    pub fn rows(&self) -> Vec<CoverageRow> {
        let rows = |(data_type, table): (&DataType, &BTreeMap<String, Arrived>)| -> Vec<CoverageRow> {
            let row = |(exchange, arrived): (&String, &Arrived)| CoverageRow {
                exchange: exchange.clone(),
                data_type: *data_type,
                arrived: *arrived,
            };
            table.iter().map(row).collect()
        };
        self.lock().iter().flat_map(rows).collect()
    }

    /// Events per second over the last minute: data type, exchange, rate.
    pub fn rates(&self, now_ns: i64) -> Vec<(&'static str, String, f64)> {
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let of_type = |(data_type, table): (&DataType, &BTreeMap<String, Rate>)| {
            let name = data_type.as_str();
            let rate = |(exchange, rate): (&String, &Rate)| (name, exchange.clone(), rate.per_second(now_ns));
            table.iter().map(rate).collect::<Vec<_>>()
        };
        rates.iter().flat_map(of_type).collect()
    }

    /// Adds the newest times that a hot table held when the process started. Does not count events.
    pub fn add_history(&self, data_type: DataType, history: Vec<History>) {
        let mut all = self.lock();
        let table = all.entry(data_type).or_default();
        for row in history {
            table.entry(row.exchange).or_default().add(Arrived {
                last_success_ns: row.created_at_ms.saturating_mul(1_000_000),
                newest_timestamp_us: row.timestamp_us,
                events: 0,
            });
        }
    }

    // The map is consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<DataType, BTreeMap<String, Arrived>>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_the_newest_times_and_history_adds_no_events() {
        let coverage = Coverage::default();
        let subjects = [("trade.a.spot.X-Y", 5), ("trade.b.spot.X-Y", 7), ("trade.a.spot.Z-Y", 3)];
        coverage.stored(DataType::Trade, subjects.into_iter(), 9_000_000);
        let history =
            |exchange: &str| History { exchange: exchange.into(), created_at_ms: 4, timestamp_us: 6 };
        coverage.add_history(DataType::Trade, vec![history("a"), history("c")]);
        let row = |exchange: &str, last_success_ns, newest_timestamp_us, events| CoverageRow {
            exchange: exchange.to_owned(),
            data_type: DataType::Trade,
            arrived: Arrived { last_success_ns, newest_timestamp_us, events },
        };
        let expected = [row("a", 9_000_000, 6, 2), row("b", 9_000_000, 7, 1), row("c", 4_000_000, 6, 0)];
        assert_eq!(coverage.rows(), expected);
    }
}
