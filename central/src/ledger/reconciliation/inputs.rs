//! Reads everything that the evaluation of a range of windows needs, the ingest frontier included.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::future::try_join_all;
use marketprism_schema::{DataType, DataTypeMap, Table};
use tokio::time::timeout;

use super::evaluate::stored_by_broker;
use super::expected_streams::{Expectation, ExpectedStreams};
use super::queries::{
    self, DowntimeSpan, HotContents, KilledTimes, LASTS, RelivedTimes, RowsAndCopies, StoredIds, WindowAudit,
    WindowKey,
};
use super::verdict::{IdRange, WindowVerdict};
use crate::broker::Broker;
use crate::config::Stream;
use crate::init::ConsumerSpec;
use crate::ledger::windows::{EdgeStream, WindowGrid, WindowRange};
use crate::limits;
use crate::storage::Storage;

/// An audit that is later than so many windows does not delay the other streams of its window.
const LATE_WINDOWS: i64 = 3;

#[derive(Debug, Clone, Copy)]
pub enum RowsToRead<'a> {
    All(&'a [Table]),
    /// Of windows whose audits have arrived or are not expected any more; all tables.
    Ready,
}

pub struct InputReader<'a> {
    pub storage: &'a Storage,
    pub broker: &'a Broker,
    pub streams: &'a [Stream],
    pub grid: WindowGrid,
    pub grace_ns: i64,
    pub now_ns: i64,
}

/// Audits of all runs of an edge, by window and stream.
type WindowAudits = BTreeMap<WindowKey, Vec<WindowAudit>>;

pub struct RangeInputs {
    pub audits: WindowAudits,
    pub contents: HashMap<WindowKey, HotContents>,
    /// Of the windows read.
    pub stored_ids: StoredIds,
    pub read: BTreeSet<i64>,
    /// Windows for which an audit is missing and may still arrive.
    pub without_audit: BTreeSet<i64>,
    pub ambiguous_missing: HashMap<WindowKey, usize>,
    /// Events that the broker called duplicates and hot does not have.
    pub duplicates_missing: HashMap<WindowKey, usize>,
    pub downtimes: HashMap<EdgeStream, Vec<DowntimeSpan>>,
    pub relived: RelivedTimes,
    pub frontier: IngestFrontier,
    pub stored: HashMap<WindowKey, WindowVerdict>,
}

impl RangeInputs {
    /// The clock of an edge passed a time twice.
    pub fn is_relived(&self, edge: &str, window: WindowRange) -> bool {
        let times = self.relived.get(edge).map(Vec::as_slice).unwrap_or_default();
        times.iter().any(|time| time.from < window.to && window.from < time.to)
    }

    fn forget_rows(&mut self, range: WindowRange) {
        let is_other = |(window, _): &WindowKey| !(range.from..range.to).contains(window);
        self.contents.retain(|key, _| is_other(key));
        self.ambiguous_missing.retain(|key, _| is_other(key));
        self.duplicates_missing.retain(|key, _| is_other(key));
    }

    /// Ranges of ids that hot holds of the key's window and stream.
    pub fn ids_of(&self, (window, edge_stream): &WindowKey) -> &[IdRange] {
        // The map's key owns its stream.
        let key = (*window, edge_stream.stream.clone());
        self.stored_ids.get(&key).map(Vec::as_slice).unwrap_or_default()
    }
}

impl InputReader<'_> {
    /// The order matters: audits, then the ingest frontier, then rows; so rows that are not there are known to be missing.
    pub async fn read(
        &self,
        range: WindowRange,
        rows: RowsToRead<'_>,
        expected: &mut ExpectedStreams,
    ) -> anyhow::Result<RangeInputs> {
        let audits = queries::audits(self.storage, self.grid, range).await.context("cannot read audits")?;
        for ((window, edge_stream), audits) in &audits {
            if let Some(newest) = audits.last() {
                expected.add(edge_stream, *window, newest.capability);
            }
        }
        let mut downtimes = queries::downtimes(self.storage, range).await.context("cannot read downtimes")?;
        for (edge_stream, spans) in &mut downtimes {
            // The next start was not reported: how far the downtime reaches is unknown.
            spans.retain(|span| {
                span.range.to < LASTS || !expected.is_reported_after(edge_stream, span.range.from)
            });
        }
        let relived =
            queries::relived_times(self.storage, range).await.context("cannot read steps of clocks")?;
        let frontier = IngestFrontier::read(self.broker, self.streams).await?;
        let (mut windows, mut without_audit) = (BTreeSet::new(), BTreeSet::new());
        for window in self.grid.within(range) {
            match rows {
                RowsToRead::All(_) => windows.insert(window),
                RowsToRead::Ready => match self.readiness(window, &audits, &frontier, expected) {
                    Readiness::Rows => windows.insert(window),
                    Readiness::IngestBehind => false,
                    Readiness::NoAudit => without_audit.insert(window),
                },
            };
        }
        let tables: &[Table] = match rows {
            RowsToRead::All(tables) => tables,
            RowsToRead::Ready => &Table::ALL,
        };
        let mut inputs = RangeInputs {
            audits,
            contents: HashMap::new(),
            stored_ids: HashMap::new(),
            read: windows,
            without_audit,
            ambiguous_missing: HashMap::new(),
            duplicates_missing: HashMap::new(),
            downtimes,
            relived,
            frontier,
            stored: HashMap::new(),
        };
        let parts = self.grid.join(inputs.read.iter().copied(), i64::MAX / self.grid.length_ns());
        let numbered = expected.numbered_trades();
        for part in parts {
            self.read_rows(part, tables, &mut inputs).await?;
            let ids = queries::stored_ids(self.storage, self.grid, part, &numbered).await;
            inputs.stored_ids.extend(ids.context("cannot read trade ids")?);
        }
        inputs.stored = queries::verdicts(self.storage, range).await.context("cannot read verdicts")?;
        Ok(inputs)
    }

    async fn read_rows(
        &self,
        range: WindowRange,
        tables: &[Table],
        inputs: &mut RangeInputs,
    ) -> anyhow::Result<()> {
        let being_corrected = async || {
            let types = queries::types_being_corrected(self.storage, range).await;
            types.context("cannot read corrections")
        };
        let mut corrected = being_corrected().await?;
        loop {
            self.read_rows_during(&corrected, range, tables, inputs).await?;
            let now = being_corrected().await?;
            if now.is_subset(&corrected) {
                return Ok(());
            }
            // A correction that began meanwhile may have inserted replacements of rows that were read.
            corrected.extend(now);
            inputs.forget_rows(range);
        }
    }

    /// `corrected`: types of corrections that are being carried out.
    async fn read_rows_during(
        &self,
        corrected: &HashSet<String>,
        range: WindowRange,
        tables: &[Table],
        inputs: &mut RangeInputs,
    ) -> anyhow::Result<()> {
        let killed = KilledTimes::of(&inputs.downtimes);
        let copied = queries::types_with_copies(self.storage, range).await.context("cannot read copies")?;
        let mut plain = Vec::new();
        for table in Table::ALL {
            let audits = || of_type(&inputs.audits, table.data_type, range).flat_map(|(_, audits)| audits);
            let ambiguous: BTreeSet<u128> =
                audits().flat_map(|audit| audit.ambiguous.iter().copied()).collect();
            if audits().any(|audit| audit.names_duplicates) {
                let missing = queries::duplicates_missing(self.storage, self.grid, &table, range).await;
                let missing = missing.with_context(|| format!("cannot look up duplicates in {}", table.name));
                inputs.duplicates_missing.extend(missing?);
            }
            let is_corrected = corrected.contains(table.data_type.as_str());
            let has_copies = is_corrected || copied.contains(table.data_type.as_str());
            // Rows may have arrived since the occupied tables were listed: what audits report is read in any case.
            let is_reported = audits().any(|audit| audit.stored.count > 0);
            if !has_copies && ambiguous.is_empty() {
                plain.extend((tables.contains(&table) || is_reported).then_some(table));
                continue;
            }
            let has_ambiguous = !ambiguous.is_empty();
            let all = self.rows_and_copies(&table, range, &killed);
            let rows = RowsAndCopies { has_copies, is_corrected, has_ambiguous, ..all };
            let contents = rows.contents().await.with_context(|| format!("cannot read {}", table.name))?;
            inputs.contents.extend(contents);
            if has_ambiguous {
                let missing = self.ambiguous_missing(&inputs.audits, &table, range, &ambiguous).await?;
                inputs.ambiguous_missing.extend(missing);
            }
        }
        let rows = queries::contents(self.storage, self.grid, &plain, range, &killed).await;
        inputs.contents.extend(rows.context("cannot read rows")?);
        for table in Table::ALL {
            self.leave_out_duplicates(&table, range, &killed, inputs).await?;
        }
        Ok(())
    }

    const fn rows_and_copies<'b>(
        &'b self,
        table: &'b Table,
        range: WindowRange,
        killed: &'b KilledTimes,
    ) -> RowsAndCopies<'b> {
        let (storage, grid) = (self.storage, self.grid);
        let (has_copies, is_corrected, has_ambiguous) = (true, true, true);
        RowsAndCopies { storage, grid, table, range, killed, has_copies, is_corrected, has_ambiguous }
    }

    /// Of windows that differ from their audits, which list duplicates: what was sent again does not count for the edge.
    async fn leave_out_duplicates(
        &self,
        table: &Table,
        range: WindowRange,
        killed: &KilledTimes,
        inputs: &mut RangeInputs,
    ) -> anyhow::Result<()> {
        let differs = |(key, audits): &(&WindowKey, &Vec<WindowAudit>)| {
            let contents = inputs.contents.get(key).copied().unwrap_or_default();
            audits.iter().any(|audit| audit.names_duplicates) && stored_by_broker(audits) != contents.ids
        };
        let differing = of_type(&inputs.audits, table.data_type, range).filter(differs);
        let windows: Vec<i64> = differing.map(|((window, _), _)| *window).collect();
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return Ok(()) };
        let range = WindowRange { from: *first, to: self.grid.range(*last).to };
        let again = self.rows_and_copies(table, range, killed).duplicates_sent_again().await;
        let again =
            again.with_context(|| format!("cannot look up duplicates sent again in {}", table.name))?;
        for (key, part) in again {
            let stored = inputs.audits.get(&key).map(|audits| stored_by_broker(audits));
            if let Some(contents) = inputs.contents.get_mut(&key)
                && stored != Some(contents.ids)
            {
                *contents = contents.without(&part);
            }
        }
        Ok(())
    }

    async fn ambiguous_missing(
        &self,
        audits: &WindowAudits,
        table: &Table,
        range: WindowRange,
        ambiguous: &BTreeSet<u128>,
    ) -> anyhow::Result<Vec<(WindowKey, usize)>> {
        let found: HashSet<u128> = queries::ambiguous_in_hot(self.storage, table, range, ambiguous)
            .await
            .with_context(|| format!("cannot look up ambiguous events in {}", table.name))?;
        let missing = |audits: &Vec<WindowAudit>| {
            let ids: BTreeSet<&u128> = audits.iter().flat_map(|audit| &audit.ambiguous).collect();
            ids.into_iter().filter(|id| !found.contains(id)).count()
        };
        let counted =
            of_type(audits, table.data_type, range).map(|(key, audits)| (key.clone(), missing(audits)));
        Ok(counted.filter(|(_, missing)| *missing > 0).collect())
    }

    fn readiness(
        &self,
        window: i64,
        audits: &WindowAudits,
        frontier: &IngestFrontier,
        expected: &ExpectedStreams,
    ) -> Readiness {
        let end = self.grid.range(window).to;
        if self.now_ns >= end.saturating_add(self.grace_ns) {
            return Readiness::Rows;
        }
        let mut ready = None;
        for key in expected.expected(window) {
            match audits.get(&key) {
                Some(audits) if is_ingested(audits, frontier.of(key.1.stream.data_type)) => {}
                Some(_) => ready = Some(Readiness::IngestBehind),
                None => match expected.expects(&key.1, window) {
                    Some(Expectation::EdgeSilent(windows) | Expectation::StreamLeftOut(windows))
                        if windows > LATE_WINDOWS => {}
                    _ => return Readiness::NoAudit,
                },
            }
            ready = ready.or(Some(Readiness::Rows));
        }
        ready.unwrap_or(Readiness::NoAudit)
    }
}

/// Reading the rows of a window leads to a verdict, or the reason why not.
enum Readiness {
    Rows,
    /// Messages older than an audit are still pending at the broker.
    IngestBehind,
    /// An audit is missing: nothing changes until it arrives or the grace period ends.
    NoAudit,
}

/// Everything that the broker received before these audits is ingested.
pub fn is_ingested(audits: &[WindowAudit], frontier_ns: i64) -> bool {
    audits.iter().all(|audit| audit.received_ms.saturating_add(1).saturating_mul(1_000_000) <= frontier_ns)
}

fn of_type(
    audits: &WindowAudits,
    data_type: DataType,
    range: WindowRange,
) -> impl Iterator<Item = (&WindowKey, &Vec<WindowAudit>)> {
    audits.iter().filter(move |((window, edge_stream), _)| {
        edge_stream.stream.data_type == data_type && (range.from..range.to).contains(window)
    })
}

/// Nanoseconds of the broker's clock, per consumer: a table that takes no rows leaves the windows of no other open. `i64::MAX` when
/// nothing is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestFrontier {
    events: DataTypeMap<i64>,
    pub audits: i64,
}

impl IngestFrontier {
    /// Audits must be read before, so that one that arrives in between is not taken for an old one.
    pub async fn read(broker: &Broker, streams: &[Stream]) -> anyhow::Result<Self> {
        let limit = limits::BROKER_TIMEOUT;
        let consumers = streams.iter().flat_map(|stream| {
            ConsumerSpec::all(stream).into_iter().map(|consumer| (stream.settings.name, consumer))
        });
        // Together: one after the other they would take the whole time from a distant broker.
        let reading = try_join_all(consumers.map(async |(stream, consumer)| {
            anyhow::Ok((consumer.data_type, stored_up_to(broker, stream, &consumer).await?))
        }));
        let read = timeout(limit, reading)
            .await
            .map_err(|_| anyhow!("the broker did not answer within {} s", limit.as_secs()))??;
        let mut frontier = Self { events: DataTypeMap::from_fn(|_| i64::MAX), audits: i64::MAX };
        for (data_type, upto) in read {
            match data_type {
                // Of several partitions the last one counts.
                Some(data_type) => frontier.events[data_type] = upto.min(frontier.events[data_type]),
                None => frontier.audits = upto,
            }
        }
        Ok(frontier)
    }

    pub fn of(&self, data_type: DataType) -> i64 {
        self.events[data_type]
    }
}

/// All messages that the broker received earlier are acknowledged by the consumer.
async fn stored_up_to(
    broker: &Broker,
    stream: &'static str,
    ConsumerSpec { name, data_type }: &ConsumerSpec,
) -> anyhow::Result<i64> {
    let consumer: PullConsumer = broker
        .jetstream
        .get_consumer_from_stream(name, stream)
        .await
        .with_context(|| format!("cannot read consumer {name} of stream {stream}"))?;
    let info = consumer.cached_info();
    if info.num_pending == 0 && info.num_ack_pending == 0 {
        return Ok(i64::MAX);
    }
    let handle =
        broker.jetstream.get_stream(stream).await.with_context(|| format!("cannot read stream {stream}"))?;
    let subjects = data_type.map_or_else(|| ">".to_owned(), |of| format!("{of}.>"));
    let after = info.ack_floor.stream_sequence.saturating_add(1);
    let nanos = |time: i128| i64::try_from(time).unwrap_or_default();
    Ok(match handle.raw_message_builder().sequence(after).next_by_subject(&subjects).send().await {
        Ok(message) => nanos(message.time.unix_timestamp_nanos()),
        // Deleted or expired in between: certain is only the oldest message.
        Err(_) => nanos(handle.cached_info().state.first_timestamp.unix_timestamp_nanos()),
    })
}
