//! Recent incidents of a feed, the streams that its sources carry, and the evidence of gaps as text.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use marketprism_adapter_host::contract::Plan;
use marketprism_adapter_host::{InstrumentIndex, SourceIndex};
use marketprism_book::{BookGap, BookGapCause};
use marketprism_schema::{DataType, Gap, GapCause, GapKind};
use marketprism_service::mask;

use crate::audit::{AuditStream, StreamTable};
use crate::limits::{INCIDENT_MERGE, INCIDENTS_MAX, OPENING_ANSWERS_WAIT, VENUE_TIME_WAIT};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentKind {
    /// A connection was lost, or a request got no answer.
    ConnectionLost,
    Malformed,
    AdapterFault,
    /// A frame was not given to the adapter: it was too large, or the edge stopped.
    FrameLost,
}

impl IncidentKind {
    pub(super) const fn cause(self) -> GapCause {
        match self {
            Self::ConnectionLost => GapCause::Network,
            Self::Malformed | Self::AdapterFault | Self::FrameLost => GapCause::Ours,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionLost => "connection lost",
            Self::Malformed => "frame not readable",
            Self::AdapterFault => "adapter faulted on a frame",
            Self::FrameLost => "frame not given to the adapter",
        }
    }
}

/// One or several incidents in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) kind: IncidentKind,
    pub(super) source: SourceIndex,
    /// Last moment before it.
    pub(super) from_ns: i64,
    /// First moment after it.
    pub(super) to_ns: i64,
    pub(super) count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Incidents {
    recent: VecDeque<Incident>,
}

impl Incidents {
    /// Incidents of one kind and source that follow each other soon are one.
    pub(super) fn add(&mut self, kind: IncidentKind, source: SourceIndex, from_ns: i64, to_ns: i64) {
        let merge_ns = i64::try_from(INCIDENT_MERGE.as_nanos()).unwrap_or(i64::MAX);
        let same = self.recent.iter_mut().rev().find(|known| known.kind == kind && known.source == source);
        if let Some(known) = same
            && from_ns <= known.to_ns.saturating_add(merge_ns)
        {
            known.to_ns = known.to_ns.max(to_ns);
            known.count += 1;
            return;
        }
        if self.recent.len() >= INCIDENTS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Incident { kind, source, from_ns, to_ns, count: 1 });
    }

    /// The latest incident within a time at a source for which `concerns` is true. Lost connections come first.
    pub(super) fn find(
        &self,
        from_ns: i64,
        to_ns: i64,
        concerns: impl Fn(SourceIndex) -> bool,
    ) -> Option<Incident> {
        let meets = |incident: &&Incident| {
            incident.from_ns <= to_ns && from_ns <= incident.to_ns && concerns(incident.source)
        };
        let lost = |incident: &&Incident| incident.kind == IncidentKind::ConnectionLost;
        let found = self.recent.iter().rev().find(|incident| meets(incident) && lost(incident));
        found.or_else(|| self.recent.iter().rev().find(meets)).copied()
    }
}

/// A connection or poll of the plan. Resyncs carry no streams: the state of a book shows their problems.
#[derive(Debug)]
pub(super) struct GapSource {
    pub(super) name: String,
    pub(super) streams: Vec<AuditStream>,
    /// Receive time of the newest frame of each generation that is open.
    pub(super) newest_frames: BTreeMap<u64, i64>,
    /// The newest generation that brought an event.
    pub(super) event_generation: u64,
    /// The lasting gap ends with an event of a newer generation than this one: that which took over brought frames before, and no event.
    pub(super) late: Option<u64>,
    /// Newest time of an event by the venue's clock.
    pub(super) newest_venue_ns: Option<i64>,
    /// End of the last gap: events before it by the venue's clock are a backlog. `None`: of a poll, whose rows are all of before.
    pub(super) up_ns: Option<i64>,
    /// Begin and kind of the gap that lasts.
    pub(super) down: Option<(i64, GapKind)>,
    /// Messages that open the connection; each is answered.
    pub(super) opening_messages: usize,
    /// Answers on the newest generation.
    pub(super) answers: (u64, usize),
    pub(super) recovery: Option<Recovery>,
}

/// End of a gap that is not reported yet: an answer of the venue may move it, and its venue's time may not be known.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) kind: GapKind,
    pub(super) at_ns: i64,
    /// Venue's time of the first event after it.
    pub(super) venue_ns: Option<i64>,
}

impl GapSource {
    pub(super) fn new(name: String, streams: BTreeSet<AuditStream>, up_ns: Option<i64>) -> Self {
        let streams = streams.into_iter().collect();
        Self {
            name,
            streams,
            newest_frames: BTreeMap::new(),
            event_generation: 0,
            late: None,
            newest_venue_ns: None,
            up_ns,
            down: None,
            opening_messages: 0,
            answers: (0, 0),
            recovery: None,
        }
    }

    /// Its end is reported by `now_ns`: the venue has answered all that opened the connection, or answers no more of it.
    pub(super) fn is_recovered(&self, now_ns: i64) -> bool {
        let is_answered = self.answers.1 >= self.opening_messages;
        let wait = if is_answered { VENUE_TIME_WAIT } else { OPENING_ANSWERS_WAIT };
        let up_to_ns = now_ns.saturating_sub(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX));
        self.recovery.as_ref().is_some_and(|recovery| recovery.at_ns <= up_to_ns)
    }

    pub(super) fn has_newest_frame_at(&self, at_ns: i64) -> bool {
        self.newest_frames.values().any(|newest_ns| *newest_ns == at_ns)
    }
}

/// The plan's connections, then its polls, as [`SourceIndex`] numbers them. References carry no streams.
pub(super) fn gap_sources(plan: &Plan, table: &StreamTable) -> Vec<GapSource> {
    let streams =
        |kind, instrument: Option<u32>| streams_of(table, DataType::from(kind), instrument.map(Into::into));
    let connections = plan.connections.iter().map(|connection| {
        let all = connection.streams.iter().flat_map(|one| streams(one.data_type, one.instrument));
        let name = format!("connection {}", connection.name);
        let opening_messages = connection.on_open.len();
        GapSource { opening_messages, ..GapSource::new(name, all.collect(), Some(i64::MIN)) }
    });
    let polls = plan.polls.iter().map(|poll| {
        let all = (!poll.reference).then(|| streams(poll.data_type, poll.instrument));
        let name = format!("poll of {}", mask(&poll.request.url));
        GapSource::new(name, all.into_iter().flatten().collect(), None)
    });
    connections.chain(polls).collect()
}

/// Streams that a subscription of this data type feeds.
pub(super) fn streams_of(
    table: &StreamTable,
    kind: DataType,
    instrument: Option<InstrumentIndex>,
) -> impl Iterator<Item = AuditStream> {
    let rows = match instrument {
        None => table.as_slice(),
        Some(one) => table.get(one.position()..=one.position()).unwrap_or_default(),
    };
    let fed = DataType::ALL.iter().copied().filter(move |fed| fed.subscribed() == kind);
    rows.iter().flat_map(move |row| fed.clone().filter_map(|kind| row[kind]))
}

pub(super) fn stream_of(
    table: &StreamTable,
    kind: DataType,
    instrument: InstrumentIndex,
) -> Option<AuditStream> {
    table.get(instrument.position())?[kind]
}

pub(super) fn carries(sources: &[GapSource], source: SourceIndex, stream: AuditStream) -> bool {
    sources.get(source.position()).is_some_and(|source| source.streams.contains(&stream))
}

/// Cause of a gap, and the observation that shows it.
pub(super) fn explanation(incident: Option<Incident>, sources: &[GapSource]) -> (GapCause, String) {
    let Some(Incident { kind, source, from_ns, to_ns, count }) = incident else {
        return (GapCause::Venue, "no lost connection and no unusable frame at that time".to_owned());
    };
    let name = sources.get(source.position()).map_or("a resync", |source| source.name.as_str());
    let (what, from, to) = (kind.as_str(), time_of_day(from_ns), time_of_day(to_ns));
    (kind.cause(), format!("{name}: {what} ({count} times, {from} to {to})"))
}

pub(super) fn trade_gap(gap: &Gap, seen: &str) -> String {
    let next = gap.to_sequence.unwrap_or_default().saturating_add(1);
    let previous = gap.from_sequence.unwrap_or_default().saturating_sub(1);
    format!("trade {next} followed {previous}; {seen}")
}

/// A gap of a LIVE book, not explained yet. `after_ns`: receive time of the update before it.
pub(super) fn book_gap(after_ns: i64, BookGap { cause, expected, got, at_ns }: BookGap) -> Gap {
    let (kind, sequences, what) = match cause {
        BookGapCause::Sequence => (
            GapKind::BookSequence,
            Some((expected, got)),
            format!("expected update {expected}, received {got}"),
        ),
        BookGapCause::Checksum => {
            (GapKind::BookChecksum, None, format!("the venue's checksum is {expected}, the book's {got}"))
        }
    };
    let (from_sequence, to_sequence) = sequences.unzip();
    Gap { from_sequence, to_sequence, to: at_ns, ..Gap::open(kind, GapCause::Venue, after_ns, what) }
}

pub(super) fn time_of_day(ns: i64) -> String {
    let ms = ns.div_euclid(1_000_000).rem_euclid(86_400_000);
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03} UTC", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_explained_by_an_incident_of_its_own_source_and_time_and_a_flood_is_one_incident() {
        let mut incidents = Incidents::default();
        incidents.add(IncidentKind::Malformed, 1.into(), 100, 100);
        incidents.add(IncidentKind::ConnectionLost, 0.into(), 90, 200);
        let kind = |from, to, source: u32| {
            incidents.find(from, to, |of| of == source.into()).map(|incident| incident.kind)
        };
        assert_eq!(kind(95, 99, 1), None);
        assert_eq!(kind(95, 100, 1), Some(IncidentKind::Malformed));
        assert_eq!(kind(200, 300, 0), Some(IncidentKind::ConnectionLost));
        assert_eq!(kind(201, 300, 0), None);
        assert_eq!(kind(95, 100, 2), None);
        let both = incidents.find(95, 105, |_| true).unwrap();
        assert_eq!((both.kind, both.kind.cause()), (IncidentKind::ConnectionLost, GapCause::Network));
        let mut flood = Incidents::default();
        for at in 0..1_000 {
            flood.add(IncidentKind::AdapterFault, 0.into(), at * 1_000_000, at * 1_000_000);
        }
        assert_eq!((flood.recent.len(), flood.recent[0].count), (1, 1_000));
        for at in 0..1_000 {
            flood.add(IncidentKind::AdapterFault, 1.into(), at * 10_000_000_000, at * 10_000_000_000);
        }
        assert_eq!(flood.recent.len(), INCIDENTS_MAX);
    }

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time_of_day(1_763_829_045_006_000_000), "16:30:45.006 UTC");
    }
}
