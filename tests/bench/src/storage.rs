//! Bytes of a row in hot and in cold, by type and column, and of a day; time to read a row. Recorded events and their continuation go through
//! broker and central into the real tables.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use marketprism_schema::{DataType, Event, StreamId, Table, WireForm};
use marketprism_tests::figures::Report;
use marketprism_tests::stack::Stack;

use crate::engine::{execute, wide_copy};
use crate::recorded::{self, RecordedStream};

/// Rows of a type, about; states of books are large.
const ROWS: usize = 20_000;
const ROWS_ORDER_BOOKS: usize = 2_400;
const ROWS_SLOW: usize = 4_000;
/// Limit for the last row.
const LIMIT: Duration = Duration::from_secs(300);
/// Acknowledgements in flight.
const IN_FLIGHT: usize = 1_024;
/// Reads of a table, of which the processor time is taken together.
const READS: u32 = 20;
/// Columns of less are not shown.
const SHOWN_BYTES: f64 = 0.5;

pub async fn measure(report: &mut Report) -> Result<()> {
    let mut stack = Stack::plain().await;
    let streams = tokio::task::block_in_place(recorded_streams)?;
    let counts = tokio::task::block_in_place(|| counted(&streams))?;
    let events = tokio::task::block_in_place(|| continued(&streams, &counts))?;
    publish(&stack, &events).await?;
    let mut stored: BTreeMap<&str, u64> = BTreeMap::new();
    for event in &events {
        *stored.entry(Table::of(event.body.data_type()).name).or_default() += 1;
    }
    let mut day = [0.0; 2];
    for (table, rows) in &stored {
        arrived(&stack, table, *rows).await?;
        let data_type =
            Table::ALL.iter().find(|known| known.name == *table).context("a known table")?.data_type;
        let a_second = a_second(&streams, data_type)?;
        if a_second > 0.0 {
            report.figure(format!("{data_type}, captured"), a_second, "rows a second");
        }
        let plain = read_plain(&mut stack, table, *rows as f64).await?;
        report.figure(
            format!("{data_type}, not compressed, CPU time to read all columns"),
            plain,
            "ns a row",
        );
        for (place, side) in ["hot", "cold"].into_iter().enumerate() {
            let name = format!("{data_type}, {rows} rows, {side}");
            let bytes = measured(&mut stack, table, side, &name, report).await?;
            if let Some(sum) = day.get_mut(place) {
                *sum += bytes * a_second * 86_400.0 / 1e9;
            }
        }
    }
    let captured = streams.iter().filter(|stream| stream.seconds.is_some());
    let instruments: BTreeSet<_> = captured.map(|stream| (&stream.id.exchange, &stream.id.symbol)).collect();
    for (side, bytes) in ["hot", "cold"].into_iter().zip(day) {
        let name = format!(
            "trades, states, changes and quotes of the {} captured instruments, {side}",
            instruments.len()
        );
        report.figure(name, bytes, "GB a day");
    }
    Ok(())
}

fn recorded_streams() -> Result<Vec<RecordedStream>> {
    let mut streams = recorded::captured(&[
        DataType::Trade,
        DataType::OrderBook,
        DataType::OrderBookDelta,
        DataType::Quote,
    ])?;
    streams.extend(recorded::of_tests()?);
    Ok(streams)
}

fn counted(streams: &[RecordedStream]) -> Result<BTreeMap<&'static str, usize>> {
    let mut counts = BTreeMap::new();
    for stream in streams {
        *counts.entry(stream.id.data_type.as_str()).or_default() += stream.events()?.len();
    }
    Ok(counts)
}

/// In the order of their receipt, so that instruments alternate as they do in a stream.
fn continued<'a>(
    streams: &'a [RecordedStream],
    counts: &BTreeMap<&'static str, usize>,
) -> Result<Vec<Event<'a>>> {
    let now_ns = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let mut events = Vec::new();
    for stream in streams {
        let wanted = match stream.id.data_type {
            DataType::Trade | DataType::OrderBookDelta | DataType::Quote => ROWS,
            DataType::OrderBook => ROWS_ORDER_BOOKS,
            _ => ROWS_SLOW,
        };
        let recorded = counts.get(stream.id.data_type.as_str()).copied().unwrap_or_default();
        let copies = i64::try_from(wanted.div_ceil(recorded.max(1)))?;
        events.extend(stream.continued(copies, now_ns)?);
    }
    events.sort_by_key(|event| event.header.received_at_ns);
    Ok(events)
}

fn a_second(streams: &[RecordedStream], data_type: DataType) -> Result<f64> {
    let mut sum = 0.0;
    for stream in streams.iter().filter(|stream| stream.id.data_type == data_type) {
        let count = stream.events()?.len() as f64;
        sum += stream.seconds.map_or(0.0, |seconds| count / seconds.max(1.0));
    }
    Ok(sum)
}

async fn publish(stack: &Stack, events: &[Event<'_>]) -> Result<()> {
    let client = async_nats::connect(stack.broker.url()).await?;
    let jetstream = async_nats::jetstream::new(client);
    let mut acks = FuturesUnordered::new();
    for event in events {
        let header = &event.header;
        let data_type = event.body.data_type();
        let subject =
            StreamId::new(data_type, &header.exchange, header.market_type, &header.symbol)?.to_string();
        let mut payload = Vec::new();
        WireForm::Protobuf.encode(event, &mut payload);
        acks.push(jetstream.publish(subject, payload.into()).await?.into_future());
        while acks.len() >= IN_FLIGHT {
            acks.next().await.context("no acknowledgement in flight")??;
        }
    }
    while let Some(ack) = acks.next().await {
        ack?;
    }
    Ok(())
}

async fn arrived(stack: &Stack, table: &str, rows: u64) -> Result<()> {
    let started = Instant::now();
    loop {
        let found = number(stack, &format!("SELECT count() FROM marketprism_hot.{table}")).await?;
        if found >= rows as f64 {
            return Ok(());
        }
        let refused = "SELECT concat(subject, ': ', reason) FROM marketprism_hot.dead_letters LIMIT 1";
        let refused = stack.clickhouse.text(refused).await.map_err(|error| anyhow!(error))?;
        ensure!(refused.is_empty(), "central refused events: {refused}");
        ensure!(started.elapsed() < LIMIT, "{found} of {rows} rows in {table} after {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Bytes of a row, in a table as that of the side, with all rows in one part a partition.
async fn measured(
    stack: &mut Stack,
    table: &str,
    side: &str,
    name: &str,
    report: &mut Report,
) -> Result<f64> {
    let database = format!("marketprism_{side}");
    let copy = format!("{table}_measured");
    let [to, like] = [copy.as_str(), table].map(|table| format!("{database}.{table}"));
    wide_copy(&stack.clickhouse, &to, &like, &format!("marketprism_hot.{table}")).await?;
    let of_copy = format!("active AND database = '{database}' AND table = '{copy}'");
    let part = stack
        .clickhouse
        .rows(&format!(
            "SELECT toFloat64(sum(data_compressed_bytes)) AS bytes, toFloat64(sum(rows)) AS count FROM system.parts WHERE {of_copy}"
        ))
        .await
        .map_err(|error| anyhow!(error))?;
    let value = |row: &serde_json::Value, key: &str| row[key].as_f64().unwrap_or_default();
    let part = part.first().context("a part")?;
    let rows = value(part, "count");
    let bytes = value(part, "bytes") / rows;
    report.figure(name.to_owned(), bytes, "bytes a row");
    let columns = stack
        .clickhouse
        .rows(&format!(
            "SELECT column, toFloat64(sum(column_data_compressed_bytes)) AS bytes FROM system.parts_columns WHERE {of_copy} \
             GROUP BY column ORDER BY bytes DESC"
        ))
        .await
        .map_err(|error| anyhow!(error))?;
    for column in &columns {
        let of_row = value(column, "bytes") / rows;
        if of_row >= SHOWN_BYTES {
            let column = column["column"].as_str().unwrap_or_default();
            report.figure(format!("{name}, {column}"), of_row, "bytes a row");
        }
    }
    let read = read(stack, &format!("{database}.{copy}"), rows).await?;
    report.figure(format!("{name}, CPU time to read all columns"), read, "ns a row");
    Ok(bytes)
}

/// CPU time of the engine for a row, all columns.
async fn read(stack: &mut Stack, table: &str, rows: f64) -> Result<f64> {
    let before = stack.clickhouse.process().cpu_time();
    for _ in 0..READS {
        let read = format!("SELECT sum(cityHash64(*)) FROM {table} SETTINGS max_threads = 1");
        execute(&stack.clickhouse, &read).await?;
    }
    let time = stack.clickhouse.process().cpu_time().saturating_sub(before);
    Ok(time.as_secs_f64() / f64::from(READS) / rows * 1e9)
}

/// [`read`] of rows that are not compressed.
async fn read_plain(stack: &mut Stack, table: &str, rows: f64) -> Result<f64> {
    let plain = format!("marketprism_hot.{table}_plain");
    let create = format!(
        "CREATE TABLE {plain} ENGINE = MergeTree ORDER BY tuple() SETTINGS default_compression_codec = 'NONE' \
         AS SELECT * FROM marketprism_hot.{table}"
    );
    execute(&stack.clickhouse, &create).await?;
    execute(&stack.clickhouse, &format!("OPTIMIZE TABLE {plain} FINAL")).await?;
    read(stack, &plain, rows).await
}

async fn number(stack: &Stack, query: &str) -> Result<f64> {
    Ok(stack.clickhouse.number(query).await.map_err(|error| anyhow!(error))? as f64)
}
