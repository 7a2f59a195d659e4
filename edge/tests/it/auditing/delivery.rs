//! Audits against the broker's data through failures between edge and broker, and requests to send events again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use marketprism_edge::audit::UnsentMessage;
use marketprism_edge::journal::answer_requests;
use marketprism_edge::publisher::DrainResult;
use marketprism_edge::queue::EventQueue as _;
use marketprism_schema::{Audit, GapCause, GapKind, RepairAnswer, RepairRequest, RepairState, encode_audit};
use marketprism_service::clock;
use marketprism_tests::broker::Broker;
use marketprism_tests::link::Link;
use marketprism_tests::wait::eventually;
use tokio_util::sync::CancellationToken;

use super::setup::{
    Running, audits, broker_with_streams, compare, create_streams, run, run_draining, trades,
};
use crate::broker::{STREAM, broker_with_stream, create_stream, messages};

const DELIVERED: (DrainResult, u64) = (DrainResult { undelivered: 0 }, 0);

async fn all_confirmed(edge: &Running) {
    eventually("all events are confirmed", || async { edge.pending() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audits_are_exact_through_kills_of_the_broker_and_list_ambiguous_events() {
    const COUNT: u64 = 20_000;
    let (_folder, mut broker) = broker_with_streams().await;
    let edge = Arc::new(run(&broker.url(), 100_000).await);
    let writer = {
        let edge = Arc::clone(&edge);
        tokio::task::spawn_blocking(move || {
            for first in (0..COUNT).step_by(100) {
                edge.append(first..first + 100);
                std::thread::sleep(Duration::from_millis(15));
            }
        })
    };
    for share in [COUNT / 4, COUNT / 2] {
        eventually("a share is confirmed", || async { edge.publishing.queue.status().confirmed > share })
            .await;
        broker.kill();
        broker.restart().await;
    }
    writer.await.unwrap();
    let edge = Arc::into_inner(edge).unwrap();
    let status = edge.audited.auditor.status();
    assert_eq!((status.late, status.dropped), (0, 0));
    let sent = edge.publishing.metrics.audits_sent.clone();
    assert_eq!(edge.end().await, DELIVERED);
    let (stored, ambiguous, dropped) = compare(&broker.url()).await;
    assert_eq!((stored + ambiguous, dropped), (COUNT, 0));
    assert!(sent.get() >= 3, "{} windows", sent.get());
    println!("{stored} stored, {ambiguous} ambiguous in {} audits", sent.get());
}

/// The link holds back acknowledgements of stored events, then drops them with the connection; the edge publishes these events again and
/// learns that the broker has them.
#[tokio::test(flavor = "multi_thread")]
async fn events_with_a_lost_acknowledgement_are_ambiguous_and_the_rest_of_their_windows_is_exact() {
    let (_folder, broker) = broker_with_streams().await;
    let link = Link::to(broker.port()).await;
    let edge = run(&format!("nats://127.0.0.1:{}", link.near()), 100_000).await;
    edge.append(0..500);
    all_confirmed(&edge).await;
    let mut expected = 500;
    for _ in 0..2 {
        link.shut_answers();
        edge.append(expected..expected + 200);
        expected += 200;
        let url = broker.url();
        eventually("the broker has them", || async { messages(&url, STREAM).await.len() as u64 == expected })
            .await;
        assert_eq!(edge.pending(), 200, "none of them is acknowledged");
        link.cut();
        all_confirmed(&edge).await;
    }
    edge.append(expected..expected + 100);
    assert_eq!(edge.end().await, DELIVERED);
    assert_eq!(compare(&broker.url()).await, (600, 400, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_dropped_from_the_full_queue_are_gaps_of_ours_and_the_rest_is_exact() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path()).await;
    broker.kill();
    let edge = run(&broker.url(), 100).await;
    for first in (0..1_000).step_by(50) {
        edge.append(first..first + 50);
    }
    broker.restart().await;
    create_streams(&broker.url()).await;
    all_confirmed(&edge).await;
    assert_eq!(edge.end().await, DELIVERED);
    let (stored, ambiguous, dropped) = compare(&broker.url()).await;
    assert_eq!((stored + ambiguous, dropped), (100, 900));
    let streams = audits(&broker.url()).await.into_iter().flat_map(|audit| audit.streams);
    let gaps: Vec<_> = streams.flat_map(|stream| stream.gaps).collect();
    assert!(gaps.iter().all(|gap| (gap.kind, gap.cause) == (GapKind::Dropped, GapCause::Ours)), "{gaps:?}");
    assert_eq!(gaps.iter().filter_map(|gap| gap.missing).sum::<u64>(), 900);
}

#[tokio::test(flavor = "multi_thread")]
async fn audits_that_a_restored_broker_lost_are_stored_again() {
    let (folder, mut broker) = broker_with_streams().await;
    let url = broker.url();
    let edge = run(&url, 100_000).await;
    let more_audits = async || {
        let before = audits(&url).await.len();
        eventually("more audits", || async {
            edge.append(0..10);
            audits(&url).await.len() > before + 1
        })
        .await;
    };
    more_audits().await;
    // As the journal has it of the run before: the broker had stored it.
    let of_this_run = audits(&url).await[0].clone();
    let earlier = Audit { run: of_this_run.run - 1, ..of_this_run };
    let message = UnsentMessage::new("earlier".to_owned(), encode_audit(&earlier).unwrap());
    edge.audited.auditor.add_earlier_audits(vec![message]);
    broker.kill();
    broker.copy_store(&folder.path().join("copy"));
    broker.restart().await;
    more_audits().await;
    broker.kill();
    broker.restore_store(&folder.path().join("copy"));
    broker.restart().await;
    eventually("an audit of every window", || async {
        edge.append(0..10);
        let mut all = audits(&url).await;
        all.sort_by_key(|audit| audit.from);
        let holes = all.windows(2).filter(|pair| pair[0].to < pair[1].from).count();
        let sent = edge.publishing.metrics.audits_sent.get();
        let is_complete = holes == 0 && all.len() > 5 && all.iter().any(|audit| audit.run == earlier.run);
        if is_complete { Ok(()) } else { Err(format!("{holes} holes in {} audits, {sent} sent", all.len())) }
    })
    .await;
    assert_eq!(edge.end().await.1, 0);
}

/// The broker stores audits and no events: a stream is missing.
#[tokio::test(flavor = "multi_thread")]
async fn events_left_at_a_stop_are_in_the_last_audits() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    create_stream(&broker.url(), "AUDIT", "audit.>").await;
    let edge = run_draining(&broker.url(), Duration::from_millis(500)).await;
    edge.append(0..1_000);
    let republished = edge.publishing.metrics.republished.with_label_values(&["refused"]);
    eventually("events are refused", || async { republished.get() > 0 }).await;
    assert_eq!(edge.end().await, (DrainResult { undelivered: 1_000 }, 0), "no window is given up");
    let audits = audits(&broker.url()).await;
    let streams = || audits.iter().flat_map(|audit| &audit.streams);
    let in_flight: usize = streams().map(|stream| stream.unsure.len()).sum();
    let dropped: u64 = streams().map(|stream| stream.dropped).sum();
    assert_eq!((in_flight, dropped), (256, 744), "sent without an answer, and never sent");
    assert_eq!(streams().map(|stream| stream.stored.count).sum::<u64>(), 0);
}

#[tokio::test]
async fn without_a_journal_a_repair_request_is_answered_with_not_kept_and_an_invalid_one_is_refused_with_the_reason()
 {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let client = async_nats::connect(broker.url()).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(answer_requests(client.clone(), "e1".into(), None, stop.clone()));
    let request = RepairRequest::new("r-1".into(), &trades("A-B"), 1, 2).encode().unwrap();
    let ask = async |bytes: Vec<u8>| {
        let asked = client.request("repair.e1", bytes.into()).await;
        asked.ok().map(|answer| RepairAnswer::decode(&answer.payload).unwrap())
    };
    let answer = eventually("the edge answers", || ask(request.clone())).await;
    assert_eq!((answer.request_id.as_str(), answer.state, answer.resent), ("r-1", RepairState::NotKept, 0));
    assert!(answer.reason.contains("no journal on disk"), "{}", answer.reason);
    let refused = ask(b"{}".to_vec()).await.unwrap();
    assert_eq!(refused.state, RepairState::Refused);
    assert!(refused.reason.contains("version"), "{}", refused.reason);
    stop.cancel();
    task.await.unwrap().unwrap();
}

/// The audit is published again when its answer is late: the test answers each one, and the first that it answers in time is stored.
#[tokio::test(flavor = "multi_thread")]
async fn windows_close_while_the_broker_holds_the_answer_to_an_audit_back() {
    const REQUESTS: usize = 30;
    let (_folder, broker) = broker_with_stream().await;
    let client = async_nats::connect(broker.url()).await.unwrap();
    let mut requests = client.subscribe("audit.>").await.unwrap();
    client.flush().await.unwrap();
    let edge = run(&broker.url(), 1_000).await;
    edge.append(0..2);
    let metrics = &edge.publishing.metrics;
    let passes = || edge.audited.auditor.observe(edge.audited.feed, Vec::new(), Some(clock::now_ns()));
    for _ in 0..REQUESTS {
        let is_stored = eventually("an audit is stored", || async {
            passes();
            metrics.audits_sent.get() > 0
        });
        let request = tokio::select! {
            request = requests.next() => request.unwrap(),
            () = is_stored => break,
        };
        let before = metrics.audits_pending.get();
        eventually("windows close", || async {
            passes();
            let more = metrics.audits_pending.get() - before;
            if more >= 2 { Ok(()) } else { Err(more.to_string()) }
        })
        .await;
        let stored = r#"{"stream":"AUDIT","seq":1}"#;
        client.publish(request.reply.unwrap(), stored.into()).await.unwrap();
        client.flush().await.unwrap();
    }
    assert!(metrics.audits_sent.get() > 0, "the answer was always too late: windows closed after it only");
}
