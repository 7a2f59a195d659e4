//! One repair from its first window to its last.

use anyhow::Context as _;

use super::ask::ask_edges;
use super::mend::mend;
use super::progress::{Fate, Journal, Outcome, Request};
use crate::broker::Broker;
use crate::limits;
use crate::replicator::{CopyContext, HotCold, TableSpec, TimeRange, WindowLog, WindowOps, align};
use crate::time::Time;

/// Mends what can be mended, window by window. Ending it at any point leaves every window as it was or mended; another run goes on.
pub async fn work_through(
    context: CopyContext<'_>,
    broker: &Broker,
    request: &Request,
    journal: &Journal,
) -> anyhow::Result<()> {
    let pair = HotCold::connect(context.config).await?;
    let mut windows_left = limits::REPAIR_WINDOWS;
    for table in TableSpec::all() {
        if request.table.as_ref().is_some_and(|name| name != table.name) {
            continue;
        }
        journal.doing(format!("comparing {}", table.name));
        let done = one_table(context, &pair, &table, request, journal, windows_left);
        windows_left = done.await.with_context(|| format!("table {}", table.name))?;
    }
    ask_edges(context.config, broker, &pair.hot, request, journal).await
}

/// Gives how many windows may still be worked on.
async fn one_table(
    context: CopyContext<'_>,
    pair: &HotCold,
    table: &TableSpec,
    request: &Request,
    journal: &Journal,
    mut windows_left: usize,
) -> anyhow::Result<usize> {
    let log = WindowLog { table: table.name };
    let Some((first_ms, seconds)) = log.extent(&pair.cold).await? else { return Ok(windows_left) };
    let upto_ms = log.watermark(&pair.cold).await?.unwrap_or(first_ms);
    let width_ms = i64::from(seconds) * 1_000;
    let ops = WindowOps { context, table, log, pair, width_ms, slice_rows: table.slice_rows };
    let from_ms = align(request.from_ms.unwrap_or(first_ms).max(first_ms), width_ms);
    let to_ms = request.to_ms.unwrap_or(upto_ms).min(upto_ms);
    for span in spans(&ops, TimeRange::new(from_ms, to_ms), request).await? {
        for examined in ops.examine(span).await? {
            if windows_left == 0 {
                add(
                    journal,
                    table.name,
                    span.from_ms,
                    Fate::Left,
                    "enough for one call: run it again".to_owned(),
                );
                return Ok(0);
            }
            windows_left -= 1;
            journal.doing(format!("{} {}", table.name, Time(examined.start_ms)));
            let (fate, what) = mend(&ops, &examined, request).await?;
            add(journal, table.name, examined.start_ms, fate, what);
        }
    }
    Ok(windows_left)
}

/// What is compared anew: the range asked for, or each window that is logged as not verified.
async fn spans(ops: &WindowOps<'_>, whole: TimeRange, request: &Request) -> anyhow::Result<Vec<TimeRange>> {
    if whole.from_ms >= whole.to_ms {
        return Ok(Vec::new());
    }
    if request.from_ms.is_none() && request.to_ms.is_none() {
        let unverified = ops.log.unverified(&ops.pair.cold, whole, limits::REPAIR_WINDOWS + 1).await?;
        return Ok(unverified.keys().map(|&start_ms| TimeRange::window(start_ms, ops.width_ms)).collect());
    }
    let step_ms = ops.width_ms * limits::RECHECK_WINDOWS;
    let count = (whole.to_ms - whole.from_ms + step_ms - 1) / step_ms;
    let span = |index: i64| {
        let from_ms = whole.from_ms + index * step_ms;
        TimeRange::new(from_ms, whole.to_ms.min(from_ms + step_ms))
    };
    Ok((0..count).map(span).collect())
}

fn add(journal: &Journal, table: &str, start_ms: i64, fate: Fate, what: String) {
    journal.add(Outcome {
        table: table.to_owned(),
        stream: None,
        window_start: Time(start_ms).to_string(),
        fate,
        what,
    });
}
