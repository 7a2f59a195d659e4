//! Repairs inside a running central: one at a time.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use tokio::task::JoinHandle;

use super::progress::{Journal, Progress, Request};
use super::work_through::work_through;
use crate::broker::Broker;
use crate::config::Config;
use crate::context::CentralContext;
use crate::lease::Leases;
use crate::limits;
use crate::metrics::ReplicationMetrics;
use crate::replicator::{CopyContext, LEASE};

/// Where repairs are asked for.
#[derive(Debug, Default)]
pub struct Desk(Mutex<Option<Job>>);

#[derive(Debug)]
struct Job {
    journal: Arc<Journal>,
    task: JoinHandle<()>,
}

/// A repair is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a repair is under way")]
pub struct Busy;

impl Desk {
    /// Starts a repair; `request` was checked.
    ///
    /// # Errors
    /// One is under way.
    pub fn start(&self, shared: &Arc<CentralContext>, request: &Request) -> Result<Progress, Busy> {
        let mut desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if desk.as_ref().is_some_and(|job| !job.task.is_finished()) {
            return Err(Busy);
        }
        let journal = Arc::new(Journal::new(request, None));
        let (shared, request, noted) = (Arc::clone(shared), request.clone(), Arc::clone(&journal));
        let task = tokio::spawn(async move {
            let metrics = &shared.metrics.replication;
            let parts = (&shared.config, &shared.broker, &shared.leases, metrics);
            // The journal tells how it ended.
            let _ = repair(parts, &request, &noted).await;
        });
        let progress = journal.progress();
        *desk = Some(Job { journal, task });
        Ok(progress)
    }

    /// How the last repair stands; nothing when there was none.
    pub fn progress(&self) -> Option<Progress> {
        let desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desk.as_ref().map(|job| job.journal.progress())
    }
}

/// Takes the lease of the replicator and repairs. Without anything to write the lease is left alone.
///
/// # Errors
/// The lease was not handed over or got lost, or a server does not do as asked.
pub async fn repair(
    (config, broker, leases, metrics): (&Config, &Broker, &Leases, &ReplicationMetrics),
    request: &Request,
    journal: &Journal,
) -> anyhow::Result<()> {
    let holder = leases.own_name();
    let done = async {
        if request.dry_run {
            return work_through(
                CopyContext { config, lease: None, metrics, holder },
                broker,
                request,
                journal,
            )
            .await;
        }
        let lease = leases.demand(LEASE, limits::REPAIR_LEASE_WAIT).await?;
        let context = CopyContext { config, lease: Some(&lease), metrics, holder };
        let worked = tokio::select! {
            () = lease.lost().cancelled() => Err(anyhow!("the lease of the replicator was lost; run it again")),
            worked = work_through(context, broker, request, journal) => worked,
        };
        lease.release().await;
        worked
    };
    let done = done.await;
    journal.end(&done);
    done
}
