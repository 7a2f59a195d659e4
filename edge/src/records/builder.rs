//! From normalized events to records: books through the book engine, the rest straight to the envelope.

use std::collections::BTreeSet;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{Payload, TradeId};
use marketprism_book::UpdateOutcome;
use marketprism_schema::DataType;

use super::encoder::EventEncoder;
use super::recent_ids::{ForgottenHoles, RecentIds, TradeGap, TradeIdCheck, TradeReport, TradeSequence};
use super::subscription::Subscription;
use crate::books::{BooksPlan, OrderBooks};
use crate::contract::stream_key;
use crate::gaps::Incident;
use crate::queue::Record;

/// What a router needs to know about its feed.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// The books, where the feed asks for them.
    pub books: Option<BooksPlan>,
    /// What the feed asks for; all else is left out.
    pub asked: Subscription,
    /// Levels a side that are published.
    pub depth: u32,
    /// Trade ids rise by one.
    pub contiguous_trade_ids: bool,
    /// Leave out events that came before.
    pub deduplicate: bool,
    /// Give the live book after each update instead of once per interval.
    pub every_update: bool,
}

/// What a batch came to, for the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildCounts {
    /// Events by data type, in the order of [`DataType::ALL`].
    pub events: [u64; 8],
    /// Copies left out, by data type.
    pub duplicates: [u64; 8],
    /// Events that the feed did not ask for, left out, by data type.
    pub unasked: [u64; 8],
    /// Holes seen in trade ids.
    pub trade_gaps: u64,
    /// Updates applied to live books.
    pub book_updates: u64,
}

/// Makes the records of one feed.
pub struct RecordBuilder {
    plan: RecordOptions,
    envelope: EventEncoder,
    books: Option<OrderBooks>,
    /// Per instrument and data type, made with the first event.
    recent: Vec<[Option<Box<RecentIds>>; 8]>,
    trades: Vec<TradeSequence>,
    /// Instruments with a hole in their trades that is not explained yet.
    unexplained: BTreeSet<InstrumentIndex>,
    /// Instruments whose open holes are others than when they were last told.
    changed_holes: BTreeSet<InstrumentIndex>,
    routed: BuildCounts,
}

impl RecordBuilder {
    /// A router for `instruments` instruments.
    #[must_use]
    pub fn new(plan: RecordOptions, envelope: EventEncoder, instruments: usize) -> Self {
        let mut recent = Vec::new();
        recent.resize_with(instruments, Default::default);
        let mut trades = Vec::new();
        trades.resize_with(instruments, TradeSequence::default);
        let books = plan.books.clone().map(OrderBooks::new);
        let (unexplained, changed_holes) = (BTreeSet::new(), BTreeSet::new());
        Self {
            plan,
            envelope,
            books,
            recent,
            trades,
            unexplained,
            changed_holes,
            routed: BuildCounts::default(),
        }
    }

    /// Routes one event. Records are appended to `out`; a book's outcome is given for the log.
    pub fn event(
        &mut self,
        payload: &Payload,
        levels: &[i64],
        received_at_ns: i64,
        now_ns: i64,
        out: &mut Vec<Record>,
    ) -> Option<UpdateOutcome> {
        let (kind, instrument) = stream_key(payload);
        if !self.plan.asked.includes(kind, instrument) {
            if let Some(count) = self.routed.unasked.get_mut(kind_of(kind)) {
                *count += 1;
            }
            return None;
        }
        if let Payload::Book(event) = payload {
            let (every_update, depth) = (self.plan.every_update, self.plan.depth);
            let envelope = &mut self.envelope;
            let outcome =
                self.books.as_mut()?.apply(event, levels, received_at_ns, now_ns, &mut |id, view| {
                    if every_update {
                        out.extend(envelope.book(id, &view, depth));
                    }
                });
            self.routed.book_updates += u64::from(outcome.applied);
            return Some(outcome);
        }
        let record = self.envelope.event(payload, received_at_ns)?;
        if let Payload::Trade(trade) = payload {
            let number = match &trade.id {
                TradeId::Number(number) => Some(*number),
                TradeId::Text(_) => None,
            };
            self.trade(instrument, number, record, out);
        } else {
            self.keep(instrument, record, out);
        }
        None
    }

    fn trade(&mut self, instrument: InstrumentIndex, id: Option<u64>, record: Record, out: &mut Vec<Record>) {
        let at_ns = record.received_at_ns;
        let is_new = self.keep(instrument, record, out);
        if is_new
            && self.plan.contiguous_trade_ids
            && let Some(id) = id
            && let Some(sequence) = self.trades.get_mut(instrument.position())
        {
            match sequence.note(id, at_ns) {
                TradeIdCheck::InOrder => {}
                TradeIdCheck::Shows(_) => {
                    self.routed.trade_gaps += 1;
                    self.unexplained.insert(instrument);
                    self.changed_holes.insert(instrument);
                }
                TradeIdCheck::Closes => {
                    self.changed_holes.insert(instrument);
                }
            }
        }
    }

    /// Explains the holes that showed since the last call, by instrument and the times before and after.
    pub fn explain_holes(&mut self, explain: &dyn Fn(InstrumentIndex, i64, i64) -> Option<Incident>) {
        for instrument in std::mem::take(&mut self.unexplained) {
            if let Some(trades) = self.trades_of(instrument) {
                trades.explain(|from_ns, to_ns| explain(instrument, from_ns, to_ns));
            }
        }
    }

    /// The instruments whose open holes changed since the last call.
    pub fn take_changed_holes(&mut self) -> BTreeSet<InstrumentIndex> {
        std::mem::take(&mut self.changed_holes)
    }

    /// The open holes in the trades of an instrument.
    pub fn holes(&self, instrument: InstrumentIndex) -> impl Iterator<Item = TradeGap> + '_ {
        let trades = self.trades.get(instrument.position());
        trades.into_iter().flat_map(TradeSequence::open_gaps)
    }

    /// Holes of an instrument that are too many to be named, since the last call.
    pub fn take_forgotten_holes(&mut self, instrument: InstrumentIndex) -> Option<ForgottenHoles> {
        self.trades_of(instrument)?.take_forgotten()
    }

    fn trades_of(&mut self, instrument: InstrumentIndex) -> Option<&mut TradeSequence> {
        self.trades.get_mut(instrument.position())
    }

    /// Receive time of the oldest state of a book that waits to be published.
    #[must_use]
    pub fn oldest_waiting_book_ns(&self) -> Option<i64> {
        self.books.as_ref().and_then(OrderBooks::oldest_waiting_ns)
    }

    /// Keeps a record unless it is a copy. Gives whether it is new.
    fn keep(&mut self, instrument: InstrumentIndex, record: Record, out: &mut Vec<Record>) -> bool {
        let kind = kind_of(record.data_type);
        let is_new = !self.plan.deduplicate || self.is_new(instrument, &record);
        let count = if is_new { &mut self.routed.events } else { &mut self.routed.duplicates };
        if let Some(count) = count.get_mut(kind) {
            *count += 1;
        }
        if is_new {
            out.push(record);
        }
        is_new
    }

    fn is_new(&mut self, instrument: InstrumentIndex, record: &Record) -> bool {
        let recent = self.recent.get_mut(instrument.position());
        let Some(recent) = recent.and_then(|kinds| kinds.get_mut(kind_of(record.data_type))) else {
            return true;
        };
        recent.get_or_insert_with(|| Box::new(RecentIds::of(record.data_type))).insert(record.event_id)
    }

    /// Appends the books that are due.
    pub fn publish_due(&mut self, now_ns: i64, out: &mut Vec<Record>) {
        self.publish(out, |books, publish| books.publish_due(now_ns, publish));
    }

    /// Appends the books that changed since they were published: for the end.
    pub fn publish_rest(&mut self, now_ns: i64, out: &mut Vec<Record>) {
        self.publish(out, |books, publish| books.publish_rest(now_ns, publish));
    }

    fn publish(
        &mut self,
        out: &mut Vec<Record>,
        show: impl FnOnce(&mut OrderBooks, &mut dyn FnMut(InstrumentIndex, marketprism_book::BookView<'_>)),
    ) {
        if self.plan.every_update {
            return;
        }
        let (envelope, depth, before) = (&mut self.envelope, self.plan.depth, out.len());
        if let Some(books) = &mut self.books {
            show(books, &mut |instrument, view| out.extend(envelope.book(instrument, &view, depth)));
        }
        let published = u64::try_from(out.len() - before).unwrap_or_default();
        if let Some(count) = self.routed.events.get_mut(kind_of(DataType::OrderBook)) {
            *count += published;
        }
    }

    /// The books, where the feed has them.
    pub const fn books(&mut self) -> Option<&mut OrderBooks> {
        self.books.as_mut()
    }

    /// When the next book is due, nanoseconds; `i64::MAX` for none.
    #[must_use]
    pub fn next_due_ns(&self) -> i64 {
        self.books.as_ref().map_or(i64::MAX, OrderBooks::next_due_ns)
    }

    /// What came of the events since the last call.
    pub fn take_routed(&mut self) -> BuildCounts {
        std::mem::take(&mut self.routed)
    }

    /// The holes in the trade ids of each instrument that has any.
    #[must_use]
    pub fn trade_reports(&self) -> Vec<TradeReport> {
        let report = |(instrument, sequence): (InstrumentIndex, &TradeSequence)| {
            (sequence.gaps_seen > 0).then(|| TradeReport {
                instrument,
                gaps_seen: sequence.gaps_seen,
                missing: sequence.missing,
                open: sequence.open_gaps().collect(),
            })
        };
        InstrumentIndex::enumerate(&self.trades).filter_map(report).collect()
    }
}

fn kind_of(data_type: DataType) -> usize {
    DataType::ALL.iter().position(|kind| *kind == data_type).unwrap_or_default()
}
