//! The journal between queue and a real broker: outages, lost streams, failing disks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use marketprism_edge::audit::Auditor;
use marketprism_edge::journal::{
    DiskFiles, Journal, JournalLimits, JournalOptions, StreamFacts, answer_requests,
};
use marketprism_edge::queue::{EventQueue, EventRecord, QueueLane};
use marketprism_edge::telemetry::Coverage;
use marketprism_schema::{
    DataType, EventId, MarketType, RepairAnswer, RepairRequest, RepairState, StreamId, repair_subject,
};
use marketprism_service::clock;
use marketprism_tests::broker::free_port;
use marketprism_tests::wait::{becomes, eventually};
use tokio_util::sync::CancellationToken;

use crate::broker::{STREAM, broker_with_stream, create_stream, event_id, header, messages, record};
use crate::disks::{BadDisk, FaultyDisk, FullDisk, SyncedDisk};
use crate::journaled::{confirm, end, events_on_disk, files_of, journaled, options, stored, stored_once};

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_memory_and_what_a_killed_run_left_is_sent_after_the_live_events() {
    let (folder, broker) = broker_with_stream().await;
    let path = folder.path().join("journal");
    // The first run finds no broker. It ends without a word.
    let unreachable = format!("nats://127.0.0.1:{}", free_port());
    let first = journaled(options(&path), Arc::new(DiskFiles));
    let edge = first.publish(&unreachable).await;
    first.append(0..2_000);
    let status = first.written(2_000).await;
    assert!(
        status.waiting >= 1_800 && status.lost.iter().flatten().all(|(_, lost)| *lost == 0),
        "{status:?}"
    );
    end(first, edge).await;

    let second = journaled(options(&path), Arc::new(DiskFiles));
    second.append(2_000..2_050);
    eventually("the journal is read", || async { second.journal.status().recovered == 2_000 }).await;
    let edge = second.publish(&broker.url()).await;
    stored_once(&broker.url(), 2_050).await;
    for message in messages(&broker.url(), STREAM).await {
        // The first run may have sent it.
        assert_eq!(header(&message, "Nats-Msg-Id"), event_id(&message).to_string());
    }
    let ids = stored(&broker.url()).await;
    let live = ids.iter().position(|id| *id == 2_049).unwrap();
    assert!(live < 1_000, "the newest live event is number {live} in the stream");
    eventually("nothing waits", || async {
        let waiting = (second.journal.status().waiting, edge.queue.status().messages);
        if waiting == (0, 0) { Ok(()) } else { Err(format!("{waiting:?}")) }
    })
    .await;
    end(second, edge).await;

    let third = journaled(options(&path), Arc::new(DiskFiles));
    eventually("the journal is read", || async { third.journal.stored_max(0) == Some(2_050) }).await;
    assert_eq!(third.journal.status().recovered, 0, "what is stored is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_freed_when_hot_has_them_and_not_when_the_broker_has_them() {
    let (folder, broker) = broker_with_stream().await;
    let path = folder.path().join("journal");
    let journaled = journaled(JournalOptions { bytes: 4 << 20, ..options(&path) }, Arc::new(DiskFiles));
    let edge = journaled.publish(&broker.url()).await;
    let (stop, task) = journaled.follow(&edge);
    // Segments of 64 KiB. In two halves: what memory has no room for gets its sequence after later events.
    journaled.append(0..500);
    stored_once(&broker.url(), 500).await;
    journaled.append(500..1_000);
    stored_once(&broker.url(), 1_000).await;
    eventually("all is acknowledged", || async { edge.queue.status().messages == 0 }).await;
    let segments = journaled.journal.status().segments;
    assert!(segments >= 4, "{segments} segments");
    confirm(&broker.url(), 500).await;
    becomes("what is in hot is freed", || async { files_of(&path).len() as u64 }, |left| *left < segments)
        .await;
    let left = events_on_disk(&path);
    assert!(left >= 500, "{left} events left, 500 are not in hot");
    confirm(&broker.url(), 1_000).await;
    eventually("only the one being written is left", || async { files_of(&path).len() == 1 }).await;
    stop.cancel();
    task.await.unwrap();
    let status = journaled.journal.status();
    assert_eq!((status.freed_unconfirmed, status.sent_again), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_broker_lost_are_sent_again_without_a_request() {
    let (folder, mut broker) = broker_with_stream().await;
    let journaled = journaled(options(&folder.path().join("journal")), Arc::new(DiskFiles));
    let edge = journaled.publish(&broker.url()).await;
    let (stop, task) = journaled.follow(&edge);
    journaled.append(0..50);
    stored_once(&broker.url(), 50).await;
    confirm(&broker.url(), 0).await;
    eventually("the stream is known", || async { journaled.journal.knows(0) }).await;
    broker.kill();
    broker.delete_store();
    broker.restart().await;
    create_stream(&broker.url(), STREAM, "trade.>").await;
    stored_once(&broker.url(), 50).await;
    assert_eq!(journaled.journal.status().sent_again, 50);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_hot_went_back_or_a_stream_was_created_again_what_it_lacks_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let journaled = journaled(options(folder.path()), Arc::new(DiskFiles));
    journaled.append(0..10);
    let mut sequence = 0;
    let mut store = async || {
        let mut entries = Vec::new();
        eventually("ten events are sent", || {
            journaled.queue.read_next(10, usize::MAX, &mut entries);
            std::future::ready(entries.len() == 10)
        })
        .await;
        journaled.confirm(&entries, &mut sequence);
    };
    store().await;
    eventually("the journal is read", || async { journaled.journal.stored_max(0) }).await;
    let facts = |created_ns, last_sequence, confirmed| StreamFacts {
        stream: 0,
        created_ns,
        last_sequence,
        stored_before: journaled.journal.stored_max(0).unwrap(),
        confirmed,
    };
    let observe = |facts| journaled.journal.observe(facts);
    assert_eq!(observe(facts(1, 10, Some(10))), None);
    let (events, reason) = observe(facts(1, 10, Some(4))).unwrap();
    assert!(events == 10 && reason.contains("hot went back"), "{events} {reason}");
    store().await;
    let (events, reason) = observe(facts(2, 500, None)).unwrap();
    assert!(events == 10 && reason.contains("created again"), "{events} {reason}");
    store().await;
    assert_eq!(observe(facts(2, 500, Some(30))), None);
    assert!(journaled.journal.close(Duration::from_secs(120)));
}

/// Purged by an operator: the broker's sequences do not show it, and it still knows the message ids.
#[tokio::test(flavor = "multi_thread")]
async fn on_request_events_are_sent_again_by_time_id_or_sequence_and_what_is_not_kept_is_named() {
    let (folder, broker) = broker_with_stream().await;
    let context = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    let journaled = journaled(options(&folder.path().join("journal")), Arc::new(DiskFiles));
    let began_ns = clock::now_ns();
    let edge = journaled.publish(&broker.url()).await;
    let stop = CancellationToken::new();
    let journal = Some(Arc::clone(&journaled.journal));
    let task = tokio::spawn(answer_requests(edge.client.clone(), "e1".to_owned(), journal, stop.clone()));
    journaled.append(0..50);
    stored_once(&broker.url(), 50).await;
    journaled.written(50).await;

    let trades = |symbol| StreamId::new(DataType::Trade, "sim_spot", MarketType::Spot, symbol).unwrap();
    let whole = RepairRequest::new("r".to_owned(), &trades("A-B"), began_ns, clock::now_ns() + 1);
    let ask = async |request: &RepairRequest| {
        let asked = context.client().request(repair_subject("e1"), request.encode().unwrap().into()).await;
        asked.ok().map(|answer| RepairAnswer::decode(&answer.payload).unwrap())
    };
    let some = RepairRequest { event_ids: vec![EventId(3), EventId(7), EventId(99)], ..whole.clone() };
    let answer = eventually("the edge answers", || ask(&some)).await;
    assert_eq!((answer.state, answer.resent, answer.reason.as_str()), (RepairState::Resent, 2, ""));
    let some = RepairRequest { sequences: Some([40, 60]), ..whole.clone() };
    assert_eq!(ask(&some).await.unwrap().resent, 10);
    let earlier = RepairRequest { from: 1, ..whole.clone() };
    let answer = ask(&earlier).await.unwrap();
    assert_eq!((answer.state, answer.resent), (RepairState::Partly, 50));
    assert!(answer.kept_from.unwrap() <= began_ns && answer.reason.contains("no longer kept"), "{answer:?}");
    let other = RepairRequest::new("r".to_owned(), &trades("C-D"), began_ns, clock::now_ns());
    let answer = ask(&other).await.unwrap();
    assert_eq!((answer.state, answer.resent), (RepairState::NotKept, 0));

    eventually("nothing is being sent", || async {
        let on_the_way = journaled.journal.status().waiting + edge.queue.status().catch_up;
        if on_the_way == 0 { Ok(()) } else { Err(format!("{on_the_way} events")) }
    })
    .await;
    context.get_stream(STREAM).await.unwrap().purge().await.unwrap();
    let answer = ask(&whole).await.unwrap();
    assert_eq!((answer.state, answer.resent), (RepairState::Resent, 50));
    eventually("all are in the stream again", || async {
        let distinct: BTreeSet<u128> = stored(&broker.url()).await.into_iter().collect();
        if distinct.len() == 50 { Ok(()) } else { Err(format!("{} events", distinct.len())) }
    })
    .await;
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_nobody_is_named_in_health_and_what_is_lost_for_it_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(true));
    let path = folder.path().join("journal");
    let journaled = journaled(options(&path), Arc::new(FaultyDisk(FullDisk(Arc::clone(&full)))));
    journaled.append(0..50);
    let status = eventually("the failure is known", || async {
        let status = journaled.journal.status();
        status.failing.is_some().then_some(status)
    })
    .await;
    assert!(status.write_errors > 0 && status.reasons()[0].contains("in memory only"), "{status:?}");
    // Memory takes a hundred.
    journaled.append(50..150);
    eventually("what does not fit is counted", || async {
        let dropped = journaled.queue.status().dropped[DataType::Trade];
        let lost: u64 = journaled.journal.status().lost.iter().map(|lost| lost[DataType::Trade]).sum();
        if dropped + lost == 50 { Ok(()) } else { Err(format!("{dropped} dropped, {lost} lost")) }
    })
    .await;
    full.store(false, Ordering::Release);
    eventually("the disk is tried again", || async {
        let coverage = Coverage::default();
        let mut records: Vec<EventRecord> = vec![record("A-B", 999, None, 1, &coverage)];
        journaled.queue.append(QueueLane::default(), &mut records);
        journaled.journal.status().failing.is_none()
    })
    .await;
    assert!(journaled.journal.status().reasons().is_empty());
    assert!(events_on_disk(&path) >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_half_of_its_bytes_books_stay_in_memory_and_a_full_journal_counts_its_oldest_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let opened = options(&path);
    // As a reload does.
    let lowered = JournalLimits { bytes: 1 << 20, ..JournalLimits::from(&opened) };
    let journaled = journaled(opened, Arc::new(DiskFiles));
    journaled.journal.set_limits(lowered);
    assert_eq!(journaled.journal.max_bytes(), 1 << 20);
    let coverage = Coverage::default();
    let tight = eventually("much waits", || async {
        journaled.append(0..200);
        let status = journaled.journal.status();
        status.is_tight.then_some(status)
    })
    .await;
    assert!(tight.reasons()[0].contains("order books are not written"), "{tight:?}");
    let book =
        EventRecord { data_type: DataType::OrderBook, ..record("A-B", 1, None, clock::now_ns(), &coverage) };
    journaled.queue.append(QueueLane::default(), &mut vec![book]);
    assert_eq!(journaled.journal.status().unjournaled[DataType::OrderBook], 1);
    let status = eventually("the journal is full", || async {
        journaled.append(0..200);
        let status = journaled.journal.status();
        (status.lost[0][DataType::Trade] > 0).then_some(status)
    })
    .await;
    assert!(status.freed_unconfirmed == 0, "{status:?}");
    becomes("its bound is kept", || async { journaled.journal.status().bytes }, |bytes| *bytes <= 1 << 20)
        .await;
    assert_eq!(journaled.queue.status().dropped[DataType::Trade], 0, "what is lost, the journal counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_costs_what_was_not_synced_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (path, cut) = (folder.path().join("journal"), folder.path().join("cut"));
    let disk = SyncedDisk::default();
    let first = journaled(options(&path), Arc::new(FaultyDisk(disk.clone())));
    first.append(0..100);
    first.written(100).await;
    eventually("all is synced", || async {
        let is_synced = |file: &PathBuf| {
            disk.lengths.lock().unwrap().get(file).copied() == Some(std::fs::metadata(file).unwrap().len())
        };
        files_of(&path).iter().all(is_synced)
    })
    .await;
    disk.is_stuck.store(true, Ordering::Release);
    first.append(100..200);
    first.written(200).await;
    // Of what was not synced, some bytes reach the disk.
    std::fs::create_dir(&cut).unwrap();
    for file in files_of(&path) {
        let bytes = std::fs::read(&file).unwrap();
        let synced = usize::try_from(disk.lengths.lock().unwrap()[&file]).unwrap();
        assert!(synced < bytes.len());
        std::fs::write(cut.join(file.file_name().unwrap()), &bytes[..synced + 100]).unwrap();
    }
    let length = |file: PathBuf| (file.clone(), std::fs::metadata(file).unwrap().len());
    let found: BTreeMap<PathBuf, u64> = files_of(&cut).into_iter().map(length).collect();
    let disk = SyncedDisk::default();
    let second = journaled(options(&cut), Arc::new(FaultyDisk(disk.clone())));
    // Nothing of the first run may be lost in a later power cut.
    assert_eq!(*disk.lengths.lock().unwrap(), found);
    let status = eventually("the journal is read", || async {
        let status = second.journal.status();
        (status.recovered > 0).then_some(status)
    })
    .await;
    assert_eq!((status.recovered, status.torn_tails, status.torn_bytes, status.damaged), (100, 1, 100, 0));
    for ended in [first, second] {
        assert!(ended.journal.close(Duration::from_secs(120)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_takes_longer_than_a_power_cut_may_cost_is_shown_while_it_lasts_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, at_risk) = (BadDisk::default(), Duration::from_millis(200));
    let journaled = journaled(options(&folder.path().join("journal")), Arc::new(FaultyDisk(disk.clone())));
    disk.is_sync_stuck.store(true, Ordering::Release);
    journaled.append(0..10);
    let shown = eventually("the age of what is not synced is known", || async {
        let status = journaled.journal.status();
        (status.unsynced > at_risk).then_some(status)
    });
    let shown = shown.await;
    assert_eq!(shown.late_syncs, 0, "it has not ended");
    assert_eq!(shown.sync_every, options(folder.path()).sync_every);
    disk.is_sync_stuck.store(false, Ordering::Release);
    eventually("the sync is counted", || async {
        let status = journaled.journal.status();
        status.late_syncs >= 1 && status.unsynced.is_zero()
    })
    .await;
    assert!(journaled.journal.close(Duration::from_secs(120)));
}

/// Each event that was on disk only was called lost, and sent by the next run all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_after_each_write_loses_nothing_that_is_in_the_file() {
    let (folder, broker) = broker_with_stream().await;
    let disk = BadDisk::default();
    disk.is_sync_failing.store(true, Ordering::Release);
    let options = JournalOptions { sync_every: Duration::ZERO, ..options(&folder.path().join("journal")) };
    let journaled = journaled(options, Arc::new(FaultyDisk(disk.clone())));
    journaled.append(0..2_000);
    let status = journaled.written(2_000).await;
    assert!(status.write_errors > 0 && status.reasons()[0].contains("sync: "), "{status:?}");
    assert!(status.lost.iter().flatten().all(|(_, lost)| *lost == 0), "{status:?}");
    let files = files_of(journaled.journal.folder()).len();
    assert!(files < 100, "{files} files of {} failed syncs", status.write_errors);
    let edge = journaled.publish(&broker.url()).await;
    stored_once(&broker.url(), 2_000).await;
    disk.is_sync_failing.store(false, Ordering::Release);
    eventually("the disk works again", || async {
        journaled.append(2_000..2_001);
        journaled.journal.status().failing.is_none()
    })
    .await;
    end(journaled, edge).await;
}

#[test]
fn a_second_process_does_not_write_into_the_same_journal() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Journal::open(options(folder.path()), Arc::new(DiskFiles), Arc::new(Auditor::off()));
    let first = open().unwrap();
    let refused = open().err().unwrap().to_string();
    assert!(refused.contains("another process uses it"), "{refused}");
    drop(first);
    open().unwrap();
}
