//! Verdicts and gaps added up by stream and time bucket. Pure.

use std::collections::BTreeMap;

use marketprism_schema::{Completeness, DataType, StreamId};

use super::completeness::{
    self, GapRole, Redundancy, StreamCompleteness, StreamFacts, StreamTimes, TimeRuns,
};
use super::document::{CELL, EvidenceCounts, GapCount, HeatMap, StreamState, TableRow, WindowCounts};
use super::period::TimeBuckets;
use super::sources::ledger::{EdgeGap, StoredIdsRow, VerdictBucket};
use super::sources::tables::{Market, ReplicationBucket};
use super::{ReportScope, Time};

/// Most streams listed; those with the worst state come first.
const STREAMS_MAX: usize = 300;

/// Windows of one stream over time, with what is certain of them.
#[derive(Debug)]
struct StreamBuckets<'a> {
    rows: Vec<&'a VerdictBucket>,
    facts: StreamFacts,
    found: StreamCompleteness,
}

#[derive(Debug, Default)]
pub struct LedgerSummary {
    pub map: HeatMap,
    pub windows: WindowCounts,
    /// Windows still open long after their grace period.
    pub overdue: u64,
    /// Windows without a verdict between the first and the last of a stream.
    pub absent: u64,
    /// Unverifiable windows that neither another edge covers nor numbers prove.
    pub uncovered: u64,
    /// Events that hot lacks.
    pub missing: u64,
    /// Gaps by cause that neither another edge covers nor numbers resolve.
    pub gaps: BTreeMap<String, GapCount>,
    /// All gaps, covered ones included.
    pub gaps_total: u64,
    pub evidence: EvidenceCounts,
    /// Windows not collected on purpose that nothing resolves, of each edge's streams.
    pub idle: BTreeMap<String, Vec<TimeRuns>>,
    /// Begin and end in seconds.
    pub period: (i64, i64),
    /// Windows of each edge's streams in which nothing is unknown or missing, by the edge, another one or the venue's numbers.
    pub covered: BTreeMap<String, Vec<TimeRuns>>,
    /// Windows that only one of several edges has whole.
    pub alone: StreamTimes,
    /// Windows with holes of an edge that another one has whole.
    pub filled: StreamTimes,
    /// Events that the venue numbered meanwhile.
    pub not_collected_events: u64,
    /// First starts of streams.
    pub starts: u64,
    /// Streams whose trade ids began again at lower ones, with the window in seconds.
    pub renumbered: Vec<(StreamId, i64)>,
    /// Newest window of each edge.
    pub edges: BTreeMap<String, i64>,
    /// Windows by data type, exchange and market type.
    pub markets: BTreeMap<(DataType, Market), WindowCounts>,
    /// Buckets with windows that are not verified: stream, begin and end, the worst first.
    pub faults: Vec<(StreamId, i64, i64)>,
}

/// Rows of the ledger's tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct LedgerRows<'a> {
    pub verdicts: &'a [VerdictBucket],
    pub gaps: &'a [EdgeGap],
    pub ids: &'a [StoredIdsRow],
}

pub fn add_up(
    scope: &ReportScope,
    buckets: &TimeBuckets,
    ledger_rows: LedgerRows<'_>,
    copies: &[ReplicationBucket],
) -> LedgerSummary {
    let LedgerRows { verdicts, gaps, ids } = ledger_rows;
    let mut by_stream: BTreeMap<&StreamId, Vec<&VerdictBucket>> = BTreeMap::new();
    let mut ledger = LedgerSummary::default();
    for row in verdicts {
        let newest = ledger.edges.entry(row.edge.clone()).or_insert(row.last_ms);
        *newest = (*newest).max(row.last_ms);
        let StreamId { data_type, exchange, market_type, .. } = &row.stream;
        let market = (exchange.clone(), market_type.to_string());
        ledger.markets.entry((*data_type, market)).or_default().add(&counts(row));
        by_stream.entry(&row.stream).or_default().push(row);
    }
    let period = (scope.from.0.div_euclid(1_000), (scope.to.0 + 999).div_euclid(1_000));
    ledger.period = period;
    let streams = completeness::collect(verdicts, gaps, ids, period.0).into_iter().map(|(key, facts)| {
        let rows = by_stream.remove(&key).unwrap_or_default();
        let found = completeness::judge(&facts, period);
        (key, StreamBuckets { rows, facts, found })
    });
    let mut faults = Vec::new();
    let mut rows = Vec::new();
    for (key, stream) in streams {
        rows.push(stream.close(&key, buckets, &mut ledger, &mut faults));
    }
    rows.sort_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.stream.cmp(&right.stream)));
    faults.sort_by_key(|(is_mismatch, _, begin, _)| (!is_mismatch, -begin));
    ledger.faults = faults.into_iter().map(|(_, key, begin, end)| (key, begin, end)).collect();
    ledger.map = HeatMap {
        from: Some(Time(buckets.start_ms)),
        bin_seconds: u64::try_from(buckets.seconds).unwrap_or_default(),
        bins: buckets.count,
        cell: CELL,
        streams_total: u64::try_from(rows.len()).unwrap_or(u64::MAX),
        streams: rows.into_iter().map(|(_, state)| state).take(STREAMS_MAX).collect(),
        replication: copies_by_table(buckets, copies),
    };
    ledger
}

fn counts(row: &VerdictBucket) -> WindowCounts {
    let VerdictBucket { verified, mismatch, unverifiable, open, not_collected, .. } = *row;
    WindowCounts { verified, mismatch, unverifiable, open, not_collected }
}

/// Mismatches, missing events, uncovered and absent windows.
type StreamSeverity = [u64; 4];
type Fault = (bool, StreamId, i64, i64);

impl StreamBuckets<'_> {
    fn close(
        &self,
        key: &StreamId,
        buckets: &TimeBuckets,
        ledger: &mut LedgerSummary,
        faults: &mut Vec<Fault>,
    ) -> (StreamSeverity, StreamState) {
        let sum = |of: fn(&VerdictBucket) -> u64| self.rows.iter().map(|row| of(row)).sum::<u64>();
        let mut windows = WindowCounts::default();
        let mut overdue = BTreeMap::<usize, u64>::new();
        let mut cells = BTreeMap::<usize, WindowCounts>::new();
        for row in &self.rows {
            let bucket = usize::try_from(row.bucket).unwrap_or(usize::MAX);
            windows.add(&counts(row));
            cells.entry(bucket).or_default().add(&counts(row));
            *overdue.entry(bucket).or_default() += row.overdue;
        }
        let missing = self.missing_by_bucket(buckets);
        for (bucket, counts) in &cells {
            let overdue = overdue.get(bucket).copied().unwrap_or_default();
            if counts.mismatch + counts.unverifiable + overdue > 0 {
                let (begin, end) = (buckets.begin_ms(*bucket), buckets.begin_ms(*bucket + 1));
                faults.push((counts.mismatch > 0, key.clone(), begin, end));
            }
        }
        let window = self.facts.window;
        let uncovered = self.found.uncovered.values().map(|runs| runs.windows(window)).sum::<u64>();
        let missing_events = missing.values().sum();
        let evidence = self.evidence();
        let not_collected_windows =
            self.found.not_collected.values().map(|runs| runs.windows(window)).sum::<u64>();
        let not_collected_events = self.found.paused.iter().map(|events| events.count).sum::<u64>();
        for (edge, runs) in &self.found.not_collected {
            ledger.idle.entry(edge.clone()).or_default().push(runs.clone());
        }
        for edge in self.facts.edges.keys() {
            let covered = self.found.covered(&self.facts, edge);
            ledger.covered.entry(edge.clone()).or_default().push(covered);
        }
        let Redundancy { alone, filled } = completeness::redundancy(&self.facts);
        for (edge, runs) in alone {
            ledger.alone.entry((edge, None)).or_default().push(runs);
        }
        for ((edge, by), runs) in filled {
            ledger.filled.entry((edge, Some(by))).or_default().push(runs);
        }
        ledger.not_collected_events += not_collected_events;
        ledger.renumbered.extend(self.found.renumbered_at.map(|at| (key.clone(), at)));
        let absent_windows = self.found.absent.windows(window);
        let state = StreamState {
            stream: key.to_string(),
            edges: self.facts.edges.keys().cloned().collect(),
            windows,
            absent_windows,
            covered_windows: windows.unverifiable.saturating_sub(uncovered),
            missing_events,
            not_collected_windows,
            not_collected_events,
            evidence,
            numbering: self.facts.capability.numbering.as_str(),
            completeness: self.facts.capability.completeness.as_str(),
            delay_seconds: self.facts.capability.delay_seconds,
            duplicates: sum(|row| row.duplicates),
            conflated: sum(|row| row.conflated),
            gaps: self.gaps(ledger),
            newest_window: self.rows.iter().map(|row| Time(row.last_ms)).max(),
            cells: self.cells(buckets, &cells, &missing),
        };
        self.unresolved_gaps(ledger);
        ledger.windows.add(&windows);
        ledger.overdue += sum(|row| row.overdue);
        ledger.absent += absent_windows;
        ledger.uncovered += uncovered;
        ledger.missing += missing_events;
        ledger.evidence.add(&evidence);
        ([windows.mismatch, missing_events, uncovered, absent_windows], state)
    }

    fn cells(
        &self,
        buckets: &TimeBuckets,
        windows: &BTreeMap<usize, WindowCounts>,
        missing: &BTreeMap<usize, u64>,
    ) -> Vec<Vec<u64>> {
        let complete = self.complete_by_bucket(buckets);
        let of = |counts: &BTreeMap<usize, u64>, bucket: usize| counts.get(&bucket).copied().unwrap_or(0);
        let numbers = |bucket: usize| {
            let windows = windows.get(&bucket).copied().unwrap_or_default();
            cell(&windows, of(missing, bucket), of(&complete, bucket))
        };
        (0..buckets.count).map(numbers).collect()
    }

    /// Windows that the venue's numbers prove to be complete.
    fn complete_by_bucket(&self, buckets: &TimeBuckets) -> BTreeMap<usize, u64> {
        let mut complete = BTreeMap::<usize, u64>::new();
        for (mut from, to) in self.found.proven.values().flat_map(TimeRuns::iter) {
            while from < to {
                let bucket =
                    usize::try_from(buckets.of_time(from.saturating_mul(1_000))).unwrap_or(usize::MAX);
                let end = buckets.begin_ms(bucket.saturating_add(1)).div_euclid(1_000).clamp(from + 1, to);
                let windows = (end - from) / self.facts.window.max(1);
                *complete.entry(bucket).or_default() += u64::try_from(windows).unwrap_or_default();
                from = end;
            }
        }
        complete
    }

    fn missing_by_bucket(&self, buckets: &TimeBuckets) -> BTreeMap<usize, u64> {
        let last = buckets.count.saturating_sub(1);
        let mut missing = BTreeMap::<usize, u64>::new();
        for events in &self.found.missing {
            let seconds = (events.at.0 - buckets.start_ms.div_euclid(1_000)).max(0);
            let bucket = usize::try_from(seconds / buckets.seconds.max(1)).unwrap_or(last).min(last);
            *missing.entry(bucket).or_default() += events.count;
        }
        missing
    }

    /// All gaps of the stream by cause.
    fn gaps(&self, ledger: &mut LedgerSummary) -> BTreeMap<String, GapCount> {
        let mut gaps = BTreeMap::<String, GapCount>::new();
        for gap in self.facts.edges.values().flat_map(|edge| &edge.gaps) {
            match gap.role {
                GapRole::Stop => {}
                GapRole::FirstStart => ledger.starts += 1,
                GapRole::Loss | GapRole::Killed => {
                    ledger.gaps_total += 1;
                    let (missing, unknown) =
                        (gap.missing.unwrap_or_default(), u64::from(gap.missing.is_none()));
                    gaps.entry(gap.cause.clone()).or_default().add(GapCount { gaps: 1, missing, unknown });
                }
            }
        }
        gaps
    }

    fn unresolved_gaps(&self, ledger: &mut LedgerSummary) {
        for events in &self.found.missing {
            let count = GapCount { gaps: 1, missing: events.count, unknown: 0 };
            ledger.gaps.entry(events.cause.clone()).or_default().add(count);
        }
        for (cause, gaps) in &self.found.unknown_gaps {
            let count = GapCount { gaps: *gaps, missing: 0, unknown: *gaps };
            ledger.gaps.entry(cause.clone()).or_default().add(count);
        }
    }

    /// Rows are counted as proven only where every verified window of their bucket is.
    fn evidence(&self) -> EvidenceCounts {
        let is_lower_bound = self.facts.capability.completeness == Completeness::LowerBound;
        let (nothing, window) = (TimeRuns::default(), self.facts.window);
        let mut evidence = EvidenceCounts::default();
        for (name, edge) in &self.facts.edges {
            let proven = self.found.proven.get(name).unwrap_or(&nothing);
            let verified = edge.verified.minus(proven).windows(window);
            evidence.complete_windows += proven.windows(window);
            *(if is_lower_bound {
                &mut evidence.lower_bound_windows
            } else {
                &mut evidence.received_windows
            }) += verified;
        }
        for row in &self.rows {
            let proven = self.found.proven.get(&row.edge).unwrap_or(&nothing);
            let runs: TimeRuns = row.runs.iter().map(|(from, to, _)| (*from, *to)).collect();
            let rows = match () {
                () if is_lower_bound => &mut evidence.lower_bound_rows,
                () if runs.minus(proven).is_empty() => &mut evidence.complete_rows,
                () => &mut evidence.received_rows,
            };
            *rows += row.rows;
        }
        evidence
    }
}

/// Empty without a verdict and without a missing event.
fn cell(windows: &WindowCounts, missing: u64, complete: u64) -> Vec<u64> {
    if windows.total() == 0 && missing == 0 {
        return Vec::new();
    }
    windows.cell().into_iter().chain([missing, complete]).collect()
}

fn copies_by_table(buckets: &TimeBuckets, copies: &[ReplicationBucket]) -> Vec<TableRow> {
    let mut tables: BTreeMap<&str, Vec<Vec<u64>>> = BTreeMap::new();
    for row in copies {
        let cells = tables.entry(&row.table_name).or_insert_with(|| vec![Vec::new(); buckets.count]);
        if let Some(cell) = usize::try_from(row.bucket).ok().and_then(|bucket| cells.get_mut(bucket)) {
            *cell = vec![row.verified, row.mismatch, row.failed, row.open, 0, 0, 0];
        }
    }
    tables.into_iter().map(|(table, cells)| TableRow { table: table.to_owned(), cells }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_763_769_600_000;
    const MINUTE_MS: i64 = 60_000;

    fn scope(hours: i64) -> ReportScope {
        ReportScope { from: Time(START), to: Time(START + hours * 60 * MINUTE_MS), table: None }
    }

    /// One window of an unnumbered stream; `code`: see [`RunState`].
    fn row(edge: &str, bucket: u32, code: u8) -> VerdictBucket {
        let first_ms = START + i64::from(bucket) * MINUTE_MS;
        let is = |wanted: &[u8]| u64::from(wanted.contains(&code));
        VerdictBucket {
            stream: StreamId::parse("trade.sim_spot.spot.A-B").unwrap(),
            edge: edge.into(),
            bucket,
            verified: is(&[1, 2]),
            mismatch: is(&[4]),
            unverifiable: is(&[3]),
            not_collected: is(&[6]),
            open: is(&[5]),
            overdue: 0,
            rows: 10 * is(&[1]),
            duplicates: 0,
            conflated: 0,
            window_seconds: 60,
            first_ms,
            last_ms: first_ms,
            numbering: "unnumbered".into(),
            completeness: "complete".into(),
            delay_seconds: 0,
            runs: vec![(first_ms / 1_000, first_ms / 1_000 + 60, code)],
        }
    }

    fn of(verdicts: &[VerdictBucket], gaps: &[EdgeGap]) -> LedgerSummary {
        let rows = LedgerRows { verdicts, gaps, ids: &[] };
        add_up(&scope(1), &TimeBuckets::of(&scope(1)), rows, &[])
    }

    #[test]
    fn an_edge_with_events_covers_unverifiable_windows_but_no_mismatch() {
        let rows = [
            row("e1", 0, 3),
            row("e2", 0, 1),
            row("e1", 1, 4),
            row("e2", 1, 1),
            row("e1", 2, 3),
            row("e2", 2, 2),
            row("e1", 3, 3),
        ];
        let ledger = of(&rows, &[]);
        let stream = &ledger.map.streams[0];
        assert_eq!((stream.covered_windows, ledger.uncovered, ledger.missing), (1, 2, 0));
        assert_eq!((ledger.windows.mismatch, ledger.windows.total()), (1, 7));
        assert_eq!(stream.cells[1], [1, 1, 0, 0, 0, 0, 0]);
        let first = &ledger.faults[0];
        assert_eq!(
            (first.1, first.0.symbol.as_str()),
            (START + MINUTE_MS, "A-B"),
            "the mismatch comes first"
        );
        let EvidenceCounts { complete_windows, received_windows, received_rows, .. } = ledger.evidence;
        assert_eq!((complete_windows, received_windows, received_rows), (0, 3, 20));
    }

    #[test]
    fn cells_count_the_windows_that_the_venue_proves() {
        let linked = |bucket, code| VerdictBucket { numbering: "linked".into(), ..row("e1", bucket, code) };
        let rows = [linked(0, 1), linked(1, 1), linked(2, 3)];
        let day = ReportScope { to: Time(START + 24 * 60 * MINUTE_MS), ..scope(1) };
        let buckets = TimeBuckets::of(&day);
        let ledger = LedgerRows { verdicts: &rows, ..LedgerRows::default() };
        let in_a_day = add_up(&day, &buckets, ledger, &[]);
        assert_eq!(in_a_day.map.streams[0].cells[0].last(), Some(&2));
        let ledger = of(&rows, &[]);
        let cells = &ledger.map.streams[0].cells;
        assert_eq!([&cells[0], &cells[2]], [&vec![1, 0, 0, 0, 0, 0, 1], &vec![0, 0, 1, 0, 0, 0, 0]]);
        assert_eq!(of(&[row("e1", 0, 1)], &[]).map.streams[0].cells[0], [1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn windows_without_verdict_are_counted() {
        assert_eq!(of(&[row("e1", 0, 1), row("e1", 1, 1), row("e1", 4, 1)], &[]).absent, 2);
    }

    /// A gap of a minute's window by the run that began in `run`'s.
    fn gap(cause: &str, kind: &str, minute: i64, run: i64, missing: Option<u64>) -> EdgeGap {
        let ns = |minute: i64| (START + minute * MINUTE_MS) * 1_000_000;
        EdgeGap {
            stream: StreamId::parse("trade.sim_spot.spot.A-B").unwrap(),
            edge: "e1".into(),
            window_ms: START + minute * MINUTE_MS,
            run: ns(run),
            kind: kind.into(),
            cause: cause.into(),
            from_ns: ns(minute),
            to_ns: ns(minute + 1),
            from_sequence: None,
            to_sequence: None,
            missing,
        }
    }

    #[test]
    fn only_later_starts_are_gaps_of_unknown_size() {
        let gaps = [
            gap("ours", "start", 0, 0, None),
            gap("venue", "dropped", 0, 0, Some(3)),
            gap("ours", "stop", 1, 0, None),
            gap("ours", "start", 2, 2, None),
        ];
        let ledger = of(&[row("e1", 0, 1), row("e1", 1, 1), row("e1", 2, 1)], &gaps);
        assert_eq!((ledger.starts, ledger.gaps_total, ledger.missing), (1, 2, 3));
        assert_eq!(ledger.gaps["venue"], GapCount { gaps: 1, missing: 3, unknown: 0 });
        assert_eq!(ledger.gaps["ours"], GapCount { gaps: 1, missing: 0, unknown: 1 });
    }

    #[test]
    fn a_first_start_that_began_before_the_period_is_no_gap() {
        let start = |minute: i64, run: i64| gap("ours", "start", minute, run, None);
        let rows = [row("e1", 0, 1), row("e1", 1, 1)];
        let ledger = of(&rows, &[start(-2, -2), start(-1, -2), start(0, -2)]);
        assert_eq!((ledger.starts, ledger.gaps_total, ledger.gaps.is_empty()), (1, 0, true));
        let ledger = of(&rows, &[start(0, -9), start(1, -9)]);
        assert_eq!((ledger.starts, ledger.gaps_total), (2, 0), "windows closed before the feed started");
        let ledger = of(&rows, &[start(0, -61)]);
        assert_eq!((ledger.starts, ledger.gaps_total), (0, 1), "verdicts of that time are not read");
    }
}
