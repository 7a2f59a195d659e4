//! A cluster of three brokers with three replicas of every stream.

use marketprism_tests::wait::eventually;

use crate::ingest::{all_acknowledged, events_consumer};
use crate::publisher::Publisher;
use crate::stack::Stack;

/// Numbered trades are published while the leaders of stream and consumer get SIGKILL one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_loses_nothing() {
    let Some(mut stack) = Stack::with_nodes(3).await else { return };
    let config = stack.configure("[streams]\nreplicas = 3\n[batch]\ntrades = 1000\nmax_age_ms = 100\n");
    let _central = stack.run(&config);
    stack.is_ready().await;
    let jetstream = stack.jetstream().await;
    for name in ["MARKET_DATA", "KV_MARKETPRISM_LEASES", "KV_MARKETPRISM_CONFIRMED"] {
        let copies = eventually(name, || async { jetstream.get_stream(name).await.ok() }).await;
        assert_eq!(copies.cached_info().config.num_replicas, 3, "{name}");
    }
    let publisher = Publisher::start(jetstream.clone(), 800);
    for (leads_stream, rows) in [(true, 5_000), (false, 15_000)] {
        eventually("rows to arrive", || async { stack.trades().await.filter(|count| *count >= rows) }).await;
        let leader = eventually("the leader's name", || async {
            let stream = jetstream.get_stream("MARKET_DATA").await.ok()?;
            if leads_stream {
                return stream.cached_info().cluster.clone()?.leader;
            }
            events_consumer(&stack, "MARKET_DATA").await?.cluster?.leader
        })
        .await;
        let killed = stack.broker.kill_named(&leader);
        eventually("another leader", || async {
            let stream = jetstream.get_stream("MARKET_DATA").await.ok()?;
            stream.cached_info().cluster.clone()?.leader.filter(|name| *name != leader)
        })
        .await;
        stack.broker.restart_node(killed).await;
    }
    let trades = publisher.end().await;
    all_acknowledged(&stack, "MARKET_DATA", trades).await;
    stack.holds_once("trades", trades).await;
}
