//! Changes of edges.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::time::Time;

/// A change of a running edge.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize, Serialize, ToSchema)]
#[schema(as = EdgeChange)]
pub struct ReportedChange {
    pub at: Time,
    pub edge: String,
    /// `adapter`, `feed`, `symbols`, `setting`, or `configuration` for one that was refused as a whole.
    pub kind: String,
    /// Changed object: an adapter, an exchange, a key of the configuration.
    pub subject: String,
    /// Cause of the change: `http`, `rollback`, a file, `POST /reload`, `SIGHUP`, the venue's list.
    pub why: String,
    /// State before; empty: there was none.
    pub from: String,
    /// State after, or the refused one; empty: there is none.
    pub to: String,
    /// `applied`, `promoted`, `refused`, `rolled_back`, `stopped` (the edge ended before the change did), or `running`.
    pub outcome: String,
    /// Reason of a refusal or rollback.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// SHA-256 of the new component.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
}
