//! Which central takes a stream: the one that has its lease.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::insert::mark;
use super::insert_guard::InsertGuard;
use super::worker::Worker;
use crate::backoff::Backoff;
use crate::config::Stream;
use crate::context::CentralContext;
use crate::lease::{Holder, Lease};
use crate::limits;
use crate::status::CLICKHOUSE;
use crate::storage::{StorageError, bounded};

/// What the leases of streams are called.
const PREFIX: &str = "ingest-";

/// The server's code for a question that the user may not ask.
const ACCESS_DENIED: u32 = 497;

/// Takes a stream whenever it is ours, until told to stop.
pub async fn serve(
    shared: Arc<CentralContext>,
    stream: Stream,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let name = stream.settings.name;
    while let Some(lease) = take(&shared, name, &stop).await {
        tracing::info!(stream = name, "the stream is ours");
        shared.metrics.streams_held.with_label_values(&[name]).set(1);
        let guard = Arc::new(InsertGuard::new(lease));
        if quiet(&shared, name, &guard, &stop).await {
            Worker::new(Arc::clone(&shared), stream.clone(), Arc::clone(&guard)).run(&stop).await?;
        }
        shared.metrics.streams_held.with_label_values(&[name]).set(0);
        // What is held otherwise runs out by itself.
        if let Some(guard) = all_ended(guard).await {
            guard.release().await;
        }
        // What an insert that was cut off with the lease said of ClickHouse, nobody would take back. Who inserts says it anew.
        shared.status.clear(CLICKHOUSE);
        tracing::info!(stream = name, "the stream is given up");
    }
    Ok(())
}

/// Waits until all that worked under a hold, and was told to end, has ended.
async fn all_ended(guard: Arc<InsertGuard>) -> Option<InsertGuard> {
    let deadline = Instant::now() + limits::CLOSE_DEADLINE;
    while Arc::strong_count(&guard) > 1 && Instant::now() < deadline {
        sleep(limits::END_POLL).await;
    }
    Arc::into_inner(guard)
}

/// Waits for the lease of a stream. A central that has no stream asks one that has two for the last of them.
async fn take(shared: &CentralContext, stream: &str, stop: &CancellationToken) -> Option<Lease> {
    let name = format!("{PREFIX}{stream}");
    // One wait to the end: it counts how long the holder has not been heard of.
    let acquired = shared.leases.acquire(&name, stop);
    tokio::pin!(acquired);
    loop {
        tokio::select! {
            lease = &mut acquired => return lease,
            () = sleep(limits::SHARE_POLL) => {}
        }
        let Ok(holders) = shared.leases.holders().await else { continue };
        if holders.iter().any(|holder| holder.lease == name) {
            // Another central takes it: that is how it should be.
            shared.status.clear(stream);
        }
        if !asks_for(&holders, &name, shared.leases.own_name()) {
            continue;
        }
        tracing::info!(stream, "asking for the stream: another central has two, this one none");
        let demanded = tokio::select! {
            () = stop.cancelled() => return None,
            demanded = shared.leases.demand(&name, limits::SHARE_PATIENCE) => demanded,
        };
        match demanded {
            Ok(lease) => return Some(lease),
            Err(error) => tracing::debug!(stream, error = format!("{error:#}"), "not handed over"),
        }
    }
}

/// Whether a central without a stream should ask for this one: it is the last of another's two or more.
fn asks_for(holders: &[Holder], name: &str, own_name: &str) -> bool {
    let of = |who: &str| -> Vec<&str> {
        let streams = holders.iter().filter(|h| h.holder == who && h.lease.starts_with(PREFIX));
        streams.map(|h| h.lease.as_str()).collect()
    };
    let Some(holder) = holders.iter().find(|h| h.lease == name) else { return false };
    let theirs = of(&holder.holder);
    of(own_name).is_empty() && theirs.len() >= 2 && theirs.iter().max() == Some(&name)
}

/// Waits until no insert of the stream runs on the server: one of whoever had the stream before, dead or not, may have been given up by
/// its client and still end. Gives whether the stream is still ours and wanted.
async fn quiet(
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

async fn no_insert_runs(shared: &CentralContext, stream: &'static str) {
    let mut backoff = Backoff::new();
    let mut was_quiet = false;
    loop {
        match running_inserts(shared, stream).await {
            // An insert may just be on its way from the connection into the list: two looks.
            Ok(0) if was_quiet => return,
            Ok(inserts) => {
                was_quiet = inserts == 0;
                sleep(limits::QUIET_POLL).await;
            }
            Err(StorageError::Refused { code: ACCESS_DENIED, text }) => {
                // They end by themselves: a body within the first half, the work within the second.
                tracing::warn!(stream, text, "cannot ask for running inserts; waiting until all have ended");
                return sleep(shared.storage.insert_timeout * 2).await;
            }
            Err(error) => {
                was_quiet = false;
                shared
                    .status
                    .fail(stream, format!("clickhouse cannot be asked for running inserts: {error}"));
                sleep(backoff.pause()).await;
            }
        }
    }
}

async fn running_inserts(shared: &CentralContext, stream: &str) -> Result<u64, StorageError> {
    let processes = match &shared.config.clickhouse.hot.cluster {
        // Whoever had the stream may have been connected to another server.
        Some(cluster) => format!("clusterAllReplicas('{cluster}', system.processes)"),
        None => "system.processes".to_owned(),
    };
    let sql = format!("SELECT count() FROM {processes} WHERE startsWith(Settings['log_comment'], ?)");
    let query = shared.storage.client.query(&sql).with_setting("skip_unavailable_shards", "1");
    bounded(limits::QUERY_TIMEOUT, query.bind(mark(stream)).fetch_one::<u64>()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(lease: &str, holder: &str) -> Holder {
        Holder { lease: lease.to_owned(), holder: holder.to_owned(), since_ns: 0, renewed_ns: 0 }
    }

    /// Goal: streams are asked for only by a central that has none, from one that has two, and only one of them.
    #[test]
    fn a_central_without_streams_asks_for_one() {
        let both = [holder("ingest-A", "x"), holder("ingest-B", "x"), holder("replicator", "y")];
        assert!(asks_for(&both, "ingest-B", "y"));
        assert!(!asks_for(&both, "ingest-A", "y"), "one is enough");
        assert!(!asks_for(&both, "ingest-B", "x"), "its own");
        assert!(!asks_for(&both, "ingest-C", "y"), "nobody has it");
        let shared = [holder("ingest-A", "x"), holder("ingest-B", "y")];
        assert!(!asks_for(&shared, "ingest-B", "z") && !asks_for(&shared, "ingest-B", "x"));
    }
}
