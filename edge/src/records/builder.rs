//! Builds the records of one feed: order books through the book engine, all other events straight to the encoder. Events outside the
//! subscription are not published, whatever the adapter gives.

use std::collections::BTreeSet;
use std::time::Duration;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{Book, Feed, Instrument, Payload, Plan, TradeId, Venue};
use marketprism_book::{BookView, UpdateOutcome};
use marketprism_schema::{DataSource, DataType, DataTypeMap, Gap, GapCause, InvalidValue, MarketType};

use super::book_records::BookRecords;
use super::encoder::EventEncoder;
use super::ids::{TradeIdCheck, TradeIdRange, TradeIdReport, TradeIdTracker};
use super::recent_ids::RecentIds;
use super::subscription::Subscription;
use crate::books::{BooksPlan, OrderBooks, StatePace};
use crate::limits::TRADE_AGE_MAX;
use crate::queue::EventRecord;

#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// `None`: the feed has no order books.
    pub books: Option<BooksPlan>,
    pub subscription: Subscription,
    pub depth: u32,
    pub contiguous_trade_ids: bool,
    pub deduplicate: bool,
    /// Publish the live book after each update instead of once per interval.
    pub every_update: bool,
}

impl RecordOptions {
    /// The feed's events, each once, and its books once per interval.
    pub fn new(
        venue: &Venue,
        feed: &Feed,
        instruments: &[Instrument],
        plan: &Plan,
        kinds: &[DataType],
        publish_interval: Duration,
    ) -> Self {
        let markets: Vec<MarketType> = feed.market_types.iter().copied().map(Into::into).collect();
        let books = venue
            .capability(DataType::OrderBook)
            .filter(|_| kinds.iter().any(|kind| kind.subscribed() == DataType::OrderBook));
        let pace = match [DataType::OrderBook, DataType::OrderBookDelta].map(|kind| kinds.contains(&kind)) {
            [true, false] => StatePace::Newest,
            [true, true] => StatePace::Sampled,
            [false, _] => StatePace::Off,
        };
        let trades = venue.capability(DataType::Trade);
        Self {
            books: books
                .map(|books| BooksPlan::new(books, instruments, plan, feed.depth, publish_interval, pace)),
            subscription: Subscription::new(venue, kinds, &markets, instruments),
            depth: feed.depth,
            contiguous_trade_ids: trades.is_some_and(|trades| trades.contiguous_trade_ids),
            deduplicate: true,
            every_update: false,
        }
    }
}

/// Counts since the last call of [`RecordBuilder::take_counts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordCounts {
    pub events: DataTypeMap<u64>,
    pub duplicates: DataTypeMap<u64>,
    pub unsubscribed: DataTypeMap<u64>,
    pub trade_gaps: u64,
    /// Trades and forced orders of quantity 0: nothing was traded.
    pub empty: u64,
    /// Trades older than [`TRADE_AGE_MAX`] when they were received.
    pub old_trades: u64,
}

/// An event that is not published, because a value of it cannot be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidEvent {
    pub data_type: DataType,
    pub instrument: InstrumentIndex,
    pub error: InvalidValue,
}

#[derive(Debug, Default)]
pub(super) struct InstrumentState {
    recent: DataTypeMap<Option<Box<RecentIds>>>,
    pub(super) trade_ids: TradeIdTracker,
}

pub struct RecordBuilder {
    pub(super) options: RecordOptions,
    pub(super) encoder: EventEncoder,
    books: Option<OrderBooks>,
    /// By position of the instrument. Another builder's books begin epochs of their own.
    book_records: Vec<BookRecords>,
    /// Time of the newest record that the queue dropped.
    lost_ns: i64,
    pub(super) instruments: Vec<InstrumentState>,
    /// Instruments with a gap in their trade ids that is not explained yet.
    unexplained: BTreeSet<InstrumentIndex>,
    /// Instruments whose open gaps changed since the last call of `take_changed_trade_gaps`.
    pub(super) changed: BTreeSet<InstrumentIndex>,
    pub(super) counts: RecordCounts,
    /// Since the last call of `take_invalid`; of one turn.
    pub(super) invalid: Vec<InvalidEvent>,
    /// Of one turn.
    pub(super) holes: TradeHoles,
}

/// Missing trade ids since the last call of [`RecordBuilder::take_trade_holes`].
#[derive(Debug, Default)]
pub struct TradeHoles {
    pub found: Vec<(InstrumentIndex, TradeIdRange)>,
    /// Ids that left the full list of an instrument: they are not filled any more.
    pub overflow: Vec<(InstrumentIndex, TradeIdRange)>,
}

/// Recent ids of an instrument's events, and the position in its trade ids.
#[derive(Debug, Default)]
pub struct InstrumentMemory(InstrumentState);

impl RecordBuilder {
    /// For a builder that goes on with the streams, by position of the instrument.
    pub fn into_memories(self) -> impl Iterator<Item = InstrumentMemory> {
        self.instruments.into_iter().map(InstrumentMemory)
    }

    /// Goes on where another builder ended: what it had is a duplicate, and what comes after a hole is a gap.
    pub fn recall(&mut self, instrument: InstrumentIndex, InstrumentMemory(memory): InstrumentMemory) {
        if let Some(state) = self.instruments.get_mut(instrument.position()) {
            *state = memory;
            self.changed.insert(instrument);
        }
    }

    pub fn new(options: RecordOptions, encoder: EventEncoder, instruments: usize) -> Self {
        let books = options.books.clone().map(OrderBooks::new);
        Self {
            options,
            encoder,
            books,
            book_records: std::iter::repeat_with(BookRecords::default).take(instruments).collect(),
            lost_ns: i64::MIN,
            instruments: std::iter::repeat_with(InstrumentState::default).take(instruments).collect(),
            unexplained: BTreeSet::new(),
            changed: BTreeSet::new(),
            counts: RecordCounts::default(),
            invalid: Vec::new(),
            holes: TradeHoles::default(),
        }
    }

    /// Events carry this id of an adapter from now on.
    pub fn set_adapter(&mut self, id: &str) {
        self.encoder.set_adapter(id);
    }

    pub fn is_subscribed(&self, kind: DataType, instrument: InstrumentIndex) -> bool {
        self.options.subscription.includes(kind, instrument)
    }

    /// From here on the instrument's events are outside the subscription, and it has no book and no gaps.
    pub fn unsubscribe(&mut self, instrument: InstrumentIndex) {
        self.options.subscription.remove(instrument);
        if let Some(books) = &mut self.books {
            books.remove(instrument);
        }
        if let Some(state) = self.instruments.get_mut(instrument.position()) {
            *state = InstrumentState::default();
        }
        if let Some(records) = self.book_records.get_mut(instrument.position()) {
            *records = BookRecords::default();
        }
    }

    /// Appends the event's records to `out`. Gives the outcome of a book update.
    pub fn event(
        &mut self,
        payload: &Payload,
        levels: &[i64],
        received_at_ns: i64,
        now_ns: i64,
        out: &mut Vec<EventRecord>,
    ) -> Option<UpdateOutcome> {
        let (kind, instrument) = (payload.data_type(), payload.instrument());
        if !self.options.subscription.needs(kind, instrument) {
            self.counts.unsubscribed[kind] += 1;
            return None;
        }
        if let Payload::Book(event) = payload {
            return self.book(event, (levels, received_at_ns), now_ns, out);
        }
        if is_empty(payload) {
            self.counts.empty += 1;
            self.check_trade(payload, received_at_ns);
            return None;
        }
        let record = match self.encoder.event(payload, received_at_ns, DataSource::Live) {
            Ok(record) => record?,
            Err(error) => {
                self.invalid.push(InvalidEvent { data_type: kind, instrument, error });
                return None;
            }
        };
        if self.is_old_trade(payload, received_at_ns) {
            self.counts.old_trades += 1;
            return None;
        }
        let is_new = !self.options.deduplicate || self.is_new(instrument, &record);
        if !is_new {
            self.counts.duplicates[kind] += 1;
            return None;
        }
        self.counts.events[kind] += 1;
        out.push(record);
        self.check_trade(payload, received_at_ns);
        None
    }

    /// The last trades of a market that rests, with which some venues begin a subscription. Ids that are missing or new are wanted at any age.
    fn is_old_trade(&self, payload: &Payload, received_at_ns: i64) -> bool {
        let Payload::Trade(trade) = payload else { return false };
        let age_ns = i128::from(received_at_ns) - i128::from(trade.time_us) * 1_000;
        let is_wanted = || match (self.instruments.get(payload.instrument().position()), &trade.id) {
            (Some(state), TradeId::Number(id)) => state.trade_ids.awaits(*id),
            _ => false,
        };
        age_ns > TRADE_AGE_MAX.as_nanos().cast_signed() && !is_wanted()
    }

    fn book(
        &mut self,
        event: &Book,
        (levels, received_at_ns): (&[i64], i64),
        now_ns: i64,
        out: &mut Vec<EventRecord>,
    ) -> Option<UpdateOutcome> {
        let instrument = InstrumentIndex::from(event.instrument);
        let wanted = self.options.subscription.of(instrument);
        let every_state = self.options.every_update && wanted[DataType::OrderBook];
        let (depth, lost_ns) = (self.options.depth, self.lost_ns);
        let (encoder, invalid, counts) = (&mut self.encoder, &mut self.invalid, &mut self.counts);
        let mut records = self.book_records.get_mut(instrument.position());
        let books = self.books.as_mut()?;
        Some(books.apply(event, levels, received_at_ns, now_ns, &mut |instrument, view| {
            let mut add = |data_type, record| {
                let before = out.len();
                add_book(data_type, record, instrument, out, invalid);
                out.len() > before
            };
            if every_state {
                add(DataType::OrderBook, encoder.book(instrument, &view, depth));
            }
            if let Some(records) = &mut records {
                records.after_update(&view, &wanted, lost_ns, &mut |body| {
                    let data_type = body.data_type();
                    let is_added = add(data_type, encoder.of_book(instrument, &view, body));
                    counts.events[data_type] += u64::from(is_added);
                    is_added
                });
            }
        }))
    }

    pub(super) fn check_trade(&mut self, payload: &Payload, received_at_ns: i64) {
        if let Payload::Trade(trade) = payload
            && let TradeId::Number(id) = trade.id
            && self.options.contiguous_trade_ids
        {
            let venue_ns = trade.time_us.saturating_mul(1_000);
            self.check_trade_id(payload.instrument(), id, received_at_ns, venue_ns);
        }
    }

    pub(super) fn is_new(&mut self, instrument: InstrumentIndex, record: &EventRecord) -> bool {
        let Some(state) = self.instruments.get_mut(instrument.position()) else { return true };
        let recent = &mut state.recent[record.data_type];
        recent.get_or_insert_default().insert(record.event_id, record.received_at_ns)
    }

    fn check_trade_id(&mut self, instrument: InstrumentIndex, id: u64, at_ns: i64, venue_ns: i64) {
        let Some(state) = self.instruments.get_mut(instrument.position()) else { return };
        let check = state.trade_ids.check(id, at_ns, venue_ns);
        if check == TradeIdCheck::InOrder {
            return;
        }
        self.holes.overflow.extend(state.trade_ids.take_overflow().into_iter().map(|ids| (instrument, ids)));
        if let TradeIdCheck::Gap(ids) | TradeIdCheck::EarlierGap(ids) = check {
            self.holes.found.push((instrument, ids));
        }
        if let TradeIdCheck::Gap(_) = check {
            self.counts.trade_gaps += 1;
            self.unexplained.insert(instrument);
        }
        self.changed.insert(instrument);
    }

    /// Sets cause and evidence of the gaps in trade ids since the last call.
    pub fn explain_trade_gaps(&mut self, explain: &dyn Fn(InstrumentIndex, &Gap) -> (GapCause, String)) {
        for instrument in std::mem::take(&mut self.unexplained) {
            if let Some(state) = self.instruments.get_mut(instrument.position()) {
                state.trade_ids.explain(|gap| explain(instrument, gap));
            }
        }
    }

    /// Instruments whose open gaps in trade ids changed since the last call.
    pub fn take_changed_trade_gaps(&mut self) -> BTreeSet<InstrumentIndex> {
        std::mem::take(&mut self.changed)
    }

    /// The open gaps in an instrument's trade ids, and the sum of those that left the full list since the last call.
    pub fn trade_gaps(&mut self, instrument: InstrumentIndex) -> (Vec<Gap>, Option<Gap>) {
        let Some(state) = self.instruments.get_mut(instrument.position()) else { return (Vec::new(), None) };
        (state.trade_ids.open().cloned().collect(), state.trade_ids.take_forgotten())
    }

    pub fn oldest_waiting_book_ns(&self) -> Option<i64> {
        self.books.as_ref().and_then(OrderBooks::oldest_waiting_ns)
    }

    pub fn publish_due(&mut self, now_ns: i64, out: &mut Vec<EventRecord>) {
        self.publish(out, |books, publish| books.publish_due(now_ns, publish));
    }

    /// Appends every book that changed since it was published: for the end.
    pub fn publish_rest(&mut self, now_ns: i64, out: &mut Vec<EventRecord>) {
        self.publish(out, |books, publish| books.publish_rest(now_ns, publish));
    }

    fn publish(
        &mut self,
        out: &mut Vec<EventRecord>,
        show: impl FnOnce(&mut OrderBooks, &mut dyn FnMut(InstrumentIndex, BookView<'_>)),
    ) {
        if self.options.every_update {
            return;
        }
        let (encoder, invalid) = (&mut self.encoder, &mut self.invalid);
        let (depth, before) = (self.options.depth, out.len());
        let subscription = &self.options.subscription;
        if let Some(books) = &mut self.books {
            show(books, &mut |instrument, view| {
                if subscription.includes(DataType::OrderBook, instrument) {
                    let record = encoder.book(instrument, &view, depth);
                    add_book(DataType::OrderBook, record, instrument, out, invalid);
                }
            });
        }
        self.counts.events[DataType::OrderBook] += u64::try_from(out.len() - before).unwrap_or_default();
    }

    /// The queue dropped records: each book needs another snapshot among its deltas, once no more are lost.
    pub const fn records_lost(&mut self, now_ns: i64) {
        self.lost_ns = now_ns;
    }

    pub fn restart_book(&mut self, instrument: InstrumentIndex, now_ns: i64) {
        let is_needed = self.options.subscription.needs(DataType::OrderBook, instrument);
        if let Some(books) = self.books.as_mut().filter(|_| is_needed) {
            books.begin_again(instrument, now_ns);
        }
    }

    pub const fn books(&mut self) -> Option<&mut OrderBooks> {
        self.books.as_mut()
    }

    /// When the next book is due; `i64::MAX` for none.
    pub fn next_due_ns(&self) -> i64 {
        self.books.as_ref().map_or(i64::MAX, OrderBooks::next_due_ns)
    }

    /// Events that were not published since the last call.
    pub fn take_invalid(&mut self) -> Vec<InvalidEvent> {
        std::mem::take(&mut self.invalid)
    }

    pub fn take_counts(&mut self) -> RecordCounts {
        std::mem::take(&mut self.counts)
    }

    pub fn trade_reports(&self) -> Vec<TradeIdReport> {
        let report = |(instrument, state): (InstrumentIndex, &InstrumentState)| {
            let tracker = &state.trade_ids;
            (tracker.gaps_seen > 0).then(|| TradeIdReport {
                instrument,
                gaps_seen: tracker.gaps_seen,
                missing: tracker.missing,
                open: tracker.open().cloned().collect(),
            })
        };
        InstrumentIndex::enumerate(&self.instruments).filter_map(report).collect()
    }
}

/// True for an id without a trade, and for a forced order without a quantity.
pub(super) const fn is_empty(payload: &Payload) -> bool {
    match payload {
        Payload::Trade(trade) => trade.quantity.mantissa == 0,
        Payload::Liquidation(order) => order.quantity.mantissa == 0,
        _ => false,
    }
}

fn add_book(
    data_type: DataType,
    book: Result<Option<EventRecord>, InvalidValue>,
    instrument: InstrumentIndex,
    out: &mut Vec<EventRecord>,
    invalid: &mut Vec<InvalidEvent>,
) {
    match book {
        Ok(record) => out.extend(record),
        Err(error) => invalid.push(InvalidEvent { data_type, instrument, error }),
    }
}
