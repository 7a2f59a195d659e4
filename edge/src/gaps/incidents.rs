//! Recent incidents of a feed, to find the cause of a gap.

use std::collections::VecDeque;

use marketprism_adapter_host::SourceIndex;
use marketprism_schema::GapCause;

use crate::limits::{INCIDENT_MERGE, INCIDENTS_MAX};

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
}
