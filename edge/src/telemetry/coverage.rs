//! Time of the last event that the broker confirmed, per exchange and data type.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use marketprism_schema::{DataType, stale_after};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoverageIndex(u16);

impl CoverageIndex {
    /// No row: confirmations are not noted.
    pub const NONE: Self = Self(u16::MAX);

    pub(crate) const fn of_number(number: u16) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u16 {
        self.0
    }
}

#[derive(Debug)]
struct CoverageEntry {
    exchange: String,
    data_type: DataType,
    /// False: no feed collects it any more.
    is_collected: bool,
    since: Instant,
    /// 0: no event yet.
    last_success_ns: AtomicI64,
}

#[derive(Debug, Default)]
pub struct Coverage {
    entries: RwLock<Vec<CoverageEntry>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverageRow {
    pub exchange: String,
    pub data_type: DataType,
    pub last_success_ns: Option<i64>,
    pub age_seconds: Option<i64>,
    /// `ok`, `stale` or `missing`.
    pub status: &'static str,
    /// Time since a feed began to collect it.
    pub collected_for: Duration,
}

impl CoverageRow {
    /// Seconds since 1970.
    pub fn last_success_ts(&self) -> Option<i64> {
        self.last_success_ns.map(|at| at / NANOS_PER_SECOND)
    }
}

impl Coverage {
    /// The row of a data type; it is added where it is missing.
    pub fn row(&self, exchange: &str, data_type: DataType) -> CoverageIndex {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let found = entries.iter().position(|row| row.exchange == exchange && row.data_type == data_type);
        let index = found.unwrap_or_else(|| {
            let exchange = exchange.to_owned();
            let last_success_ns = AtomicI64::new(0);
            entries.push(CoverageEntry {
                exchange,
                data_type,
                is_collected: true,
                since: Instant::now(),
                last_success_ns,
            });
            entries.len() - 1
        });
        if let Some(row) = entries.get_mut(index).filter(|row| !row.is_collected) {
            (row.is_collected, row.since, row.last_success_ns) = (true, Instant::now(), AtomicI64::new(0));
        }
        CoverageIndex(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// `None` for no row.
    pub fn names(&self, CoverageIndex(row): CoverageIndex) -> Option<(String, DataType)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(usize::from(row)).map(|row| (row.exchange.clone(), row.data_type))
    }

    /// Takes out the rows that are not collected any more; confirmations of them may still come.
    pub fn retain(&self, is_collected: impl Fn(&str, DataType) -> bool) {
        for row in self.entries.write().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            row.is_collected &= is_collected(&row.exchange, row.data_type);
        }
    }

    pub fn confirmed(&self, rows: impl IntoIterator<Item = CoverageIndex>, now_ns: i64) {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        for CoverageIndex(row) in rows {
            if let Some(row) = entries.get(usize::from(row)) {
                row.last_success_ns.store(now_ns, Ordering::Relaxed);
            }
        }
    }

    pub fn rows(&self, now_ns: i64) -> Vec<CoverageRow> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|entry| entry.is_collected).map(|entry| entry.row_at(now_ns)).collect()
    }
}

impl CoverageEntry {
    fn row_at(&self, now_ns: i64) -> CoverageRow {
        let last = self.last_success_ns.load(Ordering::Relaxed);
        let last_success_ns = (last > 0).then_some(last);
        let age_seconds = last_success_ns.map(|at| now_ns.saturating_sub(at).max(0) / NANOS_PER_SECOND);
        let limit = i64::try_from(stale_after(self.data_type).as_secs()).unwrap_or(i64::MAX);
        let status = match age_seconds {
            None => "missing",
            Some(age) if age > limit => "stale",
            Some(_) => "ok",
        };
        CoverageRow {
            exchange: self.exchange.clone(),
            data_type: self.data_type,
            last_success_ns,
            age_seconds,
            status,
            collected_for: self.since.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_missing_until_confirmed_then_ok_then_stale_past_its_data_types_threshold() {
        let coverage = Coverage::default();
        let trade = coverage.row("sim_spot", DataType::Trade);
        let funding = coverage.row("sim_spot", DataType::FundingRate);
        assert_eq!(coverage.row("sim_spot", DataType::Trade), trade);
        assert_eq!(coverage.rows(0)[0].status, "missing");
        coverage.confirmed([trade, funding, CoverageIndex::NONE], NANOS_PER_SECOND);
        let statuses = |seconds: i64| -> Vec<_> {
            coverage.rows(seconds * NANOS_PER_SECOND).iter().map(|row| row.status).collect()
        };
        assert_eq!(statuses(61), ["ok", "ok"]);
        assert_eq!(statuses(62), ["stale", "ok"]);
        assert_eq!(statuses(1 + 8 * 3_600 + 1), ["stale", "stale"]);
        assert_eq!(coverage.rows(5 * NANOS_PER_SECOND)[0].age_seconds, Some(4));
        coverage.retain(|_, kind| kind == DataType::Trade);
        coverage.confirmed([funding], 2 * NANOS_PER_SECOND);
        assert_eq!(coverage.rows(0).len(), 1);
        assert_eq!(coverage.row("sim_spot", DataType::FundingRate), funding);
        assert_eq!(coverage.rows(3 * NANOS_PER_SECOND)[1].status, "missing", "collected again");
    }
}
