//! Ownership of a partition of a stream: the central that holds its lease takes it.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::insert::InsertGuard;
use super::other_partitions::no_insert_runs;
use super::subscription::other_partitions;
use super::worker::Worker;
use crate::config::{Partition, Stream};
use crate::context::CentralContext;
use crate::init::{self, INGEST_LEASES, ingest_lease};
use crate::lease::{Holder, Lease};
use crate::limits;
use crate::status::CLICKHOUSE;

/// Takes a partition whenever this central holds its lease, until `stop`.
pub async fn own_partition(
    shared: Arc<CentralContext>,
    stream: Stream,
    partition: Partition,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let name = &*partition.name();
    let held = shared.metrics.streams_held.with_label_values(&[partition.stream]);
    while agrees(&shared, &stream, partition, &stop).await
        && let Some(lease) = acquire(&shared, partition, &stop).await
    {
        // `init` may have changed the number until now; it cannot while the lease is held.
        if !is_as_configured(&shared, &stream, partition).await {
            lease.release().await;
            continue;
        }
        tracing::info!(stream = name, "this central owns the stream");
        held.inc();
        let guard = Arc::new(InsertGuard::new(name.to_owned(), lease));
        if wait_for_previous_owner(&shared, name, &guard, &stop).await {
            let worker = Worker::new(Arc::clone(&shared), stream.clone(), partition, Arc::clone(&guard));
            worker.run(&stop).await?;
        }
        held.dec();
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

/// Waits until the stream is taken in the configured number of partitions, or does not exist. False if `stop` comes first.
async fn agrees(
    shared: &CentralContext,
    stream: &Stream,
    partition: Partition,
    stop: &CancellationToken,
) -> bool {
    while !is_as_configured(shared, stream, partition).await {
        tokio::select! {
            () = stop.cancelled() => return false,
            () = sleep(limits::SHARE_POLL) => {}
        }
    }
    true
}

async fn is_as_configured(shared: &CentralContext, stream: &Stream, partition: Partition) -> bool {
    match init::partitions(&shared.broker.jetstream, partition.stream).await {
        Ok(Some(found)) if found != partition.count => {
            let (stream, reason) = (partition.name(), other_partitions(stream, found).to_string());
            if shared.status.fail(&stream, reason.clone()) {
                tracing::error!(stream, reason, "this central takes no messages");
            }
            false
        }
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(error = format!("{error:#}"), "cannot query the stream yet; retrying");
            false
        }
    }
}

/// Waits until every task that used the guard has ended.
async fn all_ended(guard: Arc<InsertGuard>) -> Option<InsertGuard> {
    let deadline = Instant::now() + limits::CLOSE_DEADLINE;
    while Arc::strong_count(&guard) > 1 && Instant::now() < deadline {
        sleep(limits::END_POLL).await;
    }
    Arc::into_inner(guard)
}

/// Waits for the lease of a partition. A central with fewer than others demands one from them.
async fn acquire(shared: &CentralContext, partition: Partition, stop: &CancellationToken) -> Option<Lease> {
    let (name, stream) = (ingest_lease(partition), partition.name());
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
            shared.status.clear(&stream);
        }
        if !should_demand(&holders, &name, shared.leases.own_name()) {
            continue;
        }
        tracing::info!(stream, "requesting the stream: another central owns at least two more than this one");
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

/// Demands the last partition of a central that has two more of this stream, else of all streams. Each step makes the shares more equal, and the second
/// none of a stream less equal, so that they come to rest.
fn should_demand(holders: &[Holder], name: &str, own_name: &str) -> bool {
    let Some(holder) = holders.iter().find(|h| h.lease == name) else { return false };
    let of = |who: &str| -> Vec<&str> {
        let held = holders.iter().filter(|h| h.holder == who && h.lease.starts_with(INGEST_LEASES));
        held.map(|h| h.lease.as_str()).collect()
    };
    let (theirs, own) = (of(&holder.holder), of(own_name));
    let in_stream =
        |leases: &[&str], of: &str| leases.iter().filter(|lease| is_one_stream(lease, of)).count();
    let has_more = |lease: &str, more| in_stream(&theirs, lease) >= in_stream(&own, lease) + more;
    let last = |of: &dyn Fn(&str) -> bool| theirs.iter().filter(|lease| of(lease)).max() == Some(&name);
    if has_more(name, 2) {
        return last(&|lease| is_one_stream(lease, name));
    }
    theirs.len() >= own.len() + 2 && last(&|lease| has_more(lease, 1))
}

/// Leases of partitions of one stream: `ingest-STREAM` and `ingest-STREAM-1`.
fn is_one_stream(one: &str, other: &str) -> bool {
    let stream = |lease: &str| lease.split('-').nth(1).map(str::to_owned);
    stream(one) == stream(other)
}

/// Waits until the server runs no insert of the partition: the client of a previous owner may be dead while its insert still
/// completes. Returns false when the lease is lost or `stop` is set.
async fn wait_for_previous_owner(
    shared: &CentralContext,
    partition: &str,
    guard: &InsertGuard,
    stop: &CancellationToken,
) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = guard.lease().lost().cancelled() => false,
        () = no_insert_runs(shared, partition) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(lease: &str, holder: &str) -> Holder {
        Holder { lease: lease.to_owned(), holder: holder.to_owned(), since_ns: 0, renewed_ns: 0 }
    }

    fn demands(leases: &[(&str, &str)], own: &str) -> Vec<String> {
        let holders: Vec<_> =
            leases.iter().map(|(lease, who)| holder(&format!("ingest-{lease}"), who)).collect();
        let asked = holders.iter().filter(|h| should_demand(&holders, &h.lease, own));
        asked.map(|h| h.lease.trim_start_matches("ingest-").to_owned()).collect()
    }

    #[test]
    fn a_central_without_streams_demands_one_from_a_central_with_two() {
        let both = [holder("ingest-A", "x"), holder("ingest-B", "x"), holder("replicator", "y")];
        assert!(should_demand(&both, "ingest-B", "y"));
        assert!(!should_demand(&both, "ingest-A", "y"), "one is enough");
        assert!(!should_demand(&both, "ingest-B", "x"), "its own");
        assert!(!should_demand(&both, "ingest-C", "y"), "nobody has it");
        assert_eq!(demands(&[("A", "x"), ("B", "y")], "z"), [""; 0]);
        assert_eq!(demands(&[("A", "x"), ("B", "y")], "x"), [""; 0]);
    }

    #[test]
    fn a_stream_is_shared_before_whole_streams_are() {
        let alone = [("A", "x"), ("A-1", "x"), ("B", "x"), ("B-1", "x")];
        assert_eq!(demands(&alone, "y"), ["A-1", "B-1"]);
        assert_eq!(demands(&[("A", "x"), ("A-1", "y"), ("B", "x"), ("B-1", "y")], "y"), [""; 0]);
        assert_eq!(demands(&[("A", "x"), ("A-1", "y"), ("B", "x"), ("B-1", "y")], "z"), ["B", "B-1"]);
        assert_eq!(demands(&[("A", "x"), ("A-1", "x"), ("B", "y"), ("C", "y")], "y"), ["A-1"]);
    }

    /// Any number of centrals and partitions, from any distribution.
    #[test]
    fn demands_come_to_rest_with_fair_shares_of_every_stream() {
        for (partitions, centrals, start) in
            [1, 2, 3, 8].into_iter().flat_map(|p| (1..=5).flat_map(move |c| (0..5).map(move |s| (p, c, s))))
        {
            let names = ["v", "w", "x", "y", "z"];
            let mut held: Vec<Holder> = Vec::new();
            for (n, stream) in ["A", "B", "C"].into_iter().enumerate() {
                for index in 0..partitions {
                    let lease = if index == 0 {
                        format!("ingest-{stream}")
                    } else {
                        format!("ingest-{stream}-{index}")
                    };
                    let who = names[(start * 7 + index * (start + n)) % centrals];
                    held.push(holder(&lease, who));
                }
            }
            let next = |held: &[Holder]| {
                let all = held
                    .iter()
                    .enumerate()
                    .flat_map(|(i, _)| names[..centrals].iter().map(move |who| (i, *who)));
                all.into_iter().find(|(i, who)| should_demand(held, &held[*i].lease, who))
            };
            let mut steps = 0;
            while let Some((i, who)) = next(&held) {
                held[i].holder = who.to_owned();
                steps += 1;
                assert!(steps < 200, "{partitions} partitions never come to rest at {centrals} centrals");
            }
            for stream in ["ingest-A", "ingest-B", "ingest-C"] {
                let count = |who: &&str| {
                    held.iter().filter(|h| h.holder == **who && is_one_stream(&h.lease, stream)).count()
                };
                let counts: Vec<usize> = names[..centrals].iter().map(count).collect();
                assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            }
        }
    }
}
