//! Ownership of a stream: the central that holds its lease takes it.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::insert::InsertGuard;
use super::running_inserts::no_insert_runs;
use super::worker::Worker;
use crate::config::Stream;
use crate::context::CentralContext;
use crate::lease::{Holder, Lease};
use crate::limits;
use crate::status::CLICKHOUSE;

const PREFIX: &str = "ingest-";

/// Takes a stream whenever this central holds its lease, until `stop`.
pub async fn own_stream(
    shared: Arc<CentralContext>,
    stream: Stream,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let name = stream.settings.name;
    while let Some(lease) = acquire(&shared, name, &stop).await {
        tracing::info!(stream = name, "this central owns the stream");
        shared.metrics.streams_held.with_label_values(&[name]).set(1);
        let guard = Arc::new(InsertGuard::new(lease));
        if wait_for_previous_owner(&shared, name, &guard, &stop).await {
            Worker::new(Arc::clone(&shared), stream.clone(), Arc::clone(&guard)).run(&stop).await?;
        }
        shared.metrics.streams_held.with_label_values(&[name]).set(0);
        // Without the release the lease expires.
        if let Some(guard) = all_ended(guard).await {
            guard.release().await;
        }
        // An insert aborted with the lease may have set this; the next insert sets it again if needed.
        shared.status.clear(CLICKHOUSE);
        tracing::info!(stream = name, "this central no longer owns the stream");
    }
    Ok(())
}

/// Waits until every task that used the guard has ended.
async fn all_ended(guard: Arc<InsertGuard>) -> Option<InsertGuard> {
    let deadline = Instant::now() + limits::CLOSE_DEADLINE;
    while Arc::strong_count(&guard) > 1 && Instant::now() < deadline {
        sleep(limits::END_POLL).await;
    }
    Arc::into_inner(guard)
}

/// Waits for the lease of a stream. A central without streams demands one from a central with two.
async fn acquire(shared: &CentralContext, stream: &str, stop: &CancellationToken) -> Option<Lease> {
    let name = format!("{PREFIX}{stream}");
    // A single wait: it measures how long the holder has been silent.
    let acquired = shared.leases.acquire(&name, stop);
    tokio::pin!(acquired);
    loop {
        tokio::select! {
            lease = &mut acquired => return lease,
            () = sleep(limits::SHARE_POLL) => {}
        }
        let Ok(holders) = shared.leases.holders().await else { continue };
        if holders.iter().any(|holder| holder.lease == name) {
            shared.status.clear(stream);
        }
        if !should_demand(&holders, &name, shared.leases.own_name()) {
            continue;
        }
        tracing::info!(stream, "requesting the stream: another central owns two or more, this one none");
        let demanded = tokio::select! {
            () = stop.cancelled() => return None,
            demanded = shared.leases.demand(&name, limits::SHARE_PATIENCE) => demanded,
        };
        match demanded {
            Ok(lease) => return Some(lease),
            Err(error) => {
                tracing::debug!(stream, error = format!("{error:#}"), "the stream was not handed over")
            }
        }
    }
}

/// A central without streams demands the last stream of a holder of two or more.
fn should_demand(holders: &[Holder], name: &str, own_name: &str) -> bool {
    let of = |who: &str| -> Vec<&str> {
        let streams = holders.iter().filter(|h| h.holder == who && h.lease.starts_with(PREFIX));
        streams.map(|h| h.lease.as_str()).collect()
    };
    let Some(holder) = holders.iter().find(|h| h.lease == name) else { return false };
    let theirs = of(&holder.holder);
    of(own_name).is_empty() && theirs.len() >= 2 && theirs.iter().max() == Some(&name)
}

/// Waits until the server runs no insert of the stream: the client of a previous owner may be dead while its insert still
/// completes. Returns false when the lease is lost or `stop` is set.
async fn wait_for_previous_owner(
    shared: &CentralContext,
    stream: &'static str,
    guard: &InsertGuard,
    stop: &CancellationToken,
) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = guard.lease().lost().cancelled() => false,
        () = no_insert_runs(shared, stream) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(lease: &str, holder: &str) -> Holder {
        Holder { lease: lease.to_owned(), holder: holder.to_owned(), since_ns: 0, renewed_ns: 0 }
    }

    #[test]
    fn a_central_without_streams_demands_one_from_a_central_with_two() {
        let both = [holder("ingest-A", "x"), holder("ingest-B", "x"), holder("replicator", "y")];
        assert!(should_demand(&both, "ingest-B", "y"));
        assert!(!should_demand(&both, "ingest-A", "y"), "one is enough");
        assert!(!should_demand(&both, "ingest-B", "x"), "its own");
        assert!(!should_demand(&both, "ingest-C", "y"), "nobody has it");
        let shared = [holder("ingest-A", "x"), holder("ingest-B", "y")];
        assert!(!should_demand(&shared, "ingest-B", "z") && !should_demand(&shared, "ingest-B", "x"));
    }
}
