//! A segment of the journal in memory: per event its data type and state, per stream the highest sequence that the broker gave.

use std::sync::LazyLock;

use marketprism_schema::{DataType, DataTypeMap, STREAMS, stream_of};

use super::ages::AgeClocks;
use super::event_state::EventState;

pub(super) const STREAM_COUNT: usize = STREAMS.len();

/// A value per stream of the broker, by its position in `STREAMS`.
pub(super) type PerStream<T> = [T; STREAM_COUNT];

/// Data type and state of an event in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EventMark(u8);

const EVENT_STATES: u8 = 9;
const _: () = assert!(EVENT_STATES as usize == EventState::ALL.len());
const _: () = assert!(EventState::ALL.len() * DataType::ALL.len() < u8::MAX as usize, "a mark has one byte");

const MISSING: EventMark = EventMark(u8::MAX);

impl EventMark {
    fn new(data_type: DataType, state: EventState) -> Self {
        Self(data_type as u8 * EVENT_STATES + state as u8)
    }

    fn parts(self) -> Option<(DataType, EventState)> {
        let data_type = DataType::ALL.get(usize::from(self.0 / EVENT_STATES))?;
        Some((*data_type, *EventState::ALL.get(usize::from(self.0 % EVENT_STATES))?))
    }
}

pub(super) fn stream_number(data_type: DataType) -> usize {
    static NUMBERS: LazyLock<DataTypeMap<usize>> = LazyLock::new(|| {
        DataTypeMap::from_fn(|kind| {
            STREAMS.iter().position(|stream| stream.name == stream_of(kind)).unwrap_or_default()
        })
    });
    (*NUMBERS)[data_type]
}

#[derive(Debug, Clone)]
pub(super) struct SegmentIndex {
    pub(super) first: u64,
    pub(super) run_ns: i64,
    /// Written, or handed to the writer.
    pub(super) bytes: u64,
    /// First and last receive time.
    pub(super) received: Option<(i64, i64)>,
    /// Of its newest event, for its age.
    pub(super) newest_ns: Option<i64>,
    is_of_run: bool,
    marks: Vec<EventMark>,
    counts: [u64; EventState::ALL.len()],
    /// Highest sequence that the broker gave to an event of the segment.
    pub(super) stored_max: PerStream<u64>,
}

impl SegmentIndex {
    pub(super) const fn new(first: u64, run_ns: i64) -> Self {
        Self {
            first,
            run_ns,
            bytes: 0,
            received: None,
            newest_ns: None,
            is_of_run: true,
            marks: Vec::new(),
            counts: [0; EventState::ALL.len()],
            stored_max: [0; STREAM_COUNT],
        }
    }

    /// Position after its last event.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.marks.len()).unwrap_or(u64::MAX))
    }

    pub(super) fn count(&self, state: EventState) -> u64 {
        self.counts.get(state as usize).copied().unwrap_or_default()
    }

    pub(super) fn to_send(&self) -> u64 {
        EventState::TO_SEND.into_iter().map(|state| self.count(state)).sum()
    }

    pub(super) fn has_pending(&self) -> bool {
        self.to_send() + self.count(EventState::Queued) > 0
    }

    /// Adds an event at its position; positions that are skipped were damaged.
    pub(super) fn insert(
        &mut self,
        position: u64,
        data_type: DataType,
        received_at_ns: i64,
        state: EventState,
    ) {
        let index = usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if position < self.end() || index > self.marks.len().saturating_add(POSITIONS_SKIPPED_MAX) {
            return;
        }
        self.marks.resize(index, MISSING);
        self.marks.push(EventMark::new(data_type, state));
        self.add(state);
        let (least, greatest) = self.received.get_or_insert((received_at_ns, received_at_ns));
        *least = received_at_ns.min(*least);
        *greatest = received_at_ns.max(*greatest);
        self.newest_ns = Some(*greatest);
    }

    pub(super) fn age_ns(&self, clocks: AgeClocks) -> i64 {
        clocks.now_ns(self.is_of_run).saturating_sub(self.newest_ns.unwrap_or(self.run_ns))
    }

    /// An earlier run has left it: its events are not newer than this start, whatever the clock was.
    pub(super) fn leave_behind(&mut self, start_ns: i64) {
        self.is_of_run = false;
        self.newest_ns = Some(self.newest_ns.unwrap_or(self.run_ns).min(start_ns));
    }

    fn add(&mut self, state: EventState) {
        if let Some(count) = self.counts.get_mut(state as usize) {
            *count += 1;
        }
    }

    pub(super) fn get(&self, position: u64) -> Option<(DataType, EventState)> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.marks.get(index)?.parts()
    }

    /// Changes a state; returns the data type and the state before.
    pub(super) fn set(&mut self, position: u64, state: EventState) -> Option<(DataType, EventState)> {
        self.change(position, state, |_| true)
    }

    /// As `set`, if `may_change` says so of the state before.
    pub(super) fn change(
        &mut self,
        position: u64,
        state: EventState,
        may_change: impl FnOnce(EventState) -> bool,
    ) -> Option<(DataType, EventState)> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let mark = self.marks.get_mut(index)?;
        let (data_type, before) = mark.parts().filter(|(_, before)| may_change(*before))?;
        *mark = EventMark::new(data_type, state);
        if let Some(count) = self.counts.get_mut(before as usize) {
            *count = count.saturating_sub(1);
        }
        self.add(state);
        Some((data_type, before))
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = (u64, DataType, EventState)> {
        let parts = |(position, mark): (u64, &EventMark)| {
            mark.parts().map(|(data_type, state)| (position, data_type, state))
        };
        (self.first..).zip(&self.marks).filter_map(parts)
    }

    pub(super) fn count_by_type(&self, states: &[EventState]) -> DataTypeMap<u64> {
        let mut counts = DataTypeMap::default();
        for (_, data_type, state) in self.positions() {
            counts[data_type] += u64::from(states.contains(&state));
        }
        counts
    }
}

/// Damaged positions that one segment may skip; more mean that its numbers are damaged.
const POSITIONS_SKIPPED_MAX: usize = 1_000_000;
