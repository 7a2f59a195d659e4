//! Ledger task: takes in audits and reconciles windows while this central holds the lease.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::instruments::mend_histories;
use super::intake::{INTAKE, take_in};
use super::reconciliation::{Recheck, Reconciler, VerdictGauges};
use super::windows::DirtyWindows;
use crate::context::CentralContext;
use crate::lease::Lease;
use crate::limits;
use crate::status::LEDGER;

const LEASE: &str = "ledger";

pub async fn run(shared: Arc<CentralContext>, stop: CancellationToken) -> anyhow::Result<()> {
    while let Some(lease) = shared.leases.acquire(LEASE, &stop).await {
        tracing::info!("ledger lease acquired");
        shared.metrics.ledger.is_active.set(1);
        tokio::select! {
            () = stop.cancelled() => {}
            () = lease.lost().cancelled() => tracing::warn!("ledger lease lost"),
            kept = keep(&shared, &lease) => kept.context("ledger")?,
        }
        shared.metrics.ledger.released();
        shared.status.clear(LEDGER);
        shared.status.clear(INTAKE);
        lease.release().await;
    }
    // The end of a task stops the process, which is stopping here anyway.
    Ok(())
}

/// Runs until another central asks for the lease. Cancellation at any point loses nothing.
async fn keep(shared: &Arc<CentralContext>, lease: &Lease) -> anyhow::Result<()> {
    let dirty = Arc::new(DirtyWindows::default());
    tokio::select! {
        taken = take_in(shared, &dirty) => taken.map(|never: Infallible| match never {}),
        () = reconcile(shared, &dirty, lease) => Ok(()),
    }
}

async fn reconcile(shared: &Arc<CentralContext>, dirty: &Arc<DirtyWindows>, lease: &Lease) {
    let config = &shared.config.ledger;
    let mut reconciler = Reconciler::new(Arc::clone(shared), Arc::clone(dirty));
    let mut recheck = Recheck::new(config.recheck, config.interval);
    let mut gauges = VerdictGauges::default();
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let metrics = &shared.metrics.ledger;
    let seconds = |since: Instant| i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX);
    let mut worked = Instant::now();
    let mut rounds = 0_u32;
    while !lease.is_wanted() {
        ticks.tick().await;
        let done = async {
            reconciler.round().await?;
            if let Some(took) = recheck.step(&mut reconciler).await? {
                metrics.recheck_seconds.set(i64::try_from(took.as_secs()).unwrap_or(i64::MAX));
            }
            // Seldom needed: after a restore of hot.
            if rounds.is_multiple_of(limits::QUIET_ROUNDS) {
                mend_histories(&shared.storage).await.context("cannot mend versions of instruments")?;
            }
            gauges.set(shared).await.context("cannot count verdicts")
        };
        match done.await {
            Ok(()) => {
                rounds = rounds.wrapping_add(1);
                worked = Instant::now();
                shared.status.clear(LEDGER);
            }
            Err(error) => {
                let reason = format!("{error:#}");
                if shared.status.fail(LEDGER, reason.clone()) {
                    tracing::warn!(reason, "reconciliation failed; retrying, no audit is lost");
                }
            }
        }
        metrics.lag_seconds.set(seconds(worked));
        metrics.oldest_open_seconds.set(reconciler.oldest_open_seconds());
    }
}
