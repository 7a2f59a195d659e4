//! What went wrong lately in a feed, so that a hole in the data can be explained.

use std::collections::VecDeque;

use marketprism_adapter_host::SourceIndex;
use marketprism_schema::GapCause;

use crate::limits::{INCIDENT_MERGE, INCIDENTS_MAX};

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentKind {
    /// A connection was lost, or a request got no answer.
    ConnectionLost,
    /// The adapter could not read a frame.
    Malformed,
    /// The adapter faulted on a frame.
    AdapterFault,
    /// A frame was too large for the adapter.
    FrameLost,
}

impl IncidentKind {
    /// Whose fault a hole is that it explains.
    #[must_use]
    pub const fn cause(self) -> GapCause {
        match self {
            Self::ConnectionLost => GapCause::Network,
            Self::Malformed | Self::AdapterFault | Self::FrameLost => GapCause::Ours,
        }
    }

    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionLost => "the connection was lost",
            Self::Malformed => "a frame could not be read",
            Self::AdapterFault => "the adapter faulted on a frame",
            Self::FrameLost => "a frame was too large for the adapter",
        }
    }
}

/// Something that went wrong, once or several times in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident {
    /// What.
    pub kind: IncidentKind,
    /// The source that it happened to.
    pub source: SourceIndex,
    /// Last moment before it, nanoseconds since 1970.
    pub from_ns: i64,
    /// First moment after it.
    pub to_ns: i64,
    /// How often.
    pub count: u64,
}

/// The latest incidents of a feed.
#[derive(Debug, Default)]
pub struct Incidents {
    recent: VecDeque<Incident>,
}

impl Incidents {
    /// Adds one. Those of one kind and source that follow each other soon are one.
    pub fn note(&mut self, kind: IncidentKind, source: SourceIndex, from_ns: i64, to_ns: i64) {
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

    /// The latest incident of a time that happened to a source which `concerns` the question. Lost connections come first.
    #[must_use]
    pub fn explain(
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a hole is explained by what happened to its own source at its own time, a lost connection first; a flood is one incident.
    #[test]
    fn holes_are_explained_by_their_time_and_source() {
        let mut incidents = Incidents::default();
        incidents.note(IncidentKind::Malformed, 1.into(), 100, 100);
        incidents.note(IncidentKind::ConnectionLost, 0.into(), 90, 200);
        let kind = |from, to, source: u32| {
            incidents.explain(from, to, |of| of == source.into()).map(|incident| incident.kind)
        };
        assert_eq!(kind(95, 99, 1), None);
        assert_eq!(kind(95, 100, 1), Some(IncidentKind::Malformed));
        assert_eq!(kind(200, 300, 0), Some(IncidentKind::ConnectionLost));
        assert_eq!(kind(201, 300, 0), None);
        assert_eq!(kind(95, 100, 2), None);
        let both = incidents.explain(95, 105, |_| true).unwrap();
        assert_eq!((both.kind, both.kind.cause()), (IncidentKind::ConnectionLost, GapCause::Network));
        let mut flood = Incidents::default();
        for at in 0..1_000 {
            flood.note(IncidentKind::AdapterFault, 0.into(), at * 1_000_000, at * 1_000_000);
        }
        assert_eq!((flood.recent.len(), flood.recent[0].count), (1, 1_000));
        for at in 0..1_000 {
            flood.note(IncidentKind::AdapterFault, 1.into(), at * 10_000_000_000, at * 10_000_000_000);
        }
        assert_eq!(flood.recent.len(), INCIDENTS_MAX);
    }
}
