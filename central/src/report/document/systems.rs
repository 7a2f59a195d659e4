//! Tables, broker, ClickHouse, schema and leases.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Level, WindowCounts, WindowPercent};
use crate::report::Time;

/// One stream of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BrokerStream {
    pub stream: String,
    pub messages: u64,
    pub bytes: u64,
    /// Limit in bytes; -1: none.
    pub max_bytes: i64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// Parts that centrals take apart.
    pub partitions: u16,
    pub replicas: usize,
    /// Replicas that are up to date, the leader included.
    pub replicas_current: usize,
    /// Server that leads the stream; absent without a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    pub consumers: Vec<BrokerConsumer>,
}

/// One consumer of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BrokerConsumer {
    pub consumer: String,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub ack_pending: u64,
    /// Messages redelivered and not acknowledged.
    pub redelivered: u64,
    /// Pull requests waiting; 0: no central takes messages at the moment.
    pub waiting: u64,
    /// Seconds since the last delivery, of a consumer that delivers nothing while messages are pending and pull requests wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_seconds: Option<u64>,
}

/// One ClickHouse server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerState {
    /// `hot` or `cold`.
    pub role: &'static str,
    pub url: String,
    pub database: String,
    pub version: String,
    pub uptime_seconds: u64,
    /// Milliseconds that its clock is ahead of this machine's, beyond the request's own time.
    pub clock_ahead_ms: i64,
    /// Parts of the database's tables.
    pub parts: u64,
    /// Bytes of the database's tables.
    pub bytes: u64,
    pub disks: Vec<Disk>,
    /// Tables that the server cannot work on as usual.
    pub troubles: Vec<TableTrouble>,
}

/// State of a table in which the server cannot work on it as usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, clickhouse::Row, serde::Deserialize, ToSchema)]
pub struct TableTrouble {
    pub table: String,
    /// `readonly`, `mutation` or `broken_part`.
    pub kind: String,
    /// Replicas, mutations or parts.
    pub count: u64,
    /// The server's error text of one of them.
    pub detail: String,
}

/// One disk of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, clickhouse::Row, serde::Deserialize, ToSchema)]
pub struct Disk {
    pub disk: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// Comparison of tables and streams with their definitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SchemaState)]
pub struct SchemaReport {
    pub checked_at: Time,
    /// True when there is no difference.
    pub as_wanted: bool,
    pub differences: Vec<SchemaDifference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SchemaDifference {
    /// Object: `table marketprism_hot.trades`, `stream MARKET_DATA`, ...
    pub what: String,
    /// The difference, with both values.
    pub difference: String,
    /// True when `init --apply` can change it in place.
    pub changeable: bool,
}

/// A task that one central does at a time, and its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeaseState {
    /// `ingest-<stream>` (of its further partitions `ingest-<stream>-<number>`), `replicator`, `ledger`, `migrations`.
    pub lease: String,
    pub holder: String,
    /// Begin of the current holder's term.
    pub since: Option<Time>,
    /// Last renewal; the lease expires 10 s later.
    pub renewed: Option<Time>,
}

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
    /// Absent without windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_percent: Option<WindowPercent>,
    /// Windows of its streams by state, counted per edge.
    pub audited: WindowCounts,
    /// Absent without windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audited_percent: Option<WindowPercent>,
    /// Most severe level of its findings; absent without findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
}

/// Contents of a table on one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Held)]
pub struct TableContents {
    pub rows: u64,
    /// Recent rows, by the time they were stored.
    pub recent_rows: u64,
    /// Recent rows beyond one per event.
    pub recent_duplicates: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Time>,
    /// Time at which the newest recent row was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_stored: Option<Time>,
}

/// One data type of one market of an exchange, hot and cold apart.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VenueState {
    pub exchange: String,
    pub market_type: String,
    pub data_type: &'static str,
    /// Contents in hot; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot: Option<TableContents>,
    /// Contents in cold; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold: Option<TableContents>,
    /// Seconds since the newest row was stored in hot; absent without a recent row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<i64>,
    /// `ok`, `stale` (older than the type's threshold), `nothing recent` or `no answer`.
    pub status: &'static str,
    /// True when windows of it were compared with audits in the period.
    pub is_judged: bool,
    /// Windows of its streams by state, counted per edge.
    pub windows: WindowCounts,
    /// Absent without windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows_percent: Option<WindowPercent>,
}
