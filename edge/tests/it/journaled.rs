//! A queue with a journal behind it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use marketprism_edge::audit::{Auditor, PublishOutcome};
use marketprism_edge::journal::{Journal, JournalFiles, JournalOptions, JournalStatus, follow_confirmations};
use marketprism_edge::queue::{
    Confirmation, EventQueue, EventRecord, MemoryQueue, QueueEntry, QueueLane, QueueLimits,
};
use marketprism_edge::telemetry::Coverage;
use marketprism_schema::{CONFIRMED_BUCKET, Watermark};
use marketprism_service::clock;
use marketprism_tests::wait::eventually;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{Publishing, STREAM, event_id, limits, messages, publish_queue, record};

const CATCH_UP: QueueLimits = QueueLimits { messages: 64, bytes: 1 << 20 };

/// A queue for a hundred records with a journal behind it.
pub struct Journaled {
    pub journal: Arc<Journal>,
    pub queue: Arc<MemoryQueue>,
    auditor: Arc<Auditor>,
}

pub fn options(folder: &Path) -> JournalOptions {
    JournalOptions {
        folder: folder.to_owned(),
        run_ns: clock::now_ns(),
        bytes: 16 << 20,
        age: Duration::from_secs(3_600),
        keep_confirmed: Duration::ZERO,
        sync_every: Duration::from_millis(50),
    }
}

pub fn journaled(options: JournalOptions, files: Arc<dyn JournalFiles>) -> Journaled {
    audited_journal(options, files, Arc::new(Auditor::off()))
}

pub fn audited_journal(
    options: JournalOptions,
    files: Arc<dyn JournalFiles>,
    auditor: Arc<Auditor>,
) -> Journaled {
    let journal = Arc::new(Journal::open(options, files, Arc::clone(&auditor)).unwrap());
    let bounds = QueueLimits { messages: 100, bytes: 1 << 20 };
    let queue = MemoryQueue::with_room_wait(bounds, Arc::clone(&auditor), Duration::from_millis(1));
    let queue = Arc::new(queue.with_journal(Arc::clone(&journal) as _, CATCH_UP));
    journal.start(Arc::clone(&queue), Vec::new()).unwrap();
    Journaled { journal, queue, auditor }
}

impl Journaled {
    pub fn append(&self, ids: std::ops::Range<u64>) {
        let coverage = Coverage::default();
        for id in ids {
            let record = record("A-B", id.into(), None, clock::now_ns(), &coverage);
            let record = EventRecord { sequence: i64::try_from(id).ok(), ..record };
            self.queue.append(QueueLane::default(), &mut vec![record]);
        }
    }

    /// The broker stored these after `sequence`, one by one.
    pub fn confirm(&self, entries: &[QueueEntry], sequence: &mut u64) {
        let confirmations = entries.iter().map(|entry| {
            *sequence += 1;
            let (position, outcome) = (entry.position, PublishOutcome::Stored);
            Confirmation { position, sequence: Some(*sequence), outcome }
        });
        self.queue.confirm(&confirmations.collect::<Vec<_>>());
    }

    pub async fn publish(&self, url: &str) -> Publishing {
        let (auditor, queue) = (Arc::clone(&self.auditor), Arc::clone(&self.queue));
        publish_queue(url, limits(), auditor, Duration::ZERO, queue).await
    }

    pub fn follow(&self, edge: &Publishing) -> (CancellationToken, JoinHandle<()>) {
        let stop = CancellationToken::new();
        let (client, link) = (edge.client.clone(), Arc::clone(&edge.link));
        let task = follow_confirmations(client, link, Arc::clone(&self.journal), stop.clone());
        (stop, tokio::spawn(task))
    }

    /// Everything appended is on disk.
    pub async fn written(&self, events: u64) -> JournalStatus {
        eventually("all is written", || async {
            let on_disk = events_on_disk(self.journal.folder());
            if on_disk >= events { Ok(self.journal.status()) } else { Err(format!("{on_disk} events")) }
        })
        .await
    }
}

/// The publisher first: it has the queue, and that the journal's lock.
pub async fn end(journaled: Journaled, edge: Publishing) {
    edge.task.abort();
    assert!(edge.task.await.unwrap_err().is_cancelled());
    drop(edge.queue);
    assert!(journaled.journal.close(Duration::from_secs(120)));
}

pub fn files_of(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "journal")).collect()
}

pub fn events_on_disk(folder: &Path) -> u64 {
    let count = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(12).filter(|window| window == b"\"received_at").count() as u64
    };
    files_of(folder).iter().map(count).sum()
}

/// Writes a confirmed sequence as central does, into a bucket that is created if needed.
pub async fn confirm(url: &str, confirmed_seq: u64) {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    let mut stream = context.get_stream(STREAM).await.unwrap();
    let created = stream.info().await.unwrap().created;
    if context.get_key_value(CONFIRMED_BUCKET).await.is_err() {
        let bucket = jetstream::kv::Config { bucket: CONFIRMED_BUCKET.to_owned(), ..Default::default() };
        context.create_key_value(bucket).await.unwrap();
    }
    let stream_created_ns = i64::try_from(created.unix_timestamp_nanos()).unwrap();
    let value = Watermark { stream: STREAM.to_owned(), confirmed_seq, stream_created_ns, at: 1 };
    let (subject, value) = (format!("$KV.{CONFIRMED_BUCKET}.{STREAM}"), serde_json::to_vec(&value).unwrap());
    context.publish(subject, value.into()).await.unwrap().await.unwrap();
}

pub async fn stored(url: &str) -> Vec<u128> {
    messages(url, STREAM).await.iter().map(|message| event_id(message).0).collect()
}

pub async fn stored_once(url: &str, count: u64) {
    eventually("all events are stored", || async {
        let ids = stored(url).await;
        let distinct: BTreeSet<u128> = ids.iter().copied().collect();
        assert_eq!(ids.len(), distinct.len(), "an event is stored twice");
        if distinct == (0..u128::from(count)).collect() {
            Ok(())
        } else {
            Err(format!("{} events", ids.len()))
        }
    })
    .await;
}
