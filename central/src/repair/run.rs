//! A repair: every table, window by window, then the edges.

use anyhow::Context as _;

use super::fix::fix;
use super::progress::{RepairFate, RepairLog, RepairOptions, RepairOutcome};
use super::request_edges::request_edges;
use crate::broker::Broker;
use crate::limits;
use crate::replicator::{CopyContext, HotCold, TableSpec, TimeRange, WindowLog, WindowOps, align};
use crate::time::Time;

/// Interrupted at any point it leaves every window either as it was or repaired; the next run continues.
pub async fn run_repair(
    context: CopyContext<'_>,
    broker: &Broker,
    options: &RepairOptions,
    log: &RepairLog,
) -> anyhow::Result<()> {
    let pair = HotCold::connect(context.config).await?;
    let mut windows_left = limits::REPAIR_WINDOWS;
    for table in TableSpec::all() {
        if options.table.as_ref().is_some_and(|name| name != table.name) {
            continue;
        }
        log.doing(format!("comparing {}", table.name));
        let done = one_table(context, &pair, &table, options, log, windows_left);
        windows_left = done.await.with_context(|| format!("table {}", table.name))?;
    }
    request_edges(context.config, broker, &pair.hot, options, log).await
}

async fn one_table(
    context: CopyContext<'_>,
    pair: &HotCold,
    table: &TableSpec,
    options: &RepairOptions,
    log: &RepairLog,
    mut windows_left: usize,
) -> anyhow::Result<usize> {
    let window_log = WindowLog { table: table.name };
    let Some((first_ms, seconds)) = window_log.extent(&pair.cold).await? else { return Ok(windows_left) };
    let upto_ms = window_log.watermark(&pair.cold).await?.unwrap_or(first_ms);
    let width_ms = i64::from(seconds) * 1_000;
    let ops = WindowOps { context, table, log: window_log, pair, width_ms, slice_rows: table.slice_rows };
    let from_ms = align(options.from_ms.unwrap_or(first_ms).max(first_ms), width_ms);
    let to_ms = options.to_ms.unwrap_or(upto_ms).min(upto_ms);
    for range in ranges(&ops, TimeRange::new(from_ms, to_ms), options).await? {
        for window in ops.examine(range).await? {
            if windows_left == 0 {
                add(
                    log,
                    table.name,
                    range.from_ms,
                    RepairFate::NotRepaired,
                    "limit of one run reached: run the repair again".to_owned(),
                );
                return Ok(0);
            }
            windows_left -= 1;
            log.doing(format!("{} {}", table.name, Time(window.start_ms)));
            let (fate, what) = fix(&ops, &window, options).await?;
            add(log, table.name, window.start_ms, fate, what);
        }
    }
    Ok(windows_left)
}

/// The requested range, or without one each window logged as not verified.
async fn ranges(
    ops: &WindowOps<'_>,
    whole: TimeRange,
    options: &RepairOptions,
) -> anyhow::Result<Vec<TimeRange>> {
    if whole.from_ms >= whole.to_ms {
        return Ok(Vec::new());
    }
    if options.from_ms.is_none() && options.to_ms.is_none() {
        let unverified = ops.log.unverified(&ops.pair.cold, whole, limits::REPAIR_WINDOWS + 1).await?;
        return Ok(unverified.keys().map(|&start_ms| TimeRange::window(start_ms, ops.width_ms)).collect());
    }
    let step_ms = ops.width_ms * limits::RECHECK_WINDOWS;
    let count = (whole.to_ms - whole.from_ms + step_ms - 1) / step_ms;
    let range = |index: i64| {
        let from_ms = whole.from_ms + index * step_ms;
        TimeRange::new(from_ms, whole.to_ms.min(from_ms + step_ms))
    };
    Ok((0..count).map(range).collect())
}

fn add(log: &RepairLog, table: &str, start_ms: i64, fate: RepairFate, what: String) {
    log.add(RepairOutcome {
        table: table.to_owned(),
        stream: None,
        window_start: Time(start_ms).to_string(),
        fate,
        what,
    });
}
