//! Writes checkpoints of the audits and closed audits between the events, so that a kill leaves them in one order.

use super::frame::{self, CheckpointFrame};
use super::log::Journal;
use super::segment_index::SegmentIndex;
use super::state::JournalState;
use crate::audit::{AuditCheckpoint, UnsentMessage};
use crate::limits::JOURNAL_BUFFER_BYTES;

impl Journal {
    /// Writes a checkpoint of this run; `take` gives it, the first of a segment with everything (`true`). Returns its bytes, 0 if there is
    /// none: the disk fails or is behind.
    pub fn checkpoint(&self, take: impl FnOnce(bool) -> Option<AuditCheckpoint>) -> usize {
        let (shared, options) = (self.shared(), &self.shared().options);
        let mut state = shared.lock();
        if !state.may_write() || state.buffered >= JOURNAL_BUFFER_BYTES {
            return 0;
        }
        state.open_segment(options);
        let segment = newest(&state);
        let is_full = state.full_checkpoint != segment;
        drop(state);
        let Some(mut checkpoint) = take(is_full) else { return 0 };
        let mut state = shared.lock();
        let newest = newest(&state);
        // What it leaves out is in another segment: the next one says everything.
        if !is_full && newest != segment {
            return 0;
        }
        if let Some((first, last)) = state.unrecorded {
            if last < checkpoint.open_since_ns {
                state.unrecorded = None;
            } else {
                let first = first.max(checkpoint.open_since_ns);
                checkpoint.known_to_ns = first.min(checkpoint.known_to_ns);
            }
        }
        let Ok(bytes) = serde_json::to_vec(&checkpoint) else { return 0 };
        let is_needed = |segment: &&SegmentIndex| {
            let last = segment.received.map_or(i64::MIN, |(_, last)| last);
            segment.run_ns == options.run_ns && last >= checkpoint.open_since_ns
        };
        let needs = state.index.segments.iter().find(is_needed).map(|segment| segment.first);
        let needs_from = needs.or(newest).unwrap_or_default();
        let frame = CheckpointFrame { run_ns: options.run_ns, needs_from, is_full, checkpoint: &bytes };
        state.write(|out| frame::write_checkpoint(out, &frame));
        state.full_checkpoint = newest;
        shared.wake_writer(state);
        bytes.len()
    }

    /// Keeps the messages of an audit that is about to be sent. The audits of its run up to `to_ns` are closed; `i64::MAX`: all.
    pub fn keep_audit(&self, run_ns: i64, (from_ns, to_ns): (i64, i64), messages: &[UnsentMessage]) {
        let Ok(bytes) = serde_json::to_vec(messages) else { return };
        let shared = self.shared();
        let mut state = shared.lock();
        if !state.may_write() || state.buffered >= 2 * JOURNAL_BUFFER_BYTES {
            return;
        }
        state.open_segment(&shared.options);
        state.write(|out| frame::write_audit(out, run_ns, (from_ns, to_ns), &bytes));
        shared.wake_writer(state);
    }
}

fn newest(state: &JournalState) -> Option<u64> {
    state.index.segments.back().map(|segment| segment.first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use marketprism_schema::DataType;

    use super::super::files::DiskFiles;
    use super::super::frame::{Frame, FrameScanner};
    use super::super::options::JournalOptions;
    use super::*;
    use crate::audit::Auditor;
    use crate::queue::{EventJournal, EventRecord};

    fn at(known_to_ns: i64) -> AuditCheckpoint {
        let (open_since_ns, unsent_since_ns) = (10, i64::MAX);
        AuditCheckpoint {
            window_seconds: 60,
            known_to_ns,
            open_since_ns,
            unsent_since_ns,
            streams: None,
            open_gaps: BTreeMap::new(),
            windows: Vec::new(),
        }
    }

    /// Full or not, and the end of the time, of each checkpoint.
    fn written(journal: &Journal) -> Vec<(bool, i64)> {
        let chunks = journal.shared().lock().take_chunks();
        let mut found = Vec::new();
        for frame in chunks.iter().flat_map(|chunk| FrameScanner::new(&chunk.bytes, 0)) {
            if let Frame::Checkpoint(frame) = frame {
                let checkpoint: AuditCheckpoint = serde_json::from_slice(frame.checkpoint).unwrap();
                found.push((frame.is_full, checkpoint.known_to_ns));
            }
        }
        found
    }

    #[test]
    fn a_segment_begins_with_a_full_checkpoint_and_unwritten_events_end_the_audited_time() {
        let folder = tempfile::tempdir().unwrap();
        let options = JournalOptions { bytes: 16 << 20, ..JournalOptions::fixture(folder.path(), 5) };
        let journal = Journal::open(options, Arc::new(DiskFiles), Arc::new(Auditor::off())).unwrap();
        let record = |received_at_ns| EventRecord {
            received_at_ns,
            ..EventRecord::fixture(1, DataType::Trade, "A-B")
        };
        journal.append(&mut [record(20)]);
        for known_to_ns in [30, 40] {
            journal.checkpoint(|_| Some(at(known_to_ns)));
        }
        assert_eq!(written(&journal), [(true, 30), (false, 40)]);
        journal.shared().lock().is_rolled = true;
        journal.checkpoint(|_| Some(at(50)));
        journal.shared().lock().not_recorded((45, 47));
        journal.checkpoint(|_| Some(at(60)));
        // The window of these events is closed.
        journal.checkpoint(|_| Some(AuditCheckpoint { open_since_ns: 48, ..at(70) }));
        journal.checkpoint(|_| Some(AuditCheckpoint { open_since_ns: 48, ..at(80) }));
        assert_eq!(written(&journal), [(true, 50), (false, 45), (false, 70), (false, 80)]);
    }
}
