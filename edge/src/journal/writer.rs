//! The writing thread: takes what is buffered, appends it, deletes what may go. A second thread syncs, so that no write waits for it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use marketprism_schema::DataTypeMap;
use marketprism_service::LogLimit;

use super::event_state::EventState;
use super::files::JournalFile;
use super::frame::{Frame, FrameScanner};
use super::index::EvictionReason;
use super::segment_index::SegmentIndex;
use super::shared::JournalShared;
use super::state::Chunk;
use super::status::JournalLoss;
use super::syncer;
use crate::audit::PublishOutcome;
use crate::limits::{JOURNAL_RETRY, JOURNAL_SWEEP, JOURNAL_WRITE_EVERY};

pub(super) struct Writer {
    shared: Arc<JournalShared>,
    current: Option<OpenSegment>,
    swept: Instant,
    /// Files whose notes about older events are written again first.
    deleted_next: Vec<PathBuf>,
    error_lines: LogLimit,
}

struct OpenSegment {
    first: u64,
    file: Arc<dyn JournalFile>,
    length: u64,
    /// After a failure nothing more is written to it.
    has_failed: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<JournalShared>) -> Self {
        let (swept, error_lines) = (Instant::now(), LogLimit::default());
        Self { shared, current: None, swept, deleted_next: Vec::new(), error_lines }
    }

    pub(super) fn run(mut self) {
        loop {
            let (chunks, is_closing) = self.next_chunks();
            let began = Instant::now();
            let deleted = std::mem::take(&mut self.deleted_next);
            let before = self.current.as_ref().map(|segment| segment.first);
            let is_idle = chunks.is_empty();
            for chunk in chunks {
                self.write(chunk);
            }
            deleted.iter().for_each(|path| self.delete(path));
            let has_new_segment = before != self.current.as_ref().map(|segment| segment.first);
            if has_new_segment || self.swept.elapsed() >= JOURNAL_SWEEP {
                self.swept = Instant::now();
                self.sweep();
            }
            if is_closing && is_idle {
                self.shared.syncer.end();
                return;
            }
            if !is_idle {
                std::thread::sleep(JOURNAL_WRITE_EVERY.saturating_sub(began.elapsed()));
            }
        }
    }

    fn next_chunks(&self) -> (Vec<Chunk>, bool) {
        let mut state = self.shared.lock();
        (state.writing, state.is_writer_idle) = (None, true);
        let (mut state, _) = self
            .shared
            .written
            .wait_timeout_while(state, JOURNAL_SWEEP, |state| state.buffered == 0 && !state.is_closing)
            .unwrap_or_else(PoisonError::into_inner);
        let chunks = state.take_chunks();
        (state.buffered, state.is_writer_idle) = (0, false);
        state.writing = chunks.first().map(|chunk| chunk.segment);
        state.unwritten = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        (chunks, state.is_closing)
    }

    fn write(&mut self, chunk: Chunk) {
        let written = self.append(&chunk);
        let is_synced = written.is_ok() && self.sync();
        let mut state = self.shared.lock();
        state.unwritten = state.unwritten.saturating_sub(chunk.bytes.len());
        match written {
            Ok(()) => {
                let failed = state.status.failing.take_if(|_| is_synced);
                state.retry_at = None;
                state.reuse(chunk.bytes);
                drop(state);
                if failed.is_some() {
                    tracing::info!("the journal is written again");
                }
            }
            Err(error) => {
                drop(state);
                self.fail(&chunk, &error);
            }
        }
    }

    fn append(&mut self, chunk: &Chunk) -> io::Result<()> {
        let current = match self.current.take() {
            Some(current) if current.first == chunk.segment => current,
            _ => OpenSegment {
                first: chunk.segment,
                file: self.shared.files.create(&self.shared.path_of(chunk.segment))?,
                length: 0,
                has_failed: false,
            },
        };
        let current = self.current.insert(current);
        if current.has_failed {
            return Err(io::Error::other("an earlier write to this segment failed"));
        }
        if let Err(error) = current.file.append(&chunk.bytes) {
            current.has_failed = true;
            // If this fails too, the next start cuts the torn tail.
            let _ = current.file.truncate(current.length);
            return Err(error);
        }
        current.length += u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// False: a sync that was due has failed. What was written is in the file all the same, and is sent from there.
    fn sync(&mut self) -> bool {
        let Some(OpenSegment { first, file, .. }) = &self.current else { return true };
        if !self.shared.limits().sync_every.is_zero() {
            self.shared.syncer.add(*first, file);
            return true;
        }
        let synced = file.sync();
        if let Err(error) = &synced {
            syncer::failed(&self.shared, *first, error, &mut self.error_lines);
        }
        synced.is_ok()
    }

    /// The chunk's events are in memory only; those that had left memory are lost.
    fn fail(&mut self, chunk: &Chunk, error: &io::Error) {
        let (mut lost, mut outcomes) = (DataTypeMap::<u64>::default(), Vec::new());
        let mut state = self.shared.lock();
        for frame in FrameScanner::new(&chunk.bytes, 0) {
            let Frame::Event(event) = frame else { continue };
            state.not_recorded((event.received_at_ns, event.received_at_ns));
            let segment = state.index.segment_of(event.position);
            match segment.and_then(|segment| segment.set(event.position, EventState::Settled)) {
                Some((data_type, EventState::Waiting)) => {
                    lost[data_type] += 1;
                    outcomes.push(event.to_record(true).with_outcome(PublishOutcome::Dropped));
                }
                Some((data_type, EventState::Unaudited | EventState::Again)) => lost[data_type] += 1,
                Some((data_type, EventState::Queued)) => state.status.unjournaled[data_type] += 1,
                _ => {}
            }
        }
        state.status.lose(JournalLoss::WriteFailed, &lost);
        state.status.write_errors += 1;
        state.status.failing = Some(error.to_string());
        (state.is_rolled, state.retry_at) = (true, Some(Instant::now() + JOURNAL_RETRY));
        // While nothing else sees the states: the windows of lost events are not closed before they have an outcome.
        self.shared.auditor.record(&outcomes);
        drop(state);
        if let Some(held_back) = self.error_lines.allow(Instant::now()) {
            let (path, lost) = (self.shared.path_of(chunk.segment), lost.values().sum::<u64>());
            tracing::error!(%error, ?path, lost, held_back, "journal not written: events are in memory only");
        }
        self.sweep();
    }

    /// Deletes segments behind the watermark and beyond the bounds, and notes whether much waits.
    fn sweep(&mut self) {
        loop {
            let mut state = self.shared.lock();
            let clocks = self.shared.age_clocks();
            let limits = self.shared.keep_limits(state.status.failing.is_some());
            state.status.is_tight = state.index.backlog_bytes() > limits.bytes / 2;
            let unwritten = state.unwritten_from();
            let Some((segment, reason)) = state.index.evict(clocks, limits, unwritten) else {
                return;
            };
            let is_audited =
                segment.count(EventState::Waiting) > 0 && segment.run_ns == self.shared.options.run_ns;
            state.evicted_ns = segment.received.filter(|_| is_audited).map(|(first_ns, _)| first_ns);
            drop(state);
            self.evict(&segment, reason);
        }
    }

    fn evict(&mut self, segment: &SegmentIndex, reason: EvictionReason) {
        let path = self.shared.path_of(segment.first);
        let lost = segment.count_by_type(&EventState::TO_SEND);
        let count: u64 = lost.values().sum();
        let is_of_run = segment.run_ns == self.shared.options.run_ns;
        if is_of_run {
            self.audit_lost(segment, &path, EventState::Waiting);
        } else if self.shared.auditor.recovers(segment.run_ns) {
            self.audit_lost(segment, &path, EventState::Unaudited);
        }
        let mut state = self.shared.lock();
        if let Some(received) = segment.received.filter(|_| is_of_run) {
            state.not_recorded(received);
        }
        state.evicted_ns = None;
        let last_ns = segment.received.map_or(i64::MIN, |(_, last)| last);
        state.freed_to_ns = state.freed_to_ns.max(last_ns);
        if reason != EvictionReason::Confirmed {
            let stored = EventState::ALL.into_iter().filter(|state| state.is_stored());
            state.status.freed_unconfirmed += stored.map(|state| segment.count(state)).sum::<u64>();
            let loss = if reason == EvictionReason::Full { JournalLoss::Full } else { JournalLoss::Expired };
            state.status.lose(loss, &lost);
        }
        drop(state);
        if count > 0
            && let Some(held_back) = self.error_lines.allow(Instant::now())
        {
            let reason =
                if reason == EvictionReason::Full { "journal.max_bytes" } else { "journal.max_age_seconds" };
            tracing::error!(
                lost = count,
                reason,
                held_back,
                "the oldest events of the journal were lost unsent"
            );
        }
        if self.repeat_notes(segment, &path) {
            self.deleted_next.push(path);
        } else {
            self.delete(&path);
        }
    }

    /// Notes about events of older segments must outlive this one: those would be sent without need, or not be sent again.
    fn repeat_notes(&self, segment: &SegmentIndex, path: &Path) -> bool {
        let is_older = |oldest: &SegmentIndex| oldest.first < segment.first;
        if !self.shared.lock().index.segments.front().is_some_and(is_older) {
            return false;
        }
        let bytes = std::fs::read(path).unwrap_or_default();
        self.shared.lock().repeat_notes(&self.shared.options, segment.first, &bytes)
    }

    fn delete(&mut self, path: &Path) {
        if let Err(error) = self.shared.files.remove(path)
            && error.kind() != io::ErrorKind::NotFound
            && let Some(held_back) = self.error_lines.allow(Instant::now())
        {
            tracing::error!(%error, ?path, held_back, "segment of the journal not deleted");
        }
    }

    /// The audits of its run get an outcome of each event in this state, all of which are lost, and a gap for those that cannot be read.
    fn audit_lost(&self, segment: &SegmentIndex, path: &Path, lost: EventState) {
        let mut unread = segment.count_by_type(&[lost]);
        if unread.values().all(|count| *count == 0) {
            return;
        }
        let (auditor, run_ns) = (&self.shared.auditor, segment.run_ns);
        let is_of_run = run_ns == self.shared.options.run_ns;
        let bytes = std::fs::read(path).unwrap_or_default();
        let mut outcomes = Vec::new();
        for frame in FrameScanner::new(&bytes, 0) {
            let Frame::Event(event) = frame else { continue };
            if let Some((data_type, state)) = segment.get(event.position)
                && state == lost
            {
                unread[data_type] = unread[data_type].saturating_sub(1);
                let stream = if is_of_run {
                    event.to_record(true).stream
                } else {
                    auditor.stream_of_killed_run(run_ns, event.subject, event.received_at_ns)
                };
                outcomes.push(event.outcome(stream, PublishOutcome::Dropped));
            }
        }
        auditor.record(&outcomes);
        match segment.received {
            Some(received) if is_of_run => auditor.lost_unread(received, &unread),
            Some(_) if unread.values().any(|count| *count > 0) => auditor.give_up_killed_run(run_ns),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use marketprism_schema::DataType;
    use marketprism_service::clock;

    use super::super::files::{DiskFiles, JournalFiles};
    use super::super::log::Journal;
    use super::super::options::JournalOptions;
    use super::*;
    use crate::audit::Auditor;
    use crate::queue::{EventJournal, EventRecord, MemoryQueue, QueueLimits};

    #[derive(Default)]
    struct CountedDisk(Arc<AtomicU32>);

    struct CountedFile(Arc<dyn JournalFile>, Arc<AtomicU32>);

    impl JournalFiles for CountedDisk {
        fn create(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
            Ok(Arc::new(CountedFile(DiskFiles.create(path)?, Arc::clone(&self.0))))
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            DiskFiles.remove(path)
        }

        fn sync(&self, path: &Path) -> io::Result<()> {
            DiskFiles.sync(path)
        }
    }

    impl JournalFile for CountedFile {
        fn append(&self, bytes: &[u8]) -> io::Result<()> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.append(bytes)
        }

        fn truncate(&self, length: u64) -> io::Result<()> {
            self.0.truncate(length)
        }

        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }
    }

    /// An event that was received 25 hours before the newest one by the wall clock, and `before_ns` before now; it waits for the broker. Segments
    /// and lost events after a sweep.
    fn swept(run_ns: i64, before_ns: i64) -> (u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(24 * 3_600);
        let options = JournalOptions {
            age: day,
            keep_confirmed: day,
            ..JournalOptions::fixture(folder.path(), run_ns)
        };
        let auditor = Arc::new(Auditor::off());
        let journal = Journal::open(options, Arc::new(DiskFiles), auditor).unwrap();
        let (shared, now_ns) = (Arc::clone(journal.shared()), clock::now_ns());
        for received_at_ns in [now_ns - 25 * HOUR_NS, now_ns] {
            let record = EventRecord::fixture(1, DataType::Trade, "A-B");
            let mut records = [EventRecord { received_at_ns, ..record }];
            journal.append(&mut records);
            assert!(journal.spill(records[0].journal.unwrap()));
            shared.lock().is_rolled = true;
        }
        if let Some(newest_ns) = &mut shared.lock().index.segments[0].newest_ns {
            *newest_ns -= before_ns;
        }
        let mut writer = Writer::new(Arc::clone(&shared));
        let chunks = shared.lock().take_chunks();
        chunks.into_iter().for_each(|chunk| writer.write(chunk));
        writer.sweep();
        let status = journal.status();
        (status.segments, status.lost.iter().flatten().map(|(_, lost)| lost).sum())
    }

    const HOUR_NS: i64 = 3_600_000_000_000;

    /// Everything that waited was deleted within 250 ms, though the broker would have taken it once the clock was right again.
    #[test]
    fn what_waits_expires_by_the_time_that_passes_and_not_by_a_step_of_the_wall_clock() {
        let (now_ns, hours_ns) = (clock::now_ns(), 25 * HOUR_NS);
        assert_eq!(swept(now_ns - hours_ns, 0), (2, 0), "set ahead by 25 hours since the start");
        assert_eq!(swept(now_ns, hours_ns), (1, 1));
        assert_eq!(swept(now_ns - 30 * hours_ns, hours_ns), (1, 1), "the clock was behind at the start");
    }

    #[test]
    fn records_under_load_are_written_in_groups_and_none_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (auditor, disk) = (Arc::new(Auditor::off()), CountedDisk::default());
        let writes = Arc::clone(&disk.0);
        let options = JournalOptions::fixture(folder.path(), 5);
        let journal = Journal::open(options, Arc::new(disk), Arc::clone(&auditor)).unwrap();
        let queue = MemoryQueue::new(QueueLimits { messages: 1, bytes: 1 }, auditor);
        journal.start(Arc::new(queue), Vec::new()).unwrap();
        let (began, mut records) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_millis(50) {
            let mut record = [EventRecord::fixture(records, DataType::Trade, "A-B")];
            journal.append(&mut record);
            // Not if the machine is so busy that the buffer is full.
            records += u64::from(record[0].journal.is_some());
            std::thread::yield_now();
        }
        assert!(journal.close(Duration::from_secs(60)));
        // Each write ends a pause, but for the first one; the rest of the time took the last ones.
        let most = began.elapsed().as_millis() / JOURNAL_WRITE_EVERY.as_millis() + 3;
        let writes = writes.load(Ordering::Relaxed);
        assert!(u128::from(writes) <= most, "{writes} writes of {records} records, at most {most}");
        let segments = std::fs::read_dir(folder.path()).unwrap();
        let bytes = segments.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let events = |bytes: Vec<u8>| {
            FrameScanner::new(&bytes, 0).filter(|frame| matches!(frame, Frame::Event(_))).count()
        };
        assert_eq!(bytes.map(events).sum::<usize>(), usize::try_from(records).unwrap());
    }
}
