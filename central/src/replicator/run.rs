//! Replication of all tables while this central holds the lease.

use std::sync::Arc;

use futures_util::future::{join, join_all};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::copy::clear_leftovers;
use super::instruments::{INSTRUMENTS, copy_instruments};
use super::queries::{HotCold, TableSpec};
use super::shared_reading::SharedAnswers;
use super::window_ops::CopyContext;
use super::worker::TableWorker;
use crate::context::CentralContext;
use crate::limits;

pub const LEASE: &str = "replicator";

/// Copies hot to cold while this central holds the lease, until `stop`.
pub async fn replicate(shared: Arc<CentralContext>, stop: CancellationToken) -> anyhow::Result<()> {
    while let Some(lease) = shared.leases.acquire(LEASE, &stop).await {
        let metrics = &shared.metrics.replication;
        metrics.is_active.set(1);
        tracing::info!("this central replicates hot to cold");
        let context = CopyContext {
            config: &shared.config,
            lease: Some(&lease),
            metrics,
            status: Some(&shared.status),
            holder: shared.leases.own_name(),
        };
        tokio::select! {
            () = lease.lost().cancelled() => {}
            () = all_tables(context, &stop) => {}
            // An aborted insert is stored as a whole or not at all.
            () = async { stop.cancelled().await; sleep(limits::FLUSH_DEADLINE).await } => {}
        }
        copied_tables().for_each(|table| context.show_failing(table, None));
        metrics.released();
        tracing::info!("this central no longer replicates hot to cold");
        lease.release().await;
    }
    Ok(())
}

/// Names of all tables that are copied.
fn copied_tables() -> impl Iterator<Item = &'static str> {
    TableSpec::all().into_iter().map(|table| table.name).chain([INSTRUMENTS])
}

async fn all_tables(context: CopyContext<'_>, stop: &CancellationToken) {
    let mut backoff = limits::BACKOFF;
    let mut connected = None;
    while !stop.is_cancelled() && !context.is_wanted() {
        let cleared = match HotCold::connect(context.config).await {
            Ok(pair) => clear_leftovers(&pair, None).await.map(|()| pair),
            Err(error) => Err(error),
        };
        match cleared {
            Ok(pair) => {
                connected = Some(pair);
                break;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot clear leftovers of the previous lease holder yet; retrying");
                copied_tables().for_each(|table| context.show_failing(table, Some(error.to_string())));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(backoff.pause()) => {}
        }
    }
    let shared = SharedAnswers::default();
    let worker = |table| TableWorker::new(context, table, &shared, connected.clone()).run(stop);
    let workers = TableSpec::all().into_iter().map(worker);
    let instruments = copy_instruments(context, &shared.states, connected.clone(), stop);
    join(join_all(workers), instruments).await;
}
