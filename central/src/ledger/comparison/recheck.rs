//! Everything that hot still holds is compared again, bit by bit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use marketprism_schema::Table;
use serde::Deserialize;

use super::facts::{millis, nanos};
use super::inquiry::Read;
use super::round::Comparison;
use crate::clock;
use crate::ledger::windows::{SECOND_NS, Span};
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// Rows are counted by hours to find out where there are any.
const BUCKET_NS: i64 = 3_600 * SECOND_NS;

/// The comparison of everything: what is left of the one that runs, and when the next one begins.
pub struct Recheck {
    every: Duration,
    /// Time of a round that may go into it. What a span took longer is taken off the next rounds.
    share: Duration,
    debt: Duration,
    next: Instant,
    began: Instant,
    left: VecDeque<(Span, Vec<Table>)>,
}

impl Recheck {
    /// One that begins at once.
    pub fn new(every: Duration, interval: Duration) -> Self {
        let share = (interval / limits::RECHECK_SHARE).max(limits::RECHECK_LEAST);
        let now = Instant::now();
        Self { every, share, debt: Duration::ZERO, next: now, began: now, left: VecDeque::new() }
    }

    /// Goes on for its share of a round. Gives how long a comparison of everything took when one is complete.
    pub async fn go_on(&mut self, comparison: &mut Comparison) -> anyhow::Result<Option<Duration>> {
        let (began, credit) = (Instant::now(), self.share.saturating_sub(self.debt));
        self.debt = self.debt.saturating_sub(self.share);
        if credit.is_zero() || (self.left.is_empty() && began < self.next) {
            return Ok(None);
        }
        if self.left.is_empty() {
            (self.began, self.next) = (began, began + self.every);
            self.left = spans(comparison).await?;
        }
        while let Some((span, tables)) = self.left.front() {
            comparison.judge_span(*span, Read::All(tables)).await?;
            self.left.pop_front();
            if began.elapsed() >= credit {
                break;
            }
        }
        self.debt += began.elapsed().saturating_sub(credit);
        Ok(self.left.is_empty().then(|| self.began.elapsed()))
    }
}

/// Where there may be anything to judge, the newest first.
async fn spans(comparison: &mut Comparison) -> anyhow::Result<VecDeque<(Span, Vec<Table>)>> {
    let now = clock::now_ns();
    let storage = comparison.shared.storage.clone();
    comparison.roster.read(&storage).await.context("reading who reported")?;
    let from = comparison.oldest_kept(now);
    let mut buckets = occupied(&storage, from).await.context("reading where hot holds rows")?;
    if let Some(reach) = comparison.roster.reach() {
        let to = reach.to.min(now);
        for bucket in reach.from.max(from).div_euclid(BUCKET_NS)..=to.div_euclid(BUCKET_NS) {
            buckets.entry(bucket).or_default();
        }
    }
    let windows = comparison.windows;
    let mut spans = VecDeque::new();
    for (bucket, tables) in buckets {
        // Rows may have come in since they were counted.
        let is_recent = bucket >= now.div_euclid(BUCKET_NS) - 1;
        let tables: Vec<Table> =
            Table::ALL.into_iter().filter(|table| is_recent || tables.contains(table.name)).collect();
        let span = Span { from: bucket * BUCKET_NS, to: (bucket + 1) * BUCKET_NS };
        let closed = windows.within(span).filter(|&window| windows.span(window).to <= now);
        for part in windows.join(closed, limits::WINDOWS_A_SPAN) {
            spans.push_front((part, tables.clone()));
        }
    }
    Ok(spans)
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct Occupied {
    bucket: i64,
    name: String,
}

/// Hours that hold rows, copies or verdicts, with the tables that hold rows.
async fn occupied(storage: &Storage, from: i64) -> Result<BTreeMap<i64, BTreeSet<String>>, StorageError> {
    let database = &storage.database;
    let hour = |column: &str| format!("toInt64(intDiv(toUnixTimestamp({column}), 3600))");
    let rows = Table::ALL.map(|table| {
        let (name, hour) = (table.name, hour("received_at"));
        format!("SELECT DISTINCT {hour} AS bucket, '{name}' AS name FROM {database}.{name} WHERE received_at >= {}", nanos(from))
    });
    let open = format!(
        "SELECT DISTINCT {} AS bucket, '' AS name FROM {database}.verdicts WHERE window_start >= {}",
        hour("window_start"),
        millis(from)
    );
    let sql = format!(
        "{} UNION ALL {open} SETTINGS max_threads = {}",
        rows.join(" UNION ALL "),
        limits::COMPARISON_THREADS
    );
    let found: Vec<Occupied> =
        bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
    let mut buckets: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for Occupied { bucket, name } in found {
        buckets.entry(bucket).or_default().insert(name);
    }
    Ok(buckets)
}
