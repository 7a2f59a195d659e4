//! Verdicts and gaps, added up by stream and bin of time. Pure.

use std::collections::BTreeMap;

use super::Time;
use super::bins::{Bins, StreamKey};
use super::document::{CELL, GapCount, HeatMap, StreamState, TableRow, Windows};
use super::sources::gaps::GapGroup;
use super::sources::replication::CopiedBin;
use super::sources::verdicts::Binned;

/// Most streams shown by name; those with the worst state come first.
const STREAMS_MAX: usize = 300;

/// What one edge says of one stream in one bin.
#[derive(Debug, Clone, Copy, Default)]
struct EdgeCell {
    windows: Windows,
    overdue: u64,
    missing: u64,
    gaps: GapCount,
    starts: u64,
}

impl EdgeCell {
    /// Whether this edge vouches for everything in it, so that it covers for another.
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
struct Stream {
    edges: BTreeMap<String, BTreeMap<usize, EdgeCell>>,
    /// The first window of each edge.
    firsts: BTreeMap<String, i64>,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    window_ms: i64,
    duplicates: u64,
    conflated: u64,
    gaps: BTreeMap<String, GapCount>,
}

/// Everything added up.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The map.
    pub map: HeatMap,
    /// Windows of all streams.
    pub windows: Windows,
    /// Open windows that should have been judged by now.
    pub overdue: u64,
    /// Windows between the first and the last of a stream that no verdict mentions.
    pub absent: u64,
    /// Unverifiable windows that no other edge covers.
    pub uncovered: u64,
    /// Missing events that no other edge has, by cause. Where the verdicts name more than the audits' gaps: under `unknown`.
    pub missing: u64,
    /// Gaps by cause that no other edge covers.
    pub gaps: BTreeMap<String, GapCount>,
    /// All gaps, covered ones too.
    pub gaps_total: u64,
    /// How often collecting began anew.
    pub starts: u64,
    /// The newest window of each edge.
    pub edges: BTreeMap<String, i64>,
    /// What was judged: data type and exchange.
    pub judged: std::collections::BTreeSet<(String, String)>,
    /// Bins with windows that are not verified: stream, begin and end, the worst first.
    pub faults: Vec<(StreamKey, i64, i64)>,
}

/// Adds everything up.
pub fn add_up(bins: &Bins, verdicts: &[Binned], gaps: &[GapGroup], copies: &[CopiedBin]) -> Ledger {
    let mut streams: BTreeMap<StreamKey, Stream> = BTreeMap::new();
    let mut ledger = Ledger::default();
    for row in verdicts {
        let key = StreamKey::new(&row.data_type, &row.exchange, &row.market_type, &row.symbol);
        let newest = ledger.edges.entry(row.edge.clone()).or_insert(row.last_ms);
        *newest = (*newest).max(row.last_ms);
        ledger.judged.insert((row.data_type.clone(), row.exchange.clone()));
        streams.entry(key).or_default().judge(row);
    }
    for group in gaps {
        let key = StreamKey::new(&group.data_type, &group.exchange, &group.market_type, &group.symbol);
        streams.entry(key).or_default().gap(group);
    }
    let mut faults = Vec::new();
    let mut rows = Vec::new();
    for (key, stream) in streams {
        rows.push(stream.close(&key, bins, &mut ledger, &mut faults));
    }
    rows.sort_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.stream.cmp(&right.stream)));
    faults.sort_by_key(|(is_mismatch, _, begin, _)| (!is_mismatch, -begin));
    ledger.faults = faults.into_iter().map(|(_, key, begin, end)| (key, begin, end)).collect();
    ledger.map = HeatMap {
        from: Some(Time(bins.start_ms)),
        bin_seconds: u64::try_from(bins.seconds).unwrap_or_default(),
        bins: bins.count,
        cell: CELL,
        streams_total: u64::try_from(rows.len()).unwrap_or(u64::MAX),
        streams: rows.into_iter().map(|(_, state)| state).take(STREAMS_MAX).collect(),
        replication: copies_by_table(bins, copies),
    };
    ledger
}

/// How bad a stream is: mismatches, missing, uncovered, absent.
type Badness = [u64; 4];
type Fault = (bool, StreamKey, i64, i64);

impl Stream {
    fn judge(&mut self, row: &Binned) {
        let first = self.firsts.entry(row.edge.clone()).or_insert(row.first_ms);
        *first = (*first).min(row.first_ms);
        self.first_ms = Some(self.first_ms.map_or(row.first_ms, |first| first.min(row.first_ms)));
        self.last_ms = Some(self.last_ms.map_or(row.last_ms, |last| last.max(row.last_ms)));
        self.window_ms = self.window_ms.max(i64::from(row.window_seconds) * 1_000);
        self.duplicates += row.duplicates;
        self.conflated += row.conflated;
        let bin = usize::try_from(row.bin).unwrap_or(usize::MAX);
        let cell = self.edges.entry(row.edge.clone()).or_default().entry(bin).or_default();
        cell.windows.add(&Windows {
            verified: row.verified,
            mismatch: row.mismatch,
            unverifiable: row.unverifiable,
            open: row.open,
        });
        cell.overdue += row.overdue;
        cell.missing += row.missing;
    }

    /// The first start of an edge is no gap: nothing was promised before. A later one is: nobody heard the venue meanwhile, and how much
    /// it said nobody knows. The stop before it is the same hole.
    fn gap(&mut self, group: &GapGroup) {
        let is_first = self.firsts.get(&group.edge).is_none_or(|first_ms| group.first_ms <= *first_ms);
        let bin = usize::try_from(group.bin).unwrap_or(usize::MAX);
        let cell = self.edges.entry(group.edge.clone()).or_default().entry(bin).or_default();
        let counted = match group.sort_of.as_str() {
            "stop" => return,
            "start" => {
                let again = group.count_of - u64::from(is_first && group.count_of > 0);
                cell.starts += group.count_of - again;
                GapCount { gaps: again, missing: 0, unknown: again }
            }
            _ => GapCount { gaps: group.count_of, missing: group.missing, unknown: group.unknown },
        };
        if counted.gaps == 0 {
            return;
        }
        cell.gaps.add(counted);
        self.gaps.entry(group.cause.clone()).or_default().add(counted);
    }

    /// Whether another edge vouches for the bin.
    fn is_covered(&self, edge: &str, bin: usize) -> bool {
        self.edges
            .iter()
            .any(|(other, cells)| other != edge && cells.get(&bin).is_some_and(EdgeCell::is_clean))
    }

    fn close(
        self,
        key: &StreamKey,
        bins: &Bins,
        ledger: &mut Ledger,
        faults: &mut Vec<Fault>,
    ) -> (Badness, StreamState) {
        let mut state = StreamState {
            stream: key.parts().join("."),
            edges: self.edges.keys().cloned().collect(),
            windows: Windows::default(),
            absent_windows: self.absent(bins),
            covered_by_another_edge: 0,
            missing_events: 0,
            duplicates: self.duplicates,
            conflated: self.conflated,
            gaps: self.gaps.clone(),
            newest_window: self.last_ms.map(Time),
            cells: Vec::new(),
        };
        let mut uncovered = 0;
        for bin in 0..bins.count {
            let mut sum = Windows::default();
            let mut missing = None::<u64>;
            for (edge, cells) in &self.edges {
                let Some(cell) = cells.get(&bin) else { continue };
                sum.add(&cell.windows);
                // What one edge misses and another has is in hot.
                let own = cell.missing.max(cell.gaps.missing);
                missing = Some(missing.map_or(own, |other| other.min(own)));
                ledger.overdue += cell.overdue;
                ledger.starts += cell.starts;
                ledger.gaps_total += cell.gaps.gaps;
                let is_covered = self.is_covered(edge, bin);
                if is_covered {
                    state.covered_by_another_edge += cell.windows.unverifiable;
                } else {
                    uncovered += cell.windows.unverifiable;
                }
                if cell.windows.mismatch + cell.windows.unverifiable + cell.overdue > 0 {
                    let (begin, end) = (bins.begin_ms(bin), bins.begin_ms(bin + 1));
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

    /// Gaps by cause that no other edge covers. The cells do not keep the cause, so a stream with an uncovered gap gives all its causes.
    fn count_gaps(&self, ledger: &mut Ledger) {
        let has_open_gap = self.edges.iter().any(|(edge, cells)| {
            cells.iter().any(|(bin, cell)| cell.gaps.gaps > 0 && !self.is_covered(edge, *bin))
        });
        if has_open_gap {
            for (cause, count) in &self.gaps {
                ledger.gaps.entry(cause.clone()).or_default().add(*count);
            }
        }
    }

    /// Windows between the first and the last that no edge has a verdict of.
    fn absent(&self, bins: &Bins) -> u64 {
        let (Some(first), Some(last)) = (self.first_ms, self.last_ms) else { return 0 };
        let window = self.window_ms.max(1_000);
        let mut absent = 0;
        for bin in 0..bins.count {
            let (begin, end) = (bins.begin_ms(bin).max(first), bins.begin_ms(bin + 1).min(last + window));
            let expected = u64::try_from((end - begin).max(0) / window).unwrap_or_default();
            let cells = self.edges.values().filter_map(|cells| cells.get(&bin));
            let most = cells.map(|cell| cell.windows.total()).max().unwrap_or(0);
            absent += expected.saturating_sub(most);
        }
        absent
    }
}

impl GapCount {
    /// Adds others.
    pub const fn add(&mut self, other: Self) {
        self.gaps += other.gaps;
        self.missing += other.missing;
        self.unknown += other.unknown;
    }
}

fn copies_by_table(bins: &Bins, copies: &[CopiedBin]) -> Vec<TableRow> {
    let mut tables: BTreeMap<&str, Vec<Vec<u64>>> = BTreeMap::new();
    for row in copies {
        let cells = tables.entry(&row.table_name).or_insert_with(|| vec![Vec::new(); bins.count]);
        if let Some(cell) = usize::try_from(row.bin).ok().and_then(|bin| cells.get_mut(bin)) {
            *cell = vec![row.verified, row.mismatch, row.failed, row.open, 0];
        }
    }
    tables.into_iter().map(|(table, cells)| TableRow { table: table.to_owned(), cells }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Scope;

    const START: i64 = 1_763_769_600_000;

    fn scope(hours: i64) -> Scope {
        Scope { from: Time(START), to: Time(START + hours * 3_600_000), table: None }
    }

    fn row(edge: &str, bin: u32, verified: u64, mismatch: u64, unverifiable: u64, missing: u64) -> Binned {
        let first_ms = START + i64::from(bin) * 60_000;
        Binned {
            data_type: "trade".into(),
            exchange: "sim_spot".into(),
            market_type: "spot".into(),
            symbol: "A-B".into(),
            edge: edge.into(),
            bin,
            verified,
            mismatch,
            unverifiable,
            open: 0,
            overdue: 0,
            gaps: u64::from(missing > 0),
            missing,
            duplicates: 0,
            conflated: 0,
            window_seconds: 60,
            first_ms,
            last_ms: first_ms,
        }
    }

    /// Goal: a window that one edge cannot vouch for is covered by another that can; a mismatch is covered by nobody; what one edge
    /// misses and another has is not missing.
    #[test]
    fn another_edge_covers_what_one_cannot_vouch_for() {
        let bins = Bins::of(&scope(1));
        let rows = [
            row("e1", 0, 0, 0, 1, 0),
            row("e2", 0, 1, 0, 0, 0),
            row("e1", 1, 0, 1, 0, 0),
            row("e2", 1, 1, 0, 0, 0),
            row("e1", 2, 1, 0, 0, 7),
            row("e2", 2, 1, 0, 0, 0),
            row("e1", 3, 0, 0, 1, 0),
        ];
        let ledger = add_up(&bins, &rows, &[], &[]);
        let stream = &ledger.map.streams[0];
        assert_eq!((stream.covered_by_another_edge, ledger.uncovered, ledger.missing), (1, 1, 0));
        assert_eq!((ledger.windows.mismatch, ledger.windows.total()), (1, 7));
        assert_eq!(stream.cells[1], [1, 1, 0, 0, 0]);
        let first = &ledger.faults[0];
        assert_eq!((first.1, first.0.parts()[3]), (START + 60_000, "A-B"), "the mismatch comes first");
    }

    /// Goal: a window that nobody mentions between two that were judged is counted as absent.
    #[test]
    fn holes_between_verdicts_are_counted() {
        let bins = Bins::of(&scope(1));
        let rows = [row("e1", 0, 1, 0, 0, 0), row("e1", 1, 1, 0, 0, 0), row("e1", 4, 1, 0, 0, 0)];
        assert_eq!(add_up(&bins, &rows, &[], &[]).absent, 2);
    }

    /// Goal: the first start of an edge is no gap, a later one is a gap of unknown size by us, a stop is part of it; others count by cause.
    #[test]
    fn only_later_starts_are_gaps() {
        let bins = Bins::of(&scope(1));
        let gap = |cause: &str, sort_of: &str, minute: i64, missing| GapGroup {
            data_type: "trade".into(),
            exchange: "sim_spot".into(),
            market_type: "spot".into(),
            symbol: "A-B".into(),
            edge: "e1".into(),
            bin: u32::try_from(minute).unwrap(),
            cause: cause.into(),
            sort_of: sort_of.into(),
            first_ms: START + minute * 60_000,
            count_of: 1,
            missing,
            unknown: u64::from(missing == 0),
        };
        let gaps = [
            gap("ours", "start", 0, 0),
            gap("venue", "gap", 0, 3),
            gap("ours", "stop", 1, 0),
            gap("ours", "start", 2, 0),
        ];
        let rows = [row("e1", 0, 1, 0, 0, 3), row("e1", 1, 1, 0, 0, 0), row("e1", 2, 1, 0, 0, 0)];
        let ledger = add_up(&bins, &rows, &gaps, &[]);
        assert_eq!((ledger.starts, ledger.gaps_total, ledger.missing), (1, 2, 3));
        assert_eq!(ledger.gaps["venue"], GapCount { gaps: 1, missing: 3, unknown: 0 });
        assert_eq!(ledger.gaps["ours"], GapCount { gaps: 1, missing: 0, unknown: 1 });
    }
}
