//! Events on disk that are lost, or that a stop or a deleted segment could lose: each has an outcome in the audits, and is sent later where it
//! can be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use marketprism_edge::audit::{Auditor, PublishOutcome};
use marketprism_edge::journal::{
    DiskFiles, JournalFiles, JournalLoss, JournalOptions, JournalStatus, StreamFacts,
};
use marketprism_edge::queue::{
    AbandonedRecords, Confirmation, EventQueue, EventRecord, JournalPosition, QueueLane, QueuePosition,
};
use marketprism_edge::telemetry::Coverage;
use marketprism_schema::{DataType, GapKind};
use marketprism_service::clock;
use marketprism_tests::wait::eventually;

use crate::auditing::setup::{Audited, audited};
use crate::disks::{BadDisk, FaultyDisk};
use crate::journaled::{Journaled, audited_journal, events_on_disk, files_of, options};

const DISK_LIMIT: Duration = Duration::from_secs(120);

/// Segments of 16 KiB, about 50 trades.
struct SmallSegments {
    folder: tempfile::TempDir,
    audited: Audited,
    journaled: Journaled,
}

impl SmallSegments {
    fn new(files: Arc<dyn JournalFiles>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run_ns = clock::now_ns();
        let audited = audited(run_ns);
        let options = JournalOptions { run_ns, bytes: 1 << 20, ..options(folder.path()) };
        let journaled = audited_journal(options, files, Arc::clone(&audited.auditor));
        Self { folder, audited, journaled }
    }

    /// With 300 events, one of them damaged on disk.
    async fn with_damaged_event() -> (BadDisk, Self) {
        let disk = BadDisk::default();
        let run = Self::new(Arc::new(FaultyDisk(disk.clone())));
        disk.is_damaging.store(true, Ordering::Release);
        run.append(0..300);
        eventually("all but the damaged one are written", || async {
            events_on_disk(run.folder.path()) >= 299
        })
        .await;
        (disk, run)
    }

    fn append(&self, ids: std::ops::Range<u64>) {
        let coverage = Coverage::default();
        let record = |id| self.audited.record(0, id, clock::now_ns(), &coverage);
        self.journaled.queue.append(QueueLane::default(), &mut ids.map(record).collect());
    }

    /// Reads and confirms everything that the queue has.
    fn send(&self) {
        let mut entries = Vec::new();
        self.journaled.queue.read_next(1_000, usize::MAX, &mut entries);
        let stored = |position: QueuePosition| {
            // The broker's sequences rise.
            Confirmation { position, sequence: Some(position.0 + 1), outcome: PublishOutcome::Stored }
        };
        let confirmations: Vec<_> = entries.iter().map(|entry| stored(entry.position)).collect();
        self.journaled.queue.confirm(&confirmations);
    }

    /// Sends until an event of this kind is lost.
    async fn sent_until_lost(&self, loss: JournalLoss) -> JournalStatus {
        eventually("an event is lost", || async {
            self.send();
            let status = self.journaled.journal.status();
            (status.lost[loss as usize][DataType::Trade] > 0).then_some(status)
        })
        .await
    }

    /// Kinds and evidence of the gaps in the audits, which must know no number of missing events.
    fn unread_gaps(&self) -> Vec<String> {
        let (audits, unsettled) = self.audited.auditor.close_all(clock::now_ns(), i64::MAX);
        assert_eq!(unsettled, 0);
        let gaps = audits.into_iter().flat_map(|audit| audit.streams).flat_map(|stream| stream.gaps);
        let unread = gaps.filter(|gap| gap.kind == GapKind::Dropped && gap.missing.is_none());
        unread.map(|gap| gap.evidence).collect()
    }
}

/// Its window was verified: the other events of it are stored and in hot.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_of_the_journal_is_a_gap_in_the_audits_of_the_streams_that_it_may_be_of() {
    let (_, run) = SmallSegments::with_damaged_event().await;
    let status = run.sent_until_lost(JournalLoss::Damaged).await;
    assert_eq!(status.lost[JournalLoss::Damaged as usize][DataType::Trade], 1);
    let gaps = run.unread_gaps();
    assert!(gaps.iter().any(|evidence| evidence.contains("could not be read")), "{gaps:?}");
    assert!(run.journaled.journal.close(DISK_LIMIT));
}

/// The writer always has something on a busy edge, or on a slow disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_holds_up_nothing_behind_it_while_newer_events_are_being_written() {
    let (disk, run) = SmallSegments::with_damaged_event().await;
    disk.is_stuck.store(true, Ordering::Release);
    run.append(300..301);
    run.sent_until_lost(JournalLoss::Damaged).await;
    disk.is_stuck.store(false, Ordering::Release);
    assert!(run.journaled.journal.close(DISK_LIMIT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_makes_room_and_cannot_be_read_is_a_gap_in_the_audits() {
    let run = SmallSegments::new(Arc::new(DiskFiles));
    // Nothing is read back before the segment is deleted.
    run.journaled.queue.close();
    run.append(0..300);
    eventually("all are written", || async { events_on_disk(run.folder.path()) >= 300 }).await;
    let oldest = files_of(run.folder.path()).into_iter().min().unwrap();
    std::fs::remove_file(oldest).unwrap();
    eventually("the journal is full", || async {
        run.append(0..200);
        let lost = run.journaled.journal.status().lost[JournalLoss::Full as usize][DataType::Trade];
        lost > 0
    })
    .await;
    assert!(run.unread_gaps()[0].contains("could not be read"));
    assert!(run.journaled.journal.close(DISK_LIMIT));
}

#[test]
fn at_a_stop_the_audits_list_what_the_next_run_will_send() {
    let folder = tempfile::tempdir().unwrap();
    let run_ns = clock::now_ns();
    let audited = audited(run_ns);
    let options = JournalOptions { run_ns, ..options(folder.path()) };
    let journaled = audited_journal(options, Arc::new(DiskFiles), Arc::clone(&audited.auditor));
    let coverage = Coverage::default();
    let mut records = (0..500).map(|id| audited.record(0, id, clock::now_ns(), &coverage)).collect();
    journaled.queue.close();
    journaled.queue.append(QueueLane::default(), &mut records);
    assert_eq!(journaled.queue.abandon(), AbandonedRecords { lost: 0, kept: 100 });
    // A batch that the reader had in its hands: nobody would send it, and it would keep its windows open.
    let waiting = JournalPosition(2);
    let late = EventRecord { journal: Some(waiting), ..audited.record(0, 0, run_ns, &coverage) };
    journaled.queue.append_catch_up(vec![late]);
    assert_eq!(journaled.journal.status().waiting, 400);
    assert!(journaled.queue.oldest_pending_ns().is_some(), "what is on disk keeps its windows open");
    assert!(journaled.journal.end_run(DISK_LIMIT));
    assert_eq!(journaled.queue.oldest_pending_ns(), None);
    let (audits, unsettled) = audited.auditor.close_all(clock::now_ns(), i64::MAX);
    let streams = || audits.iter().flat_map(|audit| &audit.streams);
    assert_eq!(streams().map(|stream| stream.unsure.len()).sum::<usize>(), 500);
    assert_eq!((unsettled, streams().map(|stream| stream.dropped).sum::<u64>()), (0, 0));
    assert!(journaled.journal.close(DISK_LIMIT));
}

/// An unsent event keeps the oldest segment, while the segments with the acks of its other events are deleted for want of room.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_segment_says_of_older_events_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = || JournalOptions { bytes: 1 << 20, ..options(folder.path()) };
    let run = audited_journal(options(), Arc::new(DiskFiles), Arc::new(Auditor::off()));
    eventually("the journal is read", || async { run.journal.stored_max(0) }).await;
    let mut entries = Vec::new();
    run.append(0..100);
    run.queue.read_next(100, usize::MAX, &mut entries);
    let mut sequence = 0;
    // The first is in flight until the kill.
    run.confirm(&entries[1..], &mut sequence);
    let facts = StreamFacts {
        stream: 0,
        created_ns: 1,
        last_sequence: 1 << 40,
        stored_before: 0,
        confirmed: Some(1 << 40),
    };
    assert_eq!(run.journal.observe(facts), None);
    let noted = eventually("the segment with the acks is on disk", || async {
        let files = files_of(folder.path());
        files.iter().max().filter(|_| files.len() as u64 == run.journal.status().segments).cloned()
    })
    .await;
    eventually("the segment with the acks is deleted", || {
        run.append(100..190);
        entries.clear();
        run.queue.read_next(100, usize::MAX, &mut entries);
        run.confirm(&entries, &mut sequence);
        std::future::ready(!noted.exists())
    })
    .await;
    assert!(run.journal.close(DISK_LIMIT));
    drop(run);
    let next = audited_journal(options(), Arc::new(DiskFiles), Arc::new(Auditor::off()));
    let recovered = eventually("the journal is read", || async {
        next.journal.stored_max(0).map(|_| next.journal.status().recovered)
    })
    .await;
    assert_eq!(recovered, 1, "only the event that was not stored is sent again");
    assert!(next.journal.close(DISK_LIMIT));
}
