//! Repairs of a running central, one at a time.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use tokio::task::JoinHandle;

use super::progress::{RepairLog, RepairOptions, RepairProgress};
use super::run::run_repair;
use crate::broker::Broker;
use crate::config::Config;
use crate::context::CentralContext;
use crate::lease::Leases;
use crate::limits;
use crate::metrics::ReplicationMetrics;
use crate::replicator::{CopyContext, LEASE};

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
    let done = async {
        if options.dry_run {
            return run_repair(CopyContext { config, lease: None, metrics, holder }, broker, options, log)
                .await;
        }
        let lease = leases.demand(LEASE, limits::REPAIR_LEASE_WAIT).await?;
        let context = CopyContext { config, lease: Some(&lease), metrics, holder };
        let worked = tokio::select! {
            () = lease.lost().cancelled() => Err(anyhow!("the replicator's lease was lost; run the repair again")),
            worked = run_repair(context, broker, options, log) => worked,
        };
        lease.release().await;
        worked
    };
    let done = done.await;
    log.end(&done);
    done
}
