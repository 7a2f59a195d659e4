//! The journal's segments in memory, with what is known of the broker's streams: which segment is deleted next, and what is sent again. Pure
//! bookkeeping, without I/O.

use std::collections::VecDeque;

use marketprism_schema::DataType;

use super::ages::{AgeClocks, KeepLimits};
use super::event_state::EventState;
use super::frame::{Frame, StreamAck};
use super::segment_index::{PerStream, STREAM_COUNT, SegmentIndex, stream_number};

/// Last known facts of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StreamMark {
    /// 0: not known.
    pub(super) created_ns: i64,
    pub(super) stored_max: u64,
    /// Highest contiguous sequence in hot.
    pub(super) confirmed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvictionReason {
    /// All is in hot.
    Confirmed,
    Full,
    Expired,
}

#[derive(Debug)]
pub(super) struct JournalIndex {
    /// Oldest first; the last one is written to.
    pub(super) segments: VecDeque<SegmentIndex>,
    pub(super) next: u64,
    pub(super) streams: PerStream<StreamMark>,
}

impl JournalIndex {
    pub(super) fn new(next: u64) -> Self {
        Self { segments: VecDeque::new(), next, streams: [StreamMark::default(); STREAM_COUNT] }
    }

    pub(super) fn segment_of(&mut self, position: u64) -> Option<&mut SegmentIndex> {
        let is_last = self.segments.back().is_some_and(|last| last.first <= position);
        if is_last {
            return self.segments.back_mut();
        }
        let after = self.segments.partition_point(|segment| segment.first <= position);
        self.segments.get_mut(after.checked_sub(1)?)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes of segments with events that only the journal has.
    pub(super) fn backlog_bytes(&self) -> u64 {
        let waiting = self.segments.iter().filter(|segment| segment.to_send() > 0);
        waiting.map(|segment| segment.bytes).sum()
    }

    /// The message of an event is in its stream under this sequence.
    pub(super) fn stored(&mut self, position: u64, sequence: u64, state: EventState) -> Option<DataType> {
        let segment = self.segment_of(position)?;
        let (data_type, _) = segment.change(position, state, |before| !before.is_over())?;
        let stream = stream_number(data_type);
        raise(segment.stored_max.get_mut(stream), sequence);
        raise(self.streams.get_mut(stream).map(|mark| &mut mark.stored_max), sequence);
        Some(data_type)
    }

    /// Applies what a segment says about events of itself and of older ones.
    pub(super) fn replay(&mut self, frame: &Frame<'_>) {
        let Frame::Note(state, acks, ranges) = frame else { return };
        acks.iter().for_each(|ack| self.replay_ack(*ack));
        let sequence_of = |data_type| {
            let number = stream_number(data_type);
            acks.iter().find(|ack| usize::from(ack.stream) == number).map(|ack| ack.sequence)
        };
        for position in ranges.iter().flat_map(|range| range.positions()) {
            let Some(segment) = self.segment_of(position) else { continue };
            let Some((data_type, _)) = segment.set(position, *state) else { continue };
            let stored_max = segment.stored_max.get_mut(stream_number(data_type));
            raise(stored_max, sequence_of(data_type).unwrap_or_default());
        }
    }

    fn replay_ack(&mut self, ack: StreamAck) {
        let stream = usize::from(ack.stream);
        let Some(mark) = self.streams.get_mut(stream) else { return };
        if ack.created_ns != 0 && mark.created_ns != ack.created_ns {
            let stored_max = if mark.created_ns == 0 { mark.stored_max } else { 0 };
            let is_new = mark.created_ns != 0;
            *mark = StreamMark { created_ns: ack.created_ns, stored_max, confirmed: 0 };
            if is_new {
                self.restart_sequences(stream, ack.sequence);
            }
        }
        raise(self.streams.get_mut(stream).map(|mark| &mut mark.stored_max), ack.sequence);
    }

    pub(super) fn oldest_waiting_ns(&self, run_ns: i64) -> Option<i64> {
        let of_run = self.segments.iter().filter(|segment| segment.run_ns == run_ns);
        let waiting = of_run.filter(|segment| segment.count(EventState::Waiting) > 0);
        waiting.filter_map(|segment| segment.received).map(|(first, _)| first).min()
    }

    fn is_confirmed(&self, segment: &SegmentIndex) -> bool {
        let confirmed = self.streams.iter().map(|mark| mark.confirmed);
        !segment.has_pending()
            && segment.stored_max.iter().zip(confirmed).all(|(stored, upto)| *stored <= upto)
    }

    /// Takes out the next segment to delete. When there is no room, confirmed segments go first, whatever their age. A segment from
    /// `unwritten` on stays: its file would be created again by the next write.
    pub(super) fn evict(
        &mut self,
        clocks: AgeClocks,
        limits: KeepLimits,
        unwritten: Option<u64>,
    ) -> Option<(SegmentIndex, EvictionReason)> {
        let last = self.segments.back()?.first;
        let open = unwritten.map_or(last, |unwritten| unwritten.min(last));
        let closed = self.segments.partition_point(|segment| segment.first < open);
        let is_full = self.bytes() > limits.bytes;
        let candidates = || self.segments.iter().take(closed).enumerate();
        let confirmed = candidates().find(|(index, segment)| {
            let is_due = is_full || (*index == 0 && segment.age_ns(clocks) >= limits.confirmed_ns);
            is_due && self.is_confirmed(segment)
        });
        let oldest = || candidates().next();
        let (index, reason) = confirmed
            .map(|(index, _)| (index, EvictionReason::Confirmed))
            .or_else(|| oldest().filter(|_| is_full).map(|(index, _)| (index, EvictionReason::Full)))
            .or_else(|| {
                let expired = oldest().filter(|(_, segment)| segment.age_ns(clocks) >= limits.age_ns);
                expired.map(|(index, _)| (index, EvictionReason::Expired))
            })?;
        self.segments.remove(index).map(|segment| (segment, reason))
    }

    /// The stream restarted its sequences. Stored events that are not to be sent again are in hot, or in the new stream up to `last`.
    pub(super) fn restart_sequences(&mut self, stream: usize, last: u64) {
        for segment in &mut self.segments {
            let is_stored = |(_, data_type, state): (u64, DataType, EventState)| {
                state.is_stored() && stream_number(data_type) == stream
            };
            let has_stored = segment.positions().any(is_stored);
            if let Some(stored_max) = segment.stored_max.get_mut(stream) {
                *stored_max = if has_stored { last } else { 0 };
            }
        }
    }

    /// Stored events of a stream are lost behind `kept`: they are to be sent again. Returns their positions.
    pub(super) fn send_again(&mut self, stream: usize, kept: u64) -> Vec<u64> {
        let mut positions = Vec::new();
        for segment in &mut self.segments {
            if segment.stored_max.get(stream).is_none_or(|stored| *stored <= kept) {
                continue;
            }
            let is_lost =
                |data_type, state: EventState| state.is_stored() && stream_number(data_type) == stream;
            let lost: Vec<u64> = segment
                .positions()
                .filter(|(_, data_type, state)| is_lost(*data_type, *state))
                .map(|(position, ..)| position)
                .collect();
            for position in &lost {
                segment.set(*position, EventState::Again);
            }
            if let Some(stored_max) = segment.stored_max.get_mut(stream) {
                *stored_max = kept;
            }
            positions.extend(lost);
        }
        positions
    }
}

fn raise(value: Option<&mut u64>, to: u64) {
    if let Some(value) = value {
        *value = to.max(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: KeepLimits = KeepLimits { bytes: 1_000, age_ns: 100, confirmed_ns: 10 };

    /// Segments of 10 trades each, received at the number of the segment.
    fn index(segments: u64) -> JournalIndex {
        let mut index = JournalIndex::new(1 + segments * 10);
        for number in 0..segments {
            let mut segment = SegmentIndex::new(1 + number * 10, 0);
            segment.bytes = 300;
            let at_ns = i64::try_from(number).unwrap();
            for position in segment.first..segment.first + 10 {
                segment.insert(position, DataType::Trade, at_ns, EventState::Queued);
            }
            index.segments.push_back(segment);
        }
        index
    }

    fn store_all(index: &mut JournalIndex, segment: u64) {
        (1 + segment * 10..11 + segment * 10).for_each(|position| {
            index.stored(position, position, EventState::Stored).unwrap();
        });
    }

    fn evicted(index: &mut JournalIndex, now_ns: i64) -> Vec<(u64, EvictionReason)> {
        evicted_before(index, now_ns, None)
    }

    fn evicted_before(
        index: &mut JournalIndex,
        now_ns: i64,
        unwritten: Option<u64>,
    ) -> Vec<(u64, EvictionReason)> {
        let clocks = AgeClocks { passed_to_ns: now_ns, wall_ns: now_ns };
        let next = || index.evict(clocks, LIMITS, unwritten).map(|(segment, reason)| (segment.first, reason));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_segment_is_freed_behind_the_watermark_and_not_behind_the_acknowledgement() {
        let mut index = index(3);
        store_all(&mut index, 0);
        assert_eq!(evicted(&mut index, 50), []);
        index.streams[0].confirmed = 9;
        assert_eq!(evicted(&mut index, 50), [], "one event is not in hot");
        index.streams[0].confirmed = 10;
        assert_eq!(evicted(&mut index, 9), [], "kept for repair");
        assert_eq!(evicted(&mut index, 50), [(1, EvictionReason::Confirmed)]);
        assert_eq!(
            evicted(&mut index, 101),
            [(11, EvictionReason::Expired)],
            "the last one is being written"
        );
    }

    /// A disk that hung for a while: all of a segment may be in hot before its last bytes are in its file.
    #[test]
    fn a_segment_stays_until_all_of_it_is_written() {
        let mut index = index(3);
        (0..2).for_each(|segment| store_all(&mut index, segment));
        index.streams[0].confirmed = 100;
        assert_eq!(evicted_before(&mut index, 50, Some(1)), []);
        assert_eq!(evicted_before(&mut index, 50, Some(11)), [(1, EvictionReason::Confirmed)]);
        assert_eq!(evicted_before(&mut index, 50, Some(21)), [(11, EvictionReason::Confirmed)]);
    }

    #[test]
    fn a_full_journal_gives_up_confirmed_segments_before_the_oldest_with_waiting_events() {
        let mut index = index(5);
        store_all(&mut index, 1);
        index.streams[0].confirmed = 100;
        assert!(index.segment_of(3).unwrap().set(3, EventState::Waiting).is_some());
        assert_eq!(index.oldest_waiting_ns(0), Some(0));
        let found = evicted(&mut index, 5);
        assert_eq!(found, [(11, EvictionReason::Confirmed), (1, EvictionReason::Full)]);
        assert_eq!((index.bytes(), index.oldest_waiting_ns(0)), (900, None));
    }

    #[test]
    fn stored_events_behind_a_lost_sequence_are_sent_again_and_those_of_other_streams_are_not() {
        let mut index = index(2);
        index.segments[1].insert(21, DataType::OrderBook, 1, EventState::Queued);
        store_all(&mut index, 0);
        store_all(&mut index, 1);
        index.stored(21, 500, EventState::Stored);
        assert_eq!(index.send_again(0, 10), (11..21).collect::<Vec<_>>());
        assert_eq!(index.segments[1].to_send(), 10);
        assert_eq!(index.segments[1].get(21), Some((DataType::OrderBook, EventState::Stored)));
        assert!(index.send_again(0, 10).is_empty());
    }

    /// The watermark of the new stream would pass a sequence of the old one late or never.
    #[test]
    fn sequences_of_a_stream_that_was_created_again_are_not_compared_with_those_before() {
        let mut index = index(3);
        let range = |first, count| vec![super::super::positions::PositionRange { first, count }];
        let ack = |created_ns, sequence| vec![StreamAck { stream: 0, created_ns, sequence }];
        index.replay(&Frame::Note(EventState::Stored, ack(3, 1_000_000), range(1, 10)));
        index.replay(&Frame::Note(EventState::Stored, ack(4, 50), range(11, 10)));
        index.streams[0].confirmed = 49;
        assert_eq!(evicted(&mut index, 50), []);
        index.streams[0].confirmed = 60;
        assert_eq!(
            evicted(&mut index, 50),
            [(1, EvictionReason::Confirmed), (11, EvictionReason::Confirmed)]
        );
    }

    /// Their low sequences are below the confirmed one of the stream before.
    #[test]
    fn events_stored_in_a_new_stream_before_it_is_known_stay_until_hot_has_them() {
        let mut index = index(2);
        index.streams[0].confirmed = 1_000;
        store_all(&mut index, 0);
        assert!(index.send_again(0, 1_000).is_empty());
        index.restart_sequences(0, 10);
        index.streams[0].confirmed = 9;
        assert_eq!(evicted(&mut index, 50), []);
        index.streams[0].confirmed = 10;
        assert_eq!(evicted(&mut index, 50), [(1, EvictionReason::Confirmed)]);
    }

    #[test]
    fn what_a_segment_says_of_older_ones_is_replayed() {
        let mut index = index(2);
        let range = |first, count| vec![super::super::positions::PositionRange { first, count }];
        let ack = StreamAck { stream: 0, created_ns: 3, sequence: 77 };
        index.replay(&Frame::Note(EventState::Stored, vec![ack], range(1, 12)));
        index.replay(&Frame::Note(EventState::Settled, vec![], range(13, 1)));
        index.replay(&Frame::Note(EventState::Again, vec![], range(2, 1)));
        assert_eq!(index.segments[0].count(EventState::Stored), 9);
        assert_eq!(index.segments[0].to_send(), 1);
        assert_eq!(index.segments[1].count(EventState::Queued), 7);
        assert_eq!(index.streams[0], StreamMark { created_ns: 3, stored_max: 77, confirmed: 0 });
    }
}
