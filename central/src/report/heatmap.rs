//! Verdicts and gaps added up by stream and time bucket. Pure.

use std::collections::BTreeMap;

use marketprism_schema::{DataType, StreamId};

use super::Time;
use super::document::{CELL, GapCount, HeatMap, StreamState, TableRow, WindowCounts};
use super::period::TimeBuckets;
use super::sources::ledger::{GapGroup, VerdictBucket};
use super::sources::tables::{Market, ReplicationBucket};

/// Most streams listed; those with the worst state come first.
const STREAMS_MAX: usize = 300;

/// Windows and gaps of one stream, edge and time bucket.
#[derive(Debug, Clone, Copy, Default)]
struct EdgeBucket {
    windows: WindowCounts,
    overdue: u64,
    missing: u64,
    gaps: GapCount,
    starts: u64,
}

impl EdgeBucket {
    /// Every window is verified and has no gap: this edge covers for another.
    fn is_clean(&self) -> bool {
        let others = self.windows.mismatch + self.windows.unverifiable + self.overdue;
        self.windows.verified > 0
            && others == 0
            && self.missing == 0
            && self.gaps.gaps == 0
            && self.starts == 0
    }
}

#[derive(Debug, Default)]
struct StreamBuckets {
    edges: BTreeMap<String, BTreeMap<usize, EdgeBucket>>,
    /// First window of each edge.
    firsts: BTreeMap<String, i64>,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    window_ms: i64,
    duplicates: u64,
    conflated: u64,
    gaps: BTreeMap<String, GapCount>,
}

#[derive(Debug, Default)]
pub struct LedgerSummary {
    pub map: HeatMap,
    pub windows: WindowCounts,
    /// Windows still open long after their grace period.
    pub overdue: u64,
    /// Windows without a verdict between the first and the last of a stream.
    pub absent: u64,
    /// Unverifiable windows that no other edge covers.
    pub uncovered: u64,
    /// Missing events that no other edge has.
    pub missing: u64,
    /// Gaps by cause that no other edge covers.
    pub gaps: BTreeMap<String, GapCount>,
    /// All gaps, covered ones included.
    pub gaps_total: u64,
    /// First starts of streams.
    pub starts: u64,
    /// Newest window of each edge.
    pub edges: BTreeMap<String, i64>,
    /// Windows by data type, exchange and market type.
    pub markets: BTreeMap<(DataType, Market), WindowCounts>,
    /// Buckets with windows that are not verified: stream, begin and end, the worst first.
    pub faults: Vec<(StreamId, i64, i64)>,
}

pub fn add_up(
    buckets: &TimeBuckets,
    verdicts: &[VerdictBucket],
    gaps: &[GapGroup],
    copies: &[ReplicationBucket],
) -> LedgerSummary {
    let mut streams: BTreeMap<StreamId, StreamBuckets> = BTreeMap::new();
    let mut ledger = LedgerSummary::default();
    for row in verdicts {
        let newest = ledger.edges.entry(row.edge.clone()).or_insert(row.last_ms);
        *newest = (*newest).max(row.last_ms);
        let StreamId { data_type, exchange, market_type, .. } = &row.stream;
        let market = (exchange.clone(), market_type.to_string());
        ledger.markets.entry((*data_type, market)).or_default().add(&counts(row));
        streams.entry(row.stream.clone()).or_default().add_verdicts(row);
    }
    for group in gaps {
        streams.entry(group.stream.clone()).or_default().add_gaps(group);
    }
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
    let VerdictBucket { verified, mismatch, unverifiable, open, .. } = *row;
    WindowCounts { verified, mismatch, unverifiable, open }
}

/// Mismatches, missing events, uncovered and absent windows.
type StreamSeverity = [u64; 4];
type Fault = (bool, StreamId, i64, i64);

impl StreamBuckets {
    fn add_verdicts(&mut self, row: &VerdictBucket) {
        let first = self.firsts.entry(row.edge.clone()).or_insert(row.first_ms);
        *first = (*first).min(row.first_ms);
        self.first_ms = Some(self.first_ms.map_or(row.first_ms, |first| first.min(row.first_ms)));
        self.last_ms = Some(self.last_ms.map_or(row.last_ms, |last| last.max(row.last_ms)));
        self.window_ms = self.window_ms.max(i64::from(row.window_seconds) * 1_000);
        self.duplicates += row.duplicates;
        self.conflated += row.conflated;
        let bucket = usize::try_from(row.bucket).unwrap_or(usize::MAX);
        let cell = self.edges.entry(row.edge.clone()).or_default().entry(bucket).or_default();
        cell.windows.add(&counts(row));
        cell.overdue += row.overdue;
        cell.missing += row.missing;
    }

    /// The first start of an edge is no gap. A later start is one of unknown size; the stop before it belongs to the same gap.
    fn add_gaps(&mut self, group: &GapGroup) {
        let is_first = self.firsts.get(&group.edge).is_none_or(|first_ms| group.first_ms <= *first_ms);
        let bucket = usize::try_from(group.bucket).unwrap_or(usize::MAX);
        let cell = self.edges.entry(group.edge.clone()).or_default().entry(bucket).or_default();
        let counted = match group.class.as_str() {
            "stop" => return,
            "start" => {
                let again = group.count - u64::from(is_first && group.count > 0);
                cell.starts += group.count - again;
                GapCount { gaps: again, missing: 0, unknown: again }
            }
            _ => GapCount { gaps: group.count, missing: group.missing, unknown: group.unknown },
        };
        if counted.gaps == 0 {
            return;
        }
        cell.gaps.add(counted);
        self.gaps.entry(group.cause.clone()).or_default().add(counted);
    }

    fn is_covered(&self, edge: &str, bucket: usize) -> bool {
        self.edges
            .iter()
            .any(|(other, cells)| other != edge && cells.get(&bucket).is_some_and(EdgeBucket::is_clean))
    }

    fn close(
        self,
        key: &StreamId,
        buckets: &TimeBuckets,
        ledger: &mut LedgerSummary,
        faults: &mut Vec<Fault>,
    ) -> (StreamSeverity, StreamState) {
        let mut state = StreamState {
            stream: key.to_string(),
            edges: self.edges.keys().cloned().collect(),
            windows: WindowCounts::default(),
            absent_windows: self.absent(buckets),
            covered_by_another_edge: 0,
            missing_events: 0,
            duplicates: self.duplicates,
            conflated: self.conflated,
            gaps: self.gaps.clone(),
            newest_window: self.last_ms.map(Time),
            cells: Vec::new(),
        };
        let mut uncovered = 0;
        for bucket in 0..buckets.count {
            let mut sum = WindowCounts::default();
            let mut missing = None::<u64>;
            for (edge, cells) in &self.edges {
                let Some(cell) = cells.get(&bucket) else { continue };
                sum.add(&cell.windows);
                // An event that one edge misses is in hot if another edge has it.
                let own = cell.missing.max(cell.gaps.missing);
                missing = Some(missing.map_or(own, |other| other.min(own)));
                ledger.overdue += cell.overdue;
                ledger.starts += cell.starts;
                ledger.gaps_total += cell.gaps.gaps;
                let is_covered = self.is_covered(edge, bucket);
                if is_covered {
                    state.covered_by_another_edge += cell.windows.unverifiable;
                } else {
                    uncovered += cell.windows.unverifiable;
                }
                if cell.windows.mismatch + cell.windows.unverifiable + cell.overdue > 0 {
                    let (begin, end) = (buckets.begin_ms(bucket), buckets.begin_ms(bucket + 1));
                    faults.push((cell.windows.mismatch > 0, key.clone(), begin, end));
                }
            }
            state.missing_events += missing.unwrap_or(0);
            state.windows.add(&sum);
            let is_empty = sum.total() == 0 && missing.unwrap_or(0) == 0;
            let cell = sum.cell().into_iter().chain([missing.unwrap_or(0)]);
            state.cells.push(if is_empty { Vec::new() } else { cell.collect() });
        }
        self.count_gaps(ledger);
        ledger.windows.add(&state.windows);
        ledger.absent += state.absent_windows;
        ledger.uncovered += uncovered;
        ledger.missing += state.missing_events;
        let badness = [state.windows.mismatch, state.missing_events, uncovered, state.absent_windows];
        (badness, state)
    }

    /// Buckets do not keep causes, so a stream with one uncovered gap contributes all of its causes.
    fn count_gaps(&self, ledger: &mut LedgerSummary) {
        let has_open_gap = self.edges.iter().any(|(edge, cells)| {
            cells.iter().any(|(bucket, cell)| cell.gaps.gaps > 0 && !self.is_covered(edge, *bucket))
        });
        if has_open_gap {
            for (cause, count) in &self.gaps {
                ledger.gaps.entry(cause.clone()).or_default().add(*count);
            }
        }
    }

    /// Windows between the first and the last for which no edge has a verdict.
    fn absent(&self, buckets: &TimeBuckets) -> u64 {
        let (Some(first), Some(last)) = (self.first_ms, self.last_ms) else { return 0 };
        let window = self.window_ms.max(1_000);
        let mut absent = 0;
        for bucket in 0..buckets.count {
            let (begin, end) =
                (buckets.begin_ms(bucket).max(first), buckets.begin_ms(bucket + 1).min(last + window));
            let expected = u64::try_from((end - begin).max(0) / window).unwrap_or_default();
            let cells = self.edges.values().filter_map(|cells| cells.get(&bucket));
            let most = cells.map(|cell| cell.windows.total()).max().unwrap_or(0);
            absent += expected.saturating_sub(most);
        }
        absent
    }
}

fn copies_by_table(buckets: &TimeBuckets, copies: &[ReplicationBucket]) -> Vec<TableRow> {
    let mut tables: BTreeMap<&str, Vec<Vec<u64>>> = BTreeMap::new();
    for row in copies {
        let cells = tables.entry(&row.table_name).or_insert_with(|| vec![Vec::new(); buckets.count]);
        if let Some(cell) = usize::try_from(row.bucket).ok().and_then(|bucket| cells.get_mut(bucket)) {
            *cell = vec![row.verified, row.mismatch, row.failed, row.open, 0];
        }
    }
    tables.into_iter().map(|(table, cells)| TableRow { table: table.to_owned(), cells }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ReportScope;

    const START: i64 = 1_763_769_600_000;

    fn scope(hours: i64) -> ReportScope {
        ReportScope { from: Time(START), to: Time(START + hours * 3_600_000), table: None }
    }

    fn row(edge: &str, bucket: u32, numbers: [u64; 4]) -> VerdictBucket {
        let [verified, mismatch, unverifiable, missing] = numbers;
        let first_ms = START + i64::from(bucket) * 60_000;
        VerdictBucket {
            stream: StreamId::parse("trade.sim_spot.spot.A-B").unwrap(),
            edge: edge.into(),
            bucket,
            verified,
            mismatch,
            unverifiable,
            open: 0,
            overdue: 0,
            missing,
            duplicates: 0,
            conflated: 0,
            window_seconds: 60,
            first_ms,
            last_ms: first_ms,
        }
    }

    #[test]
    fn another_edge_covers_unverifiable_windows_but_no_mismatch() {
        let buckets = TimeBuckets::of(&scope(1));
        let rows = [
            row("e1", 0, [0, 0, 1, 0]),
            row("e2", 0, [1, 0, 0, 0]),
            row("e1", 1, [0, 1, 0, 0]),
            row("e2", 1, [1, 0, 0, 0]),
            row("e1", 2, [1, 0, 0, 7]),
            row("e2", 2, [1, 0, 0, 0]),
            row("e1", 3, [0, 0, 1, 0]),
        ];
        let ledger = add_up(&buckets, &rows, &[], &[]);
        let stream = &ledger.map.streams[0];
        assert_eq!((stream.covered_by_another_edge, ledger.uncovered, ledger.missing), (1, 1, 0));
        assert_eq!((ledger.windows.mismatch, ledger.windows.total()), (1, 7));
        assert_eq!(stream.cells[1], [1, 1, 0, 0, 0]);
        let first = &ledger.faults[0];
        assert_eq!((first.1, first.0.symbol.as_str()), (START + 60_000, "A-B"), "the mismatch comes first");
    }

    #[test]
    fn windows_without_verdict_are_counted() {
        let buckets = TimeBuckets::of(&scope(1));
        let rows = [row("e1", 0, [1, 0, 0, 0]), row("e1", 1, [1, 0, 0, 0]), row("e1", 4, [1, 0, 0, 0])];
        assert_eq!(add_up(&buckets, &rows, &[], &[]).absent, 2);
    }

    #[test]
    fn only_later_starts_are_gaps_of_unknown_size() {
        let buckets = TimeBuckets::of(&scope(1));
        let gap = |cause: &str, class: &str, minute: i64, missing| GapGroup {
            stream: StreamId::parse("trade.sim_spot.spot.A-B").unwrap(),
            edge: "e1".into(),
            bucket: u32::try_from(minute).unwrap(),
            cause: cause.into(),
            class: class.into(),
            first_ms: START + minute * 60_000,
            count: 1,
            missing,
            unknown: u64::from(missing == 0),
        };
        let gaps = [
            gap("ours", "start", 0, 0),
            gap("venue", "gap", 0, 3),
            gap("ours", "stop", 1, 0),
            gap("ours", "start", 2, 0),
        ];
        let rows = [row("e1", 0, [1, 0, 0, 3]), row("e1", 1, [1, 0, 0, 0]), row("e1", 2, [1, 0, 0, 0])];
        let ledger = add_up(&buckets, &rows, &gaps, &[]);
        assert_eq!((ledger.starts, ledger.gaps_total, ledger.missing), (1, 2, 3));
        assert_eq!(ledger.gaps["venue"], GapCount { gaps: 1, missing: 3, unknown: 0 });
        assert_eq!(ledger.gaps["ours"], GapCount { gaps: 1, missing: 0, unknown: 1 });
    }
}
