//! Frames of a segment.

use marketprism_schema::{DataType, EventId, WireForm};

use super::checked::{CheckedScanner, Fields, write_checked};
use super::event_state::EventState;
use super::positions::PositionRange;
use crate::audit::{AuditStream, PublishOutcome, RecordOutcome};
use crate::queue::{EventRecord, JournalPosition};
use crate::telemetry::CoverageIndex;

const MAGIC: [u8; 4] = *b"MPJ3";

const SEGMENT: u8 = 0;
const EVENT: u8 = 1;
const NOTE: u8 = 2;
const CHECKPOINT: u8 = 3;
const AUDIT: u8 = 4;

/// Highest sequence of a stream among the stored messages of a [`Frame::Note`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamAck {
    /// Position in `STREAMS`.
    pub(super) stream: u8,
    /// Creation time of the stream; 0: not known.
    pub(super) created_ns: i64,
    pub(super) sequence: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// First of each segment.
    Segment {
        run_ns: i64,
        first: u64,
    },
    Event(EventFrame<'a>),
    /// New state of events before it, with the acks of stored ones.
    Note(EventState, Vec<StreamAck>, Vec<PositionRange>),
    Checkpoint(CheckpointFrame<'a>),
    /// An audit that is about to be sent.
    Audit {
        run_ns: i64,
        window_start_ns: i64,
        window_end_ns: i64,
        messages: &'a [u8],
    },
}

/// Everything but its events that the open windows of a run hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CheckpointFrame<'a> {
    pub(super) run_ns: i64,
    /// Oldest segment with events of open windows.
    pub(super) needs_from: u64,
    pub(super) is_full: bool,
    pub(super) checkpoint: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventFrame<'a> {
    pub(super) position: u64,
    pub(super) received_at_ns: i64,
    pub(super) timestamp_us: i64,
    pub(super) event_id: EventId,
    pub(super) data_type: DataType,
    pub(super) sequence: Option<i64>,
    pub(super) subject: &'a str,
    form: WireForm,
    coverage: u16,
    stream: u32,
    payload: &'a [u8],
}

/// Stands for "not audited".
const NO_STREAM: u32 = u32::MAX;

impl EventFrame<'_> {
    pub(super) const fn outcome(
        &self,
        stream: Option<AuditStream>,
        outcome: PublishOutcome,
    ) -> RecordOutcome {
        RecordOutcome {
            stream,
            received_at_ns: self.received_at_ns,
            timestamp_us: self.timestamp_us,
            event_id: self.event_id,
            sequence: self.sequence,
            outcome,
        }
    }

    /// `of_this_run`: its numbers of coverage rows and audited streams are those of this process.
    pub(super) fn to_record(self, of_this_run: bool) -> EventRecord {
        let stream = (of_this_run && self.stream != NO_STREAM).then(|| AuditStream::of_number(self.stream));
        let coverage =
            if of_this_run { CoverageIndex::of_number(self.coverage) } else { CoverageIndex::NONE };
        EventRecord {
            subject: self.subject.into(),
            event_id: self.event_id,
            data_type: self.data_type,
            form: self.form,
            coverage,
            stream,
            sequence: self.sequence,
            received_at_ns: self.received_at_ns,
            timestamp_us: self.timestamp_us,
            payload: self.payload.to_vec().into(),
            journal: Some(JournalPosition(self.position)),
            is_resend: false,
        }
    }
}

pub(super) fn write_segment(out: &mut Vec<u8>, run_ns: i64, first: u64) {
    write_frame(out, SEGMENT, |body| {
        body.extend(run_ns.to_le_bytes());
        body.extend(first.to_le_bytes());
    });
}

pub(super) fn write_event(out: &mut Vec<u8>, position: u64, record: &EventRecord) {
    write_frame(out, EVENT, |body| {
        body.extend(position.to_le_bytes());
        body.extend(record.received_at_ns.to_le_bytes());
        body.extend(record.timestamp_us.to_le_bytes());
        body.extend(record.event_id.0.to_le_bytes());
        body.push(number_of(record.data_type));
        body.push(u8::from(record.form == WireForm::Protobuf));
        body.push(u8::from(record.sequence.is_some()));
        body.extend(record.sequence.unwrap_or_default().to_le_bytes());
        body.extend(record.coverage.number().to_le_bytes());
        body.extend(record.stream.map_or(NO_STREAM, AuditStream::number).to_le_bytes());
        let subject = record.subject.as_bytes();
        body.extend(u32::try_from(subject.len()).unwrap_or(u32::MAX).to_le_bytes());
        body.extend(subject);
        body.extend_from_slice(&record.payload);
    });
}

pub(super) fn write_note(out: &mut Vec<u8>, state: EventState, acks: &[StreamAck], ranges: &[PositionRange]) {
    write_frame(out, NOTE, |body| {
        body.push(state as u8);
        body.push(u8::try_from(acks.len()).unwrap_or(u8::MAX));
        for ack in acks {
            body.push(ack.stream);
            body.extend(ack.created_ns.to_le_bytes());
            body.extend(ack.sequence.to_le_bytes());
        }
        write_ranges(body, ranges);
    });
}

pub(super) fn write_checkpoint(out: &mut Vec<u8>, frame: &CheckpointFrame<'_>) {
    write_frame(out, CHECKPOINT, |body| {
        body.extend(frame.run_ns.to_le_bytes());
        body.extend(frame.needs_from.to_le_bytes());
        body.push(u8::from(frame.is_full));
        body.extend_from_slice(frame.checkpoint);
    });
}

pub(super) fn write_audit(
    out: &mut Vec<u8>,
    run_ns: i64,
    (window_start_ns, window_end_ns): (i64, i64),
    messages: &[u8],
) {
    write_frame(out, AUDIT, |body| {
        body.extend(run_ns.to_le_bytes());
        body.extend(window_start_ns.to_le_bytes());
        body.extend(window_end_ns.to_le_bytes());
        body.extend_from_slice(messages);
    });
}

fn write_ranges(body: &mut Vec<u8>, ranges: &[PositionRange]) {
    for range in ranges {
        body.extend(range.first.to_le_bytes());
        body.extend(range.count.to_le_bytes());
    }
}

fn write_frame(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    write_checked(out, MAGIC, |body| {
        body.push(kind);
        write(body);
    });
}

fn number_of(data_type: DataType) -> u8 {
    let number = DataType::ALL.iter().position(|one| *one == data_type);
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(u8::MAX)
}

/// Valid frames of a segment, in order.
pub(super) type FrameScanner<'a> = CheckedScanner<'a, Frame<'a>>;

impl<'a> FrameScanner<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self::of(bytes, at, MAGIC, |body, _| Some((Fields(body).frame()?, 0)))
    }
}

impl<'a> Fields<'a> {
    fn frame(mut self) -> Option<Frame<'a>> {
        Some(match self.byte()? {
            SEGMENT => Frame::Segment {
                run_ns: i64::from_le_bytes(self.take()?),
                first: u64::from_le_bytes(self.take()?),
            },
            EVENT => Frame::Event(self.event()?),
            NOTE => {
                let state = *EventState::ALL.get(usize::from(self.byte()?))?;
                let acks = (0..self.byte()?).map(|_| self.ack()).collect::<Option<_>>()?;
                Frame::Note(state, acks, self.ranges()?)
            }
            CHECKPOINT => Frame::Checkpoint(CheckpointFrame {
                run_ns: i64::from_le_bytes(self.take()?),
                needs_from: u64::from_le_bytes(self.take()?),
                is_full: self.byte()? != 0,
                checkpoint: self.0,
            }),
            AUDIT => Frame::Audit {
                run_ns: i64::from_le_bytes(self.take()?),
                window_start_ns: i64::from_le_bytes(self.take()?),
                window_end_ns: i64::from_le_bytes(self.take()?),
                messages: self.0,
            },
            _ => return None,
        })
    }

    fn ack(&mut self) -> Option<StreamAck> {
        Some(StreamAck {
            stream: self.byte()?,
            created_ns: i64::from_le_bytes(self.take()?),
            sequence: u64::from_le_bytes(self.take()?),
        })
    }

    fn ranges(&mut self) -> Option<Vec<PositionRange>> {
        let mut ranges = Vec::new();
        while !self.0.is_empty() {
            let (first, count) = (u64::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?));
            ranges.push(PositionRange { first, count });
        }
        Some(ranges)
    }

    fn event(mut self) -> Option<EventFrame<'a>> {
        let position = u64::from_le_bytes(self.take()?);
        let (received_at_ns, timestamp_us) =
            (i64::from_le_bytes(self.take()?), i64::from_le_bytes(self.take()?));
        let event_id = EventId(u128::from_le_bytes(self.take()?));
        let data_type = *DataType::ALL.get(usize::from(self.byte()?))?;
        let form = if self.byte()? == 0 { WireForm::Json } else { WireForm::Protobuf };
        let has_sequence = self.byte()? != 0;
        let sequence = Some(i64::from_le_bytes(self.take()?)).filter(|_| has_sequence);
        let (coverage, stream) = (u16::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?));
        let subject_bytes = usize::try_from(u32::from_le_bytes(self.take()?)).ok()?;
        let (subject, payload) = self.0.split_at_checked(subject_bytes)?;
        let subject = std::str::from_utf8(subject).ok()?;
        Some(EventFrame {
            position,
            received_at_ns,
            timestamp_us,
            event_id,
            data_type,
            sequence,
            subject,
            form,
            coverage,
            stream,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::checked::SegmentDamage;
    use super::*;

    const CHECKPOINT_FRAME: CheckpointFrame<'_> =
        CheckpointFrame { run_ns: 11, needs_from: 7, is_full: true, checkpoint: b"{}" };

    /// One frame of every kind, each with its end.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        let range = PositionRange { first: 7, count: 2 };
        let ack = StreamAck { stream: 1, created_ns: 5, sequence: 99 };
        let record = EventRecord {
            sequence: Some(-3),
            received_at_ns: 12,
            ..EventRecord::fixture(41, DataType::Trade, "A-B")
        };
        let mut end = |bytes: &[u8]| ends.push(bytes.len());
        write_segment(&mut bytes, 11, 7);
        end(&bytes);
        write_event(&mut bytes, 7, &record);
        end(&bytes);
        write_note(&mut bytes, EventState::Duplicate, &[ack], &[range]);
        end(&bytes);
        write_checkpoint(&mut bytes, &CHECKPOINT_FRAME);
        end(&bytes);
        write_audit(&mut bytes, 11, (60, 120), b"[]");
        end(&bytes);
        write_event(&mut bytes, 8, &record);
        end(&bytes);
        (bytes, ends)
    }

    fn scan(bytes: &[u8]) -> (usize, SegmentDamage, usize) {
        let mut scanner = FrameScanner::new(bytes, 0);
        let frames = scanner.by_ref().count();
        (frames, scanner.damage(), scanner.position())
    }

    #[test]
    fn every_kind_of_frame_is_read_back() {
        let (bytes, _) = segment();
        let frames: Vec<_> = FrameScanner::new(&bytes, 0).collect();
        let [Frame::Segment { run_ns: 11, first: 7 }, Frame::Event(event), note, checkpoint, audit, _] =
            frames.as_slice()
        else {
            panic!("{frames:?}");
        };
        let range = PositionRange { first: 7, count: 2 };
        let ack = StreamAck { stream: 1, created_ns: 5, sequence: 99 };
        assert_eq!(*note, Frame::Note(EventState::Duplicate, vec![ack], vec![range]));
        assert_eq!(*checkpoint, Frame::Checkpoint(CHECKPOINT_FRAME));
        let (run_ns, window_start_ns, window_end_ns) = (11, 60, 120);
        assert_eq!(*audit, Frame::Audit { run_ns, window_start_ns, window_end_ns, messages: b"[]" });
        let record = event.to_record(true);
        assert_eq!((record.event_id.0, record.sequence, record.received_at_ns), (41, Some(-3), 12));
        assert_eq!((&*record.payload, record.subject.as_str()), (&b"41"[..], "trade.sim_spot.spot.A-B"));
        assert_eq!(record.journal, Some(JournalPosition(7)));
    }

    #[test]
    fn a_tail_cut_at_any_byte_costs_the_frames_that_it_cuts_and_no_other() {
        let (bytes, ends) = segment();
        for cut in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let end = ends.iter().copied().rfind(|end| *end <= cut).unwrap_or(0);
            let torn_bytes = u64::try_from(cut - end).unwrap();
            let damage = SegmentDamage { places: 0, torn_bytes };
            assert_eq!(scan(&bytes[..cut]), (whole, damage, end), "cut at {cut}");
        }
    }

    #[test]
    fn any_flipped_bit_costs_its_frame_and_is_counted() {
        let (bytes, ends) = segment();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (frames, damage, _) = scan(&flipped);
            assert_eq!(frames, ends.len() - 1, "bit {bit}");
            let is_last = bit / 8 >= ends[ends.len() - 2];
            let places = u64::from(!is_last);
            assert_eq!((damage.places, damage.torn_bytes > 0), (places, is_last), "bit {bit}");
        }
    }
}
