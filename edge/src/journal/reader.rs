//! The reading thread: first what earlier runs left on disk, then the events that are on disk only, given back to the queue as its
//! catch-up lane has room.

use std::io;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marketprism_service::{LogLimit, error_text, host_limit};

use super::event_state::EventState;
use super::frame::{EventFrame, Frame, FrameScanner};
use super::index::StreamMark;
use super::killed_runs::{KilledRunScan, recover_audits};
use super::recover::recover;
use super::segment_index::SegmentIndex;
use super::shared::JournalShared;
use super::state::JournalState;
use super::status::{JournalLoss, JournalStatus};
use crate::audit::UnfinishedRun;
use crate::limits::{JOURNAL_CATCH_UP_BATCH, JOURNAL_READ_RETRIES, JOURNAL_RETRY};
use crate::queue::{EventRecord, MemoryQueue, QueueLimits};

/// Longest wait before the thread looks for its end.
const TURN: Duration = Duration::from_millis(100);

pub(super) struct CatchUp {
    shared: Arc<JournalShared>,
    queue: Arc<MemoryQueue>,
    killed_runs: Vec<UnfinishedRun>,
    cursor: Option<Cursor>,
    failures: u32,
    error_lines: LogLimit,
    retry_lines: LogLimit,
}

/// A segment in memory, and the place of the next frame.
struct Cursor {
    segment: u64,
    run_ns: i64,
    bytes: Vec<u8>,
    /// All of its frames were in the file when it was read.
    is_complete: bool,
    at: usize,
    /// Events taken since its begin.
    taken: usize,
}

/// With the limit behind it, where it is one of the host.
fn note_unread(path: &Path, error: &io::Error, lines: &mut LogLimit) {
    if let Some(held_back) = lines.allow(Instant::now()) {
        let error = error_text(error);
        tracing::warn!(error, ?path, held_back, "journal not read, tried again: its events wait");
    }
}

impl CatchUp {
    pub(super) fn new(
        shared: Arc<JournalShared>,
        queue: Arc<MemoryQueue>,
        killed_runs: Vec<UnfinishedRun>,
    ) -> Self {
        let (error_lines, retry_lines) = (LogLimit::default(), LogLimit::default());
        Self { shared, queue, killed_runs, cursor: None, failures: 0, error_lines, retry_lines }
    }

    pub(super) fn run(mut self) {
        self.recover();
        while let Some(next) = self.next_segment() {
            if let Some((segment, run_ns)) = next
                && let Some(room) = self.queue.wait_for_catch_up(TURN)
            {
                self.send_from(segment, run_ns, room);
            }
        }
    }

    fn recover(&self) {
        let started = Instant::now();
        let upto = self.shared.first_of_run;
        let mut found = JournalStatus::default();
        let folder = &self.shared.options.folder;
        let mut scan = KilledRunScan::new(&self.killed_runs);
        let mut lines = LogLimit::default();
        let mut wait = |path: &Path, error: &io::Error| {
            note_unread(path, error, &mut lines);
            let mut state = self.shared.lock();
            state.status.read_errors += 1;
            self.pause(state)
        };
        let mut index = recover(folder, upto, &mut scan, &mut found, &mut wait);
        recover_audits(scan, folder, &mut index, &self.shared.auditor);
        let mut state = self.shared.lock();
        let JournalState { index: current, status, .. } = &mut *state;
        for mut segment in index.segments.into_iter().rev() {
            segment.leave_behind(self.shared.options.run_ns);
            current.segments.push_front(segment);
        }
        for (mark, before) in current.streams.iter_mut().zip(index.streams) {
            *mark = StreamMark { stored_max: mark.stored_max.max(before.stored_max), ..before };
        }
        status.recovered = found.recovered;
        status.torn_tails = found.torn_tails;
        status.torn_bytes = found.torn_bytes;
        status.damaged += found.damaged;
        status.read_errors += found.read_errors;
        state.is_recovered = true;
        let (bytes, segments) = (state.index.bytes(), state.index.segments.len());
        drop(state);
        let (events, took) = (found.recovered, started.elapsed());
        tracing::info!(
            events,
            segments,
            bytes,
            ?took,
            "journal read; its events that are not known to be stored are sent again"
        );
    }

    /// The oldest segment with events to send; waits for one. `None` inside: nothing to send now. `None`: the end.
    fn next_segment(&self) -> Option<Option<(u64, i64)>> {
        let (run_ns, clocks) = (self.shared.options.run_ns, self.shared.age_clocks());
        let age_ns = self.shared.keep_limits(false).age_ns;
        let find = |state: &JournalState| {
            // What a stopped edge left for too long is about to be deleted: central may refuse it.
            let has_expired =
                |segment: &SegmentIndex| segment.run_ns != run_ns && segment.age_ns(clocks) >= age_ns;
            let mut to_send = state.index.segments.iter().filter(|segment| segment.to_send() > 0);
            let segment = to_send.find(|segment| !has_expired(segment))?;
            Some((segment.first, segment.run_ns))
        };
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .waiting
            .wait_timeout_while(state, TURN, |state| !state.is_closing && find(state).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_closing { None } else { Some(find(&state)) }
    }

    /// Gives the next batch of a segment to the queue.
    fn send_from(&mut self, segment: u64, run_ns: i64, room: QueueLimits) {
        let cursor = match self.cursor.take().filter(|cursor| cursor.segment == segment) {
            Some(cursor) => Ok(cursor),
            None => self.read(segment, run_ns),
        };
        match cursor {
            Ok(cursor) => self.send(cursor, room),
            Err(error) => self.read_failed(segment, &error),
        }
    }

    fn read(&self, segment: u64, run_ns: i64) -> io::Result<Cursor> {
        // Checked before the file is read: the writer may finish the segment in between.
        let is_complete = !self.shared.lock().is_being_written(segment);
        let bytes = std::fs::read(self.shared.path_of(segment))?;
        Ok(Cursor { segment, run_ns, bytes, is_complete, at: 0, taken: 0 })
    }

    fn send(&mut self, mut cursor: Cursor, room: QueueLimits) {
        self.failures = 0;
        let mut scanner = FrameScanner::new(&cursor.bytes, cursor.at);
        let most = |room: u64, batch: usize| usize::try_from(room).unwrap_or(usize::MAX).min(batch);
        let messages_max = most(room.messages, JOURNAL_CATCH_UP_BATCH.0);
        let bytes_max = most(room.bytes, JOURNAL_CATCH_UP_BATCH.1);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut is_at_end = true;
        while let Some(frame) = scanner.next() {
            cursor.at = scanner.position();
            let Frame::Event(event) = frame else { continue };
            let Some(record) = self.record_to_send(event, cursor.run_ns) else { continue };
            bytes += record.size();
            batch.push(record);
            if batch.len() >= messages_max || bytes >= bytes_max {
                is_at_end = false;
                break;
            }
        }
        cursor.taken += batch.len();
        self.queue.append_catch_up(batch);
        if !is_at_end {
            self.cursor = Some(cursor);
        } else if cursor.taken == 0 {
            self.nothing_found(&cursor);
        }
    }

    fn record_to_send(&self, event: EventFrame<'_>, run_ns: i64) -> Option<EventRecord> {
        let mut state = self.shared.lock();
        let (_, event_state) = state.index.segment_of(event.position)?.get(event.position)?;
        drop(state);
        let of_this_run = run_ns == self.shared.options.run_ns;
        match event_state {
            EventState::Waiting => Some(event.to_record(of_this_run)),
            EventState::Unaudited => {
                let (subject, at_ns) = (event.subject, event.received_at_ns);
                let stream = self.shared.auditor.stream_of_killed_run(run_ns, subject, at_ns);
                Some(EventRecord { stream, ..event.to_record(of_this_run) })
            }
            EventState::Again => {
                Some(EventRecord { stream: None, is_resend: true, ..event.to_record(of_this_run) })
            }
            _ => None,
        }
    }

    /// The bytes that were read have no event to send, though the segment has some: they were not written yet, or are damaged on disk.
    fn nothing_found(&mut self, cursor: &Cursor) {
        if cursor.is_complete {
            return self.give_up(cursor.segment, "damaged records");
        }
        let state = self.shared.lock();
        if state.is_being_written(cursor.segment) {
            let waited = self.shared.waiting.wait_timeout_while(state, TURN, |state| !state.is_closing);
            drop(waited);
        }
    }

    /// Until the next read; false: the edge ends.
    fn pause(&self, state: MutexGuard<'_, JournalState>) -> bool {
        let waited = self.shared.waiting.wait_timeout_while(state, JOURNAL_RETRY, |state| !state.is_closing);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.is_closing
    }

    fn read_failed(&mut self, segment: u64, error: &io::Error) {
        let mut state = self.shared.lock();
        if !state.has_unwritten(segment) {
            state.status.read_errors += 1;
            // A limit of the host says nothing about the segment: it waits until the limit is raised, or what reached it ends.
            self.failures += u32::from(host_limit(error).is_none());
            note_unread(&self.shared.path_of(segment), error, &mut self.retry_lines);
        }
        self.pause(state);
        if self.failures >= JOURNAL_READ_RETRIES {
            self.failures = 0;
            self.give_up(segment, &error.to_string());
        }
    }

    /// The events of a segment that are to be sent cannot be read.
    fn give_up(&mut self, first: u64, reason: &str) {
        let mut state = self.shared.lock();
        let Some(segment) = state.index.segment_of(first) else { return };
        let lost = segment.count_by_type(&EventState::TO_SEND);
        // Before their states change: as long as an event waits, its window stays open.
        if let Some(received) = segment.received.filter(|_| segment.run_ns == self.shared.options.run_ns) {
            self.shared.auditor.lost_unread(received, &segment.count_by_type(&[EventState::Waiting]));
        }
        self.shared.auditor.give_up_killed_run(segment.run_ns);
        let is_lost = |state| EventState::TO_SEND.contains(&state);
        let positions: Vec<u64> = segment
            .positions()
            .filter(|(.., state)| is_lost(*state))
            .map(|(position, ..)| position)
            .collect();
        for position in positions {
            segment.set(position, EventState::Settled);
        }
        state.status.lose(JournalLoss::Damaged, &lost);
        drop(state);
        let lost = lost.values().sum::<u64>();
        if let Some(held_back) = self.error_lines.allow(Instant::now()) {
            let path = self.shared.path_of(first);
            tracing::error!(
                ?path,
                lost,
                reason,
                held_back,
                "events of the journal cannot be read, they are lost"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use marketprism_schema::DataType;

    use super::super::ages::AgeClocks;
    use super::super::files::{DiskFiles, JournalFile as _};
    use super::super::log::Journal;
    use super::super::options::JournalOptions;
    use super::*;
    use crate::audit::Auditor;
    use crate::queue::{EventJournal as _, EventQueue as _};

    const ROOM: QueueLimits = QueueLimits { messages: 10, bytes: 1 << 20 };

    const MINUTE_NS: i64 = 60_000_000_000;

    /// A journal whose threads do not run.
    fn journal(folder: &std::path::Path, run_ns: i64) -> Arc<Journal> {
        let options = JournalOptions::fixture(folder, run_ns);
        Arc::new(Journal::open(options, Arc::new(DiskFiles), Arc::new(Auditor::off())).unwrap())
    }

    fn append(journal: &Journal, id: u64) -> EventRecord {
        let mut records = [EventRecord::fixture(id, DataType::Trade, "A-B")];
        journal.append(&mut records);
        let [record] = records;
        record
    }

    /// Writes what is buffered, as the writer thread does.
    fn write(shared: &JournalShared) {
        let chunks = shared.lock().take_chunks();
        for chunk in chunks {
            let path = shared.path_of(chunk.segment);
            File::options().create(true).append(true).open(path).unwrap().append(&chunk.bytes).unwrap();
        }
    }

    /// With a clock that was behind at the start, and set right since, it waited for a month and was refused by central then.
    #[test]
    fn what_an_earlier_run_left_ages_from_its_age_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let earlier_ns = 1_790_000_000_000_000_000;
        let earlier = journal(folder.path(), earlier_ns);
        append(&earlier, 1);
        write(earlier.shared());
        let received_ns = earlier.status().oldest_ns.unwrap();
        drop(earlier);
        let started = |run_ns: i64, wall_ns: i64| {
            let journal = journal(folder.path(), run_ns);
            let queue = Arc::new(MemoryQueue::new(ROOM, Arc::new(Auditor::off())));
            let catch_up = CatchUp::new(Arc::clone(journal.shared()), queue, Vec::new());
            catch_up.recover();
            let clocks = AgeClocks { passed_to_ns: run_ns, wall_ns };
            let age_ns = journal.shared().lock().index.segments[0].age_ns(clocks);
            (age_ns, catch_up.next_segment().unwrap().is_some())
        };
        let (soon_ns, late_ns) = (received_ns + MINUTE_NS / 4, received_ns + 2 * MINUTE_NS);
        assert_eq!(started(soon_ns, soon_ns), (MINUTE_NS / 4, true));
        assert_eq!(started(late_ns, late_ns), (2 * MINUTE_NS, false));
        assert_eq!(started(soon_ns, late_ns), (MINUTE_NS / 4, true), "set ahead since");
        assert_eq!(started(late_ns, soon_ns).0, MINUTE_NS / 4, "it was ahead at the start");
        assert_eq!(started(received_ns - 40_000 * MINUTE_NS, late_ns), (0, true), "it was behind");
    }

    /// A reader that was delayed between the file and the state gave up events that had been written in between.
    #[test]
    fn events_that_are_written_while_their_segment_is_read_are_sent_and_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 5);
        let shared = Arc::clone(journal.shared());
        let queue = MemoryQueue::new(ROOM, Arc::new(Auditor::off()));
        let queue = Arc::new(queue.with_journal(Arc::clone(&journal) as _, ROOM));
        append(&journal, 0);
        write(&shared);
        assert!(journal.spill(append(&journal, 1).journal.unwrap()));
        let mut catch_up = CatchUp::new(Arc::clone(&shared), Arc::clone(&queue), Vec::new());
        let (segment, run_ns) = catch_up.next_segment().unwrap().unwrap();
        let cursor = catch_up.read(segment, run_ns).unwrap();
        write(&shared);
        shared.lock().is_rolled = true;
        append(&journal, 2);
        catch_up.send(cursor, ROOM);
        assert_eq!(queue.status().catch_up, 0, "it was not in the file");
        assert!(journal.status().lost.iter().flatten().all(|(_, lost)| *lost == 0), "{:?}", journal.status());
        catch_up.send_from(segment, run_ns, ROOM);
        assert_eq!((queue.status().catch_up, journal.status().waiting), (1, 0));
    }

    /// Ten seconds without a free file descriptor lost all that waited on an intact disk.
    #[test]
    fn events_that_a_limit_of_the_host_keeps_from_being_read_wait_and_are_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 5);
        let shared = Arc::clone(journal.shared());
        let queue = MemoryQueue::new(ROOM, Arc::new(Auditor::off()));
        let queue = Arc::new(queue.with_journal(Arc::clone(&journal) as _, ROOM));
        assert!(journal.spill(append(&journal, 1).journal.unwrap()));
        write(&shared);
        let mut catch_up = CatchUp::new(Arc::clone(&shared), Arc::clone(&queue), Vec::new());
        let (segment, run_ns) = catch_up.next_segment().unwrap().unwrap();
        // It waits between no tries then.
        shared.lock().is_closing = true;
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            for _ in 0..=JOURNAL_READ_RETRIES {
                catch_up.read_failed(segment, &io::Error::from_raw_os_error(code));
            }
        }
        let lost = || journal.status().lost.iter().flatten().map(|(_, lost)| *lost).sum::<u64>();
        assert_eq!((journal.status().waiting, lost()), (1, 0));
        catch_up.send_from(segment, run_ns, ROOM);
        assert_eq!((queue.status().catch_up, journal.status().waiting), (1, 0));
        assert!(journal.spill(append(&journal, 2).journal.unwrap()));
        write(&shared);
        for _ in 0..JOURNAL_READ_RETRIES {
            catch_up.read_failed(segment, &io::Error::from_raw_os_error(libc::EIO));
        }
        assert_eq!((journal.status().waiting, lost()), (0, 1), "a disk that does not give it back");
    }
}
