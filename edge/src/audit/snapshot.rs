//! Takes checkpoints of the open windows.

use marketprism_schema::{Audit, SilentStreams, StreamAudit};

use super::auditor::{AuditState, Auditor};
use super::checkpoint::AuditCheckpoint;
use super::origin::AuditOrigin;

impl Auditor {
    /// `is_full`: with everything that earlier checkpoints told too. Everything received before `known_to_ns` is in the journal, or was
    /// reported as lost.
    pub fn checkpoint(&self, is_full: bool, known_to_ns: i64) -> Option<AuditCheckpoint> {
        let origin = self.origin.as_ref()?;
        let mut state = self.lock();
        let open_since_ns = state.status.open_since_ns;
        let has_streams = is_full || std::mem::take(&mut state.are_streams_changed);
        let mut windows = Vec::new();
        let mut start_ns = open_since_ns;
        while start_ns < known_to_ns {
            let end_ns = start_ns.saturating_add(state.window_ns);
            let is_changed = state.windows.get(&start_ns).is_some_and(|window| window.is_changed);
            if is_full || is_changed || end_ns > state.checkpoint_ns {
                windows.push(state.noted(origin, start_ns, end_ns.min(known_to_ns)));
            }
            start_ns = end_ns;
        }
        state.checkpoint_ns = known_to_ns;
        state.windows.values_mut().for_each(|window| window.is_changed = false);
        let streams = has_streams.then(|| state.streams_since(origin, open_since_ns));
        let inherited = state.resumed.union(&state.inherited).filter(|_| has_streams);
        let inherited = inherited.map(ToString::to_string).collect();
        let (window_seconds, unsent_since_ns) = (origin.window_seconds, i64::MAX);
        Some(AuditCheckpoint {
            window_seconds,
            known_to_ns,
            open_since_ns,
            unsent_since_ns,
            streams,
            inherited,
            windows,
        })
    }
}

impl AuditState {
    fn streams_since(&self, origin: &AuditOrigin, start_ns: i64) -> Vec<SilentStreams> {
        let collected = self.collected_after(start_ns);
        let mut audit = origin.audit(origin.run_ns, start_ns, (start_ns, start_ns));
        for (_, id, capability) in self.streams.iter().filter(|(stream, ..)| collected.contains(stream)) {
            audit.add_silent(capability, id.clone());
        }
        audit.silent
    }

    /// Gaps and counts of a window, without its events.
    fn noted(&self, origin: &AuditOrigin, start_ns: i64, to_ns: i64) -> Audit {
        let mut audit = origin.audit(origin.run_ns, start_ns, (start_ns, to_ns));
        let window = self.windows.get(&start_ns);
        audit.feeds = window.map(|window| window.feeds(&self.feeds)).unwrap_or_default();
        audit.feeds.retain(|feed| !feed.is_quiet());
        for (stream, id, capability) in self.streams.iter() {
            let mut told = StreamAudit::new(id, capability);
            let gaps = self.gaps_of(stream, start_ns, to_ns);
            if window.is_some_and(|window| window.note(stream, &mut told, &gaps)) || !gaps.is_empty() {
                if told.gaps.is_empty() {
                    told.gaps = gaps;
                }
                audit.streams.push(told);
            }
        }
        audit
    }
}
