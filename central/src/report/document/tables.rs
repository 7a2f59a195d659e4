//! Tables and venues.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Level, Windows};
use crate::report::Time;

/// One table in hot and cold.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TableState {
    /// Its name.
    pub table: &'static str,
    /// Its data type.
    pub data_type: &'static str,
    /// Length of the recent part: trades and orderbooks 5 minutes, liquidations 1 hour, others 8 hours.
    pub recent_seconds: u64,
    /// In the hot database; absent when it gave no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot: Option<Held>,
    /// In the cold database; absent when it gave no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold: Option<Held>,
    /// How far cold is behind hot, in minutes; absent when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_minutes: Option<f64>,
    /// Everything stored before this moment is in cold or logged as different.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_upto: Option<Time>,
    /// Windows of the copy from hot to cold in the scope, by state.
    pub replication: Windows,
    /// How it stands: the worst level of its findings, absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
}

/// What a table holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Held {
    /// All rows.
    pub rows: u64,
    /// Rows of the recent part, by the time they were stored.
    pub recent_rows: u64,
    /// Rows of the recent part beyond one per event.
    pub recent_duplicates: u64,
    /// The newest venue time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Time>,
    /// When the newest row of the recent part was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_stored: Option<Time>,
}

/// One data type of one venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VenueState {
    /// Exchange id.
    pub exchange: String,
    /// Data type.
    pub data_type: &'static str,
    /// What hot holds of it.
    pub hot: Held,
    /// Seconds since the newest row was stored; absent when none is recent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<i64>,
    /// `ok`, `stale` (older than the type's threshold) or `nothing recent`.
    pub status: &'static str,
    /// Whether edges vouch for it: windows of it were compared in the scope.
    pub is_judged: bool,
}
