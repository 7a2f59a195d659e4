//! Events that the broker acknowledged once are sent again from the journal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use futures_util::{FutureExt as _, StreamExt as _};
use marketprism_edge::journal::{DiskFiles, JournalLoss, JournalOptions};
use marketprism_edge::queue::EventQueue;
use marketprism_schema::{CONFIRMED_BUCKET, DataType, confirmed_request_subject};
use marketprism_tests::wait::eventually;

use crate::broker::{STREAM, broker_with_stream, event_id, messages};
use crate::journaled::{confirm, journaled, options, stored, stored_once};

/// A broker restored from a snapshot of its store, whose streams have the creation times of before.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_went_back_and_passed_its_old_sequence_before_it_is_asked_is_noticed_by_its_acks() {
    let (folder, mut broker) = broker_with_stream().await;
    let journaled = journaled(options(&folder.path().join("journal")), Arc::new(DiskFiles));
    // Nobody asks for the stream's state.
    let edge = journaled.publish(&broker.url()).await;
    journaled.append(0..30);
    stored_once(&broker.url(), 30).await;
    broker.kill();
    let snapshot = folder.path().join("snapshot");
    broker.copy_store(&snapshot);
    broker.restart().await;
    journaled.append(30..50);
    stored_once(&broker.url(), 50).await;
    eventually("all is acknowledged", || async { edge.queue.status().messages == 0 }).await;
    broker.kill();
    broker.restore_store(&snapshot);
    journaled.append(50..110);
    broker.restart().await;
    eventually("all events are in the stream", || async {
        let distinct: BTreeSet<u128> = stored(&broker.url()).await.into_iter().collect();
        if distinct.len() == 110 { Ok(()) } else { Err(format!("{} events", distinct.len())) }
    })
    .await;
    assert_eq!(journaled.journal.status().sent_again, 50);
}

/// Another edge sends so much again that no acknowledgement of this one shows a lower sequence.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_no_sequence_shows_is_made_good_when_the_broker_is_known_to_have_gone_back() {
    let (folder, mut broker) = broker_with_stream().await;
    broker.kill();
    broker.copy_store(&folder.path().join("copy"));
    broker.restart().await;
    let journaled = journaled(options(&folder.path().join("journal")), Arc::new(DiskFiles));
    let edge = journaled.publish(&broker.url()).await;
    let acknowledged = async || {
        eventually("all is acknowledged", || async { edge.queue.status().messages == 0 }).await;
    };
    journaled.append(0..50);
    acknowledged().await;
    let had_at = Instant::now();
    broker.kill();
    broker.restore_store(&folder.path().join("copy"));
    broker.restart().await;
    let jetstream = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    for _ in 0..60 {
        jetstream.publish("trade.other", "{}".into()).await.unwrap().await.unwrap();
    }
    journaled.append(50..60);
    acknowledged().await;
    assert_eq!(journaled.journal.status().sent_again, 0);
    assert_eq!(journaled.journal.broker_went_back(had_at), 60);
    assert_eq!(journaled.journal.broker_went_back(had_at), 0, "it is known by then");
    eventually("all events are in the stream", || async {
        let all = messages(&broker.url(), STREAM).await;
        let own = all.iter().filter(|message| message.subject.as_str() != "trade.other");
        let distinct: BTreeSet<u128> = own.map(|message| event_id(message).0).collect();
        if distinct.len() == 60 { Ok(()) } else { Err(format!("{} events", distinct.len())) }
    })
    .await;
}

/// Any replica of a bucket answers a read. After the newest message of the key is deleted, the broker answers as one that does not have it yet.
#[tokio::test(flavor = "multi_thread")]
async fn the_confirmed_sequence_of_a_replica_that_lags_is_no_hot_that_was_put_back() {
    let (folder, broker) = broker_with_stream().await;
    let client = async_nats::connect(broker.url()).await.unwrap();
    let config = stream::Config {
        name: format!("KV_{CONFIRMED_BUCKET}"),
        subjects: vec![format!("$KV.{CONFIRMED_BUCKET}.>")],
        max_messages_per_subject: 5,
        allow_direct: true,
        ..Default::default()
    };
    let mut bucket = jetstream::new(client.clone()).create_stream(config).await.unwrap();
    let mut reads = client.subscribe(confirmed_request_subject(STREAM)).await.unwrap();
    client.flush().await.unwrap();
    let mut two_reads = async || {
        while reads.next().now_or_never().is_some() {}
        let both = async { (reads.next().await, reads.next().await) };
        tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    };
    let journaled = journaled(options(&folder.path().join("journal")), Arc::new(DiskFiles));
    let edge = journaled.publish(&broker.url()).await;
    let (stop, task) = journaled.follow(&edge);
    journaled.append(0..20);
    stored_once(&broker.url(), 20).await;
    eventually("all is acknowledged", || async { edge.queue.status().messages == 0 }).await;
    confirm(&broker.url(), 10).await;
    confirm(&broker.url(), 20).await;
    two_reads().await;
    let newest = bucket.info().await.unwrap().state.last_sequence;
    bucket.delete_message(newest).await.unwrap();
    two_reads().await;
    assert_eq!(journaled.journal.status().sent_again, 0);
    confirm(&broker.url(), 15).await;
    eventually("a hot that was put back gets its events", || async {
        let sent_again = journaled.journal.status().sent_again;
        if sent_again >= 5 { Ok(()) } else { Err(format!("{sent_again} events")) }
    })
    .await;
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_edge_left_for_longer_than_the_journals_age_is_counted_and_not_sent() {
    let (folder, broker) = broker_with_stream().await;
    let path = folder.path().join("journal");
    let first = journaled(options(&path), Arc::new(DiskFiles));
    first.append(0..500);
    first.written(500).await;
    assert!(first.journal.close(Duration::from_secs(120)));
    drop(first);

    let second = journaled(JournalOptions { age: Duration::ZERO, ..options(&path) }, Arc::new(DiskFiles));
    let edge = second.publish(&broker.url()).await;
    let lost = eventually("all are lost", || async {
        second.append(500..501);
        let status = second.journal.status();
        let lost = status.lost[JournalLoss::Expired as usize][DataType::Trade];
        if lost + stored(&broker.url()).await.iter().filter(|id| **id < 500).count() as u64 >= 500 {
            Ok(lost)
        } else {
            Err(format!("{lost} events"))
        }
    })
    .await;
    assert_eq!(lost, 500);
    drop(edge);
}
