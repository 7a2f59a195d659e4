//! One look at broker, hot, cold and processes.

use std::collections::BTreeMap;

use clickhouse::Row;
use marketprism_schema::{GapKind, Table};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::own_metrics::resident_bytes;
use crate::clock;
use crate::init::{is_central, is_unused};
use crate::limits::DOUBLES_SPAN;
use crate::report::document::{BrokerConsumer, BrokerStream, Unanswered};
use crate::report::sources::tables::TableWatermark;
use crate::report::sources::{Answer, edges, systems, tables};
use crate::report::{Sources, Time};
use crate::sql;
use crate::time::millis;

/// Names of parts that did not answer.
pub const ROWS_OF_HOT: &str = "rows of hot";
pub const WATERMARKS: &str = "watermarks";

/// Takes samples. Counts of rows and losses begin with it.
pub struct Sampler<'a> {
    sources: &'a Sources,
    /// By the clock of hot.
    since_ms: i64,
    began: Instant,
    /// Up to here hot was searched for doubles, since the begin.
    searched_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    pub at: Time,
    /// Time since the begin of the measurement.
    pub seconds: f64,
    /// As the broker counts them.
    pub streams: Vec<StreamSample>,
    /// Rows stored in hot since the begin.
    pub tables: Vec<TableSample>,
    /// Greatest replication lag of a table: without a copy yet, since the begin. Absent without a row, and if it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_lag_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses: Option<LossSample>,
    pub memory: Vec<MemorySample>,
    /// Parts that did not answer.
    pub unanswered: Vec<Unanswered>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamSample {
    pub stream: &'static str,
    pub last_sequence: u64,
    /// Of central's consumers: not delivered; delivered and not acknowledged; delivered more than once.
    pub pending: u64,
    pub ack_pending: u64,
    pub redelivered: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Row, Deserialize)]
pub struct TableSample {
    pub table: String,
    pub rows: u64,
    /// Rows beyond one per event, among those since five minutes before the sample before.
    pub doubles: u64,
    /// Time at which the newest one was stored, in milliseconds; 0 without a row.
    pub newest_ms: i64,
}

/// Since the begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Row, Deserialize)]
pub struct LossSample {
    /// Discarded by the broker before they were stored.
    pub lost_messages: u64,
    /// Refused for their content.
    pub dead_letters: u64,
    /// Missing by the edges' audits; another edge may have them.
    pub missing_events: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemorySample {
    /// `central`, `clickhouse hot`, or `edge` and its name.
    pub process: String,
    pub bytes: u64,
}

impl<'a> Sampler<'a> {
    pub async fn begin(sources: &'a Sources) -> Answer<Self> {
        let sql = "SELECT toUnixTimestamp64Milli(now64(3, 'UTC'))";
        let now = sources.rows::<i64>(&sources.hot, sql).await?;
        let since_ms = now.first().copied().ok_or("hot returned no row")?;
        Ok(Self { sources, since_ms, began: Instant::now(), searched_ms: 0 })
    }

    pub async fn take(&mut self) -> Sample {
        let sources = self.sources;
        let elapsed_ms = millis(self.began.elapsed());
        let (at, seconds) = (Time(clock::now_ms()), self.began.elapsed().as_secs_f64());
        let (of_rows, of_losses) = (self.rows_sql(), self.losses_sql());
        let (streams, rows, losses, marks, memory) = tokio::join!(
            systems::streams(sources),
            sources.rows::<TableSample>(&sources.hot, &of_rows),
            sources.rows::<LossSample>(&sources.hot, &of_losses),
            tables::watermarks(sources),
            memory(sources),
        );
        let mut unanswered = Vec::new();
        let mut miss =
            |part: &str, reason: String| unanswered.push(Unanswered { part: part.to_owned(), reason });
        let mut answered = Vec::new();
        for (name, stream) in streams {
            match stream {
                Ok(stream) => answered.push(stream_sample(name, &stream)),
                Err(reason) => miss(&format!("stream {name}"), reason),
            }
        }
        let tables = match rows {
            Ok(tables) => {
                self.searched_ms = elapsed_ms;
                tables
            }
            Err(reason) => {
                miss(ROWS_OF_HOT, reason);
                Vec::new()
            }
        };
        let losses = losses.map_err(|reason| miss("losses", reason)).ok();
        let marks = marks.map_err(|reason| miss(WATERMARKS, reason)).ok();
        let cold_lag_seconds = marks.and_then(|marks| lag_seconds(&marks, &tables, self.since_ms));
        let mut processes = Vec::new();
        for (part, bytes) in memory {
            match bytes {
                Ok(bytes) => processes.push(MemorySample { process: part, bytes }),
                Err(reason) => miss(&format!("memory of {part}"), reason),
            }
        }
        Sample {
            at,
            seconds,
            streams: answered,
            tables,
            cold_lag_seconds,
            losses: losses.and_then(|rows| rows.first().copied()),
            memory: processes,
            unanswered,
        }
    }

    fn rows_sql(&self) -> String {
        let database = &self.sources.hot.database;
        let since = sql::millis(self.since_ms);
        let searched_ms = self.searched_ms.saturating_sub(millis(DOUBLES_SPAN)).max(0);
        let recent = sql::millis(self.since_ms.saturating_add(searched_ms));
        let of_table = |table: &Table| {
            let name = table.name;
            format!(
                "SELECT '{name}' AS table, count() AS rows, countIf(created_at >= {recent}) - \
                 uniqExactIf(event_id, created_at >= {recent}) AS doubles, \
                 toUnixTimestamp64Milli(max(created_at)) AS newest_ms FROM {database}.{name} WHERE created_at >= {since}"
            )
        };
        let all: Vec<String> = Table::ALL.iter().map(of_table).collect();
        format!(
            "SELECT table, rows, toUInt64(doubles) AS doubles, newest_ms FROM ({}) ORDER BY table",
            all.join(" UNION ALL ")
        )
    }

    fn losses_sql(&self) -> String {
        let (database, since) = (&self.sources.hot.database, sql::millis(self.since_ms));
        format!(
            "SELECT toUInt64(ifNull((SELECT sum(messages) FROM {database}.losses FINAL WHERE seen_at >= {since}), 0)) AS lost_messages, \
             toUInt64(ifNull((SELECT count() FROM {database}.dead_letters FINAL WHERE created_at >= {since}), 0)) AS dead_letters, \
             toUInt64(ifNull((SELECT sum(ifNull(gap.missing, 0)) FROM (SELECT * FROM {database}.audits WHERE created_at >= {since} \
             AND notEmpty(gaps) ORDER BY created_at DESC LIMIT 1 BY window_start, exchange, data_type, market_type, symbol, \
             edge, run) ARRAY JOIN gaps AS gap WHERE gap.kind != '{backfilled}'), 0)) AS missing_events",
            backfilled = GapKind::Backfilled,
        )
    }
}

fn stream_sample(name: &'static str, stream: &BrokerStream) -> StreamSample {
    // One of others may be behind for ever.
    let own = |consumer: &&BrokerConsumer| {
        is_central(&consumer.consumer) && !is_unused((name, stream.partitions), &consumer.consumer)
    };
    let own: Vec<&BrokerConsumer> = stream.consumers.iter().filter(own).collect();
    StreamSample {
        stream: name,
        last_sequence: stream.last_sequence,
        pending: own.iter().map(|consumer| consumer.pending).sum(),
        ack_pending: own.iter().map(|consumer| consumer.ack_pending).sum(),
        redelivered: own.iter().map(|consumer| consumer.redelivered).sum(),
    }
}

/// Of a table that was never copied, the age of its first row is not known: it is as old as the measurement at most.
fn lag_seconds(
    marks: &BTreeMap<String, TableWatermark>,
    tables: &[TableSample],
    since_ms: i64,
) -> Option<u64> {
    let of_mark = |(table, mark): (&String, &TableWatermark)| {
        let counted = tables.iter().find(|sample| sample.table == *table && sample.newest_ms > 0);
        let newest_ms = counted.map(|sample| sample.newest_ms).or(mark.hot_newest.map(|time| time.0))?;
        Some(newest_ms.saturating_sub(mark.upto.0))
    };
    let uncopied = tables.iter().filter(|sample| sample.newest_ms > 0 && !marks.contains_key(&sample.table));
    let of_uncopied = uncopied.map(|sample| sample.newest_ms.saturating_sub(since_ms));
    let most_ms = marks.iter().filter_map(of_mark).chain(of_uncopied).max()?;
    u64::try_from(most_ms.max(0) / 1_000).ok()
}

/// Of this configuration's central, of hot, and of the running edges by their heartbeats.
async fn memory(sources: &Sources) -> Vec<(String, Answer<u64>)> {
    let of_hot = "SELECT toUInt64(greatest(0, value)) FROM system.metrics WHERE metric = 'MemoryTracking'";
    let (central, hot, edges) = tokio::join!(
        resident_bytes(&sources.config.http),
        sources.rows::<u64>(&sources.hot, of_hot),
        edges::edges(sources),
    );
    let hot = hot.and_then(|rows| rows.first().copied().ok_or_else(|| "no row".to_owned()));
    let mut memory = vec![("central".to_owned(), central), ("clickhouse hot".to_owned(), hot)];
    match edges {
        Ok(edges) => memory.extend(
            edges
                .iter()
                .filter(|edge| edge.is_running())
                .filter_map(|edge| Some((format!("edge {}", edge.edge), Ok(edge.resident_bytes?)))),
        ),
        Err(reason) => memory.push(("edges".to_owned(), Err(reason))),
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_central_s_own_consumers_count() {
        let consumer = |name: &str, pending| BrokerConsumer {
            consumer: name.to_owned(),
            pending,
            ack_pending: 1,
            redelivered: 0,
            waiting: 0,
            stalled_seconds: None,
        };
        let consumers = vec![
            consumer("central-trades", 2),
            consumer("central-funding-rates", 3),
            consumer("central-market-data", 70),
            consumer("x", 900),
        ];
        let stream = BrokerStream {
            stream: "MARKET_DATA".into(),
            messages: 0,
            bytes: 0,
            max_bytes: 0,
            first_sequence: 0,
            last_sequence: 7,
            partitions: 1,
            replicas: 1,
            replicas_current: 1,
            leader: None,
            consumers,
        };
        let sample = stream_sample("MARKET_DATA", &stream);
        assert_eq!((sample.last_sequence, sample.pending, sample.ack_pending), (7, 5, 2));
    }

    #[test]
    fn a_table_without_a_copy_is_behind_since_the_begin() {
        let table =
            |table: &str, newest_ms| TableSample { table: table.into(), rows: 1, doubles: 0, newest_ms };
        let tables = [table("trades", 1_000_000), table("orderbooks", 950_000), table("liquidations", 0)];
        assert_eq!(lag_seconds(&BTreeMap::new(), &[], 50_000), None);
        assert_eq!(lag_seconds(&BTreeMap::new(), &tables, 50_000), Some(950));
        let mark =
            |table: &str, upto| (table.to_owned(), TableWatermark { upto: Time(upto), hot_newest: None });
        let one = BTreeMap::from([mark("trades", 990_000)]);
        assert_eq!(lag_seconds(&one, &tables, 50_000), Some(900), "the other has no copy");
        let both = BTreeMap::from([mark("trades", 990_000), mark("orderbooks", 960_000)]);
        assert_eq!(lag_seconds(&both, &tables, 50_000), Some(10));
    }
}
