//! Takes checkpoints of the open windows.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_schema::{Audit, Gap, GapKind, StreamAudit, StreamId};

use super::auditor::{AuditState, Auditor};
use super::checkpoint::{AuditCheckpoint, CheckpointStreams};
use super::origin::AuditOrigin;
use super::streams::AuditStream;
use super::window::WindowTally;

impl Auditor {
    /// `is_full`: with everything that earlier checkpoints reported too. Everything received before `known_to_ns` is in the journal, or was
    /// reported as lost.
    pub fn checkpoint(&self, is_full: bool, known_to_ns: i64) -> Option<AuditCheckpoint> {
        let origin = self.origin.as_ref()?;
        let mut state = self.lock();
        let open_since_ns = state.status.open_since_ns;
        let has_streams = std::mem::take(&mut state.are_streams_changed) || is_full;
        let mut changed = std::mem::take(&mut state.changed_gaps);
        if is_full {
            changed.extend(state.open_gaps.keys().map(|(stream, _)| *stream));
        }
        let is_written = |(start_ns, window): &(&i64, &WindowTally)| {
            **start_ns < known_to_ns && (is_full || window.is_changed)
        };
        let written = state.windows.iter().filter(is_written);
        let windows = written.map(|(start_ns, window)| state.noted(origin, *start_ns, window)).collect();
        let (streams, open_gaps) =
            (has_streams.then(|| state.streams_since(origin, open_since_ns)), state.open_gaps_of(&changed));
        state.windows.range_mut(..known_to_ns).for_each(|(_, window)| window.is_changed = false);
        let (window_seconds, unsent_since_ns) = (origin.window_seconds, i64::MAX);
        Some(AuditCheckpoint {
            window_seconds,
            known_to_ns,
            open_since_ns,
            unsent_since_ns,
            streams,
            open_gaps,
            windows,
        })
    }
}

impl AuditState {
    fn streams_since(&self, origin: &AuditOrigin, start_ns: i64) -> CheckpointStreams {
        let collected = self.collected_after(start_ns);
        let mut audit = origin.audit(origin.run_ns, start_ns, (start_ns, start_ns));
        for (_, id, capability) in self.streams.iter().filter(|(stream, ..)| collected.contains(stream)) {
            audit.add_silent(capability, id.clone());
        }
        let is_configured =
            |stream: &&StreamId| self.feeds.iter().any(|feed| feed.exchange == stream.exchange);
        let inherited = self.resumed.union(&self.inherited).filter(is_configured);
        let inherited = inherited.map(ToString::to_string).collect();
        let mut feeds = WindowTally::default().feeds(&self.feeds);
        feeds.retain(|feed| !feed.is_quiet());
        CheckpointStreams { collected: audit.silent, inherited, feeds, starts: self.starts.clone() }
    }

    fn open_gaps_of(&self, streams: &BTreeSet<AuditStream>) -> BTreeMap<String, Vec<Gap>> {
        let of = |stream: &AuditStream| {
            let open = GapKind::ALL.iter().filter_map(|kind| self.open_gaps.get(&(*stream, *kind)));
            Some((self.streams.id(*stream)?.to_string(), open.cloned().collect()))
        };
        streams.iter().filter_map(of).collect()
    }

    /// Gaps and counts of a window, without its events and open gaps.
    fn noted(&self, origin: &AuditOrigin, start_ns: i64, window: &WindowTally) -> Audit {
        let end_ns = start_ns.saturating_add(self.window_ns);
        let mut audit = origin.audit(origin.run_ns, start_ns, (start_ns, end_ns));
        audit.feeds = window.feeds(&self.feeds);
        audit.feeds.retain(|feed| !feed.is_quiet());
        let with_ids = self.trade_id_gaps.keys().copied();
        let streams: BTreeSet<AuditStream> = window.with_rare_counts().chain(with_ids).collect();
        for stream in streams {
            let gaps: Vec<Gap> = self.shown_gaps(stream, start_ns, end_ns).collect();
            let Some((id, capability)) = self.streams.get(stream) else { continue };
            let mut stream_audit = StreamAudit::new(id, capability);
            if window.note(stream, &mut stream_audit, &gaps) || !gaps.is_empty() {
                if stream_audit.gaps.is_empty() {
                    stream_audit.gaps = gaps;
                }
                audit.streams.push(stream_audit);
            }
        }
        audit
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::{Capability, DataType, DataTypeMap, GapCause};

    use super::super::killed_run::KilledRun;
    use super::super::run_journal::UnfinishedRun;
    use super::super::window::GapEvent;
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const RUN: i64 = 1_200 * SECOND;

    /// The uplink dies at 40 s, the connection is given up at 70 s; the checkpoint at 60 s knew nothing of it.
    #[test]
    fn a_gap_that_begins_in_a_window_already_written_is_in_the_audit_of_the_window() {
        let origin = AuditOrigin::fixture(RUN);
        let auditor = Auditor::new(origin.clone());
        let feed = auditor.feed("sim_spot");
        let id = StreamId::parse("trade.sim_spot.spot.A-B").unwrap();
        let of = |kind| (kind == DataType::Trade).then(|| (id.clone(), Capability::UNNUMBERED));
        let stream = auditor.subscribe(feed, &[DataTypeMap::from_fn(of)], RUN)[0][DataType::Trade].unwrap();
        auditor.lock().inherited.insert(StreamId::parse("trade.gone_spot.spot.A-B").unwrap());
        let mut known = auditor.checkpoint(true, RUN + 60 * SECOND).unwrap();
        assert_eq!(known.streams.as_ref().unwrap().inherited, [""; 0], "an exchange that is not configured");
        let lost = Gap::open(GapKind::Connection, GapCause::Network, RUN + 40 * SECOND, "lost");
        let skipped = Gap::trade_ids(1, 2, RUN + 50 * SECOND, RUN + 51 * SECOND);
        let events = vec![GapEvent::Began(stream, lost), GapEvent::TradeIds(stream, vec![skipped])];
        auditor.observe(feed, events, None);
        known.update(auditor.checkpoint(false, RUN + 70 * SECOND).unwrap());
        let unchanged = auditor.checkpoint(false, RUN + 80 * SECOND).unwrap();
        assert!(unchanged.windows.is_empty() && unchanged.open_gaps.is_empty(), "{unchanged:?}");
        assert_eq!(unchanged.streams, None);
        known.update(unchanged);
        let of_run = UnfinishedRun { run_ns: RUN, next_ns: RUN + 90 * SECOND };
        let recovered = |known| KilledRun::new(of_run, known, i64::MIN, Vec::new()).into_audits(&origin);
        let gaps = |known| {
            let streams = recovered(known).audits.into_iter().flat_map(|audit| audit.streams);
            let gaps = streams.flat_map(|stream| stream.gaps);
            gaps.map(|gap| (gap.kind, (gap.from - RUN) / SECOND, (gap.to - RUN) / SECOND)).collect::<Vec<_>>()
        };
        let ids = (GapKind::TradeIds, 50, 51);
        let before = (GapKind::Connection, 40, 60);
        assert_eq!(gaps(known.clone()), [ids, before, (GapKind::Connection, 60, 80)]);
        auditor.observe(
            feed,
            vec![GapEvent::Recovered(stream, GapKind::Connection, RUN + 75 * SECOND, None)],
            None,
        );
        known.update(auditor.checkpoint(false, RUN + 85 * SECOND).unwrap());
        let ended = gaps(known);
        assert!(ended.contains(&before) && ended.contains(&(GapKind::Connection, 60, 75)), "{ended:?}");
    }
}
