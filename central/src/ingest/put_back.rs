//! Recovery of a stream after hot was put back to an earlier state, for instance from a copy: what hot lost comes back from cold, then
//! from the broker; what neither has is recorded in `losses`.
//!
//! Hot and cold may have only some events of a message: hot those of a table or insert that was in the copy, cold those of a window that was being
//! copied. Cold gives what hot lacks event by event (`cold_rows`), whatever stream of the broker it came from. What neither side has for certain, which are the rows of the last minute of the
//! copy that lie above cold's watermark, comes again from the broker, and known events are recognized. Rows of `copies` do not come back where
//! cold gave the other events of their message.
//!
//! A broker that was put back gives sequences again. Of messages that it received after the newest row of the copy, hot has nothing, whatever
//! rows it has with their sequences.

use anyhow::Context as _;
use async_nats::jetstream::stream::Stream as BrokerStream;
use marketprism_schema::DatabaseKind;

use super::cold_rows::{self, RestoredHot, bring_back, of_cold, tables_of};
use super::losses::{self, LossCause, first_from};
use super::positions;
use super::subscription::{self, Subscription};
use crate::broker::within;
use crate::config::Stream;
use crate::context::CentralContext;
use crate::seq_range::SeqRange;
use crate::storage::{bounded, limited};
use crate::watermark::Watermarks;
use crate::{init, limits, sql, time};

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
    let entry = positions::newest_time(&shared.storage, name, created_ns).await?;
    // The newest row may be of the time before a clock was set back, or have come since.
    let copy_ms = if entry.is_ahead(shared.hot_clock.now_ms()) {
        entry.hour_ms
    } else {
        newest_row(shared, name, created_ns, entry.written_ms).await?
    };
    let since_copy = first_after(&handle, first, copy_ms.saturating_mul(1_000_000)).await?.max(from);
    let restored = RestoredHot { stream: name, stream_created_ns: created_ns, copy_ms };
    let brought = bring_back(shared, restored).await?;
    let parts = [
        (SeqRange { from, to: upto.min(since_copy - 1) }, created_ns),
        (SeqRange { from: since_copy, to: upto }, created_ns.max((copy_ms + 1).saturating_mul(1_000_000))),
    ];
    let mut missing = Vec::new();
    for (span, since_ns) in parts.into_iter().filter(|(span, _)| span.from <= span.to) {
        missing.extend(losses::not_stored(shared, name, &[span], since_ns).await?);
    }
    let uncertain = first_uncertain(shared, name, (from, created_ns), copy_ms).await?;
    // An edge counts each message of its own, also one that brought what another one had brought.
    let came_again = brought.deleted_from.filter(|sequence| *sequence <= upto);
    let watermarks = Watermarks::open(&shared.broker, shared.config.replicas()).await?;
    let written = watermarks.read(name).await?;
    let mut confirmed = written.sequence_of(created_ns);
    let (lost, held) = split_at(&missing, first);
    // Rows that were removed from hot, or are close to their TTL, are in cold alone. Only what the broker does not hold is looked up: one that was put back
    // gives the sequences of such rows to other messages, and known events are recognized.
    let lost = losses::not_in_cold(shared, name, &lost, created_ns).await?;
    let (stored, taken) = split_at(&lost, confirmed.saturating_add(1));
    let evidence = format!("confirmed before hot was put back; first sequence of the broker is {first}");
    losses::record(shared, (name, created_ns), &stored, LossCause::PutBack, &evidence).await?;
    let evidence = format!(
        "taken by a central that ended before storing them, or lost by hot before they were confirmed; first sequence of the broker is {first}"
    );
    losses::record(shared, (name, created_ns), &taken, LossCause::Retention, &evidence).await?;

    let before_missing = held.first().map(|missing| missing.from.saturating_sub(limits::REWIND_MARGIN));
    if let Some(from) = before_missing.into_iter().chain(uncertain).chain(came_again).min() {
        let from = from.max(first);
        subscription::rewind(shared, stream, from).await?;
        confirmed = confirmed.min(from.saturating_sub(1));
        watermarks.write(name, &written, confirmed, created_ns).await?;
    }
    // Last: until then the comparison of positions, or of marks, repeats an interrupted recovery.
    positions::write(&shared.storage, name, created_ns, confirmed).await?;
    cold_rows::finish(shared, restored, &brought).await?;
    let count = |spans: &[SeqRange]| spans.iter().map(SeqRange::len).sum::<u64>();
    let (from_cold, from_broker, lost) = (brought.events, count(&held), count(&lost));
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

async fn in_cold(shared: &CentralContext, sql: &str) -> anyhow::Result<u64> {
    let limit = shared.config.replication.query_timeout;
    let asked = limited(&shared.cold.client, limit).query_raw(sql).fetch_one::<u64>();
    of_cold(bounded(limit, asked).await)
}

/// Time of the newest row of the stream in hot when the copy was made, 0 without one. Rows that came since it was put back do not count:
/// nobody has written a position since, and positions are written at every scan while messages flow.
async fn newest_row(
    shared: &CentralContext,
    stream: &'static str,
    created_ns: i64,
    position_ms: i64,
) -> anyhow::Result<i64> {
    let scans = time::nanos(limits::SCAN_INTERVAL * 2) / 1_000_000;
    let until = match position_ms {
        0 => String::new(),
        _ => format!("AND created_at <= {}", sql::millis(position_ms.saturating_add(scans))),
    };
    let mut newest = 0;
    for table in tables_of(stream) {
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp64Milli(max(created_at))) FROM {}.{} WHERE created_at >= {} {until}",
            shared.storage.database,
            table.name,
            sql::millis(created_ns / 1_000_000)
        );
        let asked = shared.storage.client.query_raw(&sql).fetch_one::<i64>();
        let found =
            bounded(limits::QUERY_TIMEOUT, asked).await.context("cannot read the newest row of hot")?;
        newest = found.max(newest);
    }
    Ok(newest)
}

/// First sequence that the broker received after a time.
async fn first_after(stream: &BrokerStream, first: u64, time_ns: i64) -> anyhow::Result<u64> {
    let (mut low, mut high) = (first, stream.cached_info().state.last_sequence.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match first_from(stream, middle).await? {
            Some(found) if found.time.unix_timestamp_nanos() <= i128::from(time_ns) => {
                low = found.sequence.saturating_add(1);
            }
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Lowest sequence of the rows of which neither the copy nor cold surely has all of their messages.
async fn first_uncertain(
    shared: &CentralContext,
    stream: &'static str,
    (from, created_ns): (u64, i64),
    copy_ms: i64,
) -> anyhow::Result<Option<u64>> {
    let mut lowest: Option<u64> = None;
    for table in tables_of(stream) {
        let watermark = format!(
            "SELECT max(toUInt64(toUnixTimestamp64Milli(upto))) FROM {}.watermarks FINAL WHERE table_name = '{}'",
            shared.cold.database, table.name
        );
        let in_cold_ms = i64::try_from(in_cold(shared, &watermark).await?).unwrap_or_default();
        let since_ms = in_cold_ms
            .max(copy_ms.saturating_sub(time::nanos(limits::COPY_INSERTS) / 1_000_000))
            .max(created_ns / 1_000_000);
        let sql = format!(
            "SELECT min(stream_seq) FROM {}.{} WHERE stream_seq >= {from} AND created_at >= {} HAVING count() > 0",
            shared.storage.database,
            table.name,
            sql::millis(since_ms)
        );
        let asked = shared.storage.client.query_raw(&sql).fetch_optional::<u64>();
        let found =
            bounded(limits::QUERY_TIMEOUT, asked).await.context("cannot read the newest rows of hot")?;
        lowest = lowest.into_iter().chain(found).min();
    }
    Ok(lowest)
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
