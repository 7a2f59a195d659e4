//! Messages that the broker discarded before they were stored. Sequences tell how many there were, and not how many events each had.

use std::collections::BTreeSet;

use anyhow::Context as _;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use marketprism_schema::{DataType, stream_of};

use super::cold_rows::{of_cold, tables_of};
use super::message;
use crate::broker::within;
use crate::context::CentralContext;
use crate::row::{COPIED_EVENTS, Target};
use crate::seq_range::SeqRange;
use crate::storage::{StorageError, bounded, limited};
use crate::{limits, sql};

const LOSSES: &str = "losses";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// The broker discarded them before they were stored.
    Retention,
    /// They were stored, and hot was put back to an earlier state.
    PutBack,
}

impl LossCause {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::PutBack => "put_back",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Retention => {
                "messages lost, each of one or more events: the broker discarded them before they were stored"
            }
            Self::PutBack => {
                "messages lost, each of one or more events: hot was put back to an earlier state, neither cold nor the broker has them"
            }
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct BrokerCheck {
    pub missing: Vec<SeqRange>,
    /// Messages of a table.
    pub held: Vec<SeqRange>,
    /// Not checked yet.
    pub unchecked: Vec<SeqRange>,
}

/// Finds the sequences that the broker does not hold. `requests` is the budget; what exceeds it is left for the next scan.
pub async fn check_broker(
    stream: &Stream,
    spans: &[SeqRange],
    requests: &mut usize,
) -> anyhow::Result<BrokerCheck> {
    let mut result = BrokerCheck::default();
    for span in spans {
        let mut from = span.from;
        while from <= span.to {
            if *requests == 0 {
                result.unchecked.push(SeqRange { from, to: span.to });
                break;
            }
            *requests -= 1;
            let found = first_from(stream, from).await?;
            let there = found.as_ref().map_or(u64::MAX, |message| message.sequence);
            if there > from {
                result.missing.push(SeqRange { from, to: span.to.min(there - 1) });
            }
            // No consumer delivers other messages.
            let is_of_a_table = found.is_some_and(|found| message::data_type(&found.subject).is_some());
            if there <= span.to && is_of_a_table {
                result.held.push(SeqRange { from: there, to: there });
            }
            from = there.saturating_add(1);
            if there == u64::MAX {
                break;
            }
        }
    }
    Ok(result)
}

/// First message with this sequence or a higher one.
pub async fn first_from(stream: &Stream, sequence: u64) -> anyhow::Result<Option<StreamMessage>> {
    let asked = stream.raw_message_builder().sequence(sequence).next_by_subject(">").send();
    match within(format!("find the message from sequence {sequence} on"), asked).await? {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error).context("cannot query the broker for a message"),
    }
}

/// Removes the sequences that are stored in hot. Rows older than `since_ns` belong to an earlier incarnation of the stream.
pub async fn not_stored(
    shared: &CentralContext,
    stream: &'static str,
    spans: &[SeqRange],
    since_ns: i64,
) -> Result<Vec<SeqRange>, StorageError> {
    let mut missing = Vec::new();
    for (asked, parts) in queries(spans) {
        let found = stored(shared, stream, asked, since_ns).await?;
        for part in parts {
            missing.extend(part.without(found.range(part.from..=part.to).copied()));
        }
    }
    Ok(joined(missing))
}

/// Removes the sequences of which cold has rows. Nothing is recorded as lost while cold does not answer.
pub async fn not_in_cold(
    shared: &CentralContext,
    stream: &'static str,
    spans: &[SeqRange],
    since_ns: i64,
) -> anyhow::Result<Vec<SeqRange>> {
    let limit = shared.config.replication.query_timeout;
    let mut missing = Vec::new();
    for (asked, parts) in queries(spans) {
        let (condition, mut found) = (of_sequences(asked, since_ns), BTreeSet::new());
        for table in tables_of(stream) {
            let of = format!("{}.{}", shared.cold.database, table.name);
            let sql = format!("SELECT DISTINCT stream_seq FROM {of} WHERE {condition}");
            let query = limited(&shared.cold.client, limit).query_raw(&sql);
            found.extend(of_cold(bounded(limit, query.fetch_all::<u64>()).await)?);
        }
        for part in parts {
            missing.extend(part.without(found.range(part.from..=part.to).copied()));
        }
    }
    Ok(joined(missing))
}

/// Condition of the rows of a span; the index `arrival` has both columns.
fn of_sequences(span: SeqRange, since_ns: i64) -> String {
    let since = sql::millis(since_ns / 1_000_000);
    format!("stream_seq BETWEEN {} AND {} AND created_at >= {since}", span.from, span.to)
}

/// Sequences that each query asks for, and the spans in them: of thousands of short gaps, which are close together, many.
fn queries(spans: &[SeqRange]) -> Vec<(SeqRange, Vec<SeqRange>)> {
    let mut all: Vec<(SeqRange, Vec<SeqRange>)> = Vec::new();
    for part in spans.iter().flat_map(|span| span.pieces(limits::SEQUENCES_A_QUERY)) {
        match all.last_mut() {
            Some((asked, parts))
                if part.from > asked.to && part.to - asked.from < limits::SEQUENCES_A_QUERY =>
            {
                asked.to = part.to;
                parts.push(part);
            }
            _ => all.push((part, vec![part])),
        }
    }
    all
}

fn joined(spans: Vec<SeqRange>) -> Vec<SeqRange> {
    let mut all: Vec<SeqRange> = Vec::new();
    for span in spans {
        match all.last_mut() {
            Some(last) if last.to.saturating_add(1) == span.from => last.to = span.to,
            _ => all.push(span),
        }
    }
    all
}

async fn stored(
    shared: &CentralContext,
    stream: &'static str,
    span: SeqRange,
    since_ns: i64,
) -> Result<BTreeSet<u64>, StorageError> {
    let database = &shared.storage.database;
    let condition = of_sequences(span, since_ns);
    let events = DataType::ALL.iter().filter(|&&data_type| stream_of(data_type) == stream);
    let events = events.map(|&data_type| Target::Events(data_type));
    let events = events.map(|target| (target.table(), String::new()));
    let others = [Target::CorrectedEvents, Target::DeadLetters];
    let others = others.map(|target| (target.table(), " AND stream = ?".to_owned()));
    let of_rows =
        format!(" AND stream = ? AND stream_seq_from <= {} AND stream_seq_to >= {}", span.to, span.from);
    let mut found = BTreeSet::new();
    for (table, more) in events.chain(others).chain([(COPIED_EVENTS, of_rows)]) {
        let sql = format!("SELECT DISTINCT stream_seq FROM {database}.{table} WHERE {condition}{more}");
        let mut query = shared.storage.client.query(&sql);
        if !more.is_empty() {
            query = query.bind(stream);
        }
        found.extend(bounded(limits::QUERY_TIMEOUT, query.fetch_all::<u64>()).await?);
    }
    Ok(found)
}

/// Records, counts and logs losses. Those that this process has recorded lately are found again: they are counted once, and recorded again where
/// hot has lost them. `created_ns`: of the stream that had the sequences.
pub async fn record(
    shared: &CentralContext,
    (stream, created_ns): (&'static str, i64),
    lost: &[SeqRange],
    cause: LossCause,
    evidence: &str,
) -> Result<(), StorageError> {
    let key = (stream, created_ns);
    let mut kept = Vec::new();
    let mut new = shared.losses.unrecorded(key, lost);
    if new != lost {
        new.sort_unstable_by_key(|span| span.from);
        for held in held(shared, stream, lost).await? {
            kept.extend(held.without_ranges(&new));
        }
        kept.sort_unstable_by_key(|span| span.from);
    }
    let missing: Vec<SeqRange> = lost.iter().flat_map(|span| span.without_ranges(&kept)).collect();
    for missing in missing.chunks(limits::GAPS) {
        let spans: Vec<String> = missing.iter().map(|span| format!("({}, {})", span.from, span.to)).collect();
        let sql = format!(
            "INSERT INTO {}.{LOSSES} (stream, from_seq, to_seq, messages, cause, evidence, seen_at) SELECT ?, toUInt64(span.1), \
             toUInt64(span.2), span.2 - span.1 + 1, ?, ?, now64(3) FROM (SELECT arrayJoin([{}]) AS span)",
            shared.storage.database,
            spans.join(", ")
        );
        let query = shared.storage.client.query(&sql).bind(stream).bind(cause.as_str()).bind(evidence);
        bounded(limits::QUERY_TIMEOUT, query.execute()).await?;
        for span in shared.losses.unrecorded(key, missing) {
            let (SeqRange { from, to }, messages) = (span, span.len());
            shared.metrics.lost.with_label_values(&[stream, cause.as_str()]).inc_by(messages);
            tracing::error!(stream, from, to, messages, evidence, "{}", cause.description());
        }
        shared.losses.add(key, missing);
    }
    Ok(())
}

/// Ranges in hot's table between the first and the last of these.
async fn held(
    shared: &CentralContext,
    stream: &'static str,
    lost: &[SeqRange],
) -> Result<Vec<SeqRange>, StorageError> {
    let ends = (lost.iter().map(|span| span.from).min(), lost.iter().map(|span| span.to).max());
    let (Some(first), Some(last)) = ends else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT from_seq, to_seq FROM {}.{LOSSES} WHERE stream = ? AND to_seq >= {first} AND from_seq <= {last}",
        shared.storage.database
    );
    let query = shared.storage.client.query(&sql).bind(stream);
    let held = bounded(limits::QUERY_TIMEOUT, query.fetch_all::<(u64, u64)>()).await?;
    Ok(held.into_iter().map(|(from, to)| SeqRange { from, to }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each query reads every table of the stream.
    #[test]
    fn gaps_that_are_close_together_are_asked_for_at_once() {
        const MOST: u64 = limits::SEQUENCES_A_QUERY;
        let span = |from, to| SeqRange { from, to };
        assert!(queries(&[]).is_empty());
        let close = [span(1, 5), span(8, 8), span(MOST - 1, MOST)];
        assert_eq!(queries(&close), [(span(1, MOST), close.to_vec())]);
        let far = [span(1, 5), span(MOST, MOST + 1)];
        assert_eq!(queries(&far), [(far[0], vec![far[0]]), (far[1], vec![far[1]])]);
        let back = [span(8, 9), span(1, 5)];
        assert_eq!(queries(&back), [(back[0], vec![back[0]]), (back[1], vec![back[1]])]);
        let short: Vec<_> = (0..1_000).map(|n| span(100 * n + 1, 100 * n + 50)).collect();
        assert_eq!(queries(&short), [(span(1, 99_950), short)]);
    }

    #[test]
    fn adjacent_ranges_are_joined() {
        let span = |from, to| SeqRange { from, to };
        assert_eq!(joined(vec![span(1, 5), span(6, 9), span(11, 11)]), [span(1, 9), span(11, 11)]);
    }
}
