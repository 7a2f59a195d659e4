//! Audits against what the broker has, whatever happens on the way there.

use std::sync::Arc;
use std::time::Duration;

use marketprism_edge::publisher::DrainResult;
use marketprism_edge::queue::EventQueue as _;
use marketprism_schema::{GapCause, GapKind};

use super::edge::{STREAM, audits, compare, create_streams, messages, run, until};
use crate::nats_server::{NatsServer, Proxy, binary};

/// Goal: audits are exact although the broker is killed with SIGKILL while events are published: what is not sure is named, and nothing
/// is reported twice or not at all. Method: 20,000 events over several windows, two kills, every window recomputed from the stream.
#[tokio::test(flavor = "multi_thread")]
async fn audits_are_exact_through_kills_of_the_broker() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    server.start().await;
    create_streams(&server.url()).await;
    let running = Arc::new(run(&server.url(), 100_000).await);
    const COUNT: u64 = 20_000;
    let writer = {
        let running = Arc::clone(&running);
        tokio::task::spawn_blocking(move || {
            for first in (0..COUNT).step_by(100) {
                running.append(first..first + 100);
                std::thread::sleep(Duration::from_millis(15));
            }
        })
    };
    for share in [COUNT / 4, COUNT / 2] {
        until("a share is confirmed", 60, async || running.journal.status().confirmed > share).await;
        server.kill();
        server.start().await;
    }
    writer.await.unwrap();
    let running = Arc::into_inner(running).unwrap();
    let status = running.auditor.status();
    assert_eq!((status.late, status.dropped), (0, 0));
    let sent = running.metrics.audits_sent.clone();
    assert_eq!(running.end().await, (DrainResult { undelivered: 0 }, 0));
    let (sure, unsure, dropped) = compare(&server.url()).await;
    assert_eq!((sure + unsure as u64, dropped), (COUNT, 0));
    assert!(sent.get() >= 3, "{} windows", sent.get());
    println!("{sure} sure, {unsure} unsure in {} audits", sent.get());
}

/// Goal: events whose acknowledgement was lost are named as unsure, one by one, and the rest of their windows stays exact. Method: a
/// proxy lets the broker store hundreds of events whose acknowledgements it throws away, then cuts the connection; the edge sends them
/// again and is told that the broker has them.
#[tokio::test(flavor = "multi_thread")]
async fn events_with_a_lost_acknowledgement_are_unsure() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    server.start().await;
    create_streams(&server.url()).await;
    let proxy = Proxy::start(server.port).await;
    let running = run(&format!("nats://127.0.0.1:{}", proxy.port), 100_000).await;
    running.append(0..500);
    until("the first are confirmed", 20, async || running.journal.status().messages == 0).await;
    let mut expected = 500;
    for _ in 0..2 {
        proxy.mute();
        running.append(expected..expected + 200);
        expected += 200;
        until("the broker has them", 20, async || {
            messages(&server.url(), STREAM).await.len() as u64 == expected
        })
        .await;
        assert_eq!(running.journal.status().messages, 200, "none of them is acknowledged");
        proxy.cut();
        until("they are confirmed", 20, async || running.journal.status().messages == 0).await;
    }
    running.append(expected..expected + 100);
    assert_eq!(running.end().await, (DrainResult { undelivered: 0 }, 0));
    assert_eq!(compare(&server.url()).await, (600, 400, 0));
}

/// Goal: what the full queue loses is counted by stream and window with cause ours, and what is left is exact. Method: no broker, a
/// queue of 100, 1,000 events; then a broker.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_reported() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    let running = run(&server.url(), 100).await;
    for first in (0..1_000).step_by(50) {
        running.append(first..first + 50);
    }
    server.start().await;
    create_streams(&server.url()).await;
    until("the rest is confirmed", 30, async || running.journal.status().messages == 0).await;
    assert_eq!(running.end().await, (DrainResult { undelivered: 0 }, 0));
    let (sure, unsure, dropped) = compare(&server.url()).await;
    assert_eq!((sure + unsure as u64, dropped), (100, 900));
    let gaps: Vec<_> = audits(&server.url()).await.into_iter().flat_map(|audit| audit.streams).collect();
    let gaps: Vec<_> = gaps.into_iter().flat_map(|stream| stream.gaps).collect();
    assert!(gaps.iter().all(|gap| (gap.kind, gap.cause) == (GapKind::Dropped, GapCause::Ours)), "{gaps:?}");
    assert_eq!(gaps.iter().filter_map(|gap| gap.missing).sum::<u64>(), 900);
}
