//! Audits of a run that was killed, from its last checkpoint and the events in its journal. They are closed once each of its events that is
//! sent again has an outcome; the time behind the checkpoint is reported as a downtime.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use marketprism_schema::{Audit, Capability, Downtime, DowntimeReason, SilentStreams, StreamAudit, StreamId};

use super::checkpoint::AuditCheckpoint;
use super::origin::AuditOrigin;
use super::run_journal::UnfinishedRun;
use super::streams::AuditStream;
use super::unsent::UnsentMessage;
use super::window::{PublishOutcome, RecordOutcome, WindowTally};
use crate::limits::{AUDIT_DUPLICATE_IDS_MAX, AUDIT_WINDOWS_MAX};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

#[derive(Debug)]
pub struct KilledRun {
    pub(super) run_ns: i64,
    /// Start of the run after it.
    next_ns: i64,
    checkpoint: AuditCheckpoint,
    /// Start of the first window that the run did not close.
    from_ns: i64,
    streams: IndexMap<StreamId, Capability>,
    /// Streams of the run before it, whose feeds had not started in this one.
    inherited: Vec<StreamId>,
    windows: BTreeMap<i64, WindowTally>,
    /// Events before the checkpoint's time that are sent again and have no outcome yet.
    pub(super) pending: u64,
    /// Number of its first stream in this run.
    pub(super) first_number: u32,
    unsent: Vec<UnsentMessage>,
}

/// Audits of a killed run, and the time that it is not audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredAudits {
    pub run_ns: i64,
    pub audits: Vec<Audit>,
    /// None: they were reported before, or nothing is known of the run.
    pub downtimes: Vec<Downtime>,
    /// Messages that the run kept and that the broker may not have.
    pub unsent: Vec<UnsentMessage>,
}

impl KilledRun {
    /// `closed_to_ns`: end of the last window whose audit the journal has.
    pub fn new(
        UnfinishedRun { run_ns, next_ns }: UnfinishedRun,
        checkpoint: AuditCheckpoint,
        closed_to_ns: i64,
        unsent: Vec<UnsentMessage>,
    ) -> Self {
        let from_ns = checkpoint.open_since_ns.max(closed_to_ns);
        let of = |silent: &SilentStreams| {
            let capability = silent.capability;
            silent.streams.iter().map(move |id| (id.clone(), capability)).collect::<Vec<_>>()
        };
        let known = checkpoint.streams.as_ref();
        let streams = known.iter().flat_map(|known| &known.collected).flat_map(of).collect();
        let inherited = known.iter().flat_map(|known| &known.inherited);
        let inherited = inherited.filter_map(|text| StreamId::parse(text).ok()).collect();
        let known_to_ns = checkpoint.known_to_ns.max(from_ns);
        let checkpoint = AuditCheckpoint { known_to_ns, ..checkpoint };
        Self {
            run_ns,
            next_ns,
            checkpoint,
            from_ns,
            streams,
            inherited,
            windows: BTreeMap::new(),
            pending: 0,
            first_number: 0,
            unsent,
        }
    }

    /// Every stream that the run had, or was about to have.
    pub fn streams(&self) -> impl Iterator<Item = &StreamId> {
        self.streams.keys().chain(&self.inherited)
    }

    /// Streams of the killed run before: this one may have been killed before it knew of them.
    pub fn inherit(&mut self, streams: Vec<StreamId>) {
        for stream in streams {
            if !self.streams.contains_key(&stream) && !self.inherited.contains(&stream) {
                self.inherited.push(stream);
            }
        }
    }

    pub const fn from_ns(&self) -> i64 {
        self.from_ns
    }

    pub const fn known_to_ns(&self) -> i64 {
        self.checkpoint.known_to_ns
    }

    pub const fn pending(&self) -> u64 {
        self.pending
    }

    /// An event in its journal, with its outcome so far; `is_to_send`: it will have one. The time of events behind the checkpoint is not
    /// audited: they are only looked up.
    pub fn event(
        &mut self,
        subject: &str,
        record: RecordOutcome,
        outcome: Option<PublishOutcome>,
        is_to_send: bool,
    ) {
        if record.received_at_ns < self.from_ns {
            return;
        }
        let Some(stream) = self.number(subject) else { return };
        let is_known = record.received_at_ns < self.known_to_ns();
        match outcome {
            Some(outcome) if is_known => self.record(stream, RecordOutcome { outcome, ..record }),
            Some(PublishOutcome::Rejected) => {}
            None if is_to_send && is_known => self.pending += 1,
            None if !is_to_send => {}
            _ => self.record(stream, RecordOutcome { outcome: PublishOutcome::Ambiguous, ..record }),
        }
    }

    pub(super) fn number(&self, subject: &str) -> Option<u32> {
        let position = self.streams.get_index_of(&StreamId::parse(subject).ok()?)?;
        u32::try_from(position).ok()
    }

    fn window_ns(&self) -> i64 {
        i64::from(self.checkpoint.window_seconds.max(1)) * NANOS_PER_SECOND
    }

    pub(super) fn record(&mut self, stream: u32, record: RecordOutcome) {
        let start_ns = record.received_at_ns - record.received_at_ns.rem_euclid(self.window_ns());
        let record = RecordOutcome { stream: Some(AuditStream::of_number(stream)), ..record };
        self.windows.entry(start_ns).or_default().record(&[record], AUDIT_DUPLICATE_IDS_MAX);
    }

    /// The journal does not give its events back: nothing of its open windows is known.
    pub fn give_up(&mut self) {
        self.checkpoint.known_to_ns = self.from_ns;
        (self.pending, self.windows) = (0, BTreeMap::new());
    }

    pub(super) fn into_audits(mut self, origin: &AuditOrigin) -> RecoveredAudits {
        let known_to_ns = self.known_to_ns();
        let last_ns = self.windows.keys().next_back().map_or(i64::MIN, |start_ns| start_ns.saturating_add(1));
        let mut audits = Vec::new();
        let (mut start_ns, end_ns) = (self.from_ns, known_to_ns.max(last_ns));
        // A clock that was set forward leaves a checkpoint of any number of windows.
        let most_ns = self.window_ns().saturating_mul(i64::try_from(AUDIT_WINDOWS_MAX).unwrap_or(i64::MAX));
        let given_up = (end_ns.saturating_sub(start_ns).saturating_sub(most_ns)).max(0) / self.window_ns();
        if given_up > 0 {
            start_ns = start_ns.saturating_add(given_up.saturating_mul(self.window_ns()));
            tracing::error!(
                run_ns = self.run_ns,
                given_up,
                "too many open windows of a killed run: the oldest cannot be verified"
            );
        }
        while start_ns < end_ns {
            audits.push(self.audit(origin, start_ns));
            start_ns = start_ns.saturating_add(self.window_ns());
        }
        let (run_ns, unsent) = (self.run_ns, self.unsent);
        let downtime = |from_ns: i64, streams: Vec<StreamId>| {
            let to_ns = self.next_ns.max(from_ns.saturating_add(1));
            origin.downtime(from_ns, Some(to_ns), DowntimeReason::Killed, streams)
        };
        let of_streams = downtime(known_to_ns, self.streams.into_keys().collect());
        let mut downtimes = vec![of_streams, downtime(run_ns, self.inherited)];
        downtimes.retain(|downtime| !downtime.streams.is_empty());
        RecoveredAudits { run_ns, audits, downtimes, unsent }
    }

    fn audit(&mut self, origin: &AuditOrigin, start_ns: i64) -> Audit {
        let to_ns = start_ns.saturating_add(self.window_ns()).min(self.known_to_ns()).max(start_ns);
        let times = (start_ns.max(self.run_ns.min(to_ns)), to_ns);
        let audit = origin.audit(self.run_ns, start_ns, times);
        let mut audit = Audit { window_seconds: self.checkpoint.window_seconds, ..audit };
        let mut noted: BTreeMap<StreamId, StreamAudit> = BTreeMap::new();
        if let Some(window) = self.checkpoint.windows.iter_mut().find(|one| one.window_start == start_ns) {
            audit.feeds = std::mem::take(&mut window.feeds);
            noted = window.streams.drain(..).map(|stream| (stream.id.clone(), stream)).collect();
        }
        audit.feeds = self.checkpoint.feeds_with(audit.feeds);
        let mut window = self.windows.remove(&start_ns).unwrap_or_default();
        for (number, (id, capability)) in (0..).zip(&self.streams) {
            let (tally, before) = (window.take(AuditStream::of_number(number)), noted.remove(id));
            let has_note = before.is_some();
            let before = before.unwrap_or_else(|| StreamAudit::new(id, *capability));
            let mut gaps = before.gaps;
            gaps.extend(self.checkpoint.gaps_of(id, start_ns, to_ns));
            if !has_note && tally.is_empty() && gaps.is_empty() {
                audit.add_silent(*capability, id.clone());
                continue;
            }
            let mut stream_audit = StreamAudit::new(id, *capability);
            tally.write(&mut stream_audit, gaps);
            stream_audit.malformed += before.malformed;
            stream_audit.conflated += before.conflated;
            stream_audit.dropped += before.dropped;
            audit.streams.push(stream_audit);
        }
        // Streams that ended before the checkpoint.
        audit.streams.extend(noted.into_values());
        audit
    }

    pub(super) fn end_number(&self) -> u32 {
        self.first_number.saturating_add(u32::try_from(self.streams.len()).unwrap_or(u32::MAX))
    }
}
