//! Contents of one table of hot together with `copies`.

use std::collections::HashMap;

use marketprism_schema::Table;

use super::hot::{HotContents, KilledTimes, ambiguous_ids, grouped, not_added, read, rows_touching};
use super::{WindowKey, within_millis, within_nanos};
use crate::ledger::windows::{WindowGrid, WindowRange};
use crate::row::{COPIED_EVENTS, WITHDRAWN, WITHDRAWN_ADDITION};
use crate::storage::{Storage, StorageError};

/// Rows of a table in a range, and their copies.
///
/// An edge counts an event and a receive time once, however often its message is in the stream: so a copy counts only where hot does not
/// have the same event id, edge and receive time.
#[derive(Clone, Copy)]
pub struct RowsAndCopies<'a> {
    pub storage: &'a Storage,
    pub grid: WindowGrid,
    pub table: &'a Table,
    pub range: WindowRange,
    pub killed: &'a KilledTimes,
    pub has_copies: bool,
    /// A correction may have inserted rows by another version of the adapter for the same events: each pair counts once.
    pub is_corrected: bool,
    /// Audits list ambiguous events, which are left out.
    pub has_ambiguous: bool,
}

impl RowsAndCopies<'_> {
    pub async fn contents(self) -> Result<HashMap<WindowKey, HotContents>, StorageError> {
        self.read(&self.source("")).await
    }

    /// Events that an edge's audit lists as duplicates and that hot or `copies` have from this edge all the same: after the broker had lost
    /// the message of the other edge, both were sent again. Of an event that the edge sent more often, as many as are listed.
    pub async fn duplicates_sent_again(self) -> Result<HashMap<WindowKey, HotContents>, StorageError> {
        let length = self.grid.length_ns();
        let window = format!("intDiv(toUnixTimestamp64Nano(received_at), {length})");
        let listed = format!(
            "SELECT edge AS by_edge, arrayJoin(duplicate_ids) AS listed_half, \
             intDiv(toUnixTimestamp64Milli(window_start) * 1000000, {length}) AS in_window, count() AS times FROM {}.audits FINAL \
             WHERE {} AND data_type = '{}' AND notEmpty(duplicate_ids) GROUP BY by_edge, listed_half, in_window",
            self.storage.database,
            within_millis("window_start", self.range),
            self.table.data_type
        );
        let condition = format!(
            " AND (edge, toUInt64(event_id), {window}) IN (SELECT by_edge, listed_half, in_window FROM ({listed}))"
        );
        let sent = format!(
            "SELECT *, toUInt64(event_id) AS half, {window} AS of_window, row_number() OVER (PARTITION BY edge, exchange, market_type, \
             symbol, event_id, {window} ORDER BY received_at DESC) AS place FROM {}",
            self.source(&condition)
        );
        self.read(&format!(
            "(SELECT * FROM ({sent}) AS sent INNER JOIN ({listed}) AS listed \
             ON sent.edge = listed.by_edge AND half = listed_half AND of_window = in_window WHERE place <= times)"
        ))
        .await
    }

    fn source(&self, condition: &str) -> String {
        let (database, table, data_type) = (&self.storage.database, self.table.name, self.table.data_type);
        let excluded = self.killed.excluded(database, self.range, &format!("'{data_type}'"));
        let within = within_nanos("received_at", self.range) + &excluded;
        let condition = format!("{condition}{}", self.not_ambiguous());
        let columns = "received_at, edge, exchange, market_type, symbol, event_id";
        let not_added = not_added();
        let mut rows = format!("{database}.{table} WHERE {within}{not_added}{condition}");
        if self.is_corrected {
            let nth = format!("row_number() OVER (PARTITION BY {columns}, adapter)");
            rows = format!("(SELECT DISTINCT {columns}, {nth} AS nth FROM {rows})");
        }
        let hot = format!("SELECT {columns}, 0 AS is_copy FROM {rows}");
        if !self.has_copies {
            return format!("({hot})");
        }
        let copies_within = format!(
            "FROM {database}.{COPIED_EVENTS} WHERE data_type = '{data_type}' AND found != '{WITHDRAWN_ADDITION}' AND {} AND {within}",
            rows_touching(self.range)
        );
        format!(
            "({hot} UNION ALL SELECT {columns}, min(found != '{WITHDRAWN}') AS is_copy {copies_within}{condition} AND (edge, event_id, \
             received_at) NOT IN (SELECT edge, event_id, received_at FROM {database}.{table} WHERE {within}{not_added} AND event_id IN \
             (SELECT event_id {copies_within})) GROUP BY {columns})"
        )
    }

    fn not_ambiguous(&self) -> String {
        if !self.has_ambiguous {
            return String::new();
        }
        let length = self.grid.length_ns();
        let columns = format!(
            "edge, arrayJoin(unsure), intDiv(toUnixTimestamp64Milli(window_start) * 1000000, {length})"
        );
        let ids = ambiguous_ids(&columns, &self.storage.database, self.table.data_type, self.range);
        format!(" AND (edge, event_id, intDiv(toUnixTimestamp64Nano(received_at), {length})) NOT IN ({ids})")
    }

    async fn read(&self, source: &str) -> Result<HashMap<WindowKey, HotContents>, StorageError> {
        let (name, is_copy) = (format!("'{}'", self.table.name), "toUInt8(any(is_copy))");
        let query = grouped(&name, is_copy, source, "is_copy", (self.grid, self.range));
        read(self.storage, self.grid, &query).await
    }
}
