//! What a pipeline notices that its events do not tell: connections that are down, unreadable frames, holes, gaps of books. Told to the
//! audits every now and then, in one go.

use std::collections::BTreeMap;
use std::sync::Arc;

use marketprism_adapter_host::contract::Plan;
use marketprism_adapter_host::{InstrumentIndex, SourceIndex};
use marketprism_book::{BookGap, BookState};
use marketprism_schema::{DataType, GapCause, GapKind};
use marketprism_socket::CloseReason;

use super::evidence::{self, BookTrouble, carried, streams_of};
use super::incidents::{IncidentKind, Incidents};
use crate::audit::{Auditor, FeedCounts, GapEvent, NO_STREAM, OpenGap, StreamTable, time_of_day};
use crate::books::BookReport;
use crate::records::RecordBuilder;

/// Tellings that are kept for the next report. More: they are handed over at once.
const TELLINGS_MAX: usize = 4_096;

/// One source of frames.
#[derive(Debug, Default)]
struct SourceState {
    /// Receive time of its newest frame; 0: none.
    last_ns: i64,
    /// Since when it brings nothing.
    down_since_ns: Option<i64>,
    /// What kind of gap that is.
    down_kind: Option<GapKind>,
}

/// Watches one feed for the audits.
#[derive(Debug)]
pub struct GapMonitor {
    auditor: Arc<Auditor>,
    feed: usize,
    streams: StreamTable,
    /// Per source: the streams that it brings.
    carried: Vec<Vec<u32>>,
    names: Vec<String>,
    lives: Vec<SourceState>,
    incidents: Incidents,
    tellings: Vec<GapEvent>,
    counts: FeedCounts,
    counts_at_ns: i64,
    /// Troubles of books in this turn: what explains them may come with the same batch.
    troubles: Vec<BookTrouble>,
    /// Books that have a gap and are not LIVE again, with its kind.
    broken: BTreeMap<InstrumentIndex, GapKind>,
    /// Conflated states of each book that are told already.
    conflated: BTreeMap<InstrumentIndex, u64>,
    /// Everything received before is worked off.
    frontier_ns: i64,
}

impl GapMonitor {
    /// A watch over a feed that starts: from `since_ns` until their first frames, its connections are down.
    #[must_use]
    pub fn new(auditor: Arc<Auditor>, feed: usize, streams: StreamTable, plan: &Plan, since_ns: i64) -> Self {
        let carried = carried(plan, &streams);
        let mut lives: Vec<SourceState> = Vec::new();
        lives.resize_with(carried.len(), SourceState::default);
        let connections = plan.connections.iter().map(|connection| format!("connection {}", connection.name));
        let polls = plan.polls.iter().map(|poll| format!("poll of {}", poll.request.url));
        let mut watch = Self {
            auditor,
            feed,
            streams,
            names: connections.chain(polls).collect(),
            carried,
            lives,
            incidents: Incidents::default(),
            tellings: Vec::new(),
            counts: FeedCounts::default(),
            counts_at_ns: since_ns,
            troubles: Vec::new(),
            broken: BTreeMap::new(),
            conflated: BTreeMap::new(),
            frontier_ns: since_ns,
        };
        for source in (0..plan.connections.len()).map(SourceIndex::at) {
            let evidence = format!("{} brought nothing yet: the feed starts", watch.name(source));
            watch.down(source, since_ns, GapKind::Start, GapCause::Network, &evidence);
        }
        watch.hand_over(None);
        watch
    }

    /// One that watches nothing.
    #[must_use]
    pub fn off(plan: &Plan) -> Self {
        Self::new(Arc::new(Auditor::off()), 0, StreamTable::new(), plan, 0)
    }

    /// A frame came.
    pub fn frame(&mut self, source: SourceIndex, at_ns: i64) {
        let Some(life) = self.lives.get_mut(source.position()) else { return };
        life.last_ns = at_ns;
        if let Some(since_ns) = life.down_since_ns.take() {
            let kind = life.down_kind.take().unwrap_or(GapKind::Connection);
            if kind == GapKind::Connection {
                self.incidents.note(IncidentKind::ConnectionLost, source, since_ns, at_ns);
            }
            for stream in self.carried_by(source) {
                self.tell(GapEvent::Up(stream, kind, at_ns));
            }
        }
    }

    /// A connection ended, and no other one has taken its place.
    pub fn closed(&mut self, source: SourceIndex, reason: &CloseReason, at_ns: i64) {
        if matches!(reason, CloseReason::Stopped) {
            let evidence = format!("the edge stopped its {}", self.name(source));
            return self.down(source, at_ns, GapKind::Stop, GapCause::Ours, &evidence);
        }
        self.count(at_ns, |counts| counts.reconnects += 1);
        let cause =
            if matches!(reason, CloseReason::TooLarge(_)) { GapCause::Ours } else { GapCause::Network };
        let last_ns = self.last_ns(source).unwrap_or(at_ns);
        let evidence = format!("{} was lost at {}: {reason}", self.name(source), time_of_day(at_ns));
        self.down(source, last_ns, GapKind::Connection, cause, &evidence);
        self.incidents.note(IncidentKind::ConnectionLost, source, last_ns, at_ns);
    }

    /// A poll was given up.
    pub fn request_failed(&mut self, source: SourceIndex, reason: &dyn std::fmt::Display, at_ns: i64) {
        let evidence = format!("{} failed at {}: {reason}", self.name(source), time_of_day(at_ns));
        self.down(source, at_ns, GapKind::Connection, GapCause::Network, &evidence);
    }

    fn down(&mut self, source: SourceIndex, from_ns: i64, kind: GapKind, cause: GapCause, evidence: &str) {
        let Some(life) = self.lives.get_mut(source.position()) else { return };
        if life.down_since_ns.is_some() {
            return;
        }
        (life.down_since_ns, life.down_kind) = (Some(from_ns), Some(kind));
        for stream in self.carried_by(source) {
            let evidence = evidence.to_owned();
            self.tell(GapEvent::Down(stream, OpenGap { kind, cause, from_ns, sequences: None, evidence }));
        }
    }

    /// A frame was of no use, for a reason of ours.
    pub fn frame_lost(&mut self, kind: IncidentKind, source: SourceIndex, at_ns: i64) {
        self.incidents.note(kind, source, at_ns, at_ns);
        match kind {
            IncidentKind::Malformed => self.count(at_ns, |counts| counts.malformed += 1),
            _ => self.count(at_ns, |counts| counts.adapter_faults += 1),
        }
        let only = self.carried.get(source.position());
        if let Some([stream]) = only.map(Vec::as_slice) {
            let stream = *stream;
            self.tell(GapEvent::Malformed(stream, at_ns, 1));
        }
    }

    fn count(&mut self, at_ns: i64, add: impl FnOnce(&mut FeedCounts)) {
        // Sums stay within a second, so that they stay within a window.
        if at_ns.div_euclid(1_000_000_000) != self.counts_at_ns.div_euclid(1_000_000_000) {
            self.flush_counts();
            self.counts_at_ns = at_ns;
        }
        add(&mut self.counts);
    }

    fn flush_counts(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        if counts != FeedCounts::default() {
            self.tellings.push(GapEvent::Counts(self.counts_at_ns, counts));
        }
    }

    /// A LIVE book proved to be wrong. `after_ns`: receive time of the update before.
    pub fn book_gap(&mut self, instrument: InstrumentIndex, after_ns: i64, gap: BookGap) {
        self.troubles.push(BookTrouble::gap(instrument, after_ns, gap));
    }

    /// An update of a book was refused, and the book is started anew.
    pub fn book_refused(
        &mut self,
        instrument: InstrumentIndex,
        after_ns: i64,
        at_ns: i64,
        why: &dyn std::fmt::Display,
    ) {
        self.troubles.push(BookTrouble::refused(instrument, after_ns, at_ns, why));
    }

    /// The batch is through: what it brought is explained. `frontier_ns`: everything received before is worked off.
    pub fn end_turn(&mut self, router: &mut RecordBuilder, frontier_ns: i64) {
        self.frontier_ns = frontier_ns;
        let (incidents, carried, streams) = (&self.incidents, &self.carried, &self.streams);
        router.explain_holes(&|instrument, from_ns, to_ns| {
            let stream = streams_of(streams, DataType::Trade, Some(instrument)).next().unwrap_or(NO_STREAM);
            incidents.explain(from_ns, to_ns, |source| evidence::carries(carried, source, stream))
        });
        for trouble in std::mem::take(&mut self.troubles) {
            self.book_trouble(trouble);
        }
    }

    fn book_trouble(&mut self, trouble: BookTrouble) {
        let instrument = trouble.instrument;
        let stream = streams_of(&self.streams, DataType::OrderBook, Some(instrument)).next();
        let Some(stream) = stream else { return };
        let concerns = |source: SourceIndex| evidence::carries(&self.carried, source, stream);
        let incident = self.incidents.explain(trouble.after_ns, trouble.at_ns, concerns);
        let standing = trouble.standing(incident, &self.names);
        self.broken.insert(instrument, standing.kind);
        self.tell(GapEvent::Down(stream, standing));
    }

    /// Hands over what is noticed, the holes of the trades and the states of the books. The caller has put every record into the
    /// journal.
    pub fn report(&mut self, router: &mut RecordBuilder, books: &[BookReport]) {
        if !self.auditor.is_on() {
            self.tellings.clear();
            return;
        }
        for book in books {
            self.book(book);
        }
        for instrument in router.take_changed_holes() {
            let Some(stream) = streams_of(&self.streams, DataType::Trade, Some(instrument)).next() else {
                continue;
            };
            if let Some(sum) = router.take_forgotten_holes(instrument) {
                self.tellings.push(GapEvent::Gap(stream, evidence::sum(&sum, &self.names)));
            }
            let holes = router.holes(instrument).map(|hole| evidence::hole(&hole, &self.names)).collect();
            self.tellings.push(GapEvent::Holes(stream, holes));
        }
        let oldest_book_ns = router.oldest_waiting_book_ns().unwrap_or(i64::MAX);
        self.hand_over(Some(self.frontier_ns.min(oldest_book_ns)));
    }

    fn book(&mut self, book: &BookReport) {
        let stream = streams_of(&self.streams, DataType::OrderBook, Some(book.instrument)).next();
        let Some(stream) = stream else { return };
        let told = self.conflated.entry(book.instrument).or_default();
        let states = book.conflated.saturating_sub(*told);
        *told = book.conflated;
        if states > 0 {
            self.tellings.push(GapEvent::Conflated(stream, self.frontier_ns, states));
        }
        if book.state == BookState::Live
            && let Some(kind) = self.broken.remove(&book.instrument)
        {
            self.tellings.push(GapEvent::Up(stream, kind, self.frontier_ns));
        }
    }

    /// The pipeline ends, and everything is in the journal.
    pub fn finish(&mut self) {
        self.hand_over(Some(i64::MAX));
    }

    fn tell(&mut self, telling: GapEvent) {
        if self.tellings.len() >= TELLINGS_MAX {
            self.hand_over(None);
        }
        self.tellings.push(telling);
    }

    fn hand_over(&mut self, frontier_ns: Option<i64>) {
        self.flush_counts();
        self.auditor.told(self.feed, std::mem::take(&mut self.tellings), frontier_ns);
    }

    fn carried_by(&self, source: SourceIndex) -> Vec<u32> {
        self.carried.get(source.position()).cloned().unwrap_or_default()
    }

    fn last_ns(&self, source: SourceIndex) -> Option<i64> {
        let life = self.lives.get(source.position())?;
        (life.last_ns > 0).then_some(life.last_ns)
    }

    fn name(&self, source: SourceIndex) -> &str {
        evidence::name(&self.names, source)
    }
}
