//! The open windows, shared by journal, publisher and pipelines; and how a window is closed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marketprism_schema::{AUDIT_VERSION, Audit, Gap, GapCause, GapKind, StreamAudit, StreamId};

use super::open_gap::{OpenGap, TradeIdGap};
use super::streams::{Feed, NO_STREAM, StreamTable, Streams};
use super::tally::{RecordOutcome, StreamTally};
use super::window::{GapEvent, WindowTally};
use crate::limits::AUDIT_WINDOWS_MAX;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Who audits, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditOrigin {
    /// Name of the edge.
    pub edge: String,
    /// Region of the edge.
    pub region: String,
    /// When this run began, nanoseconds since 1970.
    pub run_ns: i64,
    /// Length of a window, 1 to 60 seconds, a divisor of 60.
    pub window_seconds: u16,
    /// Least time from a window's end to its audit.
    pub settle: Duration,
}

/// Where the audits stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditStatus {
    /// Records that settled, or trouble that showed, after the audit of their window.
    pub late: u64,
    /// Windows given up because too many were open.
    pub dropped: u64,
    /// Start of the oldest window that is not closed, nanoseconds.
    pub open_since_ns: i64,
    /// Messages that wait for the broker.
    pub waiting: u64,
    /// Since when the oldest of them does, nanoseconds.
    pub waiting_since_ns: Option<i64>,
}

/// The tallies of all open windows. Locked once per batch, never per event.
#[derive(Debug)]
pub struct Auditor {
    /// None: nothing is audited.
    origin: Option<AuditOrigin>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    streams: Streams,
    feeds: Vec<Feed>,
    windows: BTreeMap<i64, WindowTally>,
    holes: BTreeMap<u32, Vec<TradeIdGap>>,
    standing: BTreeMap<(u32, GapKind), OpenGap>,
    /// Length of a window in nanoseconds.
    length: i64,
    status: AuditStatus,
}

impl Auditor {
    /// An auditor whose first window is the one in which the run begins.
    #[must_use]
    pub fn new(origin: AuditOrigin) -> Self {
        let length = i64::from(origin.window_seconds.max(1)) * NANOS_PER_SECOND;
        let open_since_ns = origin.run_ns - origin.run_ns.rem_euclid(length);
        let status = AuditStatus { open_since_ns, ..AuditStatus::default() };
        Self { origin: Some(origin), inner: Mutex::new(Inner { length, status, ..Inner::default() }) }
    }

    /// One that notes nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { origin: None, inner: Mutex::new(Inner { length: NANOS_PER_SECOND, ..Inner::default() }) }
    }

    /// Whether anything is audited.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.origin.is_some()
    }

    /// A poisoned lock means that a thread died between two counts; the tallies go on.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a feed that does not run yet; gives its number.
    pub fn feed(&self, exchange: &str) -> usize {
        let mut inner = self.lock();
        inner.feeds.push(Feed::new(exchange));
        inner.feeds.len() - 1
    }

    /// A feed starts: from now on it has these streams, per instrument and data type. Gives their numbers.
    pub fn subscribe(&self, feed: usize, streams: &[[Option<StreamId>; 8]], now_ns: i64) -> StreamTable {
        if !self.is_on() {
            return vec![[NO_STREAM; 8]; streams.len()];
        }
        let mut inner = self.lock();
        let mut number = |subject: &Option<StreamId>| {
            subject.as_ref().map_or(NO_STREAM, |subject| inner.streams.number(subject))
        };
        let table: StreamTable = streams
            .iter()
            .map(|subjects| std::array::from_fn(|kind| subjects.get(kind).map_or(NO_STREAM, &mut number)))
            .collect();
        let mut subscribed: Vec<u32> = table.iter().flatten().copied().filter(|n| *n != NO_STREAM).collect();
        subscribed.sort_unstable();
        subscribed.dedup();
        let run_ns = self.origin.as_ref().map_or(now_ns, |origin| origin.run_ns);
        let Some(feed) = inner.feeds.get_mut(feed) else { return table };
        feed.since_ns = if feed.last_ns == 0 { run_ns } else { now_ns };
        (feed.not_running, feed.frontier_ns, feed.last_ns) = (None, now_ns, now_ns);
        let before = std::mem::replace(&mut feed.subscribed, subscribed);
        for stream in before {
            inner.up(stream, GapKind::AdapterFault, now_ns);
        }
        table
    }

    /// Since when the streams of a feed are to be collected: the run's start, or that of the feed when it ran before.
    #[must_use]
    pub fn since_ns(&self, feed: usize) -> Option<i64> {
        self.lock().feeds.get(feed).map(|feed| feed.since_ns)
    }

    /// A feed does not run any more, or could not start. `trouble`: nobody asked for that.
    pub fn feed_ended(&self, feed: usize, trouble: Option<&str>) {
        let mut inner = self.lock();
        let Some(feed) = inner.feeds.get_mut(feed) else { return };
        let ran = feed.frontier_ns != i64::MAX;
        feed.frontier_ns = i64::MAX;
        let Some(trouble) = trouble else { return };
        feed.not_running = Some(trouble.to_owned());
        if !ran {
            return;
        }
        let (from_ns, streams) = (feed.last_ns, feed.subscribed.clone());
        for stream in streams {
            let standing = OpenGap {
                kind: GapKind::AdapterFault,
                cause: GapCause::Ours,
                from_ns,
                sequences: None,
                evidence: format!("the feed ended: {trouble}"),
            };
            inner.down(stream, standing);
        }
    }

    /// Counts records of which is known what became of them.
    pub fn settle(&self, settled: &[RecordOutcome]) {
        if self.is_on() && !settled.is_empty() {
            self.lock().settle(settled);
        }
    }

    /// What a feed's pipeline noticed. Everything that it received before `frontier_ns` is in the journal, or told here as lost.
    pub fn told(&self, feed: usize, tellings: Vec<GapEvent>, frontier_ns: Option<i64>) {
        if !self.is_on() {
            return;
        }
        let mut inner = self.lock();
        for telling in tellings {
            inner.tell(feed, telling);
        }
        if let (Some(frontier_ns), Some(feed)) = (frontier_ns, inner.feeds.get_mut(feed)) {
            (feed.frontier_ns, feed.last_ns) = (frontier_ns, frontier_ns);
        }
    }

    /// The least frontier of all feeds that run.
    #[must_use]
    pub fn frontier_ns(&self) -> i64 {
        self.lock().feeds.iter().map(|feed| feed.frontier_ns).min().unwrap_or(i64::MAX)
    }

    /// Closes windows whose time is over: at most `most` of them. Nothing received before `settled_ns` waits or is in flight.
    pub fn close(&self, now_ns: i64, settled_ns: i64, most: usize) -> Vec<Audit> {
        let Some(origin) = &self.origin else { return Vec::new() };
        let settle_ns = i64::try_from(origin.settle.as_nanos()).unwrap_or(i64::MAX);
        let mut inner = self.lock();
        let mut audits = Vec::new();
        while audits.len() < most {
            let end_ns = inner.status.open_since_ns.saturating_add(inner.length);
            if now_ns < end_ns.saturating_add(settle_ns) || settled_ns < end_ns {
                break;
            }
            audits.push(inner.close_oldest(origin, end_ns));
        }
        audits
    }

    /// Closes every window up to the end of the run. Gives besides how many windows cannot be vouched for, because records of them
    /// are not settled.
    pub fn close_all(&self, stop_ns: i64, settled_ns: i64) -> (Vec<Audit>, u64) {
        let Some(origin) = &self.origin else { return (Vec::new(), 0) };
        let mut inner = self.lock();
        let mut audits = Vec::new();
        while inner.status.open_since_ns < stop_ns {
            let to_ns = inner.status.open_since_ns.saturating_add(inner.length).min(stop_ns);
            if settled_ns < to_ns {
                let left_ns =
                    stop_ns.saturating_sub(inner.status.open_since_ns).saturating_add(inner.length - 1);
                return (audits, u64::try_from(left_ns / inner.length).unwrap_or_default());
            }
            audits.push(inner.close_oldest(origin, to_ns));
        }
        (audits, 0)
    }

    /// Where the audits stand.
    #[must_use]
    pub fn status(&self) -> AuditStatus {
        self.lock().status
    }

    /// RemarkLog how many messages wait for the broker, and since when.
    pub fn set_waiting(&self, waiting: u64, since_ns: Option<i64>) {
        let mut inner = self.lock();
        (inner.status.waiting, inner.status.waiting_since_ns) = (waiting, since_ns);
    }
}

impl Inner {
    fn start_of(&self, at_ns: i64) -> i64 {
        at_ns - at_ns.rem_euclid(self.length)
    }

    /// The open window that a time belongs to. None when it is closed: then `what` come too late.
    fn window(&mut self, at_ns: i64, what: usize) -> Option<&mut WindowTally> {
        let start_ns = self.start_of(at_ns);
        if start_ns < self.status.open_since_ns {
            self.status.late += u64::try_from(what).unwrap_or_default();
            return None;
        }
        if !self.windows.contains_key(&start_ns) && self.windows.len() >= AUDIT_WINDOWS_MAX {
            self.drop_oldest();
        }
        Some(self.windows.entry(start_ns).or_default())
    }

    /// Gives the oldest window up: it will never be reported.
    fn drop_oldest(&mut self) {
        if let Some((start_ns, _)) = self.windows.pop_first() {
            self.status.open_since_ns = start_ns.saturating_add(self.length);
            self.status.dropped += 1;
        }
    }

    fn settle(&mut self, settled: &[RecordOutcome]) {
        let mut rest = settled;
        while let Some(first) = rest.first() {
            let start_ns = self.start_of(first.received_at_ns);
            let end_ns = start_ns.saturating_add(self.length);
            let is_here =
                |one: &&RecordOutcome| start_ns <= one.received_at_ns && one.received_at_ns < end_ns;
            let (here, later) = rest.split_at(rest.iter().take_while(is_here).count().max(1));
            if let Some(window) = self.window(start_ns, here.len()) {
                window.settle(here);
            }
            rest = later;
        }
    }

    fn tell(&mut self, feed: usize, telling: GapEvent) {
        match telling {
            GapEvent::Holes(stream, holes) => {
                let open_since_ns = self.status.open_since_ns;
                let open: Vec<TradeIdGap> =
                    holes.into_iter().filter(|hole| hole.at_ns >= open_since_ns).collect();
                self.holes.insert(stream, open);
            }
            GapEvent::Gap(stream, gap) => self.cell(stream, gap.to, |cell| cell.gap(gap)),
            GapEvent::Down(stream, standing) => self.down(stream, standing),
            GapEvent::Up(stream, kind, at_ns) => self.up(stream, kind, at_ns),
            GapEvent::Conflated(stream, at_ns, states) => {
                self.cell(stream, at_ns, |cell| cell.conflated(states));
            }
            GapEvent::Malformed(stream, at_ns, frames) => {
                self.cell(stream, at_ns, |cell| cell.malformed(frames));
            }
            GapEvent::Counts(at_ns, counts) => {
                if let Some(window) = self.window(at_ns, 1) {
                    window.count(feed, counts);
                }
            }
        }
    }

    fn cell(&mut self, stream: u32, at_ns: i64, note: impl FnOnce(&mut StreamTally)) {
        if let Some(cell) = self.window(at_ns, 1).and_then(|window| window.cell(stream)) {
            note(cell);
        }
    }

    fn down(&mut self, stream: u32, standing: OpenGap) {
        if stream != NO_STREAM {
            self.standing.entry((stream, standing.kind)).or_insert(standing);
        }
    }

    /// A lasting gap ends: each open window that it touched keeps its part.
    fn up(&mut self, stream: u32, kind: GapKind, at_ns: i64) {
        let Some(standing) = self.standing.remove(&(stream, kind)) else { return };
        let mut start_ns = self.start_of(standing.from_ns).max(self.status.open_since_ns);
        while start_ns <= at_ns {
            let part = standing.within(start_ns, start_ns.saturating_add(self.length), at_ns);
            if let Some(part) = part {
                self.cell(stream, start_ns, |cell| cell.gap(part));
            }
            start_ns = start_ns.saturating_add(self.length);
        }
    }

    /// The audit of the oldest open window, up to `to_ns`; the next one is the oldest then.
    fn close_oldest(&mut self, origin: &AuditOrigin, to_ns: i64) -> Audit {
        let start_ns = self.status.open_since_ns;
        let end_ns = start_ns.saturating_add(self.length);
        let mut window = self.windows.remove(&start_ns).unwrap_or_default();
        self.status.open_since_ns = end_ns;
        let mut is_subscribed = vec![false; self.streams.len()];
        for stream in self.feeds.iter().flat_map(|feed| &feed.subscribed) {
            if let Some(is) = usize::try_from(*stream).ok().and_then(|index| is_subscribed.get_mut(index)) {
                *is = true;
            }
        }
        let (mut streams, mut silent) = (Vec::new(), Vec::new());
        for ((stream, subject), is_subscribed) in self.streams.iter().zip(is_subscribed) {
            let cell = window.take(stream);
            let gaps = gaps_of(&self.holes, &self.standing, stream, start_ns, to_ns);
            if !cell.is_empty() || !gaps.is_empty() {
                let mut audit = StreamAudit::new(subject);
                cell.report(&mut audit, gaps);
                streams.push(audit);
            } else if is_subscribed {
                silent.push(subject.clone());
            }
        }
        for holes in self.holes.values_mut() {
            holes.retain(|hole| hole.at_ns >= end_ns);
        }
        self.holes.retain(|_, holes| !holes.is_empty());
        let feed =
            |(number, feed): (usize, &Feed)| window.feed(number, &feed.exchange, feed.not_running.as_deref());
        Audit {
            version: AUDIT_VERSION,
            edge: origin.edge.clone(),
            region: origin.region.clone(),
            run: origin.run_ns,
            window_start: start_ns,
            window_seconds: origin.window_seconds,
            from: start_ns.max(origin.run_ns.min(to_ns)),
            to: to_ns,
            part: 1,
            parts: 1,
            streams,
            silent,
            feeds: self.feeds.iter().enumerate().map(feed).collect(),
        }
    }
}

/// The open holes that showed in a window, and its parts of gaps that last.
fn gaps_of(
    holes: &BTreeMap<u32, Vec<TradeIdGap>>,
    standing: &BTreeMap<(u32, GapKind), OpenGap>,
    stream: u32,
    start_ns: i64,
    to_ns: i64,
) -> Vec<Gap> {
    let holes = holes.get(&stream).into_iter().flatten();
    let shown = holes.filter(|hole| start_ns <= hole.at_ns && hole.at_ns < to_ns).map(TradeIdGap::gap);
    let kinds = GapKind::ALL.iter().filter_map(|kind| standing.get(&(stream, *kind)));
    let lasting = kinds.filter_map(|standing| standing.within(start_ns, to_ns, to_ns));
    shown.chain(lasting).collect()
}
