//! Hot compared with cold, table by table.

use std::collections::{BTreeMap, BTreeSet};

use super::meter::ProgressMeter;
use crate::config::{Config, Start};
use crate::limits;
use crate::replicator::{
    ComparedState, ComparedWindow, CopyContext, CopyError, HotCold, TableSpec, TimeRange, WindowLog,
    WindowOps, align,
};
use crate::report::document::{VerifiedTable, WorstWindow};
use crate::report::inputs::WORST_MAX;
use crate::report::period::TimeBuckets;
use crate::report::sources::tables::ReplicationBucket;
use crate::report::{ReportScope, Time};

/// Every table of a period, cut into ranges of a bounded number of rows.
pub struct TableComparison {
    pair: HotCold,
    plans: Vec<TablePlan>,
}

struct TablePlan {
    table: TableSpec,
    width_ms: i64,
    ranges: Vec<(TimeRange, u64)>,
    hot_rows: u64,
    result: VerifiedTable,
}

#[derive(Debug, Default)]
pub struct ComparedTables {
    pub tables: Vec<VerifiedTable>,
    pub copies: Vec<ReplicationBucket>,
    pub worst: Vec<WorstWindow>,
}

impl TableComparison {
    pub async fn plan(context: CopyContext<'_>, scope: &ReportScope) -> Result<Self, CopyError> {
        let pair = HotCold::connect(context.config).await?.with_threads(limits::COMPARISON_THREADS);
        let wanted: BTreeSet<&str> = scope.tables().map(|table| table.name).collect();
        let mut plans = Vec::new();
        for table in TableSpec::all().into_iter().filter(|table| wanted.contains(table.name)) {
            let planned = plan(context.config, &pair, &table, scope).await;
            plans.push(planned.unwrap_or_else(|error| {
                let stopped = Some(error.to_string());
                let result = VerifiedTable { table: table.name, stopped, ..VerifiedTable::default() };
                TablePlan { width_ms: 1_000, ranges: Vec::new(), hot_rows: 0, result, table }
            }));
        }
        Ok(Self { pair, plans })
    }

    /// Rows to be read on both sides.
    pub fn rows(&self) -> u64 {
        self.plans.iter().flat_map(|plan| &plan.ranges).map(|(_, rows)| rows).sum()
    }

    pub fn hot_rows(&self) -> u64 {
        self.plans.iter().map(|plan| plan.hot_rows).sum()
    }

    pub async fn run(
        self,
        context: CopyContext<'_>,
        scope: &ReportScope,
        meter: &mut ProgressMeter<'_>,
    ) -> ComparedTables {
        let buckets = TimeBuckets::of(scope);
        let mut compared = ComparedTables::default();
        for mut plan in self.plans {
            meter.begin(format!("hot against cold: {}", plan.table.name));
            let windows = compare(context, &self.pair, &mut plan, meter).await;
            let TablePlan { width_ms, mut result, .. } = plan;
            for window in &windows {
                add(&mut result, window);
            }
            compared.copies.extend(by_bucket(result.table, &windows, &buckets));
            let unsound = windows
                .into_iter()
                .filter(|window| matches!(window.state, ComparedState::Different | ComparedState::Failed));
            compared.worst.extend(unsound.map(|window| worst_window(result.table, window, width_ms)));
            compared.tables.push(result);
        }
        compared.worst.sort_by_key(|window| (window.state != "mismatch", -window.window_start.0));
        compared.worst.truncate(WORST_MAX);
        compared
    }
}

/// Counts the rows of both sides by window, which is cheap, so that every later query reads a bounded number of them.
async fn plan(
    config: &Config,
    pair: &HotCold,
    table: &TableSpec,
    scope: &ReportScope,
) -> Result<TablePlan, CopyError> {
    let log = WindowLog { table: table.name };
    let result = VerifiedTable { table: table.name, ..VerifiedTable::default() };
    let extent = log.extent(&pair.cold).await?;
    let watermark_ms = log.watermark(&pair.cold).await?;
    let width_ms = extent.map_or(60_000, |(_, seconds)| i64::from(seconds) * 1_000).max(1_000);
    let first_ms = match (config.replication.start, extent) {
        (Start::Recent(_), Some((first_ms, _))) => first_ms,
        _ => 0,
    };
    let up = |ms: i64| align(ms + width_ms - 1, width_ms);
    let (from_ms, to_ms) = (up(scope.from.0).max(first_ms), up(scope.to.0));
    let upto_ms = watermark_ms.unwrap_or(from_ms).clamp(from_ms, to_ms.max(from_ms));
    let mut plan = TablePlan { table: table.clone(), width_ms, ranges: Vec::new(), hot_rows: 0, result };
    let not_copied = pair.hot.counts(table, TimeRange::new(upto_ms, to_ms), width_ms).await?;
    plan.result.not_copied_rows = not_copied.values().map(|digest| digest.rows).sum();
    plan.hot_rows = plan.result.not_copied_rows;
    if from_ms >= upto_ms {
        return Ok(plan);
    }
    plan.result.compared_upto = Some(Time(upto_ms));
    let whole = TimeRange::new(from_ms, upto_ms);
    let mut rows: BTreeMap<i64, u64> =
        log.starts(&pair.cold, whole).await?.into_iter().map(|at| (at, 0)).collect();
    for side in [&pair.hot, &pair.cold] {
        for (start_ms, digest) in side.counts(table, whole, width_ms).await? {
            *rows.entry(start_ms).or_default() += digest.rows;
            plan.hot_rows += if side.side == pair.hot.side { digest.rows } else { 0 };
        }
    }
    plan.ranges = ranges(&rows, width_ms, table.slice_rows * limits::SLICES_A_COMPARISON);
    Ok(plan)
}

/// Joins windows to ranges of a bounded number of rows and windows.
fn ranges(rows: &BTreeMap<i64, u64>, width_ms: i64, rows_max: u64) -> Vec<(TimeRange, u64)> {
    let mut ranges: Vec<(TimeRange, u64)> = Vec::new();
    let length_max_ms = width_ms * limits::RECHECK_WINDOWS;
    for (&start_ms, &more) in rows {
        let end_ms = start_ms + width_ms;
        match ranges.last_mut() {
            Some((range, rows)) if *rows + more <= rows_max && end_ms - range.from_ms <= length_max_ms => {
                range.to_ms = end_ms;
                *rows += more;
            }
            _ => ranges.push((TimeRange::new(start_ms, end_ms), more)),
        }
    }
    ranges
}

/// A window that differs is compared once more at the end: meanwhile a copy that was under way has ended.
async fn compare(
    context: CopyContext<'_>,
    pair: &HotCold,
    plan: &mut TablePlan,
    meter: &mut ProgressMeter<'_>,
) -> Vec<ComparedWindow> {
    let TablePlan { table, width_ms, ranges, result, .. } = plan;
    let (log, slice_rows) = (WindowLog { table: table.name }, table.slice_rows);
    let ops = WindowOps { context, table, log, pair, width_ms: *width_ms, slice_rows };
    let mut windows = Vec::new();
    for (range, rows) in ranges.iter() {
        match ops.compare_now(*range).await {
            Ok(compared) => windows.extend(compared),
            Err(error) => {
                result.compared_upto = Some(Time(range.from_ms));
                result.stopped = Some(error.to_string());
                break;
            }
        }
        meter.add(*rows);
    }
    let different = windows.iter_mut().filter(|window| window.state == ComparedState::Different);
    for window in different.take(limits::SECOND_LOOKS) {
        // Without an answer the first look counts.
        let again = ops.compare_now(TimeRange::window(window.start_ms, *width_ms)).await.unwrap_or_default();
        if let Some(again) = again.into_iter().find(|again| again.start_ms == window.start_ms) {
            *window = again;
        }
    }
    windows
}

fn add(result: &mut VerifiedTable, window: &ComparedWindow) {
    let count = match window.state {
        ComparedState::Equal => &mut result.equal,
        ComparedState::ColdOnly => &mut result.cold_only,
        ComparedState::Waiting => &mut result.waiting,
        ComparedState::Failed => &mut result.failed,
        ComparedState::Different => &mut result.different,
    };
    *count += 1;
    result.hot_rows += window.hot_rows;
    result.cold_rows += window.cold_rows;
}

fn by_bucket(table: &str, windows: &[ComparedWindow], buckets: &TimeBuckets) -> Vec<ReplicationBucket> {
    let mut counted: BTreeMap<u32, ReplicationBucket> = BTreeMap::new();
    for window in windows {
        let bucket = buckets.of_time(window.start_ms);
        let one = counted.entry(bucket).or_insert_with(|| ReplicationBucket {
            table_name: table.to_owned(),
            bucket,
            verified: 0,
            mismatch: 0,
            failed: 0,
            open: 0,
        });
        *match window.state {
            ComparedState::Equal | ComparedState::ColdOnly => &mut one.verified,
            ComparedState::Waiting => &mut one.open,
            ComparedState::Failed => &mut one.failed,
            ComparedState::Different => &mut one.mismatch,
        } += 1;
    }
    counted.into_values().collect()
}

fn worst_window(table: &str, window: ComparedWindow, width_ms: i64) -> WorstWindow {
    let state = if window.state == ComparedState::Failed { "failed" } else { "mismatch" };
    WorstWindow {
        kind: "replication".to_owned(),
        of: table.to_owned(),
        edge: String::new(),
        window_start: Time(window.start_ms),
        window_seconds: u64::try_from(width_ms / 1_000).unwrap_or_default(),
        state: state.to_owned(),
        reason: window.reason,
        expected: window.expected_rows,
        found: window.cold_rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_bounded_in_rows_and_windows_and_cover_every_window() {
        let minute = 60_000;
        let rows: BTreeMap<i64, u64> = (0..1_000).map(|n| (n * minute, 10)).collect();
        let by_rows = ranges(&rows, minute, 95);
        assert!(by_rows.iter().all(|(_, rows)| *rows <= 95));
        assert_eq!(by_rows.iter().map(|(_, rows)| rows).sum::<u64>(), 10_000);
        let by_windows = ranges(&rows, minute, u64::MAX);
        let longest = by_windows.iter().map(|(range, _)| (range.to_ms - range.from_ms) / minute).max();
        assert_eq!((by_windows.len(), longest), (3, Some(limits::RECHECK_WINDOWS)));
        let one_is_too_large = ranges(&BTreeMap::from([(0, 1_000), (minute, 1)]), minute, 95);
        assert_eq!(one_is_too_large.len(), 2);
    }
}
