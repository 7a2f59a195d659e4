//! A repair: every table, window by window, then the edges. A running central does one at a time.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use marketprism_traces::{OperationSpan, tracer};
use tokio::task::JoinHandle;

use super::fix::fix;
use super::progress::{RepairFate, RepairLog, RepairOptions, RepairOutcome, RepairProgress};
use super::request_edges::request_edges;
use crate::broker::Broker;
use crate::config::Config;
use crate::context::CentralContext;
use crate::lease::Leases;
use crate::limits;
use crate::metrics::ReplicationMetrics;
use crate::replicator::{CopyContext, HotCold, LEASE, TableSpec, TimeRange, WindowLog, WindowOps, align};
use crate::time::Time;

/// Interrupted at any point it leaves every window either as it was or repaired; the next run continues.
pub async fn run_repair(
    context: CopyContext<'_>,
    broker: &Broker,
    options: &RepairOptions,
    log: &RepairLog,
    trace: &OperationSpan,
) -> anyhow::Result<()> {
    let pair = HotCold::connect(context.config).await?;
    let mut budget = Budget { repairs: limits::REPAIR_WINDOWS, tries: limits::REPAIR_TRIES };
    for table in TableSpec::all() {
        if options.table.as_ref().is_some_and(|name| name != table.name) {
            continue;
        }
        log.doing(format!("comparing {}", table.name));
        trace.step(table.name);
        let done = one_table(context, &pair, &table, options, log, &mut budget);
        done.await.with_context(|| format!("table {}", table.name))?;
    }
    trace.step("edges");
    request_edges(context.config, broker, &pair, options, log).await
}

/// Windows that are left for a run.
struct Budget {
    repairs: usize,
    tries: usize,
}

impl Budget {
    /// Advice once it is used up. Windows that stay as they are come first in the next run too.
    fn exhausted(&self, table: &str, window_start: i64, options: &RepairOptions) -> Option<String> {
        let again = "limit of one run reached: run the repair again";
        match (self.repairs, self.tries) {
            (0, _) if !options.dry_run => Some(again.to_owned()),
            (0, _) | (_, 0) => Some(format!("{again} with --table {table} --from {}", Time(window_start))),
            _ => None,
        }
    }

    const fn spend(&mut self, fate: RepairFate) {
        self.tries = self.tries.saturating_sub(1);
        if !matches!(fate, RepairFate::NotRepaired) {
            self.repairs = self.repairs.saturating_sub(1);
        }
    }
}

async fn one_table(
    context: CopyContext<'_>,
    pair: &HotCold,
    table: &TableSpec,
    options: &RepairOptions,
    log: &RepairLog,
    budget: &mut Budget,
) -> anyhow::Result<()> {
    let window_log = WindowLog { table: table.name };
    let Some((first_ms, seconds)) = window_log.extent(&pair.cold).await? else { return Ok(()) };
    let upto_ms = window_log.watermark(&pair.cold).await?.unwrap_or(first_ms);
    let width_ms = i64::from(seconds) * 1_000;
    let ops = WindowOps { context, table, log: window_log, pair, width_ms, slice_rows: table.slice_rows };
    let mut from_ms = align(options.from_ms.unwrap_or(first_ms).max(first_ms), width_ms);
    let to_ms = options.to_ms.unwrap_or(upto_ms).min(upto_ms);
    loop {
        let ranges = ranges(&ops, TimeRange::new(from_ms, to_ms), options).await?;
        let Some(last) = ranges.last() else { return Ok(()) };
        from_ms = last.to_ms;
        for range in ranges {
            for window in ops.examine(range).await? {
                if let Some(reason) = budget.exhausted(table.name, window.start_ms, options) {
                    add(log, table.name, window.start_ms, RepairFate::NotRepaired, reason);
                    return Ok(());
                }
                log.doing(format!("{} {}", table.name, Time(window.start_ms)));
                let (fate, what) = fix(&ops, &window, options).await?;
                budget.spend(fate);
                add(log, table.name, window.start_ms, fate, what);
            }
        }
    }
}

/// The requested range, or without one the next windows logged as not verified.
async fn ranges(
    ops: &WindowOps<'_>,
    whole: TimeRange,
    options: &RepairOptions,
) -> anyhow::Result<Vec<TimeRange>> {
    if whole.from_ms >= whole.to_ms {
        return Ok(Vec::new());
    }
    if options.from_ms.is_none() && options.to_ms.is_none() {
        let unverified = ops.log.unverified(&ops.pair.cold, whole, limits::REPAIR_WINDOWS).await?;
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

#[derive(Debug, Default)]
pub struct RepairJobs(Mutex<Option<RunningRepair>>);

#[derive(Debug)]
struct RunningRepair {
    log: Arc<RepairLog>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a repair is already running")]
pub struct RepairRunning;

impl RepairJobs {
    /// The options have been validated.
    pub fn start(
        &self,
        shared: &Arc<CentralContext>,
        options: &RepairOptions,
    ) -> Result<RepairProgress, RepairRunning> {
        let mut job = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if job.as_ref().is_some_and(|job| !job.task.is_finished()) {
            return Err(RepairRunning);
        }
        let log = Arc::new(RepairLog::new(options, None));
        let (shared, options, task_log) = (Arc::clone(shared), options.clone(), Arc::clone(&log));
        let task = tokio::spawn(async move {
            let metrics = &shared.metrics.replication;
            let parts = (&shared.config, &shared.broker, &shared.leases, metrics);
            // The log has the result.
            let _ = repair(parts, &options, &task_log).await;
        });
        let progress = log.progress();
        *job = Some(RunningRepair { log, task });
        Ok(progress)
    }

    /// Of the last repair; none when there was none.
    pub fn progress(&self) -> Option<RepairProgress> {
        let job = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        job.as_ref().map(|job| job.log.progress())
    }
}

/// Takes over the replicator's lease, except for a dry run. Fails when the lease is not handed over or is lost, or a server fails.
pub async fn repair(
    (config, broker, leases, metrics): (&Config, &Broker, &Leases, &ReplicationMetrics),
    options: &RepairOptions,
    log: &RepairLog,
) -> anyhow::Result<()> {
    let holder = leases.own_name();
    let trace = tracer().operation("repair");
    trace.number("marketprism.dry_run", u8::from(options.dry_run));
    let done = async {
        if options.dry_run {
            let context = CopyContext { config, lease: None, metrics, status: None, holder };
            return run_repair(context, broker, options, log, &trace).await;
        }
        let lease = leases.demand(LEASE, limits::REPAIR_LEASE_WAIT).await?;
        let context = CopyContext { config, lease: Some(&lease), metrics, status: None, holder };
        let worked = tokio::select! {
            () = lease.lost().cancelled() => Err(anyhow!("the replicator's lease was lost; run the repair again")),
            worked = run_repair(context, broker, options, log, &trace) => worked,
        };
        lease.release().await;
        worked
    };
    let done = done.await;
    log.end(&done);
    let RepairProgress { mended, would_mend, resent, left, .. } = log.progress();
    for (name, count) in
        [("repaired", mended), ("repairable", would_mend), ("resent", resent), ("left", left)]
    {
        trace.number(&format!("marketprism.{name}"), count);
    }
    trace.end(&done);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_cannot_be_repaired_hold_up_none_that_can() {
        let options = |dry_run| RepairOptions { dry_run, ..RepairOptions::default() };
        let mut budget = Budget { repairs: 1, tries: 9 };
        for _ in 0..5 {
            budget.spend(RepairFate::NotRepaired);
            assert_eq!(budget.exhausted("trades", 0, &options(false)), None);
        }
        budget.spend(RepairFate::Repaired);
        let [done, tried] =
            [false, true].map(|dry_run| budget.exhausted("trades", 0, &options(dry_run)).unwrap());
        assert!(done.ends_with("run the repair again"), "{done}");
        assert!(tried.contains("--from 1970-01-01T00:00:00"), "what would be repaired comes again: {tried}");
        let mut budget = Budget { repairs: 9, tries: 1 };
        budget.spend(RepairFate::NotRepaired);
        assert!(budget.exhausted("trades", 0, &options(false)).unwrap().contains("--table trades --from"));
    }
}
