//! Task of one closed batch: lookup, insert until stored.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use marketprism_schema::DataType;
use marketprism_service::Backoff;

use super::batch::{Batch, BatchEntry, Sealed};
use super::insert::{InsertGuard, insert};
use super::known_events::FOUND;
use super::lookup::{StoredRows, stored_rows};
use super::message::exchange_of;
use super::traces::BatchTraces;
use crate::context::CentralContext;
use crate::metrics::HotLatencies;
use crate::row::Target;
use crate::running_inserts::none_runs;
use crate::status::CLICKHOUSE;
use crate::storage::{StorageError, log_without_view};
use crate::{clock, limits, time};

#[derive(Debug)]
pub struct InsertResult {
    pub target: Target,
    /// Events whose rows are stored.
    pub stored: Vec<BatchEntry>,
    /// Events that another message brought, with the sequence of that message; not finished.
    pub copies: Vec<(BatchEntry, u64)>,
    /// Events whose rows ClickHouse refused, with the reason; not finished.
    pub refused: Vec<(BatchEntry, String)>,
}

/// Stores a batch, however long that takes. Dropping the future leaves its messages to redelivery.
pub async fn store_batch(
    shared: Arc<CentralContext>,
    guard: Arc<InsertGuard>,
    mut batch: Batch,
    stream_created_ns: i64,
) -> InsertResult {
    let (shared, guard, target) = (&*shared, &*guard, batch.target);
    let is_looked_up = batch.entries.iter().any(|entry| entry.may_be_stored);
    let known =
        if is_looked_up { take_known(shared, &mut batch, stream_created_ns).await } else { Vec::new() };
    let mut refused = Vec::new();
    let mut stored = Vec::new();
    if !batch.entries.is_empty() {
        let traces = BatchTraces::begin(batch.target, &batch.entries);
        let sealed = batch.seal(shared.hot_clock.now_ms());
        let mut reasons = insert_all(shared, guard, &sealed, is_looked_up).await;
        observe_latency(shared, &sealed);
        traces.end(sealed.entries.len(), &reasons);
        if reasons.is_empty() {
            stored = sealed.entries;
        } else {
            for (i, entry) in sealed.entries.into_iter().enumerate() {
                match reasons.remove(&i) {
                    Some(reason) => refused.push((entry, reason)),
                    None => stored.push(entry),
                }
            }
        }
    }
    let mut copies = Vec::new();
    for (entry, stream_seq) in known {
        if stream_seq == entry.stream_seq {
            stored.push(entry);
        } else {
            copies.push((entry, stream_seq));
        }
    }
    InsertResult { target, stored, copies, refused }
}

/// Removes the entries that are stored already; returns them with the sequences of their rows.
async fn take_known(
    shared: &CentralContext,
    batch: &mut Batch,
    stream_created_ns: i64,
) -> Vec<(BatchEntry, u64)> {
    let candidates: Vec<&BatchEntry> = batch.entries.iter().filter(|entry| entry.may_be_stored).collect();
    let rows = look_up(shared, (batch.target, stream_created_ns), &candidates).await;
    let known = batch.take_stored(&rows);
    let counter = shared.metrics.duplicates.with_label_values(&[batch.stream, FOUND[2]]);
    counter.inc_by(u64::try_from(known.len()).unwrap_or(u64::MAX));
    known
}

async fn look_up(
    shared: &CentralContext,
    (target, stream_created_ns): (Target, i64),
    entries: &[&BatchEntry],
) -> StoredRows {
    let mut backoff = limits::BACKOFF;
    loop {
        match stored_rows(&shared.storage, (target, stream_created_ns), entries).await {
            Ok(rows) => {
                report_success(shared);
                return rows;
            }
            Err(error) => report_failure(shared, target, "lookup", &error, &mut backoff).await,
        }
    }
}

/// Inserts every row that ClickHouse accepts. Returns the reason of each refused row by its index.
///
/// ClickHouse logs the token of an insert before its part exists. Killed between the two, it answers a repetition of the insert
/// as done and holds no row. So where an earlier try may have failed, here or at a previous owner (`may_have_failed`), the rows
/// are read back, and missing ones are inserted with another token.
async fn insert_all(
    shared: &CentralContext,
    guard: &InsertGuard,
    batch: &Sealed,
    mut may_have_failed: bool,
) -> BTreeMap<usize, String> {
    let mut refused = BTreeMap::new();
    let whole = 0..batch.entries.len();
    let mut missing = vec![whole];
    for round in 0..limits::INSERT_ROUNDS {
        may_have_failed |= insert_ranges(shared, guard, batch, (missing, round), &mut refused).await;
        if !may_have_failed || !batch.has_events() {
            return refused;
        }
        missing = missing_rows(shared, batch, 0..batch.entries.len(), &refused).await;
        if missing.is_empty() {
            return refused;
        }
        let (table, rows) = (batch.target.table(), missing.iter().map(Range::len).sum::<usize>());
        shared.metrics.retries.with_label_values(&[table]).inc();
        tracing::warn!(table, rows, "clickhouse does not hold rows that it accepted; inserting them again");
    }
    let reason = format!("accepted by ClickHouse {} times, and not in the table", limits::INSERT_ROUNDS);
    refused.extend(missing.into_iter().flatten().map(|index| (index, reason.clone())));
    refused
}

/// True if an insert failed for another reason than its content, so that its rows may be stored or not. A range refused for its
/// content is halved until the offending rows are alone.
async fn insert_ranges(
    shared: &CentralContext,
    guard: &InsertGuard,
    batch: &Sealed,
    (mut open, round): (Vec<Range<usize>>, u32),
    refused: &mut BTreeMap<usize, String>,
) -> bool {
    let mut has_failed = false;
    let mut failing = FailingInsert::default();
    let table = batch.target.table();
    let (mut view_error, mut views_fail_since) = (None, None);
    let mut backoff = limits::BACKOFF;
    while let Some(range) = open.pop() {
        if failing.needs_lookup(Instant::now()) && batch.has_events() {
            let missing = missing_after_failure(shared, guard, batch, (&range, round), refused).await;
            if !is_whole(&missing, &range) {
                tracing::info!(
                    table,
                    rows = range.len(),
                    missing = missing.iter().map(Range::len).sum::<usize>(),
                    "an insert without an answer is stored, or a part of it"
                );
                failing = FailingInsert::default();
                open.extend(missing);
                continue;
            }
        }
        while !guard.may_begin() {
            // The lease is renewed soon, or it is lost and this future is dropped.
            tokio::time::sleep(limits::BACKOFF_FIRST).await;
        }
        let started = Instant::now();
        let ignored = view_error.clone().or_else(|| shared.failing_views.ignored(table, started));
        match insert(&shared.storage, guard, batch, &range, (round, ignored.is_some())).await {
            Ok(()) => {
                report_success(shared);
                backoff.reset();
                failing = FailingInsert::default();
                shared.metrics.inserted(table, range.len(), started.elapsed().as_secs_f64());
                match ignored {
                    Some(error) => {
                        has_failed = true;
                        shared.metrics.retries.with_label_values(&[table]).inc();
                        log_without_view(table, &error);
                    }
                    None => shared.failing_views.took_rows(table),
                }
            }
            Err(error)
                if ignored.is_none()
                    && shared.failing_views.give_up(table, &error, &mut views_fail_since, Instant::now()) =>
            {
                has_failed = true;
                view_error = Some(error.to_string());
                open.push(range);
            }
            Err(error) if error.is_content() && range.len() > 1 && batch.has_row_an_entry() => {
                let middle = range.start + range.len() / 2;
                open.push(middle..range.end);
                open.push(range.start..middle);
            }
            // A refused duplicate or dead letter has no other table to go to: it is retried like any other failure.
            Err(error) if error.is_content() && batch.has_events() => {
                refused.insert(range.start, error.to_string());
            }
            Err(error) => {
                has_failed = true;
                failing.note(started);
                report_failure(shared, batch.target, "insert", &error, &mut backoff).await;
                open.push(range);
            }
        }
    }
    has_failed
}

/// Time for which one insert fails. Each try may be stored without an answer, and the server knows its token for a while only: a repetition
/// of it would store the rows twice.
#[derive(Debug, Default)]
struct FailingInsert(Option<Instant>);

impl FailingInsert {
    fn note(&mut self, tried: Instant) {
        self.0 = self.0.or(Some(tried));
    }

    /// The rows are to be looked up before the next try, which has the same token: the last one may still be on its way.
    fn needs_lookup(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_some_and(|since| now.saturating_duration_since(since) >= limits::TOKEN_SURE);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

/// [`missing_rows`] of an insert that failed. It may be stored in part, one partition without the other, and on a cluster its token is known for
/// an hour: only the missing rows may be sent again then, and with another token. So no try of it may be on its way.
async fn missing_after_failure(
    shared: &CentralContext,
    guard: &InsertGuard,
    batch: &Sealed,
    (range, round): (&Range<usize>, u32),
    refused: &BTreeMap<usize, String>,
) -> Vec<Range<usize>> {
    let missing = missing_rows(shared, batch, range.clone(), refused).await;
    if missing.is_empty() || is_whole(&missing, range) {
        return missing;
    }
    let on_error = |reason| {
        shared.status.fail(CLICKHOUSE, reason);
    };
    let tries = guard.log_comment(&batch.token(range, round));
    none_runs(&shared.config.clickhouse, &shared.storage, &tries, on_error).await;
    missing_rows(shared, batch, range.clone(), refused).await
}

/// Nothing of the range is stored: it is sent again as it is, with its token, whatever is on its way.
fn is_whole(missing: &[Range<usize>], range: &Range<usize>) -> bool {
    missing.iter().eq([range])
}

/// Ranges of entries whose events are not in the table, of those in a range.
async fn missing_rows(
    shared: &CentralContext,
    batch: &Sealed,
    within: Range<usize>,
    refused: &BTreeMap<usize, String>,
) -> Vec<Range<usize>> {
    let entries = batch.entries.get(within.clone()).unwrap_or_default();
    // Any row of the event will do.
    let rows = look_up(shared, (batch.target, 0), &entries.iter().collect::<Vec<_>>()).await;
    let mut missing: Vec<Range<usize>> = Vec::new();
    for (i, entry) in within.zip(entries) {
        if rows.has(entry.event_id) || refused.contains_key(&i) {
            continue;
        }
        match missing.last_mut().filter(|last| last.end == i) {
            Some(last) => last.end += 1,
            None => missing.push(i..i + 1),
        }
    }
    missing
}

fn report_success(shared: &CentralContext) {
    if shared.status.clear(CLICKHOUSE) {
        tracing::info!("clickhouse accepts rows again");
    }
}

async fn report_failure(
    shared: &CentralContext,
    target: Target,
    what: &str,
    error: &StorageError,
    backoff: &mut Backoff,
) {
    let table = target.table();
    shared.metrics.retries.with_label_values(&[table]).inc();
    if shared.status.fail(CLICKHOUSE, format!("{what} of {table}: {error}")) {
        tracing::warn!(table, what, %error, "clickhouse does not accept rows; retrying, no message is lost");
    } else {
        tracing::debug!(table, what, %error, "clickhouse still does not accept rows");
    }
    tokio::time::sleep(backoff.pause()).await;
}

fn observe_latency(shared: &CentralContext, batch: &Sealed) {
    let Target::Events(data_type) = batch.target else { return };
    let now_ns = clock::now_ns();
    let mut exchanges: BTreeMap<&str, HotLatencies> = BTreeMap::new();
    let since = |at_ns: i64| seconds(now_ns.saturating_sub(at_ns));
    for of_subject in batch.entries.chunk_by(BatchEntry::has_subject_of) {
        let Some(first) = of_subject.first() else { continue };
        let exchange = exchange_of(&first.message.subject);
        let to_hot =
            exchanges.entry(exchange).or_insert_with(|| shared.metrics.hops.to_hot(exchange, data_type));
        for entry in of_subject {
            let venue_ns = entry.timestamp_us.saturating_mul(1_000);
            // Of a backlog or of the venue's history: its age is no latency.
            let is_past = data_type == DataType::Trade
                && entry.received_at_ns.saturating_sub(venue_ns) > time::nanos(limits::PAST_TRADE_AGE);
            if !is_past {
                to_hot.from_venue.observe(since(venue_ns));
            }
            to_hot.from_edge.observe(since(entry.received_at_ns));
            to_hot.from_broker.observe(since(entry.published_ns));
        }
    }
    exchanges.values().for_each(HotLatencies::flush);
}

/// Clock skew between machines can make it negative; that counts as 0.
pub fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds.max(0) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::super::batch::tests::add;
    use super::*;

    /// The token of the whole may be forgotten for the part that is stored: on a cluster after an hour.
    #[test]
    fn of_an_insert_that_is_stored_in_part_only_the_rest_is_sent_again_under_another_token() {
        let (whole, rest) = (3..7, 5..7);
        assert!(is_whole(std::slice::from_ref(&whole), &whole), "nothing is stored");
        assert!(!is_whole(&[], &whole), "all is stored");
        assert!(!is_whole(std::slice::from_ref(&rest), &whole), "a part is stored");
        assert!(!is_whole(&[3..4, 5..7], &whole), "a part in the middle is stored");
        let mut batch = Batch::new(Target::Events(DataType::Trade), "MARKET_DATA", 0);
        (1..=8).for_each(|seq| add(&mut batch, seq, seq.into(), 0));
        let batch = batch.seal(1);
        assert_ne!(batch.token(&(5..7), 0), batch.token(&(3..7), 0));
        assert_eq!(batch.token(&(3..7), 0), batch.token(&(3..7), 0));
    }

    #[test]
    fn an_insert_that_fails_for_long_is_looked_up_each_time_its_token_may_be_forgotten() {
        let start = Instant::now();
        let mut failing = FailingInsert::default();
        assert!(!failing.needs_lookup(start + limits::TOKEN_SURE), "none has failed");
        failing.note(start);
        failing.note(start + limits::TOKEN_SURE / 2);
        let due = start + limits::TOKEN_SURE;
        assert!(!failing.needs_lookup(start + limits::TOKEN_SURE / 2) && failing.needs_lookup(due));
        // Looked up now; tries from now on may be stored too.
        assert!(!failing.needs_lookup(due + limits::TOKEN_SURE / 2));
        assert!(failing.needs_lookup(due + limits::TOKEN_SURE));
    }
}
