//! Recovery of a stream after hot was put back to an earlier state, for instance from a copy: what hot lost comes back from cold, then
//! from the broker; what neither has is recorded in `losses`.
//!
//! Rows of cold come first and keep their `created_at`: under a new one the replicator would copy them a second time.
//!
//! A message counts as stored with one of its events. Hot and cold may have only some: cold at the end of its last window, hot when its copy was
//! made between two inserts. The messages shortly before the first missing one come again from the broker, known events are recognized. Events that
//! the copy lacks of a message further back, behind which cold has the rows, stay missing.

use anyhow::Context as _;
use clickhouse::Compression;
use marketprism_schema::{DataType, DatabaseKind, Table, stream_of};
use tokio::time::timeout;

use super::insert::log_comment_prefix;
use super::losses::{self, LossCause};
use super::positions;
use super::progress::SeqRange;
use super::subscription::{self, Subscription};
use crate::broker::within;
use crate::config::Stream;
use crate::context::CentralContext;
use crate::row::columns_of;
use crate::storage::{StorageError, UNKNOWN, bounded};
use crate::watermark::Watermarks;
use crate::{init, limits, sql};

/// Creates tables that an emptied server lacks, as the start does.
pub async fn create_missing_tables(shared: &CentralContext) -> anyhow::Result<()> {
    let sides = [DatabaseKind::Hot];
    let report = init::ensure(&shared.config, &shared.broker, &shared.leases, &sides, false).await?;
    report.refuse_immutable()
}

/// Repeating it after an interruption continues. Nothing of the stream may be in memory or on its way to hot.
pub async fn recover(
    shared: &CentralContext,
    stream: &Stream,
    found: &Subscription,
    upto: u64,
) -> anyhow::Result<()> {
    let (name, created_ns) = (stream.settings.name, found.stream_created_ns);
    let handle = within("query the stream", shared.broker.jetstream.get_stream(name)).await??;
    let first = handle.cached_info().state.first_sequence.max(1);
    let from = first_to_compare(shared, name, created_ns, first).await?;
    let whole: Vec<SeqRange> =
        Some(SeqRange { from, to: upto }).filter(|span| span.from <= span.to).into_iter().collect();
    let missing = losses::not_stored(shared, name, &whole, created_ns).await?;
    let from_cold = copy_from_cold(shared, name, &missing, created_ns).await?;
    let missing = losses::not_stored(shared, name, &missing, created_ns).await?;
    let watermarks = Watermarks::open(&shared.broker, shared.config.replicas()).await?;
    let written = watermarks.read(name).await?;
    let mut confirmed = written.sequence_of(created_ns);
    let (lost, held) = split_at(&missing, first);
    let (stored, taken) = split_at(&lost, confirmed.saturating_add(1));
    let evidence = format!("confirmed before hot was put back; first sequence of the broker is {first}");
    losses::record(shared, name, &stored, LossCause::PutBack, &evidence).await?;
    let evidence = format!(
        "taken by a central that ended before storing them, or lost by hot before they were confirmed; first sequence of the broker is {first}"
    );
    losses::record(shared, name, &taken, LossCause::Retention, &evidence).await?;

    if let Some(missing) = held.first() {
        let from = missing.from.saturating_sub(limits::REWIND_MARGIN).max(first);
        subscription::rewind(shared, stream, from).await?;
        confirmed = confirmed.min(from.saturating_sub(1));
        watermarks.write(name, &written, confirmed, created_ns).await?;
    }
    // Last: until then the comparison of positions repeats an interrupted recovery.
    positions::write(&shared.storage, name, created_ns, confirmed).await?;
    let count = |spans: &[SeqRange]| spans.iter().map(SeqRange::len).sum::<u64>();
    let (from_broker, lost) = (count(&held), count(&lost));
    tracing::warn!(
        stream = name,
        from_cold,
        from_broker,
        lost,
        confirmed,
        "messages that hot lost are taken in again"
    );
    Ok(())
}

/// Everything before it was in hot when the copy was made. An emptied hot does not tell: cold's newest row does.
async fn first_to_compare(
    shared: &CentralContext,
    stream: &'static str,
    created_ns: i64,
    first: u64,
) -> anyhow::Result<u64> {
    if positions::newest(&shared.storage, stream, created_ns).await?.position > 0 {
        return Ok(positions::surely_held(&shared.storage, stream, created_ns).await?.saturating_add(1));
    }
    let mut newest = 0;
    for table in tables_of(stream) {
        let sql = format!(
            "SELECT max(stream_seq) FROM {}.{} WHERE created_at >= {}",
            shared.cold.database,
            table.name,
            sql::millis(created_ns / 1_000_000)
        );
        newest = newest.max(in_cold(shared, &sql).await?);
    }
    Ok(first.min(newest.saturating_add(1)))
}

/// The spans before a sequence, and from it on.
fn split_at(spans: &[SeqRange], sequence: u64) -> (Vec<SeqRange>, Vec<SeqRange>) {
    let before =
        spans.iter().map(|span| SeqRange { from: span.from, to: span.to.min(sequence.saturating_sub(1)) });
    let after = spans.iter().map(|span| SeqRange { from: span.from.max(sequence), to: span.to });
    let is_there = |span: &SeqRange| span.from <= span.to;
    (before.filter(is_there).collect(), after.filter(is_there).collect())
}

fn tables_of(stream: &'static str) -> impl Iterator<Item = &'static Table> {
    DataType::ALL.iter().filter(move |&&data_type| stream_of(data_type) == stream).map(|&of| Table::of(of))
}

async fn in_cold(shared: &CentralContext, sql: &str) -> anyhow::Result<u64> {
    let asked = shared.cold.client.query_raw(sql).fetch_one::<u64>();
    match bounded(shared.config.replication.query_timeout, asked).await {
        // Cold was never set up, or was emptied: it has nothing.
        Err(StorageError::Refused { code, .. }) if UNKNOWN.contains(&code) => Ok(0),
        found => found.context("hot was put back; cold, which may have its rows, does not answer"),
    }
}

/// Copies the rows of these sequences from cold to hot; returns their number.
async fn copy_from_cold(
    shared: &CentralContext,
    stream: &'static str,
    spans: &[SeqRange],
    created_ns: i64,
) -> anyhow::Result<u64> {
    let mut copied = 0;
    for table in tables_of(stream) {
        for piece in spans.iter().flat_map(|span| span.pieces(limits::SEQUENCES_A_COPY)) {
            let rows = format!(
                "FROM {}.{} WHERE stream_seq BETWEEN {} AND {} AND created_at >= {}",
                shared.cold.database,
                table.name,
                piece.from,
                piece.to,
                sql::millis(created_ns / 1_000_000)
            );
            let count = in_cold(shared, &format!("SELECT count() {rows}")).await?;
            if count > 0 {
                let limit = shared.config.replication.query_timeout;
                timeout(limit, copy(shared, stream, table, &rows))
                    .await
                    .context("copying from cold to hot took too long")??;
                copied += count;
            }
        }
    }
    Ok(copied)
}

async fn copy(
    shared: &CentralContext,
    stream: &'static str,
    table: &Table,
    rows: &str,
) -> Result<(), StorageError> {
    let names: Vec<String> =
        columns_of(table.data_type).iter().map(|(name, _)| format!("`{name}`")).collect();
    let columns = names.join(", ");
    let seconds = shared.config.replication.query_timeout.as_secs().max(1).to_string();
    let client = shared.cold.client.clone().with_compression(Compression::None);
    let query = client.query_raw(&format!("SELECT {columns} {rows}"));
    let mut answer = query.with_setting("max_execution_time", seconds.clone()).fetch_bytes("Native")?;
    let into = format!("INSERT INTO {}.{} ({columns}) FORMAT Native", shared.storage.database, table.name);
    let mut insert = shared
        .storage
        .client
        .insert_formatted_with(into)
        .with_setting("insert_deduplicate", "0")
        .with_setting("async_insert", "0")
        .with_setting("wait_end_of_query", "1")
        .with_setting("max_partitions_per_insert_block", "0")
        // A later try waits for the end of this one.
        .with_setting("log_comment", log_comment_prefix(stream))
        .with_setting("max_execution_time", seconds);
    while let Some(bytes) = answer.next().await? {
        insert.send(bytes).await?;
    }
    insert.end().await.map_err(StorageError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_before_the_brokers_first_are_told_from_those_that_it_holds() {
        let span = |from, to| SeqRange { from, to };
        let spans = [span(3, 5), span(8, 12), span(20, 21)];
        assert_eq!(split_at(&spans, 10), (vec![span(3, 5), span(8, 9)], vec![span(10, 12), span(20, 21)]));
        assert_eq!(split_at(&spans, 1).0, []);
        assert_eq!(split_at(&spans, 99).1, []);
    }
}
