//! Finds what the journal holds of runs that were killed: the last checkpoint with no record missing since the oldest window that it has
//! open, the audits that were not sent, and the events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use marketprism_schema::StreamId;

use super::earlier_audits::{EarlierAudits, unsent_messages};
use super::event_state::EventState;
use super::frame::{CheckpointFrame, Frame, FrameScanner};
use super::index::JournalIndex;
use super::recover::path_of;
use crate::audit::{
    AuditCheckpoint, Auditor, KilledRun, PublishOutcome, RecoveredAudits, UnfinishedRun, UnsentMessage,
};

#[derive(Debug, Default)]
pub(super) struct KilledRunScan {
    /// By the start of the run.
    runs: BTreeMap<i64, RunScan>,
    /// Of all earlier runs.
    audits: EarlierAudits,
    /// First position of the segment that is read.
    segment: u64,
}

#[derive(Debug, Default)]
struct RunScan {
    /// Start of the run after it.
    next_ns: i64,
    /// Oldest segment since which no record is missing.
    whole_from: Option<u64>,
    /// Position expected next.
    next: u64,
    /// Checkpoints of the segment that is read: a full one and its changes.
    current: Vec<Vec<u8>>,
    /// Number of these that can be used.
    usable: usize,
    /// Those of the newest segment before with a usable one.
    last: Vec<Vec<u8>>,
    audits: Vec<KeptAudit>,
}

#[derive(Debug)]
struct KeptAudit {
    from_ns: i64,
    to_ns: i64,
    /// First position of its segment, from which its messages are read once it is known that they are needed.
    segment: u64,
}

impl KilledRunScan {
    pub(super) fn new(killed: &[UnfinishedRun]) -> Self {
        let scan = |run: &UnfinishedRun| (run.run_ns, RunScan { next_ns: run.next_ns, ..RunScan::default() });
        Self { runs: killed.iter().map(scan).collect(), ..Self::default() }
    }

    pub(super) fn begin_segment(&mut self, run_ns: i64, first: u64) {
        self.segment = first;
        let Some(run) = self.runs.get_mut(&run_ns) else { return };
        if run.usable > 0 {
            run.current.truncate(run.usable);
            run.last = std::mem::take(&mut run.current);
        }
        (run.current, run.usable) = (Vec::new(), 0);
        if run.next != first || run.whole_from.is_none() {
            run.whole_from = Some(first);
        }
        run.next = first.saturating_add(1);
    }

    /// `is_damaged`: bytes before the frame are no record.
    pub(super) fn frame(&mut self, run_ns: i64, frame: &Frame<'_>, is_damaged: bool) {
        if let Frame::Audit { run_ns, window_start_ns: from_ns, window_end_ns: to_ns, messages } = frame {
            self.audits.add(messages);
            if let Some(run) = self.runs.get_mut(run_ns) {
                run.audits.push(KeptAudit { from_ns: *from_ns, to_ns: *to_ns, segment: self.segment });
            }
        }
        let Some(run) = self.runs.get_mut(&run_ns) else { return };
        if is_damaged {
            run.hole();
        }
        match frame {
            Frame::Event(event) => {
                if event.position != run.next {
                    run.hole();
                }
                run.next = event.position.saturating_add(1);
            }
            Frame::Checkpoint(checkpoint) => run.checkpoint(checkpoint),
            _ => {}
        }
    }
}

impl RunScan {
    /// Until the next segment nothing is whole.
    fn hole(&mut self) {
        self.whole_from = None;
        self.current.truncate(self.usable);
        if self.usable > 0 {
            self.last = std::mem::take(&mut self.current);
        }
        (self.current, self.usable) = (Vec::new(), 0);
    }

    fn checkpoint(&mut self, frame: &CheckpointFrame<'_>) {
        if !frame.is_full && self.current.is_empty() {
            return;
        }
        if frame.is_full {
            self.current.clear();
        }
        self.current.push(frame.checkpoint.to_vec());
        if self.whole_from.is_some_and(|first| first <= frame.needs_from) {
            self.usable = self.current.len();
        }
    }

    /// The last checkpoint that can be used.
    fn newest(&self) -> Option<AuditCheckpoint> {
        let frames = if self.usable > 0 { self.current.get(..self.usable)? } else { self.last.as_slice() };
        let mut checkpoints = frames.iter().map_while(|bytes| serde_json::from_slice(bytes).ok());
        let mut newest: AuditCheckpoint = checkpoints.next()?;
        checkpoints.for_each(|checkpoint| newest.update(checkpoint));
        Some(newest)
    }

    fn unsent(&self, of_run: i64, since_ns: i64, folder: &Path) -> Vec<UnsentMessage> {
        let is_unsent = |from_ns: i64, to_ns: i64| to_ns > since_ns && from_ns >= since_ns;
        let kept = self.audits.iter().filter(|audit| is_unsent(audit.from_ns, audit.to_ns));
        let segments: BTreeSet<u64> = kept.map(|audit| audit.segment).collect();
        let mut unsent: Vec<UnsentMessage> = Vec::new();
        for first in segments {
            let path = path_of(folder, first);
            let bytes = std::fs::read(&path).unwrap_or_else(|error| {
                tracing::error!(%error, ?path, "segment not readable: closed audits of a killed run are lost");
                Vec::new()
            });
            for frame in FrameScanner::new(&bytes, 0) {
                if let Frame::Audit { run_ns, window_start_ns, window_end_ns, messages } = frame
                    && run_ns == of_run
                    && is_unsent(window_start_ns, window_end_ns)
                {
                    unsent.extend(unsent_messages(messages));
                }
            }
        }
        unsent
    }
}

/// Gives the auditor the audits of earlier runs and everything of the killed ones. `index` has the states of their events.
pub(super) fn recover_audits(
    scan: KilledRunScan,
    folder: &Path,
    index: &mut JournalIndex,
    auditor: &Auditor,
) {
    auditor.add_earlier_audits(scan.audits.into_messages());
    let mut streams: Vec<StreamId> = Vec::new();
    for (run_ns, run) in scan.runs {
        let checkpoint = run.newest();
        let is_known = checkpoint.is_some();
        let checkpoint = checkpoint.unwrap_or_else(|| AuditCheckpoint::none(run_ns));
        let closed_to_ns = run.audits.iter().map(|audit| audit.to_ns).max().unwrap_or(i64::MIN);
        let unsent = run.unsent(run_ns, checkpoint.unsent_since_ns.min(checkpoint.open_since_ns), folder);
        let audits = unsent.len();
        if closed_to_ns == i64::MAX {
            auditor.add_recovered(RecoveredAudits {
                run_ns,
                audits: Vec::new(),
                downtimes: Vec::new(),
                unsent,
            });
            continue;
        }
        let unfinished = UnfinishedRun { run_ns, next_ns: run.next_ns };
        let mut killed = KilledRun::new(unfinished, checkpoint, closed_to_ns, unsent);
        if !add_events(&mut killed, run_ns, folder, index) {
            killed.give_up();
        }
        killed.inherit(std::mem::take(&mut streams));
        streams.extend(killed.streams().cloned());
        let (known_to_ns, waiting) = (killed.known_to_ns(), killed.pending());
        tracing::warn!(
            run_ns,
            is_known,
            known_to_ns,
            waiting,
            audits,
            "the run was killed: it is audited up to its last checkpoint, when its waiting events are sent"
        );
        auditor.add_killed_run(killed);
    }
}

/// False: a segment cannot be read.
fn add_events(killed: &mut KilledRun, run_ns: i64, folder: &Path, index: &mut JournalIndex) -> bool {
    let from_ns = killed.from_ns();
    let is_needed = |received: Option<(i64, i64)>| received.is_some_and(|(_, last)| last >= from_ns);
    let of_run = index.segments.iter().filter(|segment| segment.run_ns == run_ns);
    let needed = of_run.filter(|segment| is_needed(segment.received)).map(|segment| segment.first);
    for first in needed.collect::<Vec<_>>() {
        let path = path_of(folder, first);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, ?path, run_ns, "segment of a killed run not readable: its open windows cannot be verified");
                return false;
            }
        };
        for frame in FrameScanner::new(&bytes, 0) {
            let Frame::Event(event) = frame else { continue };
            let segment = index.segment_of(event.position);
            let Some((_, state)) = segment.and_then(|segment| segment.get(event.position)) else { continue };
            let is_to_send = state == EventState::Unaudited;
            killed.event(
                event.subject,
                event.outcome(None, PublishOutcome::Ambiguous),
                state.outcome(),
                is_to_send,
            );
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use marketprism_schema::{
        Audit, Capability, DataType, DowntimeReason, Fingerprint, Gap, GapCause, GapKind,
    };

    use super::super::frame::{write_audit, write_checkpoint, write_event, write_note, write_segment};
    use super::super::positions::PositionRange;
    use super::super::recover::recover;
    use super::super::status::JournalStatus;
    use super::*;
    use crate::audit::{AuditOrigin, RecordOutcome};
    use crate::queue::EventRecord;

    const SECOND: i64 = 1_000_000_000;
    /// Start of a window.
    const OPEN: i64 = 1_200 * SECOND;
    const RUN: i64 = OPEN - 90 * SECOND;
    const NEXT_RUN: i64 = OPEN + 40 * SECOND;

    fn record(position: u64, second: i64) -> EventRecord {
        let received_at_ns = OPEN + second * SECOND;
        EventRecord { received_at_ns, ..EventRecord::fixture(position, DataType::Trade, "A-B") }
    }

    fn note(out: &mut Vec<u8>, state: EventState, first: u64, count: u32) {
        write_note(out, state, &[], &[PositionRange { first, count }]);
    }

    /// A full checkpoint of a run with one stream, which has lost its connection for a second.
    fn checkpoint(out: &mut Vec<u8>, second: i64) {
        let auditor = Auditor::new(AuditOrigin::fixture(RUN));
        let feed = auditor.feed("sim_spot");
        let id = StreamId::parse("trade.sim_spot.spot.A-B").unwrap();
        let of = |kind| (kind == DataType::Trade).then(|| (id.clone(), Capability::UNNUMBERED));
        let table = auditor.subscribe(feed, &[marketprism_schema::DataTypeMap::from_fn(of)], RUN);
        let stream = table[0][DataType::Trade].unwrap();
        auditor.close(OPEN, OPEN, 16);
        let gap = Gap::open(GapKind::Connection, GapCause::Network, OPEN + SECOND, "lost");
        let gap = Gap { to: OPEN + 2 * SECOND, ..gap };
        auditor.observe(feed, vec![crate::audit::GapEvent::Ended(stream, gap)], None);
        let checkpoint = auditor.checkpoint(true, OPEN + second * SECOND).unwrap();
        let checkpoint = serde_json::to_vec(&checkpoint).unwrap();
        let frame = CheckpointFrame { run_ns: RUN, needs_from: 1, is_full: true, checkpoint: &checkpoint };
        write_checkpoint(out, &frame);
    }

    /// Events at their second; the checkpoint at 10 s has no outcome of the one at 9 s.
    fn segment() -> Vec<u8> {
        let mut bytes = Vec::new();
        write_segment(&mut bytes, RUN, 1);
        for (position, second) in [(2, 1), (3, 2), (4, 3), (5, 4), (6, 9)] {
            write_event(&mut bytes, position, &record(position, second));
        }
        note(&mut bytes, EventState::Stored, 2, 2);
        note(&mut bytes, EventState::Duplicate, 4, 1);
        note(&mut bytes, EventState::Settled, 5, 1);
        checkpoint(&mut bytes, 10);
        write_event(&mut bytes, 7, &record(7, 11));
        bytes
    }

    fn recovered(bytes: &[u8]) -> (Auditor, JournalIndex) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path_of(folder.path(), 1), bytes).unwrap();
        let auditor = Auditor::new(AuditOrigin::fixture(NEXT_RUN));
        let mut scan = KilledRunScan::new(&[UnfinishedRun { run_ns: RUN, next_ns: NEXT_RUN }]);
        let mut index =
            recover(folder.path(), 99, &mut scan, &mut JournalStatus::default(), &mut |_, _| false);
        recover_audits(scan, folder.path(), &mut index, &auditor);
        (auditor, index)
    }

    fn sent(auditor: &Auditor, position: u64, second: i64, outcome: PublishOutcome) {
        let event = record(position, second);
        let stream = auditor.stream_of_killed_run(RUN, &event.subject, event.received_at_ns);
        assert!(stream.is_some());
        auditor.record(&[RecordOutcome { stream, ..event.with_outcome(outcome) }]);
    }

    #[test]
    fn a_killed_run_is_audited_up_to_its_last_checkpoint_when_its_events_are_sent() {
        let (auditor, _) = recovered(&segment());
        assert!(auditor.recovers(RUN) && auditor.take_recovered().is_empty(), "one event waits");
        sent(&auditor, 6, 9, PublishOutcome::Stored);
        let [run] = &auditor.take_recovered()[..] else { panic!("one run") };
        let [audit] = &run.audits[..] else { panic!("{:?}", run.audits) };
        assert_eq!((audit.run, audit.window_start), (RUN, OPEN));
        assert_eq!((audit.from, audit.to), (OPEN, OPEN + 10 * SECOND));
        let [stream] = &audit.streams[..] else { panic!("{audit:?}") };
        let stored = [2, 3, 6].map(|id| record(id, 0).event_id).into_iter().collect();
        assert_eq!((stream.stored, stream.duplicates), (stored, 1));
        assert_eq!(stream.unsure, [record(7, 0).event_id], "sent again, in a time that is not audited");
        assert_eq!(stream.gaps[0].kind, GapKind::Connection);
        let [downtime] = &run.downtimes[..] else { panic!("{:?}", run.downtimes) };
        assert_eq!((downtime.from, downtime.to), (OPEN + 10 * SECOND, Some(NEXT_RUN)));
        assert_eq!((downtime.reason, downtime.streams.len()), (DowntimeReason::Killed, 1));
        assert!(!auditor.recovers(RUN));
    }

    /// The broker may have it from the killed run, or from another edge.
    #[test]
    fn an_event_that_the_broker_has_already_is_looked_up() {
        let (auditor, index) = recovered(&segment());
        assert_eq!(index.segments[0].to_send(), 2);
        sent(&auditor, 6, 9, PublishOutcome::Ambiguous);
        let stream = &auditor.take_recovered()[0].audits[0].streams[0];
        assert_eq!((stream.stored.count, stream.unsure.len()), (2, 2));
    }

    #[test]
    fn nothing_is_audited_behind_a_record_that_is_missing() {
        let mut bytes = segment();
        let whole = bytes.len();
        write_event(&mut bytes, 9, &record(9, 12));
        checkpoint(&mut bytes, 20);
        let (auditor, _) = recovered(&bytes);
        sent(&auditor, 6, 9, PublishOutcome::Stored);
        let downtime = auditor.take_recovered()[0].downtimes[0].clone();
        assert_eq!(downtime.from, OPEN + 10 * SECOND, "position 8 is missing");
        let mut damaged = segment();
        checkpoint(&mut damaged, 20);
        let (auditor, _) = recovered(&damaged);
        sent(&auditor, 6, 9, PublishOutcome::Stored);
        sent(&auditor, 7, 11, PublishOutcome::Stored);
        assert_eq!(auditor.take_recovered()[0].downtimes[0].clone().from, OPEN + 20 * SECOND);
        damaged[whole - 3] ^= 1;
        let (auditor, _) = recovered(&damaged);
        sent(&auditor, 6, 9, PublishOutcome::Stored);
        assert_eq!(auditor.take_recovered()[0].downtimes[0].clone().from, OPEN + 10 * SECOND);
    }

    /// Positions and seconds of the events in [`segment`] and behind it.
    const EVENTS: [(u64, i64); 7] = [(2, 1), (3, 2), (4, 3), (5, 4), (6, 9), (7, 11), (8, 21)];
    /// A duplicate and a settled one: counted as stored if the damage took the note of them.
    const NOTED: [[u64; 2]; 4] = [[0, 0], [4, 0], [0, 5], [4, 5]];

    /// The stored ids of an audit are those of all events of its time, the ambiguous ones aside.
    fn has_all_events(audit: &Audit) -> bool {
        let unsure = |position: u64| {
            let id = record(position, 0).event_id;
            audit.streams.iter().any(|stream| stream.unsure.contains(&id))
        };
        let is_audited = |second: i64| (audit.from..audit.to).contains(&(OPEN + second * SECOND));
        let stored: Vec<Fingerprint> = audit.streams.iter().map(|stream| stream.stored).collect();
        let is_stored = |noted: &[u64; 2]| {
            let events = EVENTS.iter().filter(|(position, second)| {
                is_audited(*second)
                    && !unsure(*position)
                    && (![4, 5].contains(position) || noted.contains(position))
            });
            let ids: Fingerprint = events.map(|(position, _)| record(*position, 0).event_id).collect();
            stored.first().copied().unwrap_or_default() == ids
        };
        NOTED.iter().any(is_stored)
    }

    #[test]
    fn behind_any_flipped_bit_and_any_cut_tail_an_audited_time_has_all_its_events() {
        let mut whole = segment();
        checkpoint(&mut whole, 20);
        write_event(&mut whole, 8, &record(8, 21));
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        };
        let cut = |length: usize| whole[..length].to_vec();
        let damaged = (0..whole.len()).flat_map(|at| [("flipped", at, flipped(at)), ("cut", at, cut(at))]);
        let (mut audited, mut longest) = (0, 0);
        for (damage, at, bytes) in damaged.chain([("whole", 0, whole.clone())]) {
            let (auditor, index) = recovered(&bytes);
            for (position, _, state) in index.segments.iter().flat_map(|segment| segment.positions()) {
                let second = EVENTS.iter().find(|(event, _)| *event == position).unwrap().1;
                let event = record(position, second);
                let stream = auditor.stream_of_killed_run(RUN, &event.subject, event.received_at_ns);
                if state == EventState::Unaudited && stream.is_some() {
                    sent(&auditor, position, second, PublishOutcome::Stored);
                }
            }
            for audit in auditor.take_recovered().into_iter().flat_map(|run| run.audits) {
                assert!(has_all_events(&audit), "{damage} at {at}: {audit:?}");
                audited += 1;
                longest = longest.max(audit.to - audit.from);
            }
        }
        assert!(audited > whole.len() / 2 && longest == 20 * SECOND, "{audited} audits, {longest} ns");
    }

    #[test]
    fn audits_that_a_killed_run_had_closed_are_sent_as_they_were() {
        let message = |id: &str| UnsentMessage { id: id.into(), payload: "{}".into() };
        let json = |id: &str| serde_json::to_vec(&[message(id)]).unwrap();
        let mut bytes = Vec::new();
        write_segment(&mut bytes, RUN, 1);
        checkpoint(&mut bytes, 10);
        write_event(&mut bytes, 2, &record(2, 3));
        write_audit(&mut bytes, RUN, (OPEN, OPEN + 60 * SECOND), &json("closed"));
        let (auditor, _) = recovered(&bytes);
        let [run] = &auditor.take_recovered()[..] else { panic!("one run") };
        assert_eq!((run.audits.len(), &run.unsent[..]), (0, &[message("closed")][..]));
        assert_eq!(run.downtimes[0].from, OPEN + 60 * SECOND);
        // A start before this one had recovered everything, and was killed before the broker had it.
        write_audit(&mut bytes, RUN, (OPEN, i64::MAX), &json("recovered"));
        let (auditor, _) = recovered(&bytes);
        let [run] = &auditor.take_recovered()[..] else { panic!("one run") };
        assert_eq!((run.unsent.len(), run.downtimes.len()), (2, 0));
    }

    /// A broker that was emptied has lost those of a run that was stopped too.
    #[test]
    fn audits_of_all_earlier_runs_are_at_hand_to_be_sent_again() {
        let mut bytes = segment();
        for run_ns in [RUN - SECOND, RUN] {
            let message = UnsentMessage { id: run_ns.to_string(), payload: "{}".into() };
            write_audit(&mut bytes, run_ns, (OPEN, OPEN), &serde_json::to_vec(&[message]).unwrap());
        }
        let (auditor, _) = recovered(&bytes);
        let ids: Vec<String> = auditor.take_earlier_audits().into_iter().map(|message| message.id).collect();
        assert_eq!(ids, [RUN - SECOND, RUN].map(|run_ns| run_ns.to_string()));
    }

    #[test]
    fn a_run_that_is_killed_before_its_feeds_start_leaves_the_streams_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path_of(folder.path(), 1), segment()).unwrap();
        let auditor = Auditor::new(AuditOrigin::fixture(NEXT_RUN + SECOND));
        let killed = [(RUN, NEXT_RUN), (NEXT_RUN, NEXT_RUN + SECOND)];
        let mut scan = KilledRunScan::new(&killed.map(|(run_ns, next_ns)| UnfinishedRun { run_ns, next_ns }));
        let mut index =
            recover(folder.path(), 99, &mut scan, &mut JournalStatus::default(), &mut |_, _| false);
        recover_audits(scan, folder.path(), &mut index, &auditor);
        sent(&auditor, 6, 9, PublishOutcome::Stored);
        let times = auditor.take_recovered().into_iter().flat_map(|run| run.downtimes);
        let times: Vec<_> = times.map(|downtime| (downtime.from, downtime.to)).collect();
        let next = (NEXT_RUN, Some(NEXT_RUN + SECOND));
        assert_eq!(times, [(OPEN + 10 * SECOND, Some(NEXT_RUN)), next]);
    }
}
