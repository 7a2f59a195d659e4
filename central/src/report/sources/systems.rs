//! Broker, ClickHouse servers, and the cached comparison of the tables with their definitions.

use std::time::Instant;

use async_nats::jetstream::consumer::Info as ConsumerInfo;
use async_nats::jetstream::stream::Info;
use clickhouse::Row;
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use marketprism_config::MaskedUrl;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Answer, Sources};
use crate::report::Time;
use crate::report::document::{
    BrokerConsumer, BrokerStream, Disk, LeaseState, SchemaDifference, SchemaReport, ServerState,
};
use crate::storage::Storage;
use crate::{clock, init, limits};

/// Most consumers listed of a stream.
const CONSUMERS_MAX: usize = 64;

pub async fn streams(sources: &Sources) -> Vec<(&'static str, Answer<BrokerStream>)> {
    let each = sources.config.streams.iter().map(|stream| async {
        let name = stream.settings.name;
        (name, sources.broker_answer(read_stream(sources, name)).await)
    });
    join_all(each).await
}

async fn read_stream(sources: &Sources, name: &str) -> anyhow::Result<BrokerStream> {
    let stream = sources.broker.jetstream.get_stream(name).await?;
    let mut listed = stream.consumers();
    let mut consumers = Vec::new();
    while let Some(consumer) = listed.try_next().await? {
        if consumers.len() < CONSUMERS_MAX {
            consumers.push(state_of(&consumer));
        }
    }
    consumers.sort_by(|a, b| a.consumer.cmp(&b.consumer));
    Ok(describe(stream.cached_info(), consumers))
}

fn state_of(info: &ConsumerInfo) -> BrokerConsumer {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    BrokerConsumer {
        consumer: info.name.clone(),
        pending: info.num_pending,
        ack_pending: count(info.num_ack_pending),
        redelivered: count(info.num_redelivered),
        waiting: count(info.num_waiting),
    }
}

fn describe(info: &Info, consumers: Vec<BrokerConsumer>) -> BrokerStream {
    let cluster = info.cluster.as_ref();
    let current = cluster.map_or(1, |cluster| {
        usize::from(cluster.leader.is_some())
            + cluster.replicas.iter().filter(|peer| peer.current && !peer.offline).count()
    });
    BrokerStream {
        stream: info.config.name.clone(),
        messages: info.state.messages,
        bytes: info.state.bytes,
        max_bytes: info.config.max_bytes,
        first_sequence: info.state.first_sequence,
        last_sequence: info.state.last_sequence,
        replicas: info.config.num_replicas,
        replicas_current: current,
        leader: cluster.and_then(|cluster| cluster.leader.clone()),
        consumers,
    }
}

pub async fn leases(sources: &Sources) -> Answer<Vec<LeaseState>> {
    let holders = sources.broker_answer(sources.leases.holders()).await?;
    let state = |holder: crate::lease::Holder| LeaseState {
        lease: holder.lease,
        holder: holder.holder,
        since: Time::some(holder.since_ns / 1_000_000),
        renewed: Time::some(holder.renewed_ns / 1_000_000),
    };
    let mut leases: Vec<LeaseState> = holders.into_iter().map(state).collect();
    leases.sort_by(|a, b| a.lease.cmp(&b.lease));
    Ok(leases)
}

#[derive(Debug, Row, Deserialize)]
struct ServerRow {
    version: String,
    uptime: u64,
    now_ms: i64,
}

#[derive(Debug, Row, Deserialize)]
struct PartsRow {
    parts: u64,
    bytes: u64,
}

pub async fn server(
    sources: &Sources,
    role: &'static str,
    storage: &Storage,
    url: &MaskedUrl,
) -> Answer<ServerState> {
    let before = clock::now_ns() / 1_000_000;
    let basics = "SELECT version() AS version, toUInt64(uptime()) AS uptime, \
                  toUnixTimestamp64Milli(now64(3, 'UTC')) AS now_ms";
    let basics = sources.rows::<ServerRow>(storage, basics).await?;
    let after = clock::now_ns() / 1_000_000;
    let basics = basics.into_iter().next().ok_or("the server returned no row")?;
    let sql = format!(
        "SELECT count() AS parts, toUInt64(sum(bytes_on_disk)) AS bytes FROM system.parts \
         WHERE active AND database = '{}'",
        storage.database
    );
    let disks = "SELECT name AS disk, toUInt64(free_space) AS free_bytes, toUInt64(total_space) AS total_bytes \
                 FROM system.disks ORDER BY name LIMIT 32";
    let (parts, disks) =
        tokio::join!(sources.rows::<PartsRow>(storage, &sql), sources.rows::<Disk>(storage, disks));
    let parts = parts?.into_iter().next().ok_or("the server returned no row")?;
    Ok(ServerState {
        role,
        url: url.to_string(),
        database: storage.database.clone(),
        version: basics.version,
        uptime_seconds: basics.uptime,
        clock_ahead_ms: ahead(before, basics.now_ms, after),
        parts: parts.parts,
        bytes: parts.bytes,
        disks: disks?,
    })
}

/// Difference of a clock that read `theirs` between two local times; 0 when they may agree.
fn ahead(before: i64, theirs: i64, after: i64) -> i64 {
    if theirs < before { theirs - before } else { (theirs - after).max(0) }
}

/// Newest comparison, and the one under way. A comparison creates and drops tables, so one that outlasts a request goes on, and the next
/// request gets its result.
#[derive(Default)]
pub struct SchemaCache(Mutex<SchemaComparison>);

#[derive(Default)]
struct SchemaComparison {
    known: Option<(Instant, SchemaReport)>,
    running: Option<JoinHandle<Answer<SchemaReport>>>,
}

impl SchemaCache {
    pub async fn state(&self, sources: &Sources) -> Answer<SchemaReport> {
        let mut inner = self.0.lock().await;
        if let Some((at, known)) = &inner.known
            && at.elapsed() < limits::SCHEMA_FRESH
        {
            return Ok(known.clone());
        }
        let sources_of_task = sources.clone();
        let running =
            inner.running.get_or_insert_with(|| tokio::spawn(async move { compare(&sources_of_task).await }));
        let Ok(ended) = timeout(limits::SCHEMA_PATIENCE.min(sources.patience), running).await else {
            // An older comparison is better than none.
            let known = inner.known.as_ref().map(|(_, known)| known.clone());
            return known.ok_or_else(|| "the first comparison of the tables is still running".to_owned());
        };
        inner.running = None;
        let state = ended.map_err(|error| format!("the comparison of the tables panicked: {error}"))??;
        inner.known = Some((Instant::now(), state.clone()));
        Ok(state)
    }
}

async fn compare(sources: &Sources) -> Answer<SchemaReport> {
    let found = init::schema_state(&sources.config, &sources.hot, &sources.cold).await;
    let of_database = found.databases.iter().filter_map(|database| {
        let problem = database.problem.as_ref()?;
        Some(SchemaDifference {
            what: format!("database {}", database.database),
            difference: problem.clone(),
            changeable: false,
        })
    });
    let of_table = found.tables.iter().flat_map(|table| {
        table.differences.iter().map(move |difference| SchemaDifference {
            what: format!("{}.{} against {}", table.database, table.table, table.compared_with),
            difference: difference.to_string(),
            changeable: difference.changeable,
        })
    });
    Ok(SchemaReport {
        checked_at: Time(clock::now_ns() / 1_000_000),
        as_wanted: found.equal == Some(true),
        differences: of_database.chain(of_table).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_beyond_the_request_time_count_as_clock_skew() {
        assert_eq!([ahead(10, 15, 20), ahead(10, 25, 20), ahead(10, 4, 20)], [0, 5, -6]);
    }
}
