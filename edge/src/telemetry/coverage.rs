//! What arrives, per data type and exchange: the time of the last event that the broker confirmed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock};

use marketprism_schema::{DataType, stale_after};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// One data type of one exchange.
#[derive(Debug)]
struct Row {
    exchange: String,
    data_type: DataType,
    /// Nanoseconds since 1970; 0: never.
    last_success_ns: AtomicI64,
}

/// The table behind `/coverage`.
#[derive(Debug, Default)]
pub struct Coverage {
    rows: RwLock<Vec<Row>>,
}

/// One row as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverageRow {
    /// Exchange id.
    pub exchange: String,
    /// Data type.
    pub data_type: DataType,
    /// Time of the last confirmed event, nanoseconds since 1970.
    pub last_success_ns: Option<i64>,
    /// Seconds since then.
    pub age_seconds: Option<i64>,
    /// `ok`, `stale` or `missing`.
    pub status: &'static str,
}

impl Coverage {
    /// The row of a data type, made where it is not there yet.
    pub fn row(&self, exchange: &str, data_type: DataType) -> u16 {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let found = rows.iter().position(|row| row.exchange == exchange && row.data_type == data_type);
        let index = found.unwrap_or_else(|| {
            rows.push(Row { exchange: exchange.to_owned(), data_type, last_success_ns: AtomicI64::new(0) });
            rows.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    /// RemarkLog confirmed events; `rows` may repeat.
    pub fn confirmed(&self, rows: impl Iterator<Item = u16>, now_ns: i64) {
        let table = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            if let Some(row) = table.get(usize::from(row)) {
                row.last_success_ns.store(now_ns, Ordering::Relaxed);
            }
        }
    }

    /// Every row as it stands.
    #[must_use]
    pub fn rows(&self, now_ns: i64) -> Vec<CoverageRow> {
        let table = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        table.iter().map(|row| row.seen_at(now_ns)).collect()
    }
}

impl Row {
    fn seen_at(&self, now_ns: i64) -> CoverageRow {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a row is missing until confirmed, then ok, then stale past its data type's threshold.
    #[test]
    fn rows_age_by_their_data_type() {
        let coverage = Coverage::default();
        let trade = coverage.row("sim_spot", DataType::Trade);
        let funding = coverage.row("sim_spot", DataType::FundingRate);
        assert_eq!(coverage.row("sim_spot", DataType::Trade), trade);
        assert_eq!(coverage.rows(0)[0].status, "missing");
        coverage.confirmed([trade, funding, 99].into_iter(), NANOS_PER_SECOND);
        let statuses = |seconds: i64| -> Vec<_> {
            coverage.rows(seconds * NANOS_PER_SECOND).iter().map(|row| row.status).collect()
        };
        assert_eq!(statuses(61), ["ok", "ok"]);
        assert_eq!(statuses(62), ["stale", "ok"]);
        assert_eq!(statuses(1 + 8 * 3_600 + 1), ["stale", "stale"]);
        assert_eq!(coverage.rows(5 * NANOS_PER_SECOND)[0].age_seconds, Some(4));
    }
}
