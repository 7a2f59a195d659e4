//! The tables `window_log` and `watermarks` in cold.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::queries::{CopyError, Endpoint};
use super::window::{TimeRange, WindowDigest};
use crate::dropped_rows::REMOVED_REASON;
use crate::storage::limited;
use crate::{clock, limits, sql};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowState {
    Verified,
    Mismatch,
    Open,
    Failed,
}

impl WindowState {
    pub const ALL: [Self; 4] = [Self::Verified, Self::Mismatch, Self::Open, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Mismatch => "mismatch",
            Self::Open => "open",
            Self::Failed => "failed",
        }
    }

    fn read(text: &str) -> Self {
        match text {
            "verified" => Self::Verified,
            "mismatch" => Self::Mismatch,
            "open" => Self::Open,
            _ => Self::Failed,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedWindow {
    pub start_ms: i64,
    pub seconds: u16,
    pub state: WindowState,
    /// For people; also carries the marker of [`LoggedWindow::is_removed`].
    pub reason: String,
    /// Digest of hot when it was verified, or at the first try if it never was.
    pub reference: WindowDigest,
    pub cold_rows: u64,
    pub columns_hash: u64,
    pub attempts: u32,
    pub logged_ms: i64,
}

pub type LoggedWindows = BTreeMap<i64, LoggedWindow>;

/// Reason while they are deleted: another round finishes a deletion that failed.
const REMOVING: &str = "removed from hot, not all rows deleted yet";
/// Part of the reason of an open window whose rows a correction changes.
const CORRECTING: &str = "is being carried out";
/// Prefix of the reason of a mismatched window that was never verified.
pub const NEVER_VERIFIED: &str = "never verified";

impl LoggedWindow {
    pub fn is_removed(&self) -> bool {
        self.reason.starts_with(REMOVED_REASON)
    }

    pub fn is_being_removed(&self) -> bool {
        self.reason == REMOVING
    }

    pub fn being_removed(&self) -> Self {
        Self { reason: REMOVING.to_owned(), ..self.clone() }
    }

    /// The entry after [`Self::being_removed`].
    pub fn removed(&self) -> Self {
        Self { reason: REMOVED_REASON.to_owned(), logged_ms: self.logged_ms + 1, ..self.clone() }
    }

    /// Reason of an open window whose rows a correction changes.
    pub fn correcting(name: &str) -> String {
        format!("correction {name} {CORRECTING}")
    }

    /// Name of the correction that opened the window, which alone may judge it: its rows are exchanged.
    pub fn correction(&self) -> Option<&str> {
        let named = self.reason.strip_suffix(CORRECTING).filter(|_| self.state == WindowState::Open)?;
        named.trim_end().rsplit(' ').next()
    }

    pub fn is_being_corrected(&self) -> bool {
        self.correction().is_some()
    }

    /// There is no verified state that either side could have departed from.
    pub fn was_never_verified(&self) -> bool {
        self.state == WindowState::Failed || self.reason.starts_with(NEVER_VERIFIED)
    }

    /// The reason of a later entry: the removal marker is kept.
    pub fn reason_after(&self, reason: &str) -> String {
        match (self.is_removed(), reason) {
            (false, _) => reason.to_owned(),
            (true, "") if self.is_being_removed() => REMOVING.to_owned(),
            (true, "") => REMOVED_REASON.to_owned(),
            (true, _) => format!("{REMOVED_REASON}; {reason}"),
        }
    }
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct LogRow {
    start_ms: i64,
    window_seconds: u16,
    state: String,
    reason: String,
    rows: u64,
    ids_xor: u64,
    ids_sum: u64,
    rows_xor: u64,
    rows_sum: u64,
    columns_hash: u64,
    cold_rows: u64,
    oldest_us: i64,
    attempts: u32,
    logged_ms: i64,
}

impl From<LogRow> for LoggedWindow {
    fn from(row: LogRow) -> Self {
        let LogRow { rows, ids_xor, ids_sum, rows_xor, rows_sum, oldest_us, .. } = row;
        Self {
            start_ms: row.start_ms,
            seconds: row.window_seconds,
            state: WindowState::read(&row.state),
            reason: row.reason,
            reference: WindowDigest { rows, ids_xor, ids_sum, rows_xor, rows_sum, oldest_us, distinct: 0 },
            cold_rows: row.cold_rows,
            columns_hash: row.columns_hash,
            attempts: row.attempts,
            logged_ms: row.logged_ms,
        }
    }
}

const SELECTED: &str = "toInt64(toUnixTimestamp64Milli(window_start)) AS start_ms, window_seconds, toString(state) AS \
     state, reason, rows, ids_xor, ids_sum, rows_xor, rows_sum, columns_hash, cold_rows, \
     toInt64(toUnixTimestamp64Micro(oldest_timestamp)) AS oldest_us, attempts, \
     toInt64(toUnixTimestamp64Milli(logged_at)) AS logged_ms";

pub const TABLE: &str = "window_log";

const UNSOUND: &str = "state IN ('mismatch', 'failed')";

/// The entries of one table, also superseded ones: a merge that removes those changes it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSummary {
    /// Start of the first window.
    first_ms: i64,
    pub entries: u64,
    fingerprint: u64,
}

impl LogSummary {
    /// Start of the first window; `None` while the log is empty.
    pub fn first_ms(&self) -> Option<i64> {
        Some(self.first_ms).filter(|_| self.entries > 0)
    }
}

/// Start of the first window and seconds of the newest one.
pub type LogExtent = (i64, u16);

fn opened_by_correction() -> String {
    format!("state = 'open' AND endsWith(reason, {})", sql::quote(CORRECTING))
}

#[derive(Debug, Clone, Copy)]
pub struct WindowLog {
    pub table: &'static str,
}

impl WindowLog {
    pub async fn read(self, cold: &Endpoint, span: TimeRange) -> Result<LoggedWindows, CopyError> {
        self.select(cold, span, "").await
    }

    pub async fn unverified(
        self,
        cold: &Endpoint,
        span: TimeRange,
        limit: usize,
    ) -> Result<LoggedWindows, CopyError> {
        self.select(cold, span, &format!("AND state != 'verified' ORDER BY window_start LIMIT {limit}")).await
    }

    /// Oldest windows of a range whose rows may be removed from hot: verified before a time, or their removal has begun; not empty, not removed
    /// yet, and small enough to be compared row by row.
    pub async fn removable(
        self,
        cold: &Endpoint,
        span: TimeRange,
        before_ms: i64,
        limit: usize,
    ) -> Result<LoggedWindows, CopyError> {
        let condition = format!(
            "AND state = 'verified' AND rows BETWEEN 1 AND {} AND (reason = '{REMOVING}' OR NOT startsWith(reason, '{REMOVED_REASON}') AND \
             logged_at < {}) ORDER BY window_start LIMIT {limit}",
            limits::DIFF_ROWS,
            sql::millis(before_ms)
        );
        self.select(cold, span, &condition).await
    }

    /// Windows that corrections opened.
    pub async fn being_corrected(self, cold: &Endpoint) -> Result<LoggedWindows, CopyError> {
        let condition = format!("AND {}", opened_by_correction());
        self.select(cold, TimeRange::new(0, i64::MAX / 1_000_000), &condition).await
    }

    async fn select(self, cold: &Endpoint, span: TimeRange, more: &str) -> Result<LoggedWindows, CopyError> {
        let (log, range) = (cold.table(TABLE), span.of("window_start"));
        let table = self.table;
        let sql =
            format!("SELECT {SELECTED} FROM {log} FINAL WHERE table_name = '{table}' AND {range} {more}");
        let rows = cold.ask(cold.query(&sql).fetch_all::<LogRow>()).await?;
        Ok(rows.into_iter().map(|row| (row.start_ms, LoggedWindow::from(row))).collect())
    }

    /// By table. The log is read as it is, since it has years of windows: without `FINAL` this is one pass of three columns.
    pub async fn summaries(cold: &Endpoint) -> Result<BTreeMap<String, LogSummary>, CopyError> {
        let sql = format!(
            "SELECT toString(table_name) AS table, toInt64(toUnixTimestamp64Milli(min(window_start))) AS first_ms, count() AS \
             entries, groupBitXor(cityHash64(window_start, state, logged_at)) AS fingerprint FROM {} GROUP BY table_name",
            cold.table(TABLE)
        );
        let rows = cold.ask(cold.query(&sql).fetch_all::<(String, i64, u64, u64)>()).await?;
        let summary =
            |(table, first_ms, entries, fingerprint)| (table, LogSummary { first_ms, entries, fingerprint });
        Ok(rows.into_iter().map(summary).collect())
    }

    /// `None` while the log is empty.
    pub async fn extent(self, cold: &Endpoint) -> Result<Option<LogExtent>, CopyError> {
        let of_table = format!("WHERE table_name = '{}'", self.table);
        Ok(Self::select_extents(cold, &of_table).await?.remove(self.table))
    }

    /// Of all tables with logged windows.
    pub async fn extents(cold: &Endpoint) -> Result<BTreeMap<String, LogExtent>, CopyError> {
        Self::select_extents(cold, "").await
    }

    async fn select_extents(cold: &Endpoint, of: &str) -> Result<BTreeMap<String, LogExtent>, CopyError> {
        let sql = format!(
            "SELECT toString(table_name) AS table, toInt64(toUnixTimestamp64Milli(min(window_start))) AS first_ms, \
             argMax(window_seconds, window_start) AS seconds FROM {} {of} GROUP BY table_name",
            cold.table(TABLE)
        );
        let rows = cold.ask(cold.query(&sql).fetch_all::<(String, i64, u16)>()).await?;
        Ok(rows.into_iter().map(|(table, first_ms, seconds)| (table, (first_ms, seconds))).collect())
    }

    /// Tables with windows that corrections opened, maybe only in entries that are superseded.
    pub async fn tables_corrected(cold: &Endpoint) -> Result<BTreeSet<String>, CopyError> {
        let sql = format!(
            "SELECT DISTINCT toString(table_name) FROM {} WHERE {}",
            cold.table(TABLE),
            opened_by_correction()
        );
        Ok(cold.ask(cold.query(&sql).fetch_all::<String>()).await?.into_iter().collect())
    }

    /// Starts of the logged windows of a range.
    pub async fn starts(self, cold: &Endpoint, span: TimeRange) -> Result<Vec<i64>, CopyError> {
        let (log, table, range) = (cold.table(TABLE), self.table, span.of("window_start"));
        let sql = format!(
            "SELECT DISTINCT toInt64(toUnixTimestamp64Milli(window_start)) FROM {log} WHERE table_name = '{table}' AND {range}"
        );
        cold.ask(cold.query(&sql).fetch_all::<i64>()).await
    }

    /// End of the last logged window that ends before a time; the time itself if there is none.
    pub async fn last_end_before(self, cold: &Endpoint, before_ms: i64) -> Result<i64, CopyError> {
        let (log, table) = (cold.table(TABLE), self.table);
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp64Milli(max(window_start + toIntervalSecond(window_seconds)))) AS end_ms FROM {log} \
             WHERE table_name = '{table}' AND window_start + toIntervalSecond(window_seconds) <= {}",
            sql::millis(before_ms)
        );
        let end_ms = cold.ask(cold.query(&sql).fetch_one::<i64>()).await?;
        Ok(if end_ms > 0 { end_ms } else { before_ms })
    }

    /// The newest entries of windows that were unsound once: those alone are merged.
    pub async fn count_unsound(self, cold: &Endpoint) -> Result<u64, CopyError> {
        let (log, table) = (cold.table(TABLE), self.table);
        let sql = format!(
            "SELECT count() FROM {log} FINAL WHERE table_name = '{table}' AND {UNSOUND} AND window_start IN (SELECT \
             window_start FROM {log} WHERE table_name = '{table}' AND {UNSOUND})"
        );
        cold.ask(cold.query(&sql).fetch_one::<u64>()).await
    }

    /// Writes entries. `logged_at` exceeds that of the previous entry even if this machine's clock is behind.
    pub async fn write(
        self,
        cold: &Endpoint,
        windows: &[LoggedWindow],
        method: &str,
        holder: &str,
    ) -> Result<(), CopyError> {
        if windows.is_empty() {
            return Ok(());
        }
        let now_ms = clock::now_ns() / 1_000_000;
        let values: Vec<String> = windows.iter().map(|_| VALUES.to_owned()).collect();
        let sql = format!("INSERT INTO {} ({WRITTEN}) VALUES {}", cold.table(TABLE), values.join(", "));
        let mut query = limited(&cold.storage.client, cold.limit).query(&sql);
        for window in windows {
            let WindowDigest { rows, ids_xor, ids_sum, rows_xor, rows_sum, oldest_us, .. } = window.reference;
            query = query.bind(self.table).bind(window.start_ms).bind(window.seconds);
            query = query.bind(window.state.as_str()).bind(window.reason.as_str());
            query = query.bind(rows).bind(ids_xor).bind(ids_sum).bind(rows_xor).bind(rows_sum);
            query =
                query.bind(window.columns_hash).bind(window.cold_rows).bind(oldest_us).bind(window.attempts);
            query = query.bind(method).bind(holder).bind(now_ms.max(window.logged_ms + 1));
        }
        cold.ask(query.execute()).await
    }

    /// Everything before it was copied; `None` before the first copy.
    pub async fn watermark(self, cold: &Endpoint) -> Result<Option<i64>, CopyError> {
        let (watermarks, table) = (cold.table("watermarks"), self.table);
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp64Milli(upto)) AS upto_ms FROM {watermarks} FINAL WHERE table_name = '{table}'"
        );
        cold.ask(cold.query(&sql).fetch_optional::<i64>()).await
    }

    /// Writes nothing if the watermark is not the one that it is to be moved from.
    pub async fn move_watermark(
        self,
        cold: &Endpoint,
        (from_ms, upto_ms): (Option<i64>, i64),
        hot_newest_ms: i64,
        state: &str,
    ) -> Result<(), CopyError> {
        let (watermarks, table) = (cold.table("watermarks"), self.table);
        // The newest entry counts, even if a clock was set back after the one before.
        let sql = format!(
            "INSERT INTO {watermarks} (table_name, upto, hot_newest, state, moved_at) SELECT '{table}', {}, {}, '{state}', \
             greatest(now64(3, 'UTC'), (SELECT max(moved_at) FROM {watermarks} WHERE table_name = '{table}') + \
             toIntervalMillisecond(1)) WHERE (SELECT argMax(toUnixTimestamp64Milli(upto), moved_at) FROM {watermarks} WHERE \
             table_name = '{table}') = {}",
            sql::millis(upto_ms),
            sql::millis(hot_newest_ms),
            from_ms.unwrap_or(0)
        );
        cold.ask(cold.query(&sql).execute()).await
    }
}

const WRITTEN: &str = "table_name, window_start, window_seconds, state, reason, rows, ids_xor, ids_sum, rows_xor, rows_sum, \
     columns_hash, cold_rows, oldest_timestamp, attempts, method, holder, logged_at";

const VALUES: &str = "(?, fromUnixTimestamp64Milli(?, 'UTC'), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, fromUnixTimestamp64Micro(?, 'UTC'), \
     ?, ?, ?, fromUnixTimestamp64Milli(?, 'UTC'))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_that_of_the_correction_that_opened_it_while_it_is_open() {
        let window = |state, reason: &str| LoggedWindow {
            start_ms: 0,
            seconds: 60,
            state,
            reason: reason.to_owned(),
            reference: WindowDigest::default(),
            cold_rows: 0,
            columns_hash: 0,
            attempts: 1,
            logged_ms: 0,
        };
        let opened = LoggedWindow::correcting("0a");
        for (state, reason, by) in [
            (WindowState::Open, opened.clone(), Some("0a")),
            (WindowState::Open, window(WindowState::Open, REMOVED_REASON).reason_after(&opened), Some("0a")),
            (WindowState::Open, "3 late rows".to_owned(), None),
            (WindowState::Verified, opened, None),
        ] {
            assert_eq!(window(state, &reason).correction(), by, "{reason}");
        }
    }
}
