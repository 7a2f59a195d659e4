//! Downtimes that edges reported.

use std::collections::HashMap;

use marketprism_schema::{DowntimeReason, StreamId};
use serde::Deserialize;

use super::{EdgeStream, fetch};
use crate::ledger::windows::WindowRange;
use crate::sql::{self, SUBJECT};
use crate::storage::{Storage, StorageError};

/// [`DowntimeSpan::range`] ends here while it lasts.
pub const LASTS: i64 = i64::MAX;

/// Time in which an edge collected nothing of one stream: between a clean stop and the next start, for example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DowntimeSpan {
    pub range: WindowRange,
    pub reason: DowntimeReason,
    pub detail: String,
}

impl DowntimeSpan {
    pub const fn touches(&self, window: WindowRange) -> bool {
        self.range.from < window.to && window.from < self.range.to
    }
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct DowntimeRow {
    #[serde(deserialize_with = "sql::known_stream")]
    stream: Option<StreamId>,
    edge: String,
    begin_ns: i64,
    /// 0 while it lasts.
    end_ns: i64,
    why: String,
    detail: String,
}

/// Downtimes that touch a range. The report of the end has the same begin as that of the stop, and counts.
pub async fn downtimes(
    storage: &Storage,
    range: WindowRange,
) -> Result<HashMap<EdgeStream, Vec<DowntimeSpan>>, StorageError> {
    let query = format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, from_ns AS begin_ns, max(to_ns) AS end_ns, \
         toString(any(reason)) AS why, any(downtimes.detail) AS detail FROM {}.downtimes WHERE from_ns < {} \
         GROUP BY data_type, exchange, market_type, symbol, edge, from_ns HAVING end_ns = 0 OR end_ns > {} \
         ORDER BY begin_ns",
        storage.database, range.to, range.from
    );
    let mut downtimes: HashMap<EdgeStream, Vec<DowntimeSpan>> = HashMap::new();
    for row in fetch::<DowntimeRow>(storage, &query).await? {
        let (Some(stream), Ok(reason)) = (row.stream, row.why.parse()) else { continue };
        let to = if row.end_ns == 0 { LASTS } else { row.end_ns };
        let range = WindowRange { from: row.begin_ns, to };
        let span = DowntimeSpan { range, reason, detail: row.detail };
        downtimes.entry(EdgeStream { stream, edge: row.edge }).or_default().push(span);
    }
    Ok(downtimes)
}
