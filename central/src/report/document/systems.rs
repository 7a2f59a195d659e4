//! Broker, ClickHouse, schema, leases.

use serde::Serialize;
use utoipa::ToSchema;

use crate::report::Time;

/// One stream of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BrokerStream {
    /// Its name.
    pub stream: String,
    /// Messages it holds.
    pub messages: u64,
    /// Bytes it holds.
    pub bytes: u64,
    /// Bytes it may hold; -1: no limit.
    pub max_bytes: i64,
    /// Sequence of its first message.
    pub first_sequence: u64,
    /// Sequence of its last message.
    pub last_sequence: u64,
    /// Copies wanted.
    pub replicas: usize,
    /// Copies that are up to date, the leader among them.
    pub replicas_current: usize,
    /// The server that leads; absent outside of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Its consumers.
    pub consumers: Vec<BrokerConsumer>,
}

/// One consumer of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BrokerConsumer {
    /// Its name.
    pub consumer: String,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub ack_pending: u64,
    /// Messages delivered again and not acknowledged.
    pub redelivered: u64,
    /// Pull requests waiting: 0 means that nobody takes messages at the moment.
    pub waiting: u64,
}

/// One ClickHouse server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerState {
    /// `hot` or `cold`.
    pub role: &'static str,
    /// Address.
    pub url: String,
    /// Database.
    pub database: String,
    /// Its version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Milliseconds that its clock is ahead of ours, within the time of a request.
    pub clock_ahead_ms: i64,
    /// Parts of our tables.
    pub parts: u64,
    /// Bytes of our tables.
    pub bytes: u64,
    /// Its disks.
    pub disks: Vec<Disk>,
}

/// One disk of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Disk {
    /// Its name.
    pub disk: String,
    /// Bytes free.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// How tables and streams compare with what this central wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SchemaState {
    /// When that was compared.
    pub checked_at: Time,
    /// Whether everything is as wanted.
    pub as_wanted: bool,
    /// What differs.
    pub differences: Vec<SchemaDifference>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SchemaDifference {
    /// The thing: `table marketprism_hot.trades`, `stream MARKET_DATA`, ...
    pub what: String,
    /// What differs, with both values.
    pub difference: String,
    /// Whether `init --apply` can change it in place.
    pub changeable: bool,
}

/// Who does what only one central may do at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeaseState {
    /// `ingest-<stream>`, `replicator`, `ledger`, `migrations`.
    pub lease: String,
    /// The central that holds it.
    pub holder: String,
    /// Since when.
    pub since: Option<Time>,
    /// When it was renewed last; it is free 10 s after that.
    pub renewed: Option<Time>,
}
