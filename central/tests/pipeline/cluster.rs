//! A cluster of three brokers with three copies of everything.

use crate::ingest::{all_acknowledged, events_consumer};
use crate::publisher::Publisher;
use crate::stack::{Stack, until};

/// Goal: in a cluster with three copies, the death of the broker that leads the stream, and then of the one that leads the consumer, loses
/// and doubles nothing; the buckets of leases and confirmed sequences have three copies too.
/// Method: an edge publishes numbered trades until both are dead; the leaders are killed -9 one after the other, the first one comes back
/// before.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_loses_nothing() {
    let Some(mut stack) = Stack::with_nodes(3) else { return };
    let config = stack.configure("[streams]\nreplicas = 3\n[batch]\ntrades = 1000\nmax_age_ms = 100\n");
    let central = stack.run(&config);
    until("central to be ready", || async { stack.get("/ready").filter(|(status, _)| *status == 200) }).await;
    let jetstream = stack.jetstream().await;
    for name in ["MARKET_DATA", "KV_MARKETPRISM_LEASES", "KV_MARKETPRISM_CONFIRMED"] {
        let copies = until(name, || async { jetstream.get_stream(name).await.ok() }).await;
        assert_eq!(copies.cached_info().config.num_replicas, 3, "{name}");
    }
    let publisher = Publisher::start(jetstream.clone(), 800);
    for (leads_stream, rows) in [(true, 5_000), (false, 15_000)] {
        until("rows to arrive", || async {
            let (count, distinct) = stack.counts("trades").await?;
            assert_eq!(count, distinct, "doubled");
            (count >= rows).then_some(())
        })
        .await;
        let leader = until("the leader's name", || async {
            let stream = jetstream.get_stream("MARKET_DATA").await.ok()?;
            if leads_stream {
                return stream.cached_info().cluster.clone()?.leader;
            }
            events_consumer(&stack, "MARKET_DATA").await?.cluster?.leader
        })
        .await;
        let killed = stack.nodes().kill_named(&leader);
        until("another leader", || async {
            let stream = jetstream.get_stream("MARKET_DATA").await.ok()?;
            stream.cached_info().cluster.clone()?.leader.filter(|name| *name != leader)
        })
        .await;
        stack.nodes().restart(killed);
    }
    let trades = publisher.end().await;
    all_acknowledged(&stack, "MARKET_DATA", trades).await;
    stack.holds_once("trades", trades).await;
    drop(central);
}
