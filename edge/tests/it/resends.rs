//! Events that the broker acknowledged once are sent again from the journal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use marketprism_edge::journal::{DiskFiles, JournalLoss, JournalOptions};
use marketprism_edge::queue::EventQueue;
use marketprism_schema::DataType;
use marketprism_tests::broker::Broker;
use marketprism_tests::wait::eventually;

use crate::broker::{STREAM, create_stream};
use crate::journal::{journaled, options, stored, stored_once};

/// A broker restored from a snapshot of its store, whose streams have the creation times of before.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_went_back_and_passed_its_old_sequence_before_it_is_asked_is_noticed_by_its_acks() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path()).await;
    create_stream(&broker.url(), STREAM, "trade.>").await;
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
    eventually("all is acknowledged", || async { (edge.queue.status().messages == 0).then_some(()) }).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_edge_left_for_longer_than_the_journals_age_is_counted_and_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    create_stream(&broker.url(), STREAM, "trade.>").await;
    let path = folder.path().join("journal");
    let first = journaled(options(&path), Arc::new(DiskFiles));
    first.append(0..500);
    first.written(500).await;
    assert!(first.journal.close(Duration::from_secs(20)));
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
