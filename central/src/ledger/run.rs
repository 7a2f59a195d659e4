//! The ledger of a central that has the lease.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::comparison::{Comparison, Gauges, Recheck};
use super::intake::{INTAKE, take_in};
use super::touched::Touched;
use crate::context::CentralContext;
use crate::lease::Lease;

/// Name of the lease.
const LEASE: &str = "ledger";
/// Part of the status that says whether windows are compared.
const LEDGER: &str = "ledger";

/// Keeps the ledger whenever the lease is ours, until told to stop.
pub async fn run(shared: Arc<CentralContext>, stop: CancellationToken) -> anyhow::Result<()> {
    while let Some(lease) = shared.leases.acquire(LEASE, &stop).await {
        tracing::info!("keeping the ledger");
        tokio::select! {
            () = stop.cancelled() => {}
            () = lease.lost().cancelled() => tracing::warn!("the lease of the ledger is lost"),
            kept = keep(&shared, &lease) => kept.context("keeping the ledger")?,
        }
        shared.status.clear(LEDGER);
        shared.status.clear(INTAKE);
        lease.release().await;
    }
    // A task that ends stops the process, which is told to stop anyway.
    Ok(())
}

/// Works until somebody asks for the lease. Being dropped at any moment loses nothing.
async fn keep(shared: &Arc<CentralContext>, lease: &Lease) -> anyhow::Result<()> {
    let touched = Arc::new(Touched::default());
    tokio::select! {
        taken = take_in(shared, &touched) => taken.map(|never: Infallible| match never {}),
        () = compare(shared, &touched, lease) => Ok(()),
    }
}

async fn compare(shared: &Arc<CentralContext>, touched: &Arc<Touched>, lease: &Lease) {
    let config = &shared.config.ledger;
    let mut comparison = Comparison::new(Arc::clone(shared), Arc::clone(touched));
    let mut recheck = Recheck::new(config.recheck, config.interval);
    let mut gauges = Gauges::default();
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let metrics = &shared.metrics.ledger;
    let seconds = |since: Instant| i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX);
    let mut worked = Instant::now();
    while !lease.is_wanted() {
        ticks.tick().await;
        let done = async {
            comparison.round().await?;
            if let Some(took) = recheck.go_on(&mut comparison).await? {
                metrics.recheck_seconds.set(i64::try_from(took.as_secs()).unwrap_or(i64::MAX));
            }
            gauges.set(shared).await.context("counting verdicts")
        };
        match done.await {
            Ok(()) => {
                worked = Instant::now();
                shared.status.clear(LEDGER);
            }
            Err(error) => {
                let reason = format!("{error:#}");
                if shared.status.fail(LEDGER, reason.clone()) {
                    tracing::warn!(reason, "windows are not compared; trying again, nothing is lost");
                }
            }
        }
        metrics.lag_seconds.set(seconds(worked));
        metrics.oldest_open_seconds.set(comparison.oldest_open_seconds());
    }
}
