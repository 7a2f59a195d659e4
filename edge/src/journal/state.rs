//! The journal's state. Records are encoded into a bounded buffer, which the writer thread takes; nothing here waits for the disk.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::Instant;

use marketprism_schema::{DataType, STREAMS};

use super::event_state::EventState;
use super::frame::{self, Frame, FrameScanner, StreamAck};
use super::index::{JournalIndex, StreamMark};
use super::options::JournalOptions;
use super::positions::PositionRange;
use super::segment_index::{PerStream, STREAM_COUNT, SegmentIndex, stream_number};
use super::status::JournalStatus;
use crate::limits::{JOURNAL_BUFFER_BYTES, JOURNAL_SEGMENT_AGE, JOURNAL_SPARE_BYTES, JOURNAL_SYNC_EVERY};
use crate::queue::{EventRecord, JournalPosition, StoredRecord};

pub(super) struct JournalState {
    pub(super) index: JournalIndex,
    /// Encoded frames of closed segments that the writer has not taken, oldest first.
    chunks: VecDeque<Chunk>,
    /// Those of the segment that is written to.
    active: Chunk,
    /// Bytes of these.
    pub(super) buffered: usize,
    /// Its memory is used for the next frames.
    spare: Vec<u8>,
    /// The writer waits for something to write.
    pub(super) is_writer_idle: bool,
    /// Bytes that the writer has taken and not written.
    pub(super) unwritten: usize,
    /// Oldest segment that the writer is writing to.
    pub(super) writing: Option<u64>,
    /// Receive time of the oldest event in a deleted segment whose lost events have no outcome in the audits yet.
    pub(super) evicted_ns: Option<i64>,
    /// No event is taken before this time: the disk has failed.
    pub(super) retry_at: Option<Instant>,
    /// The last segment takes no more.
    pub(super) is_rolled: bool,
    opened: Instant,
    pub(super) segment_bytes: u64,
    pub(super) is_recovered: bool,
    /// Last loss of each stream that was noticed.
    pub(super) lost_at: PerStream<Option<Instant>>,
    /// Newest receive time in a segment that was deleted.
    pub(super) freed_to_ns: i64,
    pub(super) is_closing: bool,
    /// Segment that begins with everything that the newest checkpoint says.
    pub(super) full_checkpoint: Option<u64>,
    /// First and last receive time of this run's events that the journal does not have or has no more.
    pub(super) unrecorded: Option<(i64, i64)>,
    pub(super) status: JournalStatus,
}

/// Frames of one segment.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) segment: u64,
    pub(super) bytes: Vec<u8>,
}

impl JournalState {
    pub(super) fn new(next: u64, segment_bytes: u64) -> Self {
        Self {
            index: JournalIndex::new(next),
            chunks: VecDeque::new(),
            active: Chunk { segment: 0, bytes: Vec::new() },
            buffered: 0,
            spare: Vec::new(),
            is_writer_idle: false,
            unwritten: 0,
            writing: None,
            evicted_ns: None,
            retry_at: None,
            is_rolled: true,
            opened: Instant::now(),
            segment_bytes,
            is_recovered: false,
            lost_at: [None; STREAM_COUNT],
            freed_to_ns: i64::MIN,
            is_closing: false,
            full_checkpoint: None,
            unrecorded: None,
            status: JournalStatus::default(),
        }
    }

    /// Bytes written so far may be lost in a power cut; a new file shows whether the disk works again. With a sync after each write every one would
    /// begin a file.
    pub(super) fn sync_failed(&mut self, error: &io::Error) {
        self.status.write_errors += 1;
        self.status.failing = Some(format!("sync: {error}"));
        self.is_rolled |= self.opened.elapsed() >= JOURNAL_SYNC_EVERY;
    }

    /// Begins a new segment where that is due.
    pub(super) fn open_segment(&mut self, options: &JournalOptions) {
        self.open_segment_at(options, Instant::now());
    }

    fn open_segment_at(&mut self, options: &JournalOptions, now: Instant) {
        let is_full = |segment: &SegmentIndex| segment.bytes >= self.segment_bytes;
        let is_due = self.is_rolled
            || now.saturating_duration_since(self.opened) >= JOURNAL_SEGMENT_AGE
            || self.index.segments.back().is_none_or(is_full);
        if !is_due {
            return;
        }
        let first = self.index.next;
        // One position is left out, so that no segment has the name of one before.
        self.index.next += 1;
        self.index.segments.push_back(SegmentIndex::new(first, options.run_ns));
        (self.is_rolled, self.opened) = (false, now);
        let closed = std::mem::replace(&mut self.active, Chunk { segment: first, bytes: Vec::new() });
        self.chunks.push_back(closed);
        self.write(|out| frame::write_segment(out, options.run_ns, first));
    }

    /// Adds a frame to the newest segment.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.active.bytes.len();
        write(&mut self.active.bytes);
        let added = self.active.bytes.len().saturating_sub(before);
        self.buffered += added;
        if let Some(segment) = self.index.segments.back_mut() {
            segment.bytes += u64::try_from(added).unwrap_or(u64::MAX);
        }
    }

    /// Encoded frames that are not written, oldest first.
    pub(super) fn take_chunks(&mut self) -> Vec<Chunk> {
        let bytes = std::mem::replace(&mut self.active.bytes, std::mem::take(&mut self.spare));
        let rest = Chunk { segment: self.active.segment, bytes };
        self.chunks.drain(..).chain([rest]).filter(|chunk| !chunk.bytes.is_empty()).collect()
    }

    /// Takes the memory of frames that were written: growing again would cost as much as writing.
    pub(super) fn reuse(&mut self, mut bytes: Vec<u8>) {
        if self.spare.capacity() < bytes.capacity() && bytes.capacity() <= JOURNAL_SPARE_BYTES {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// True if the writer must be woken for what is buffered.
    pub(super) const fn wakes_writer(&mut self) -> bool {
        self.buffered > 0 && std::mem::replace(&mut self.is_writer_idle, false)
    }

    /// Oldest segment of which a frame may not be in its file yet.
    pub(super) fn unwritten_from(&self) -> Option<u64> {
        let mut chunks = self.chunks.iter().chain([&self.active]);
        let buffered = chunks.find(|chunk| !chunk.bytes.is_empty()).map(|chunk| chunk.segment);
        self.writing.into_iter().chain(buffered).min()
    }

    /// True if frames of the segment may not be in its file yet.
    pub(super) fn has_unwritten(&self, segment: u64) -> bool {
        self.unwritten_from().is_some_and(|oldest| oldest <= segment)
    }

    /// True if the segment's file may get more frames.
    pub(super) fn is_being_written(&self, segment: u64) -> bool {
        self.index.segments.back().is_some_and(|last| last.first == segment) || self.has_unwritten(segment)
    }

    /// True if the disk may be tried.
    pub(super) fn may_write(&self) -> bool {
        self.retry_at.is_none_or(|at| Instant::now() >= at)
    }

    /// `now_ns`: for its age.
    pub(super) fn append(
        &mut self,
        options: &JournalOptions,
        record: &mut EventRecord,
        (now, now_ns): (Instant, i64),
    ) {
        // While much waits, only memory keeps books: each one's newest state, and changes while there is room.
        let is_book = record.data_type.subscribed() == DataType::OrderBook;
        let is_spared = self.status.is_tight && is_book;
        if is_spared || self.buffered >= JOURNAL_BUFFER_BYTES || !self.may_write() {
            self.status.unjournaled[record.data_type] += 1;
            self.not_recorded((record.received_at_ns, record.received_at_ns));
            return;
        }
        self.open_segment_at(options, now);
        let position = self.index.next;
        self.index.next += 1;
        self.write(|out| frame::write_event(out, position, record));
        if let Some(segment) = self.index.segments.back_mut() {
            segment.insert(position, record.data_type, record.received_at_ns, EventState::Queued);
            segment.newest_ns = Some(now_ns);
        }
        record.journal = Some(JournalPosition(position));
    }

    /// Events received in this time are in no checkpoint of this run: a killed run is audited up to the first of them.
    pub(super) fn not_recorded(&mut self, (from_ns, to_ns): (i64, i64)) {
        let (first, last) = self.unrecorded.get_or_insert((from_ns, to_ns));
        (*first, *last) = (from_ns.min(*first), to_ns.max(*last));
    }

    /// Notes in the log that events are to be sent again.
    pub(super) fn again(&mut self, options: &JournalOptions, positions: &[u64]) {
        self.status.sent_again += u64::try_from(positions.len()).unwrap_or(u64::MAX);
        if !positions.is_empty() && self.may_write() {
            self.open_segment(options);
            let ranges = PositionRange::join(positions.iter().copied());
            self.write(|out| frame::write_note(out, EventState::Again, &[], &ranges));
        }
    }

    /// The stream restarted its sequences below what it had acknowledged. The sequences do not show how much of that it kept, as other edges
    /// publish too: what is not in hot is sent again. `last`: its highest sequence. Returns the number of events.
    pub(super) fn went_back(
        &mut self,
        options: &JournalOptions,
        stream: usize,
        mark: StreamMark,
        last: u64,
    ) -> usize {
        let Some(current) = self.index.streams.get_mut(stream) else { return 0 };
        let before = std::mem::replace(current, mark);
        self.noticed_loss(stream);
        let again = self.index.send_again(stream, before.confirmed);
        self.index.restart_sequences(stream, last);
        self.again(options, &again);
        again.len()
    }

    /// The stream lost its end and may have passed its old sequences by now: as [`Self::went_back`], with the sequences that it has.
    pub(super) fn lost_end(&mut self, options: &JournalOptions, stream: usize) -> usize {
        let Some(mark) = self.index.streams.get_mut(stream) else { return 0 };
        // Lower acknowledgements to come show nothing new.
        mark.stored_max = 0;
        let confirmed = mark.confirmed;
        self.noticed_loss(stream);
        let again = self.index.send_again(stream, confirmed);
        self.again(options, &again);
        again.len()
    }

    fn noticed_loss(&mut self, stream: usize) {
        self.status.broker_losses += 1;
        if let Some(at) = self.lost_at.get_mut(stream) {
            *at = Some(Instant::now());
        }
    }

    /// An ack at or below a sequence that was acknowledged before its message was sent proves that the stream went back, also when it
    /// has long passed that sequence again.
    fn compare_acks(
        &mut self,
        options: &JournalOptions,
        records: &[StoredRecord],
    ) -> Option<(usize, String)> {
        let mut found: PerStream<u64> = [u64::MAX; STREAM_COUNT];
        for record in records.iter().filter(|record| record.sequence <= record.sent_after) {
            let JournalPosition(position) = record.position;
            let Some((data_type, _)) = self.index.segment_of(position).and_then(|one| one.get(position))
            else {
                continue;
            };
            if let Some(least) = found.get_mut(stream_number(data_type)) {
                *least = record.sequence.min(*least);
            }
        }
        let (mut events, mut reasons) = (0, Vec::new());
        for (stream, least) in found.into_iter().enumerate() {
            let (Some(mark), Some(facts)) = (self.index.streams.get(stream).copied(), STREAMS.get(stream))
            else {
                continue;
            };
            // Messages of before the step were sent after greater sequences.
            if least > mark.stored_max {
                continue;
            }
            let confirmed = mark.confirmed.min(least.saturating_sub(1));
            // It may be another stream of that name.
            let new_mark = StreamMark { created_ns: 0, stored_max: 0, confirmed };
            events += self.went_back(options, stream, new_mark, least);
            reasons.push(format!("stream {} gave sequence {least} after {}", facts.name, mark.stored_max));
        }
        (!reasons.is_empty()).then(|| (events, reasons.join("; ")))
    }

    /// Returns the number of stored events that are to be sent again, and the reason, if the acks show that the broker lost some.
    pub(super) fn stored(
        &mut self,
        options: &JournalOptions,
        records: &[StoredRecord],
    ) -> Option<(usize, String)> {
        let again = self.compare_acks(options, records);
        let mut notes: Vec<(EventState, Vec<StreamAck>, Vec<u64>)> = Vec::new();
        for StoredRecord { position: JournalPosition(position), sequence, outcome, .. } in records {
            let of_event = EventState::of_outcome(*outcome);
            let Some(data_type) = self.index.stored(*position, *sequence, of_event) else { continue };
            if !notes.iter().any(|(state, ..)| *state == of_event) {
                notes.push((of_event, Vec::new(), Vec::new()));
            }
            let note = notes.iter_mut().find(|(state, ..)| *state == of_event);
            let Some((_, acks, positions)) = note else { continue };
            positions.push(*position);
            let number = stream_number(data_type);
            let Ok(stream) = u8::try_from(number) else { continue };
            let created_ns = self.index.streams.get(number).map_or(0, |mark| mark.created_ns);
            match acks.iter_mut().find(|ack| ack.stream == stream) {
                Some(ack) => ack.sequence = ack.sequence.max(*sequence),
                None => acks.push(StreamAck { stream, created_ns, sequence: *sequence }),
            }
        }
        // Without a note of them the next run sends them again, which the message ids make harmless.
        if self.may_write() && self.buffered < 2 * JOURNAL_BUFFER_BYTES {
            for (state, acks, mut positions) in notes {
                positions.sort_unstable();
                self.open_segment(options);
                let ranges = PositionRange::join(positions);
                self.write(|out| frame::write_note(out, state, &acks, &ranges));
            }
        }
        again
    }

    /// `state`: rejected or settled.
    pub(super) fn settle(
        &mut self,
        options: &JournalOptions,
        positions: &[JournalPosition],
        state: EventState,
    ) {
        let mut settled: Vec<u64> = Vec::with_capacity(positions.len());
        for JournalPosition(position) in positions {
            let segment = self.index.segment_of(*position);
            if segment.and_then(|segment| segment.set(*position, state)).is_some() {
                settled.push(*position);
            }
        }
        if !settled.is_empty() && self.may_write() && self.buffered < 2 * JOURNAL_BUFFER_BYTES {
            settled.sort_unstable();
            self.open_segment(options);
            let ranges = PositionRange::join(settled);
            self.write(|out| frame::write_note(out, state, &[], &ranges));
        }
    }

    /// Writes again what a segment that is about to be deleted says of events of older ones, as far as it still holds. False: nothing.
    pub(super) fn repeat_notes(&mut self, options: &JournalOptions, first: u64, bytes: &[u8]) -> bool {
        let noted = |frame| match frame {
            Frame::Note(_, _, ranges) => ranges,
            _ => Vec::new(),
        };
        let ranges = FrameScanner::new(bytes, 0).flat_map(noted);
        let positions = ranges.flat_map(PositionRange::positions).filter(|position| *position < first);
        let mut notes = EventState::NOTED.map(|state| (state, Vec::new()));
        let mut sequences: PerStream<u64> = [0; STREAM_COUNT];
        for position in positions.collect::<BTreeSet<u64>>() {
            let Some(segment) = self.index.segment_of(position) else { continue };
            let Some((data_type, state)) = segment.get(position) else { continue };
            if let Some((_, positions)) = notes.iter_mut().find(|(noted, _)| *noted == state) {
                positions.push(position);
            }
            let number = stream_number(data_type);
            if state.is_stored()
                && let (Some(to), Some(of)) = (sequences.get_mut(number), segment.stored_max.get(number))
            {
                *to = (*of).max(*to);
            }
        }
        if !self.may_write() || notes.iter().all(|(_, positions)| positions.is_empty()) {
            return false;
        }
        self.open_segment(options);
        let acks: Vec<StreamAck> = (0_u8..)
            .zip(sequences)
            .zip(&self.index.streams)
            .filter(|((_, sequence), _)| *sequence > 0)
            .map(|((stream, sequence), mark)| StreamAck { stream, created_ns: mark.created_ns, sequence })
            .collect();
        for (state, positions) in notes {
            let acks = if state.is_stored() { acks.as_slice() } else { &[] };
            let ranges = PositionRange::join(positions);
            if !ranges.is_empty() {
                self.write(|out| frame::write_note(out, state, acks, &ranges));
            }
        }
        true
    }
}
