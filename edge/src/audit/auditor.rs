//! The open windows, shared by queue, publisher and pipelines, and their closing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use marketprism_schema::{
    Audit, DataType, DataTypeMap, Downtime, DowntimeReason, EdgeChange, Gap, GapCause, GapKind, StreamAudit,
    StreamId,
};

use super::killed_run::{KilledRun, RecoveredAudits};
use super::listings::ReportedTerms;
use super::open_gap::part_of;
use super::origin::AuditOrigin;
use super::run_journal::{LastingDowntime, Resumption, StopCause};
use super::streams::{AuditFeed, AuditStream, AuditedFeed, StreamRegistry};
use super::unsent::UnsentMessage;
use super::window::{GapEvent, RecordOutcome, StreamTally, WindowTally};
use crate::clocks::nanos;
use crate::limits::{AUDIT_DUPLICATE_IDS_MAX, AUDIT_WINDOWS_MAX, START_GAP_SHORT};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditStatus {
    /// Outcomes and gap events that came after the audit of their window.
    pub late: u64,
    /// Windows given up because too many were open.
    pub dropped: u64,
    pub open_since_ns: i64,
    /// Audit messages that wait for the broker.
    pub waiting: u64,
    /// Close of the window of the oldest of them.
    pub waiting_since_ns: Option<i64>,
}

/// Tallies of all open windows. Locked once per batch, never per event.
#[derive(Debug)]
pub struct Auditor {
    /// `None`: nothing is audited.
    pub(super) origin: Option<AuditOrigin>,
    state: Mutex<AuditState>,
}

#[derive(Debug, Default)]
pub(super) struct AuditState {
    pub(super) streams: StreamRegistry,
    pub(super) feeds: Vec<AuditedFeed>,
    pub(super) windows: BTreeMap<i64, WindowTally>,
    /// Ids of duplicates in the open windows.
    duplicate_ids: usize,
    pub(super) trade_id_gaps: BTreeMap<AuditStream, Vec<Gap>>,
    pub(super) open_gaps: BTreeMap<(AuditStream, GapKind), Gap>,
    pub(super) window_ns: i64,
    /// Streams with gaps that began or ended since the last checkpoint.
    pub(super) changed_gaps: BTreeSet<AuditStream>,
    /// Streams began or ended since the last checkpoint, or feeds.
    pub(super) are_streams_changed: bool,
    /// Earlier runs whose audits wait for outcomes.
    pub(super) killed: Vec<KilledRun>,
    pub(super) recovered: Vec<RecoveredAudits>,
    /// Audits of earlier runs.
    pub(super) earlier: Vec<UnsentMessage>,
    /// Streams of these whose feeds have not started.
    pub(super) inherited: BTreeSet<StreamId>,
    pub(super) status: AuditStatus,
    /// Causes of starts that are known: after a clean stop, a reload, changed terms of an instrument.
    pub(super) starts: BTreeMap<i64, GapCause>,
    /// Streams of the run before whose feeds have not started.
    pub(super) resumed: BTreeSet<StreamId>,
    /// Those of them that the configuration still selects.
    pub(super) selected: BTreeSet<StreamId>,
    /// Numbers of streams that ended, delisted or no longer configured, with their end. Others may take them over.
    pub(super) ended: BTreeMap<AuditStream, i64>,
    /// Begin and reason of the downtimes that last, by stream; another run's number may stand for it when it is listed again.
    pub(super) lasting: BTreeMap<StreamId, (i64, DowntimeReason)>,
    pub(super) terms: ReportedTerms,
    /// Downtimes that are not published.
    pub(super) downtimes: Vec<Downtime>,
    /// Changes that are not published.
    pub(super) changes: Vec<EdgeChange>,
    stop_cause: StopCause,
}

impl Auditor {
    /// The first window is the one in which the run begins.
    pub fn new(origin: AuditOrigin) -> Self {
        let window_ns = i64::from(origin.window_seconds.max(1)) * NANOS_PER_SECOND;
        let open_since_ns = origin.run_ns - origin.run_ns.rem_euclid(window_ns);
        let status = AuditStatus { open_since_ns, ..AuditStatus::default() };
        let state = AuditState { window_ns, status, ..AuditState::default() };
        Self { origin: Some(origin), state: Mutex::new(state) }
    }

    /// The run before, as far as it matters to this one. `is_selected`: the configuration has the stream, if the venue lists it.
    pub fn resume(
        &self,
        Resumption { after_clean_stop, streams, lasting, .. }: &Resumption,
        is_selected: impl Fn(&StreamId) -> bool,
    ) {
        let Some(origin) = &self.origin else { return };
        let mut state = self.lock();
        state.starts = after_clean_stop.then_some((origin.run_ns, GapCause::Operator)).into_iter().collect();
        state.resumed.clone_from(streams);
        let known = lasting.iter().filter_map(|LastingDowntime { stream, from_ns, reason }| {
            Some((StreamId::parse(stream).ok()?, (*from_ns, *reason)))
        });
        state.lasting = known.collect();
        state.selected = streams.iter().filter(|stream| is_selected(stream)).cloned().collect();
    }

    /// The configuration has changed.
    pub fn select(&self, is_selected: impl Fn(&StreamId) -> bool) {
        let mut state = self.lock();
        state.selected = state.resumed.iter().filter(|stream| is_selected(stream)).cloned().collect();
    }

    pub fn off() -> Self {
        let state = AuditState { window_ns: NANOS_PER_SECOND, ..AuditState::default() };
        Self { origin: None, state: Mutex::new(state) }
    }

    pub const fn is_on(&self) -> bool {
        self.origin.is_some()
    }

    pub const fn origin(&self) -> Option<&AuditOrigin> {
        self.origin.as_ref()
    }

    /// A lock is poisoned by a thread that panicked between two counts; counting continues.
    pub(super) fn lock(&self) -> MutexGuard<'_, AuditState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn record(&self, records: &[RecordOutcome]) {
        if !self.is_on() || records.is_empty() {
            return;
        }
        let killed = |record: &RecordOutcome| record.stream.filter(|stream| !stream.is_of_this_run());
        let mut state = self.lock();
        // Between events of this run, for each batch is of one lane or of the journal.
        for part in records.chunk_by(|one, next| killed(one).is_some() == killed(next).is_some()) {
            if part.first().is_none_or(|record| killed(record).is_none()) {
                state.record(part);
                continue;
            }
            for (stream, record) in part.iter().filter_map(|record| Some((killed(record)?, record))) {
                state.record_of_killed_run(stream, record);
            }
        }
    }

    /// Events of these types, received in this time, are lost, and it is not known of which streams: each stream of the types has a gap.
    pub fn lost_unread(&self, (from_ns, to_ns): (i64, i64), lost: &DataTypeMap<u64>) {
        if !self.is_on() {
            return;
        }
        let mut state = self.lock();
        let streams: Vec<(AuditStream, DataType)> = {
            let collected = state.collected_after(from_ns);
            let known = state.streams.iter().map(|(stream, id, _)| (stream, id.data_type));
            known.filter(|(stream, kind)| lost[*kind] > 0 && collected.contains(stream)).collect()
        };
        let mut start_ns = state.start_of(from_ns);
        while start_ns <= to_ns {
            let end_ns = start_ns.saturating_add(state.window_ns);
            for (stream, data_type) in &streams {
                let evidence = format!(
                    "the journal on disk could not be read: {} {data_type} events lost, each may be of this stream",
                    lost[*data_type]
                );
                let from_ns = from_ns.max(start_ns);
                let gap = Gap::open(GapKind::Dropped, GapCause::Ours, from_ns, evidence);
                let gap = Gap { to: to_ns.min(end_ns - 1), ..gap };
                state.tally(*stream, start_ns, |tally| tally.gap(gap));
            }
            start_ns = end_ns;
        }
    }

    /// Observations of a feed's pipeline. Everything received before `frontier_ns` is in the queue, or reported here as lost.
    pub fn observe(&self, feed: AuditFeed, events: Vec<GapEvent>, frontier_ns: Option<i64>) {
        if !self.is_on() {
            return;
        }
        let mut state = self.lock();
        for event in events {
            state.observe(feed, event);
        }
        if let (Some(frontier_ns), Some(feed)) = (frontier_ns, state.feeds.get_mut(feed.0)) {
            (feed.frontier_ns, feed.last_ns) = (frontier_ns, frontier_ns);
        }
    }

    pub fn frontier_ns(&self) -> i64 {
        self.lock().feeds.iter().map(|feed| feed.frontier_ns).min().unwrap_or(i64::MAX)
    }

    /// Closes at most `most` windows that have ended. No record received before `settled_ns` is waiting or in flight.
    pub fn close(&self, now_ns: i64, settled_ns: i64, most: usize) -> Vec<Audit> {
        let Some(origin) = &self.origin else { return Vec::new() };
        let settle_ns = nanos(origin.settle);
        let mut state = self.lock();
        let mut audits = Vec::new();
        while audits.len() < most {
            let end_ns = state.status.open_since_ns.saturating_add(state.window_ns);
            if now_ns < end_ns.saturating_add(settle_ns) || settled_ns < end_ns {
                break;
            }
            audits.push(state.close_oldest(origin, end_ns));
        }
        audits
    }

    /// Closes every window up to the end of the run, and counts those that cannot be audited because records of them are in flight.
    pub fn close_all(&self, stop_ns: i64, settled_ns: i64) -> (Vec<Audit>, u64) {
        let Some(origin) = &self.origin else { return (Vec::new(), 0) };
        let mut state = self.lock();
        let mut audits = Vec::new();
        while state.status.open_since_ns < stop_ns {
            let to_ns = state.status.open_since_ns.saturating_add(state.window_ns).min(stop_ns);
            if settled_ns < to_ns {
                let left_ns =
                    stop_ns.saturating_sub(state.status.open_since_ns).saturating_add(state.window_ns - 1);
                return (audits, u64::try_from(left_ns / state.window_ns).unwrap_or_default());
            }
            audits.push(state.close_oldest(origin, to_ns));
        }
        (audits, 0)
    }

    /// Downtimes since the last call.
    pub fn take_downtimes(&self) -> Vec<Downtime> {
        std::mem::take(&mut self.lock().downtimes)
    }

    /// Of the stop that comes.
    pub fn set_stop_cause(&self, cause: StopCause) {
        self.lock().stop_cause = cause;
    }

    pub fn stop_cause(&self) -> StopCause {
        self.lock().stop_cause.clone()
    }

    /// A clean stop: nothing is collected from `stop_ns` on, and everything before is audited or unknown.
    pub fn last_words(&self, stop_ns: i64) -> Vec<Downtime> {
        let Some(origin) = &self.origin else { return Vec::new() };
        let mut state = self.lock();
        let StopCause { reason, detail } = state.stop_cause.clone();
        let downtime = |from, streams| Downtime {
            detail: detail.clone(),
            ..origin.downtime(from, None, reason, streams)
        };
        let subscribed: BTreeSet<AuditStream> =
            state.feeds.iter().flat_map(|feed| feed.subscribed.iter().copied()).collect();
        let known = state.streams.iter().filter(|(stream, ..)| subscribed.contains(stream));
        let mut downtimes = vec![downtime(stop_ns, known.map(|(_, id, _)| id.clone()).collect())];
        // A run that is too short for its feeds to start continues the downtime before it.
        let is_short = stop_ns.saturating_sub(origin.run_ns) <= nanos(START_GAP_SHORT);
        let from_ns = if is_short { origin.run_ns } else { stop_ns };
        downtimes.push(downtime(from_ns, std::mem::take(&mut state.resumed).into_iter().collect()));
        downtimes.retain(|downtime| !downtime.streams.is_empty());
        downtimes
    }

    pub fn status(&self) -> AuditStatus {
        self.lock().status
    }

    pub fn set_waiting(&self, waiting: u64, since_ns: Option<i64>) {
        let mut state = self.lock();
        (state.status.waiting, state.status.waiting_since_ns) = (waiting, since_ns);
    }
}

impl AuditState {
    fn start_of(&self, at_ns: i64) -> i64 {
        at_ns - at_ns.rem_euclid(self.window_ns)
    }

    /// The open window of a time. If it is closed, `count` observations are late.
    fn window(&mut self, at_ns: i64, count: usize) -> Option<&mut WindowTally> {
        let start_ns = self.start_of(at_ns);
        if start_ns < self.status.open_since_ns {
            self.status.late += u64::try_from(count).unwrap_or_default();
            return None;
        }
        if !self.windows.contains_key(&start_ns)
            && self.windows.len() >= AUDIT_WINDOWS_MAX
            && let Some((oldest_ns, window)) = self.windows.pop_first()
        {
            self.duplicate_ids = self.duplicate_ids.saturating_sub(window.duplicate_ids());
            self.status.open_since_ns = oldest_ns.saturating_add(self.window_ns);
            self.status.dropped += 1;
        }
        Some(self.windows.entry(start_ns).or_default())
    }

    /// Streams that were subscribed at this time or later.
    pub(super) fn collected_after(&self, start_ns: i64) -> BTreeSet<AuditStream> {
        let ended = self.ended.iter().filter(|(_, end_ns)| **end_ns > start_ns);
        let subscribed = self.feeds.iter().flat_map(|feed| &feed.subscribed);
        subscribed.chain(ended.map(|(stream, _)| stream)).copied().collect()
    }

    fn record(&mut self, records: &[RecordOutcome]) {
        let mut rest = records;
        while let Some(first) = rest.first() {
            let start_ns = self.start_of(first.received_at_ns);
            let end_ns = start_ns.saturating_add(self.window_ns);
            let is_here =
                |one: &&RecordOutcome| start_ns <= one.received_at_ns && one.received_at_ns < end_ns;
            let (here, later) = rest.split_at(rest.iter().take_while(is_here).count().max(1));
            let room = AUDIT_DUPLICATE_IDS_MAX.saturating_sub(self.duplicate_ids);
            if let Some(window) = self.window(start_ns, here.len()) {
                let left = window.record(here, room);
                self.duplicate_ids += room - left;
            }
            rest = later;
        }
    }

    fn observe(&mut self, feed: AuditFeed, event: GapEvent) {
        let has_ended = |stream| self.feeds.get(feed.0).is_some_and(|feed| feed.ended.contains(&stream));
        if event.stream().is_some_and(has_ended) {
            return;
        }
        match event {
            GapEvent::TradeIds(stream, mut gaps) => {
                gaps.retain(|gap| gap.to >= self.status.open_since_ns);
                let before = self.trade_id_gaps.insert(stream, gaps.clone()).unwrap_or_default();
                for gap in before.iter().chain(&gaps) {
                    let start_ns = self.start_of(gap.to);
                    if let Some(window) = self.window(start_ns, 0) {
                        window.is_changed = true;
                    }
                }
            }
            GapEvent::Ended(stream, gap) => self.tally(stream, gap.to, |tally| tally.gap(gap)),
            GapEvent::Began(stream, gap) => self.begin_gap(stream, gap),
            GapEvent::Recovered(stream, kind, at_ns, venue_ns) => self.end_gap(stream, kind, at_ns, venue_ns),
            GapEvent::Conflated(stream, at_ns, states) => {
                self.tally(stream, at_ns, |tally| tally.conflated(states));
            }
            GapEvent::Malformed(stream, at_ns, count) => {
                self.tally(stream, at_ns, |tally| tally.malformed(count));
            }
            GapEvent::Counts(at_ns, counts) => {
                if let Some(window) = self.window(at_ns, 1) {
                    window.count(feed, counts);
                }
            }
        }
    }

    pub(super) fn tally(&mut self, stream: AuditStream, at_ns: i64, add: impl FnOnce(&mut StreamTally)) {
        let Some(window) = self.window(at_ns, 1) else { return };
        window.is_changed = true;
        if let Some(tally) = window.stream(stream) {
            add(tally);
        }
    }

    /// A gap may begin in a window that is closed: the oldest open one reports that part.
    pub(super) fn begin_gap(&mut self, stream: AuditStream, gap: Gap) {
        let (key, open_ns) = ((stream, gap.kind), self.status.open_since_ns);
        if self.open_gaps.contains_key(&key) {
            return;
        }
        if gap.from < open_ns && !matches!(gap.kind, GapKind::Start | GapKind::Stop) {
            let before = Gap { to: open_ns, ..gap.clone() };
            self.tally(stream, open_ns, |tally| tally.gap(before));
        }
        self.open_gaps.insert(key, gap);
        self.changed_gaps.insert(stream);
    }

    /// Each open window keeps its part of the gap.
    pub(super) fn end_gap(&mut self, stream: AuditStream, kind: GapKind, at_ns: i64, venue_ns: Option<i64>) {
        let Some(mut gap) = self.open_gaps.remove(&(stream, kind)) else { return };
        self.changed_gaps.insert(stream);
        gap.to = at_ns;
        gap.set_venue_times(gap.venue_from, venue_ns.filter(|_| gap.venue_from.is_some()));
        let mut start_ns = self.start_of(gap.from).max(self.status.open_since_ns);
        while start_ns <= at_ns {
            let end_ns = start_ns.saturating_add(self.window_ns);
            if let Some(part) = part_of(&gap, start_ns, end_ns, at_ns, &self.starts) {
                self.tally(stream, start_ns, |tally| tally.gap(part));
            }
            start_ns = end_ns;
        }
    }

    /// The audit of the oldest open window, up to `to_ns`.
    fn close_oldest(&mut self, origin: &AuditOrigin, to_ns: i64) -> Audit {
        let start_ns = self.status.open_since_ns;
        let end_ns = start_ns.saturating_add(self.window_ns);
        let mut window = self.windows.remove(&start_ns).unwrap_or_default();
        self.duplicate_ids = self.duplicate_ids.saturating_sub(window.duplicate_ids());
        self.status.open_since_ns = end_ns;
        let collected = self.collected_after(start_ns);
        let times = (start_ns.max(origin.run_ns.min(to_ns)), to_ns);
        let feeds = window.feeds(&self.feeds);
        let mut audit = Audit { feeds, ..origin.audit(origin.run_ns, start_ns, times) };
        for (stream, id, capability) in self.streams.iter() {
            let tally = window.take(stream);
            let gaps = self.gaps_of(stream, start_ns, to_ns);
            if !tally.is_empty() || !gaps.is_empty() {
                let mut stream_audit = StreamAudit::new(id, capability);
                tally.write(&mut stream_audit, gaps);
                audit.streams.push(stream_audit);
            } else if collected.contains(&stream) {
                audit.add_silent(capability, id.clone());
            }
        }
        for gaps in self.trade_id_gaps.values_mut() {
            gaps.retain(|gap| gap.to >= end_ns);
        }
        self.trade_id_gaps.retain(|_, gaps| !gaps.is_empty());
        audit
    }

    /// Gaps in trade ids that a trade of the window showed.
    pub(super) fn shown_gaps(
        &self,
        stream: AuditStream,
        start_ns: i64,
        to_ns: i64,
    ) -> impl Iterator<Item = Gap> {
        let trade_ids = self.trade_id_gaps.get(&stream).into_iter().flatten();
        trade_ids.filter(move |gap| start_ns <= gap.to && gap.to < to_ns).cloned()
    }

    /// Gaps in trade ids that a trade of the window showed, and the window's parts of open gaps.
    fn gaps_of(&self, stream: AuditStream, start_ns: i64, to_ns: i64) -> Vec<Gap> {
        let open = GapKind::ALL.iter().filter_map(|kind| self.open_gaps.get(&(stream, *kind)));
        let shown = self.shown_gaps(stream, start_ns, to_ns);
        shown.chain(open.filter_map(|gap| part_of(gap, start_ns, to_ns, to_ns, &self.starts))).collect()
    }
}
