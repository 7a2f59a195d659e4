//! Observes one feed for the audits: lost connections, unusable frames, gaps in trade ids and order books. Reports in batches.

mod silences;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use marketprism_adapter_host::contract::Plan;
use marketprism_adapter_host::{InstrumentIndex, SourceIndex};
use marketprism_book::{BookGap, BookState};
use marketprism_schema::{DataType, DowntimeReason, Gap, GapCause, GapKind};
use marketprism_socket::CloseReason;

use self::silences::Silences;
use super::evidence::{
    GapSource, IncidentKind, Incidents, Recovery, book_gap, carries, explanation, gap_sources, stream_of,
    time_of_day, trade_gap,
};
use super::hole::BackfilledHole;
use crate::audit::{AuditFeed, AuditStream, Auditor, FeedCounts, GapEvent, StreamTable};
use crate::books::BookReport;
use crate::records::RecordBuilder;

/// Events kept for the next report. More: they are reported at once.
const EVENTS_MAX: usize = 4_096;

#[derive(Debug)]
pub struct GapMonitor {
    auditor: Arc<Auditor>,
    feed: AuditFeed,
    streams: StreamTable,
    sources: Vec<GapSource>,
    incidents: Incidents,
    /// Sources with a recovery that is not reported.
    recovering: Vec<SourceIndex>,
    events: Vec<GapEvent>,
    counts: FeedCounts,
    counts_at_ns: i64,
    /// Gaps of books in this turn: the incident behind them may be in the same batch.
    book_gaps: Vec<(InstrumentIndex, Gap)>,
    /// Books with a gap that are not LIVE again.
    broken: BTreeMap<InstrumentIndex, GapKind>,
    silences: Silences,
    /// Conflated states of each book that are reported already.
    conflated: BTreeMap<InstrumentIndex, u64>,
    /// Everything received before is processed.
    frontier_ns: i64,
}

impl GapMonitor {
    /// From `since_ns` until they are subscribed and have a frame, the connections of the feed have a gap.
    pub fn new(
        auditor: Arc<Auditor>,
        feed: AuditFeed,
        streams: StreamTable,
        plan: &Plan,
        since_ns: i64,
    ) -> Self {
        let mut monitor = Self {
            auditor,
            feed,
            sources: gap_sources(plan, &streams),
            streams,
            incidents: Incidents::default(),
            recovering: Vec::new(),
            events: Vec::new(),
            counts: FeedCounts::default(),
            counts_at_ns: since_ns,
            book_gaps: Vec::new(),
            broken: BTreeMap::new(),
            silences: Silences::default(),
            conflated: BTreeMap::new(),
            frontier_ns: since_ns,
        };
        for source in (0..plan.connections.len()).map(SourceIndex::at) {
            monitor.down(
                source,
                since_ns,
                GapKind::Start,
                GapCause::Network,
                "not subscribed, or no frame since",
            );
        }
        monitor.report_events(None);
        monitor
    }

    pub fn off(plan: &Plan) -> Self {
        let auditor = Arc::new(Auditor::off());
        let feed = auditor.feed("");
        Self::new(auditor, feed, StreamTable::new(), plan, 0)
    }

    /// Ends a gap of its source, but not before the source is subscribed: an acknowledgement, a pong, and the streams that were subscribed first
    /// say nothing of those whose subscription is yet to be sent.
    pub fn frame(
        &mut self,
        (source, generation): (SourceIndex, u64),
        at_ns: i64,
        subscribed_at_ns: Option<i64>,
    ) {
        let Some(state) = self.sources.get_mut(source.position()) else { return };
        state.newest_frames.insert(generation, at_ns);
        if generation > state.answers.0 {
            state.answers = (generation, 0);
        }
        if let Some(subscribed_at_ns) = subscribed_at_ns.filter(|_| state.late.is_none()) {
            self.end_down(source, at_ns, subscribed_at_ns);
        }
    }

    fn end_down(&mut self, source: SourceIndex, at_ns: i64, subscribed_at_ns: i64) {
        let Some(state) = self.sources.get_mut(source.position()) else { return };
        let Some((since_ns, kind)) = state.down.take() else { return };
        // Frames may have waited for the start of the pipeline.
        let at_ns = at_ns.max(since_ns).max(subscribed_at_ns);
        state.recovery = Some(Recovery { kind, at_ns, venue_ns: None });
        state.up_ns = state.up_ns.and(Some(at_ns));
        self.recovering.push(source);
        if kind == GapKind::Connection {
            self.incidents.add(IncidentKind::ConnectionLost, source, since_ns, at_ns);
        }
    }

    /// The venue answered a message of this generation of a connection. The gap that ended just before lasts until then: the answer may be that to a
    /// subscription.
    pub fn answered(&mut self, (source, generation): (SourceIndex, u64), at_ns: i64) {
        let Some(state) = self.sources.get_mut(source.position()) else { return };
        state.answers.1 += usize::from(generation == state.answers.0);
        let has_subscribed = state.opening_messages > 0;
        let Some(recovery) = state.recovery.as_mut().filter(|end| has_subscribed && end.at_ns < at_ns) else {
            return;
        };
        let (kind, before_ns) = (recovery.kind, recovery.at_ns);
        *recovery = Recovery { kind, at_ns, venue_ns: None };
        state.up_ns = state.up_ns.and(Some(at_ns));
        if kind == GapKind::Connection {
            self.incidents.add(IncidentKind::ConnectionLost, source, before_ns, at_ns);
        }
    }

    /// An event of a frame of `at_ns` that was reported before. False: the gap of its source lasts, or by the venue's clock it is from before the end of the
    /// last one, as the rows that a subscription begins with.
    pub fn event(
        &mut self,
        (source, generation): (SourceIndex, u64),
        at_ns: i64,
        time_us: Option<i64>,
    ) -> bool {
        if let Some(state) = self.sources.get_mut(source.position()) {
            state.event_generation = state.event_generation.max(generation);
            if state.late.is_some_and(|ended| generation > ended) {
                state.late = None;
                self.end_down(source, at_ns, at_ns);
            }
        }
        let Some(venue_ns) = time_us.map(|us| us.saturating_mul(1_000)) else { return true };
        let Some(state) = self.sources.get_mut(source.position()) else { return true };
        let is_up = state.down.is_none();
        let is_live = state.up_ns.is_none_or(|up_ns| is_up && venue_ns >= up_ns);
        let is_newest = state.newest_venue_ns.is_none_or(|newest_ns| venue_ns > newest_ns);
        state.newest_venue_ns = state.newest_venue_ns.max(Some(venue_ns));
        if is_live
            && is_newest
            && let Some(recovery) = &mut state.recovery
        {
            recovery.venue_ns = recovery.venue_ns.or(Some(venue_ns));
            if state.opening_messages == 0 {
                self.report_recovery(source);
            }
        }
        is_live
    }

    fn report_recovery(&mut self, source: SourceIndex) {
        let Some(state) = self.sources.get_mut(source.position()) else { return };
        let Some(Recovery { kind, at_ns, venue_ns }) = state.recovery.take() else { return };
        let mut streams = state.streams.clone();
        if kind == GapKind::Connection {
            // Its other streams flow again; theirs is the next event.
            streams.retain(|stream| !self.silences.contains(*stream));
        }
        self.recovering.retain(|other| *other != source);
        for stream in streams {
            self.push(GapEvent::Recovered(stream, kind, at_ns, venue_ns));
        }
    }

    fn recovered_at_ns(&self, source: SourceIndex) -> Option<i64> {
        self.sources.get(source.position())?.recovery.as_ref().map(|recovery| recovery.at_ns)
    }

    /// Reports the recoveries that nothing moves any more at this time.
    fn report_recoveries(&mut self, now_ns: i64) {
        for source in self.recovering.clone() {
            if self.sources.get(source.position()).is_some_and(|state| state.is_recovered(now_ns)) {
                self.report_recovery(source);
            }
        }
    }

    /// No frame of this generation of a connection follows.
    pub fn generation_ended(&mut self, (source, generation): (SourceIndex, u64)) {
        if let Some(state) = self.sources.get_mut(source.position()) {
            state.newest_frames.remove(&generation);
        }
    }

    /// A connection ended without an overlapping successor. `is_late`: there is one whose frames are no proof that its streams flow, for it had
    /// brought no event.
    pub fn closed(
        &mut self,
        (source, generation): (SourceIndex, u64),
        reason: &CloseReason,
        at_ns: i64,
        is_late: bool,
    ) {
        if matches!(reason, CloseReason::Stopped) {
            let what = "the edge stopped and closed the connection";
            return self.down(source, at_ns, GapKind::Stop, GapCause::Operator, what);
        }
        self.count(at_ns, |counts| counts.reconnects += 1);
        let cause =
            if matches!(reason, CloseReason::TooLarge(_)) { GapCause::Ours } else { GapCause::Network };
        let Some(state) = self.sources.get_mut(source.position()) else { return };
        if is_late && state.event_generation > generation {
            // It waited for this pipeline.
            return;
        }
        state.late = is_late.then_some(generation);
        let last_ns = state.newest_frames.get(&generation).copied().unwrap_or(at_ns);
        let what = format!("lost at {}: {reason}", time_of_day(at_ns));
        self.down(source, last_ns, GapKind::Connection, cause, &what);
        self.incidents.add(IncidentKind::ConnectionLost, source, last_ns, at_ns);
    }

    /// A request failed after its last retry.
    pub fn request_failed(&mut self, source: SourceIndex, reason: &dyn Display, at_ns: i64) {
        let what = format!("failed at {}: {reason}", time_of_day(at_ns));
        self.down(source, at_ns, GapKind::Connection, GapCause::Network, &what);
    }

    fn down(&mut self, source: SourceIndex, from_ns: i64, kind: GapKind, cause: GapCause, what: &str) {
        self.report_recovery(source);
        let Some(state) = self.sources.get_mut(source.position()) else { return };
        if state.down.is_some() {
            return;
        }
        state.down = Some((from_ns, kind));
        let mut gap = Gap::open(kind, cause, from_ns, format!("{}: {what}", state.name));
        // Up to another moment than the last frame the connection carried everything, however long ago the last event was.
        let is_lost = kind == GapKind::Connection && state.has_newest_frame_at(from_ns);
        gap.venue_from = state.newest_venue_ns.filter(|_| is_lost);
        for stream in state.streams.clone() {
            self.push(GapEvent::Began(stream, gap.clone()));
        }
    }

    /// A frame could not be used because of this system.
    pub fn frame_lost(&mut self, kind: IncidentKind, source: SourceIndex, at_ns: i64) {
        self.count(at_ns, |counts| counts.adapter_faults += 1);
        self.lost(kind, 1, source, at_ns);
    }

    /// A frame, or this many elements of it, cannot be read.
    pub fn elements_lost(&mut self, count: u64, source: SourceIndex, at_ns: i64) {
        self.count(at_ns, |counts| counts.malformed += count);
        self.lost(IncidentKind::Malformed, count, source, at_ns);
    }

    fn lost(&mut self, kind: IncidentKind, count: u64, source: SourceIndex, at_ns: i64) {
        self.incidents.add(kind, source, at_ns, at_ns);
        let streams = self.sources.get(source.position()).map(|state| state.streams.as_slice());
        if let Some(&[stream]) = streams {
            self.push(GapEvent::Malformed(stream, at_ns, count));
        }
    }

    fn count(&mut self, at_ns: i64, add: impl FnOnce(&mut FeedCounts)) {
        // Counts of one event stay within a second, and so within a window.
        if at_ns.div_euclid(1_000_000_000) != self.counts_at_ns.div_euclid(1_000_000_000) {
            self.flush_counts();
            self.counts_at_ns = at_ns;
        }
        add(&mut self.counts);
    }

    fn flush_counts(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        if counts != FeedCounts::default() {
            self.events.push(GapEvent::Counts(self.counts_at_ns, counts));
        }
    }

    /// A LIVE book is wrong. `after_ns`: receive time of the update before.
    pub fn book_gap(&mut self, instrument: InstrumentIndex, after_ns: i64, gap: BookGap) {
        self.book_gaps.push((instrument, book_gap(after_ns, gap)));
    }

    /// A book restarts because its update was rejected.
    pub fn book_update_rejected(
        &mut self,
        instrument: InstrumentIndex,
        after_ns: i64,
        at_ns: i64,
        reason: &dyn Display,
    ) {
        let what = format!("update rejected: {reason}");
        let gap = Gap::open(GapKind::BookSequence, GapCause::Venue, after_ns, what);
        self.book_gaps.push((instrument, Gap { to: at_ns, ..gap }));
    }

    /// The batch is processed: explains its gaps. Everything received before `frontier_ns` is processed.
    pub fn end_turn(&mut self, builder: &mut RecordBuilder, frontier_ns: i64) {
        self.frontier_ns = frontier_ns;
        if !self.recovering.is_empty() {
            self.report_recoveries(frontier_ns);
        }
        let (incidents, sources, streams) = (&self.incidents, &self.sources, &self.streams);
        let explain = |kind, instrument, gap: &Gap| {
            let stream = stream_of(streams, kind, instrument);
            let concerns = |source| stream.is_some_and(|stream| carries(sources, source, stream));
            explanation(incidents.find(gap.from, gap.to, concerns), sources)
        };
        builder.explain_trade_gaps(&|instrument, gap| {
            let (cause, seen) = explain(DataType::Trade, instrument, gap);
            (cause, trade_gap(gap, &seen))
        });
        let mut began = Vec::new();
        for (instrument, mut gap) in std::mem::take(&mut self.book_gaps) {
            let found = book_streams(streams, instrument);
            let Some((kind, _)) = found.first() else { continue };
            let (cause, seen) = explain(*kind, instrument, &gap);
            let evidence =
                format!("{}; {seen}; no state is published until the book is LIVE again", gap.evidence);
            gap.explain(cause, evidence);
            gap.to = Gap::OPEN;
            self.broken.insert(instrument, gap.kind);
            began.extend(found.into_iter().map(|(_, stream)| GapEvent::Began(stream, gap.clone())));
        }
        for event in began {
            self.push(event);
        }
    }

    /// Reports events, gaps in trade ids and states of books. The caller has put every record into the queue.
    pub fn report(&mut self, builder: &mut RecordBuilder, books: &[BookReport]) {
        if !self.auditor.is_on() {
            self.events.clear();
            return;
        }
        for book in books {
            self.report_book(book);
        }
        for instrument in builder.take_changed_trade_gaps() {
            let Some(stream) = stream_of(&self.streams, DataType::Trade, instrument) else { continue };
            let (gaps, forgotten) = builder.trade_gaps(instrument);
            self.events.extend(forgotten.map(|sum| GapEvent::Ended(stream, sum)));
            self.events.push(GapEvent::TradeIds(stream, gaps));
        }
        let oldest_book_ns = builder.oldest_waiting_book_ns().unwrap_or(i64::MAX);
        let recoveries = self.recovering.iter().filter_map(|source| self.recovered_at_ns(*source));
        let oldest_ns = recoveries.min().unwrap_or(i64::MAX).min(oldest_book_ns);
        self.report_events(Some(self.frontier_ns.min(oldest_ns)));
    }

    /// Every id of a hole is decided.
    pub fn backfilled(&mut self, hole: &BackfilledHole) {
        if let Some(stream) = stream_of(&self.streams, DataType::Trade, hole.instrument) {
            self.push(GapEvent::Ended(stream, hole.as_gap()));
        }
    }

    fn report_book(&mut self, book: &BookReport) {
        let streams = book_streams(&self.streams, book.instrument);
        let states_stream = stream_of(&self.streams, DataType::OrderBook, book.instrument);
        let reported = self.conflated.entry(book.instrument).or_default();
        let states = book.conflated.saturating_sub(*reported);
        *reported = book.conflated;
        if let Some(stream) = states_stream
            && states > 0
        {
            self.events.push(GapEvent::Conflated(stream, self.frontier_ns, states));
        }
        if book.state == BookState::Live
            && let Some(kind) = self.broken.remove(&book.instrument)
        {
            let recovered = |(_, stream)| GapEvent::Recovered(stream, kind, self.frontier_ns, None);
            self.events.extend(streams.into_iter().map(recovered));
        }
    }

    /// The streams of an instrument end at `at_ns`. Everything of it is in the queue.
    pub fn end_instrument(&mut self, instrument: InstrumentIndex, at_ns: i64, reason: DowntimeReason) {
        let streams = self.take_streams(instrument);
        self.auditor.end_streams(self.feed, streams, at_ns, reason);
    }

    /// Another part observes the streams of an instrument from here on. Everything of it is in the queue.
    pub fn leave_instrument(&mut self, instrument: InstrumentIndex) {
        self.take_streams(instrument);
    }

    fn take_streams(&mut self, instrument: InstrumentIndex) -> Vec<AuditStream> {
        self.report_events(None);
        self.broken.remove(&instrument);
        let row = self.streams.get_mut(instrument.position()).map(std::mem::take).unwrap_or_default();
        let taken: Vec<AuditStream> = row.values().copied().flatten().collect();
        for source in &mut self.sources {
            source.streams.retain(|stream| !taken.contains(stream));
        }
        self.silences.forget(&taken);
        taken
    }

    /// The pipeline ends, and everything is in the queue.
    pub fn finish(&mut self) {
        self.report_recoveries(i64::MAX);
        self.report_events(Some(i64::MAX));
    }

    fn push(&mut self, event: GapEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.report_events(None);
        }
        self.events.push(event);
    }

    fn report_events(&mut self, frontier_ns: Option<i64>) {
        self.flush_counts();
        self.auditor.observe(self.feed, std::mem::take(&mut self.events), frontier_ns);
    }
}

/// The streams that a book feeds.
fn book_streams(streams: &StreamTable, instrument: InstrumentIndex) -> Vec<(DataType, AuditStream)> {
    let kinds = DataType::ALL.iter().copied().filter(|kind| kind.subscribed() == DataType::OrderBook);
    kinds.filter_map(|kind| Some((kind, stream_of(streams, kind, instrument)?))).collect()
}

#[cfg(test)]
mod tests;
