//! Broker, ClickHouse, schema and leases.

use serde::Serialize;
use utoipa::ToSchema;

use crate::report::Time;

/// One stream of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BrokerStream {
    pub stream: String,
    /// Messages stored.
    pub messages: u64,
    /// Bytes stored.
    pub bytes: u64,
    /// Limit in bytes; -1: none.
    pub max_bytes: i64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// Replicas configured.
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
    /// Time of the comparison.
    pub checked_at: Time,
    /// True when there is no difference.
    pub as_wanted: bool,
    pub differences: Vec<SchemaDifference>,
}

/// One difference.
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
    /// `ingest-<stream>`, `replicator`, `ledger`, `migrations`.
    pub lease: String,
    /// Central that holds it.
    pub holder: String,
    /// Begin of the current holder's term.
    pub since: Option<Time>,
    /// Last renewal; the lease expires 10 s later.
    pub renewed: Option<Time>,
}
