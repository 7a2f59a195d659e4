//! The journal's handle: for the queue, for what follows the broker, and for the pages.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::bail;
use marketprism_schema::{Carries, DataType, DataTypeMap, STREAMS};
use marketprism_service::start_thread;

use super::event_state::EventState;
use super::files::JournalFiles;
use super::index::StreamMark;
use super::options::{JournalLimits, JournalOptions};
use super::reader::CatchUp;
use super::recover;
use super::segment_index::{SegmentIndex, stream_number};
use super::shared::JournalShared;
use super::status::JournalStatus;
use super::writer::Writer;
use crate::audit::{Auditor, PublishOutcome, UnfinishedRun};
use crate::queue::{EventJournal, EventRecord, JournalPosition, MemoryQueue, StoredRecord};

/// State of a stream at the broker, and of what central has confirmed of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFacts {
    /// Position in `STREAMS`.
    pub stream: usize,
    pub created_ns: i64,
    pub last_sequence: u64,
    /// Highest sequence acknowledged to this edge before the stream was asked.
    pub stored_before: u64,
    /// Highest contiguous sequence in hot; `None`: not known.
    pub confirmed: Option<u64>,
}

pub struct Journal {
    shared: Arc<JournalShared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held until the end: no other process writes into the folder.
    _lock: Option<File>,
}

impl Journal {
    /// Reads the end of what is on disk; the rest is read by a thread. Fails when another process has the folder open.
    pub fn open(
        options: JournalOptions,
        files: Arc<dyn JournalFiles>,
        auditor: Arc<Auditor>,
    ) -> anyhow::Result<Self> {
        let lock = lock(&options.folder)?;
        recover::sync(&options.folder, &*files);
        let next = recover::next_position(&options.folder);
        let shared = Arc::new(JournalShared::new(options, files, auditor, next));
        Ok(Self { shared, threads: Mutex::default(), _lock: lock })
    }

    /// Starts the threads. Before, records are only buffered. `killed_runs`: earlier runs whose audits are recovered.
    pub fn start(&self, queue: Arc<MemoryQueue>, killed_runs: Vec<UnfinishedRun>) -> io::Result<()> {
        let writer = Writer::new(Arc::clone(&self.shared));
        let catch_up = CatchUp::new(Arc::clone(&self.shared), queue, killed_runs);
        let shared = Arc::clone(&self.shared);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            start_thread(std::thread::Builder::new().name(name.to_owned()), run)
        };
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(spawn("journal-write", Box::new(move || writer.run()))?);
        threads.push(spawn("journal-sync", Box::new(move || shared.syncer.run(&shared)))?);
        threads.push(spawn("journal-read", Box::new(move || catch_up.run()))?);
        Ok(())
    }

    /// Writes and syncs the rest and ends the threads, within `limit`. False: the disk did not answer in time.
    pub fn close(&self, limit: Duration) -> bool {
        self.shared.lock().is_closing = true;
        self.shared.written.notify_all();
        self.shared.waiting.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let deadline = Instant::now() + limit;
        for thread in threads {
            while !thread.is_finished() {
                if Instant::now() >= deadline {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
        true
    }

    pub(super) const fn shared(&self) -> &Arc<JournalShared> {
        &self.shared
    }

    pub fn folder(&self) -> &Path {
        &self.shared.options.folder
    }

    /// True if the creation time of a stream is known.
    pub fn knows(&self, stream: usize) -> bool {
        self.shared.lock().index.streams.get(stream).is_some_and(|mark| mark.created_ns != 0)
    }

    pub fn max_bytes(&self) -> u64 {
        self.shared().limits().bytes
    }

    /// From now on.
    pub fn set_limits(&self, limits: JournalLimits) {
        self.shared.set_limits(limits);
    }

    pub fn status(&self) -> JournalStatus {
        let (unsynced, sync_every) = (self.shared.syncer.unsynced(), self.shared.limits().sync_every);
        let state = self.shared.lock();
        let segments = &state.index.segments;
        JournalStatus {
            unsynced,
            sync_every,
            bytes: state.index.bytes(),
            segments: u64::try_from(segments.len()).unwrap_or(u64::MAX),
            oldest_ns: segments.iter().filter_map(|segment| segment.received).map(|(first, _)| first).min(),
            waiting: segments.iter().map(SegmentIndex::to_send).sum(),
            ..state.status.clone()
        }
    }

    pub fn broker_losses(&self) -> u64 {
        self.shared.lock().status.broker_losses
    }

    /// True once the segments of earlier runs have been read.
    pub fn is_recovered(&self) -> bool {
        self.shared.lock().is_recovered
    }

    /// Highest sequence of a stream that was acknowledged; `None` until what is on disk has been read.
    pub fn stored_max(&self, stream: usize) -> Option<u64> {
        let state = self.shared.lock();
        state.index.streams.get(stream).filter(|_| state.is_recovered).map(|mark| mark.stored_max)
    }

    /// Central has confirmed something of this stream.
    pub fn has_confirmed(&self, stream: usize) -> bool {
        self.shared.lock().index.streams.get(stream).is_some_and(|mark| mark.confirmed > 0)
    }

    /// Takes the state of a stream at the broker. Stored events that the broker, or hot, has lost are sent again; returns their number and
    /// the reason.
    pub fn observe(&self, facts: StreamFacts) -> Option<(usize, String)> {
        let mut state = self.shared.lock();
        let StreamFacts { stream, created_ns, last_sequence, stored_before, confirmed } = facts;
        let mark = *state.index.streams.get(stream)?;
        let StreamMark { created_ns: known_ns, stored_max, confirmed: confirmed_before } = mark;
        let name = STREAMS.get(stream)?.name;
        let is_new = known_ns != 0 && known_ns != created_ns;
        // An ack may have shown it in the meantime.
        let stored_before = stored_before.min(stored_max);
        let went_back = last_sequence < stored_before;
        let confirmed = confirmed.unwrap_or(if is_new { 0 } else { confirmed_before });
        let options = &self.shared.options;
        let again = if is_new || went_back {
            let confirmed = confirmed.min(last_sequence);
            let new_mark = StreamMark { created_ns, stored_max: 0, confirmed };
            let events = state.went_back(options, stream, new_mark, last_sequence);
            let reason = if is_new {
                format!("stream {name} was created again")
            } else {
                format!("stream {name} went back from sequence {stored_before} to {last_sequence}")
            };
            Some((events, reason))
        } else {
            *state.index.streams.get_mut(stream)? = StreamMark { created_ns, stored_max, confirmed };
            (confirmed < confirmed_before).then(|| {
                let again = state.index.send_again(stream, confirmed);
                state.again(options, &again);
                let reason =
                    format!("hot went back from sequence {confirmed_before} of stream {name} to {confirmed}");
                (again.len(), reason)
            })
        };
        drop(state);
        self.sends_again(again.as_ref());
        again
    }

    /// The broker lost something that it had at this time. Streams whose loss was not noticed since then may have passed their old sequences by
    /// what another edge sends again: what is not known to be in hot is sent again. Returns the number of events.
    pub fn broker_went_back(&self, had_at: Instant) -> usize {
        let mut state = self.shared.lock();
        let (mut events, mut names) = (0, Vec::new());
        for (number, stream) in STREAMS.iter().enumerate().filter(|(_, one)| one.carries == Carries::Events) {
            if state.lost_at.get(number).copied().flatten().is_none_or(|at| at < had_at) {
                events += state.lost_end(&self.shared.options, number);
                names.push(stream.name);
            }
        }
        drop(state);
        if !names.is_empty() {
            let reason = format!("the broker has an earlier state of {}", names.join(" and "));
            self.sends_again(Some(&(events, reason)));
        }
        events
    }

    fn sends_again(&self, again: Option<&(usize, String)>) {
        if let Some((events, reason)) = again {
            tracing::warn!(events, reason, "events are sent again from the journal");
        }
        self.shared.waiting.notify_all();
    }
}

/// Exclusive for this process.
fn lock(folder: &Path) -> anyhow::Result<Option<File>> {
    let path = folder.join("lock");
    let opened =
        std::fs::create_dir_all(folder).and_then(|()| File::options().create(true).append(true).open(&path));
    let locked = opened.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
    held(locked, folder)
}

/// A disk that cannot hold the lock, as one that is full or of a file system without locks, does not keep the edge from collecting.
fn held(locked: Result<File, TryLockError>, folder: &Path) -> anyhow::Result<Option<File>> {
    match locked {
        Ok(file) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "journal {}: another process uses it; an edge name runs once per data folder",
                folder.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            tracing::error!(%error, ?folder, "journal not locked: another edge of this name would go unnoticed");
            Ok(None)
        }
    }
}

impl EventJournal for Journal {
    fn append(&self, records: &mut [EventRecord]) {
        let (mut state, now) = (self.shared.lock(), Instant::now());
        let now_ns = self.shared.passed_to_ns(now);
        for record in records {
            state.append(&self.shared.options, record, (now, now_ns));
        }
        self.shared.wake_writer(state);
    }

    fn spill(&self, JournalPosition(position): JournalPosition) -> bool {
        let mut state = self.shared.lock();
        let Some(segment) = state.index.segment_of(position) else { return false };
        let is_held = segment.get(position).is_some_and(|(_, state)| state == EventState::Queued);
        if is_held {
            segment.set(position, EventState::Waiting);
            drop(state);
            self.shared.waiting.notify_one();
        }
        is_held
    }

    fn queued(&self, records: &[EventRecord]) {
        let mut state = self.shared.lock();
        for JournalPosition(position) in records.iter().filter_map(|record| record.journal) {
            let Some(segment) = state.index.segment_of(position) else { continue };
            let before = segment.get(position).map(|(_, before)| before);
            if before.is_some_and(|before| EventState::TO_SEND.contains(&before)) {
                segment.set(position, EventState::Queued);
            }
        }
    }

    fn holds(&self, JournalPosition(position): JournalPosition) -> bool {
        let mut state = self.shared.lock();
        let event = state.index.segment_of(position).and_then(|segment| segment.get(position));
        event.is_some_and(|(_, state)| !state.is_over())
    }

    fn stored(&self, records: &[StoredRecord]) {
        if !records.is_empty() {
            let mut state = self.shared.lock();
            let again = state.stored(&self.shared.options, records);
            self.shared.wake_writer(state);
            if again.is_some() {
                self.sends_again(again.as_ref());
            }
        }
    }

    fn acknowledged(&self) -> DataTypeMap<u64> {
        let state = self.shared.lock();
        let mut sequences = DataTypeMap::default();
        for data_type in DataType::ALL {
            let mark = state.index.streams.get(stream_number(*data_type));
            sequences[*data_type] = mark.map_or(0, |mark| mark.stored_max);
        }
        sequences
    }

    fn settle(&self, positions: &[JournalPosition], outcome: PublishOutcome) {
        if !positions.is_empty() {
            let mut state = self.shared.lock();
            state.settle(&self.shared.options, positions, EventState::of_outcome(outcome));
            self.shared.wake_writer(state);
        }
    }

    fn oldest_waiting_ns(&self) -> Option<i64> {
        let state = self.shared.lock();
        state.index.oldest_waiting_ns(self.shared.options.run_ns).into_iter().chain(state.evicted_ns).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NFS without its lock service, and some file systems in user space.
    #[test]
    fn a_file_system_without_locks_does_not_keep_the_edge_from_collecting() {
        for code in [libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP] {
            let refused = TryLockError::Error(io::Error::from_raw_os_error(code));
            assert!(held(Err(refused), Path::new("journal")).unwrap().is_none(), "{code}");
        }
        assert!(held(Err(TryLockError::WouldBlock), Path::new("journal")).is_err());
    }
}
