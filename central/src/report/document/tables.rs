//! Tables and venues.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Level, WindowCounts};
use crate::report::Time;

/// One table in hot and cold.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = TableState)]
pub struct TableReport {
    pub table: &'static str,
    pub data_type: &'static str,
    /// Age up to which rows are recent: trades and orderbooks 5 minutes, liquidations 1 hour, others 8 hours.
    pub recent_seconds: u64,
    /// Contents in hot; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot: Option<TableContents>,
    /// Contents in cold; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold: Option<TableContents>,
    /// Replication lag in minutes; absent when unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_minutes: Option<f64>,
    /// Replication watermark: everything stored before is in cold or logged as different.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_upto: Option<Time>,
    /// Replication windows of the period by state.
    pub replication: WindowCounts,
    /// Most severe level of its findings; absent without findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
}

/// Contents of a table on one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Held)]
pub struct TableContents {
    /// All rows.
    pub rows: u64,
    /// Recent rows, by the time they were stored.
    pub recent_rows: u64,
    /// Recent rows beyond one per event.
    pub recent_duplicates: u64,
    /// Newest venue time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Time>,
    /// Time at which the newest recent row was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_stored: Option<Time>,
}

/// One data type of one venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VenueState {
    pub exchange: String,
    pub data_type: &'static str,
    /// Contents in hot.
    pub hot: TableContents,
    /// Seconds since the newest row was stored; absent without a recent row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<i64>,
    /// `ok`, `stale` (older than the type's threshold) or `nothing recent`.
    pub status: &'static str,
    /// True when windows of it were compared with audits in the period.
    pub is_judged: bool,
}
