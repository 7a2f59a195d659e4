//! Broker, ClickHouse servers, and the cached comparison of the tables with their definitions.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::Info as ConsumerInfo;
use async_nats::jetstream::stream::{Info, PeerInfo, Stream};
use clickhouse::Row;
use futures_util::future::{BoxFuture, OptionFuture, Shared, join_all};
use futures_util::{FutureExt as _, TryStreamExt as _};
use marketprism_config::MaskedUrl;
use serde::Deserialize;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Answer, Sources};
use crate::broker::is_to_deliver;
use crate::config;
use crate::init::ConsumerSpec;
use crate::report::Time;
use crate::report::document::{
    BrokerConsumer, BrokerStream, Disk, LeaseState, SchemaDifference, SchemaReport, ServerState, TableTrouble,
};
use crate::server_clock::ahead;
use crate::storage::Storage;
use crate::{clock, init, limits};

/// Most consumers listed of a stream.
const CONSUMERS_MAX: usize = 64;
/// A message that came before the first reading is delivered by then.
const SECOND_READING: Duration = Duration::from_millis(500);

pub async fn streams(sources: &Sources) -> Vec<(&'static str, Answer<BrokerStream>)> {
    let each = sources.config.streams.iter().map(|stream| async move {
        (stream.settings.name, sources.broker_answer(read_stream(sources, stream)).await)
    });
    join_all(each).await
}

async fn read_stream(sources: &Sources, wanted: &config::Stream) -> anyhow::Result<BrokerStream> {
    let stream = sources.broker.jetstream.get_stream(wanted.settings.name).await?;
    let mut listed = stream.consumers();
    let mut found = Vec::new();
    while let Some(consumer) = listed.try_next().await? {
        if found.len() < CONSUMERS_MAX {
            found.push(consumer);
        }
    }
    let own: Vec<String> = ConsumerSpec::all(wanted).into_iter().map(|spec| spec.name).collect();
    let stalled = found.iter().map(|info| {
        let is_own = own.contains(&info.name);
        OptionFuture::from(is_own.then(|| stalled_seconds(&stream, info)))
    });
    let stalled = join_all(stalled).await.into_iter().map(Option::flatten);
    let state = |(info, stalled_seconds)| BrokerConsumer { stalled_seconds, ..state_of(info) };
    let mut consumers: Vec<BrokerConsumer> = found.iter().zip(stalled).map(state).collect();
    consumers.sort_by(|a, b| a.consumer.cmp(&b.consumer));
    Ok(describe(stream.cached_info(), consumers))
}

/// A message may have come a moment ago, after a rest: of a consumer that has to deliver one, a second reading tells.
async fn stalled_seconds(stream: &Stream, info: &ConsumerInfo) -> Option<u64> {
    let seconds = waited_seconds(info, clock::now_ms() / 1_000)?;
    sleep(SECOND_READING).await;
    let after = stream.consumer_info(&info.name).await.ok()?;
    is_still(info, &after).then_some(seconds)
}

/// Seconds since the last delivery, of a consumer that has to deliver something and has not for long.
fn waited_seconds(info: &ConsumerInfo, now_seconds: i64) -> Option<u64> {
    let seconds = u64::try_from(now_seconds - last_delivery(info)?).ok()?;
    (is_to_deliver(info) && seconds >= limits::STALLED_AFTER.as_secs()).then_some(seconds)
}

/// Nothing was delivered between two readings, and something is to be still.
fn is_still(before: &ConsumerInfo, after: &ConsumerInfo) -> bool {
    is_to_deliver(after) && after.delivered.consumer_sequence == before.delivered.consumer_sequence
}

/// Time in seconds since 1970; without a delivery, of the consumer's creation. Unknown from a restart of the broker to the next delivery.
fn last_delivery(info: &ConsumerInfo) -> Option<i64> {
    let is_first = info.delivered.consumer_sequence == 0;
    let at = info.delivered.last_active.or_else(|| is_first.then_some(info.created))?;
    Some(at.unix_timestamp())
}

fn state_of(info: &ConsumerInfo) -> BrokerConsumer {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    BrokerConsumer {
        consumer: info.name.clone(),
        pending: info.num_pending,
        ack_pending: count(info.num_ack_pending),
        redelivered: count(info.num_redelivered),
        waiting: count(info.num_waiting),
        stalled_seconds: None,
    }
}

fn describe(info: &Info, consumers: Vec<BrokerConsumer>) -> BrokerStream {
    let cluster = info.cluster.as_ref();
    let current = cluster.map_or(1, |cluster| {
        usize::from(cluster.leader.is_some())
            + cluster.replicas.iter().filter(|peer| is_up_to_date(peer)).count()
    });
    BrokerStream {
        stream: info.config.name.clone(),
        messages: info.state.messages,
        bytes: info.state.bytes,
        max_bytes: info.config.max_bytes,
        first_sequence: info.state.first_sequence,
        last_sequence: info.state.last_sequence,
        partitions: init::partitions_of(&info.config),
        replicas: info.config.num_replicas,
        replicas_current: current,
        leader: cluster.and_then(|cluster| cluster.leader.clone()),
        consumers,
    }
}

/// `current` alone is false for a moment with every message.
fn is_up_to_date(peer: &PeerInfo) -> bool {
    let is_in_step =
        || peer.active < limits::REPLICA_SILENT && peer.lag.is_some_and(|lag| lag <= limits::REPLICA_LAG);
    !peer.offline && (peer.current || is_in_step())
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
    let [replicas, mutations, broken] = troubles_sql(&storage.database);
    let (parts, disks, replicas, mutations, broken) = tokio::join!(
        sources.rows::<PartsRow>(storage, &sql),
        sources.rows::<Disk>(storage, disks),
        troubles(sources, storage, &replicas),
        troubles(sources, storage, &mutations),
        troubles(sources, storage, &broken),
    );
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
        troubles: [replicas?, mutations?, broken?].concat(),
    })
}

/// None of a table that the user may not read.
async fn troubles(sources: &Sources, storage: &Storage, sql: &str) -> Answer<Vec<TableTrouble>> {
    match sources.rows(storage, sql).await {
        Err(error) if error.contains("ACCESS_DENIED") => Ok(Vec::new()),
        answer => answer,
    }
}

/// Mutations that are slow for as long as this are stuck.
const MUTATION_HOURS: u32 = 1;

/// Of read-only replicas, of mutations, of broken parts.
fn troubles_sql(database: &str) -> [String; 3] {
    [
        format!(
            "SELECT table, 'readonly' AS kind, count() AS count, any(last_queue_update_exception) AS detail FROM system.replicas \
             WHERE database = '{database}' AND is_readonly GROUP BY table"
        ),
        format!(
            "SELECT table, 'mutation' AS kind, count() AS count, \
             substring(any(concat(command, ': ', latest_fail_reason)), 1, 300) AS detail FROM system.mutations \
             WHERE database = '{database}' AND NOT is_done AND (latest_fail_reason != '' OR create_time < now() - toIntervalHour({MUTATION_HOURS})) \
             GROUP BY table"
        ),
        format!(
            "SELECT table_name AS table, 'broken_part' AS kind, count() AS count, any(part) AS detail FROM (\
             SELECT assumeNotNull(table) AS table_name, name AS part FROM system.detached_parts \
             WHERE database = '{database}' AND startsWith(ifNull(reason, ''), 'broken')) GROUP BY table_name"
        ),
    ]
}

/// Newest comparison, and the one under way. A comparison creates and drops tables, so one that outlasts a request goes on, and the next
/// request gets its result.
#[derive(Default)]
pub struct SchemaCache(Mutex<SchemaComparison>);

#[derive(Default)]
struct SchemaComparison {
    known: Option<SchemaReport>,
    newest: Option<PendingSchema>,
}

/// The comparison and when it ended.
type PendingSchema = Shared<BoxFuture<'static, (Instant, Answer<SchemaReport>)>>;

impl SchemaCache {
    /// The first comparison is waited for like any other source; a later one for a moment only, as there is an older one.
    pub async fn state(&self, sources: &Sources) -> Answer<SchemaReport> {
        let (known, newest) = self.newest(sources);
        let limit = match known {
            Some(_) => limits::SCHEMA_PATIENCE.min(sources.patience),
            None => sources.patience,
        };
        match timeout(limit, newest).await {
            Ok((_, compared)) => compared,
            Err(_) => known.ok_or_else(|| {
                format!("the comparison of the tables takes longer than {} s", limit.as_secs())
            }),
        }
    }

    fn newest(&self, sources: &Sources) -> (Option<SchemaReport>, PendingSchema) {
        // The value is consistent at every moment, so a panic of another holder does not matter.
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Polled, because nobody may have been waiting when it ended.
        let ended = inner.newest.clone().and_then(|newest| newest.now_or_never());
        if let Some((at, compared)) = ended {
            let is_fresh = compared.is_ok() && at.elapsed() < limits::SCHEMA_FRESH;
            if let Ok(compared) = compared {
                inner.known = Some(compared);
            }
            if !is_fresh {
                inner.newest = None;
            }
        }
        let newest = inner.newest.get_or_insert_with(|| begin(sources.clone())).clone();
        (inner.known.clone(), newest)
    }
}

fn begin(sources: Sources) -> PendingSchema {
    let task = AbortOnDropHandle::new(tokio::spawn(async move { compare(&sources).await }));
    let ended = async move {
        let panicked = |error| Err(format!("the comparison of the tables panicked: {error}"));
        let compared = task.await.unwrap_or_else(panicked);
        (Instant::now(), compared)
    };
    ended.boxed().shared()
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
    use marketprism_tests::clickhouse::ClickHouse;
    use marketprism_tests::parts;

    use super::*;
    use crate::config::Config;

    /// A table without a trouble and one that gives no answer are not the same.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_system_table_is_left_out_for_a_missing_privilege_and_for_nothing_else() {
        if parts::missing().is_some() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let engine = ClickHouse::start(folder.path()).await;
        let config = Config::parse(&format!("[clickhouse]\nurl = {:?}\n", engine.url())).unwrap();
        let sources = Sources::connect(&config, Duration::from_secs(30)).await.unwrap();
        let found = async |sql: &str| troubles(&sources, &sources.hot, sql).await;
        for sql in troubles_sql("default") {
            assert_eq!(found(&sql).await, Ok(Vec::new()), "{sql}");
        }
        assert_eq!(found("SELECT file('/etc/hosts')").await, Ok(Vec::new()), "not granted");
        let error = found("SELECT 1 FROM system.no_such_table").await.unwrap_err();
        assert!(error.contains("UNKNOWN_TABLE"), "{error}");
    }

    /// With one pull waiting, created at second 7.
    fn consumer(deliveries: u64, last_active: Option<&str>, pending: u64) -> ConsumerInfo {
        let at = serde_json::json!({"consumer_seq": deliveries, "stream_seq": deliveries, "last_active": last_active});
        let info = serde_json::json!({
            "stream_name": "MARKET_DATA", "name": "central-liquidations", "created": "1970-01-01T00:00:07Z",
            "config": {"deliver_policy": "all", "ack_policy": "explicit", "replay_policy": "instant", "max_ack_pending": 10},
            "delivered": at, "ack_floor": at, "num_ack_pending": 0, "num_redelivered": 0,
            "num_waiting": 1, "num_pending": pending,
        });
        serde_json::from_value(info).unwrap()
    }

    const AT_30: Option<&str> = Some("1970-01-01T00:00:30Z");

    /// A broker does not store the time of the last delivery.
    #[test]
    fn the_last_delivery_of_a_consumer_is_unknown_after_a_restart_of_the_broker() {
        let of = |deliveries, last_active| last_delivery(&consumer(deliveries, last_active, 1));
        assert_eq!(of(5, AT_30), Some(30));
        assert_eq!(of(5, None), None);
        assert_eq!(of(0, None), Some(7), "it has never delivered anything");
    }

    #[test]
    fn a_consumer_is_stalled_after_a_minute_with_messages_of_which_a_second_reading_shows_none_delivered() {
        let stalled = consumer(5, AT_30, 1);
        assert_eq!([89, 90, 91].map(|now| waited_seconds(&stalled, now)), [None, Some(60), Some(61)]);
        assert_eq!(waited_seconds(&consumer(5, AT_30, 0), 91), None, "nothing is pending");
        assert!(is_still(&stalled, &stalled));
        assert!(!is_still(&stalled, &consumer(6, AT_30, 1)), "one was delivered");
        assert!(!is_still(&stalled, &consumer(5, AT_30, 0)), "the messages were deleted");
    }

    #[test]
    fn a_replica_in_step_is_up_to_date_and_an_unreachable_or_lagging_one_is_not() {
        let peer = |current, offline, active: Duration, lag| PeerInfo {
            name: "nats-1".to_owned(),
            current,
            active,
            offline,
            lag,
        };
        let now = Duration::from_millis(300);
        for (expected, peer) in [
            (true, peer(true, false, now, None)),
            (true, peer(false, false, now, Some(3))),
            (false, peer(false, false, now, Some(50_000))),
            (false, peer(false, false, now, None)),
            (false, peer(false, false, Duration::from_secs(30), Some(3))),
            (false, peer(true, true, now, None)),
        ] {
            assert_eq!(is_up_to_date(&peer), expected, "{peer:?}");
        }
    }
}
