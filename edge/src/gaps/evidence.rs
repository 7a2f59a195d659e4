//! Which streams a source brings, and holes and gaps in words.

use marketprism_adapter_host::contract::Plan;
use marketprism_adapter_host::{InstrumentIndex, SourceIndex};
use marketprism_book::{BookGap, BookGapCause};
use marketprism_schema::{DataType, Gap, GapCause, GapKind};

use super::incidents::Incident;
use crate::audit::{NO_STREAM, OpenGap, StreamTable, TradeIdGap, time_of_day};
use crate::contract::data_type;
use crate::records::{ForgottenHoles, TradeGap};

/// The streams of a data type: of one instrument, or of all.
pub(super) fn streams_of(
    streams: &StreamTable,
    kind: DataType,
    instrument: Option<InstrumentIndex>,
) -> impl Iterator<Item = u32> {
    let kind = DataType::ALL.iter().position(|known| *known == kind).unwrap_or(usize::MAX);
    let rows = match instrument {
        None => streams.as_slice(),
        Some(one) => streams.get(one.position()..=one.position()).unwrap_or_default(),
    };
    rows.iter().filter_map(move |row| row.get(kind).copied()).filter(|stream| *stream != NO_STREAM)
}

/// Per source of a plan, the streams that it brings. References bring none, nor do resyncs: a book's state tells about those.
pub(super) fn carried(plan: &Plan, streams: &StreamTable) -> Vec<Vec<u32>> {
    let connections = plan.connections.iter().map(|connection| {
        let of = |stream: &marketprism_adapter_host::contract::DataStream| {
            streams_of(streams, data_type(stream.data_type), stream.instrument.map(Into::into))
                .collect::<Vec<u32>>()
        };
        let mut all: Vec<u32> = connection.streams.iter().flat_map(of).collect();
        all.sort_unstable();
        all.dedup();
        all
    });
    let polls = plan.polls.iter().map(|poll| {
        let all = streams_of(streams, data_type(poll.data_type), poll.instrument.map(Into::into));
        if poll.reference { Vec::new() } else { all.collect() }
    });
    connections.chain(polls).collect()
}

/// Whether a source brings a stream.
pub(super) fn carries(carried: &[Vec<u32>], source: SourceIndex, stream: u32) -> bool {
    carried.get(source.position()).is_some_and(|streams| streams.contains(&stream))
}

pub(super) fn name(names: &[String], source: SourceIndex) -> &str {
    names.get(source.position()).map_or("a source", String::as_str)
}

/// Whose fault it is, and what was seen.
fn words(incident: Option<Incident>, names: &[String]) -> (GapCause, String) {
    let Some(incident) = incident else {
        return (GapCause::Venue, "connection and frames of that time were in order".to_owned());
    };
    let Incident { kind, source, from_ns, to_ns, count } = incident;
    let (what, source) = (kind.as_str(), name(names, source));
    let (from, to) = (time_of_day(from_ns), time_of_day(to_ns));
    (kind.cause(), format!("{source}: {what} ({count} times, {from} to {to})"))
}

/// A hole in trade ids, in words.
pub(super) fn hole(gap: &TradeGap, names: &[String]) -> TradeIdGap {
    let (cause, seen) = words(gap.why, names);
    let TradeGap { from, to, after_ns, at_ns, .. } = *gap;
    let evidence = format!("trade {} followed {}; {seen}", to.saturating_add(1), from.saturating_sub(1));
    TradeIdGap { from, to, after_ns, at_ns, cause, evidence }
}

/// Holes too many to be named, as one gap.
pub(super) fn sum(holes: &ForgottenHoles, names: &[String]) -> Gap {
    let (cause, seen) = words(holes.first.why, names);
    Gap {
        kind: GapKind::TradeIds,
        cause,
        from_sequence: i64::try_from(holes.first.from).ok(),
        to_sequence: i64::try_from(holes.last.to).ok(),
        missing: Some(holes.missing),
        from: holes.first.after_ns,
        to: holes.last.at_ns,
        evidence: format!("{} holes in one; {seen}", holes.gaps),
    }
}

/// Something wrong with a LIVE book.
#[derive(Debug)]
pub(super) struct BookTrouble {
    pub(super) instrument: InstrumentIndex,
    /// Receive time of the update before it.
    pub(super) after_ns: i64,
    /// Receive time of the update that showed it.
    pub(super) at_ns: i64,
    kind: GapKind,
    sequences: Option<(i64, i64)>,
    what: String,
}

impl BookTrouble {
    pub(super) fn gap(instrument: InstrumentIndex, after_ns: i64, gap: BookGap) -> Self {
        let BookGap { cause, expected, got, at_ns } = gap;
        match cause {
            BookGapCause::Sequence => Self {
                instrument,
                after_ns,
                at_ns,
                kind: GapKind::BookSequence,
                sequences: Some((expected, got)),
                what: format!("update {got} came where {expected} was expected"),
            },
            BookGapCause::Checksum => Self {
                instrument,
                after_ns,
                at_ns,
                kind: GapKind::BookChecksum,
                sequences: None,
                what: format!("the venue's checksum is {expected}, the book's is {got}"),
            },
        }
    }

    pub(super) fn refused(
        instrument: InstrumentIndex,
        after_ns: i64,
        at_ns: i64,
        why: &dyn std::fmt::Display,
    ) -> Self {
        let what = format!("an update was refused: {why}");
        Self { instrument, after_ns, at_ns, kind: GapKind::BookSequence, sequences: None, what }
    }

    pub(super) fn standing(self, incident: Option<Incident>, names: &[String]) -> OpenGap {
        let (cause, seen) = words(incident, names);
        let Self { after_ns, kind, sequences, what, .. } = self;
        let evidence = format!("{what}; {seen}; nothing is published until the book is whole again");
        OpenGap { kind, cause, from_ns: after_ns, sequences, evidence }
    }
}
