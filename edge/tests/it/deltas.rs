//! Order-book deltas and quotes: each state of a book, and its best levels, come out of the records again, at every update.

use std::collections::BTreeMap;
use std::time::Duration;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{Book, BookChange, MarketType, Payload};
use marketprism_book::{BookSettings, SequenceRule, SnapshotSource};
use marketprism_edge::books::{BookPlan, BooksPlan, OrderBooks, StatePace};
use marketprism_edge::queue::EventRecord;
use marketprism_edge::records::{RecordBuilder, RecordOptions};
use marketprism_schema::{
    Body, BookLevels, DELTA_LEVELS_MAX, DataType, DataTypeMap, Decimal, OrderBook, Quote, RebuiltBook,
    WireForm, encode_json,
};

use crate::records::{AT_US, encoder, instrument, options};

const SECOND_NS: i64 = 1_000_000_000;

pub fn builder(settings: BookSettings) -> RecordBuilder {
    let instruments = [instrument("AB-CD", MarketType::Spot)];
    let fixture = options(1);
    let options = RecordOptions {
        books: Some(BooksPlan {
            books: vec![BookPlan { settings, resync: Some(7.into()) }],
            publish_interval: Duration::from_millis(100),
            pace: StatePace::Newest,
        }),
        depth: u32::try_from(settings.depth).unwrap(),
        every_update: true,
        subscription: fixture.subscription.clone().with_made(),
        ..fixture
    };
    let mut forms = DataTypeMap::from_fn(|_| WireForm::Json);
    forms[DataType::OrderBookDelta] = WireForm::Protobuf;
    forms[DataType::Quote] = WireForm::Protobuf;
    RecordBuilder::new(options, encoder("sim_spot", &instruments).with_forms(forms), 1)
}

/// A venue's book, changed at random; the same seed gives the same changes.
struct SimulatedBook {
    seed: u64,
    sides: [BTreeMap<i64, i64>; 2],
    id: i64,
    price_scale: u8,
}

impl SimulatedBook {
    fn new(seed: u64) -> Self {
        let mut book = Self { seed, sides: Default::default(), id: 100, price_scale: 2 };
        for offset in 1..30 {
            book.sides[0].insert(1_000 - offset, offset);
            book.sides[1].insert(1_000 + offset, offset);
        }
        book
    }

    fn below(&mut self, most: i64) -> i64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        i64::try_from(self.seed % u64::try_from(most).unwrap()).unwrap()
    }

    fn event(&self, change: BookChange, first_id: i64, levels: &[Vec<i64>; 2]) -> (Payload, Vec<i64>) {
        let counts = [0, 1].map(|side: usize| u32::try_from(levels[side].len() / 2).unwrap());
        let payload = Payload::Book(Book {
            instrument: 0,
            change,
            time_us: Some(AT_US + self.id),
            first_id,
            last_id: self.id,
            previous_id: Some(first_id - 1),
            checksum: None,
            price_scale: self.price_scale,
            quantity_scale: 3,
            levels_at: 0,
            bids: counts[0],
            asks: counts[1],
        });
        (payload, levels.concat())
    }

    fn change(&mut self) -> (Payload, Vec<i64>) {
        let first_id = self.id + 1;
        self.id += 1 + self.below(3);
        if self.price_scale == 2 && self.below(400) == 0 {
            self.price_scale = 3;
            self.sides = self.sides.each_ref().map(|side| side.iter().map(|(p, q)| (p * 10, *q)).collect());
        }
        let factor = if self.price_scale == 3 { 10 } else { 1 };
        let mut levels = [Vec::new(), Vec::new()];
        for _ in 0..1 + self.below(5) {
            let side = usize::from(self.below(2) == 1);
            let offset = (1 + self.below(40)) * factor - self.below(factor);
            let price = 1_000 * factor + if side == 1 { offset } else { -offset };
            let quantity = (self.below(6) - 2).max(0);
            match quantity {
                0 => self.sides[side].remove(&price),
                _ => self.sides[side].insert(price, quantity),
            };
            levels[side].extend([price, quantity]);
        }
        self.event(BookChange::Delta, first_id, &levels)
    }

    fn snapshot(&self, most: usize) -> (Payload, Vec<i64>) {
        let pairs = |(price, quantity): (&i64, &i64)| [*price, *quantity];
        let bids = self.sides[0].iter().rev().take(most).flat_map(pairs).collect();
        let asks = self.sides[1].iter().take(most).flat_map(pairs).collect();
        self.event(BookChange::Snapshot, self.id, &[bids, asks])
    }
}

fn levels(decimals: impl Iterator<Item = [Decimal; 2]>) -> Vec<[i128; 2]> {
    decimals.map(|level| level.map(Decimal::to_scale_18)).collect()
}

fn side(levels: &BookLevels<'_>, side: &[[i64; 2]]) -> Vec<[i128; 2]> {
    let decimal = |mantissa, scale| Decimal { mantissa, scale }.to_scale_18();
    let level = |[price, quantity]: &[i64; 2]| {
        [decimal(*price, levels.price_scale), decimal(*quantity, levels.quantity_scale)]
    };
    side.iter().map(level).collect()
}

/// Rebuilds from the records, and compares with the state that was published for the same update.
#[derive(Default)]
struct Comparison {
    rebuilt: RebuiltBook,
    state: Option<OrderBook<'static>>,
    quote: Option<Quote>,
    quotes: usize,
    compared: usize,
    epochs: usize,
    snapshots: usize,
    bytes: usize,
}

impl Comparison {
    fn read(&mut self, records: Vec<EventRecord>, depth: usize) {
        for record in records {
            match record.form.decode(&record.payload).unwrap().body {
                Body::OrderBook(book) => {
                    self.quote_is_best();
                    let levels = BookLevels {
                        bids: book.levels.bids.to_vec().into(),
                        asks: book.levels.asks.to_vec().into(),
                        ..book.levels
                    };
                    self.state = Some(OrderBook { levels, ..book });
                }
                Body::OrderBookDelta(delta) => {
                    if delta.number == 0 {
                        self.rebuilt = RebuiltBook::default();
                        self.epochs += 1;
                    }
                    self.snapshots += usize::from(delta.is_snapshot);
                    self.bytes += record.payload.len();
                    self.rebuilt.apply(&delta).unwrap();
                    let state = self.state.as_ref().unwrap();
                    assert_eq!((delta.last_update_id, delta.epoch), (state.last_update_id, state.epoch));
                    if !self.rebuilt.is_whole() {
                        continue;
                    }
                    let (bids, asks) = (&state.levels.bids, &state.levels.asks);
                    assert_eq!(levels(self.rebuilt.bids().take(depth)), side(&state.levels, bids));
                    assert_eq!(levels(self.rebuilt.asks().take(depth)), side(&state.levels, asks));
                    self.compared += 1;
                }
                Body::Quote(quote) => {
                    let state = self.state.as_ref().unwrap();
                    assert_eq!((quote.last_update_id, quote.epoch), (state.last_update_id, state.epoch));
                    let is_other = |last: Quote| last.epoch != quote.epoch || !last.has_levels_of(&quote);
                    assert!(self.quote.is_none_or(is_other), "{quote:?} repeats the one before");
                    self.quote = Some(quote);
                    self.quotes += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The newest quote has the best levels of the newest state, whichever update it is of.
    fn quote_is_best(&self) {
        let Some(state) = &self.state else { return };
        let best = |levels: &[[i64; 2]]| side(&state.levels, levels).first().copied();
        let [bid, ask] = self
            .quote
            .unwrap()
            .decimals()
            .map(|level| level.map(|numbers| numbers.map(Decimal::to_scale_18)));
        assert_eq!(
            [bid, ask],
            [best(&state.levels.bids), best(&state.levels.asks)],
            "{}",
            state.last_update_id
        );
    }
}

fn compare(settings: BookSettings, seed: u64) -> Comparison {
    let mut builder = builder(settings);
    let mut venue = SimulatedBook::new(seed);
    let mut found = Comparison::default();
    let mut at_ns = AT_US * 1_000;
    for _ in 0..1_500 {
        at_ns += SECOND_NS;
        let old = venue.snapshot(9);
        let mut events = vec![venue.change()];
        match venue.below(40) {
            // Lost on the way.
            0 => events.clear(),
            // What a connection repeats, or extends the levels.
            1 | 2 => events.push(venue.snapshot(9)),
            // The answer to a request is older than the book, or newer.
            3 if settings.snapshot == SnapshotSource::Request => events.push(old),
            4 if settings.snapshot == SnapshotSource::Request => events.insert(0, venue.snapshot(9)),
            _ => {}
        }
        if !builder.books().unwrap().is_live(InstrumentIndex::from(0)) {
            events.push(venue.snapshot(9));
        }
        for (payload, levels) in events {
            let mut records = Vec::new();
            builder.event(&payload, &levels, at_ns, at_ns, &mut records);
            found.read(records, settings.depth);
        }
    }
    assert!(builder.take_invalid().is_empty());
    found.quote_is_best();
    found
}

/// Random updates with lost ones, repeated snapshots, thin books and grown scales, under each rule of sequence and source of snapshots.
#[test]
fn each_state_of_a_book_is_rebuilt_from_its_deltas_and_has_the_best_levels_of_its_quote_at_every_update() {
    let settings = [
        BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 5),
        BookSettings::new(SequenceRule::Chained, SnapshotSource::InBand, 5),
        BookSettings {
            depth_limit: Some(8),
            ..BookSettings::new(SequenceRule::Chained, SnapshotSource::InBand, 8)
        },
        BookSettings::new(SequenceRule::Unnumbered, SnapshotSource::InBand, 20),
    ];
    for (at, settings) in settings.into_iter().enumerate() {
        for seed in [7, 77, 777] {
            let found = compare(settings, seed);
            assert!(found.compared > 900, "{at}: {} updates compared", found.compared);
            assert!((10..found.compared).contains(&found.quotes), "{at}: {} quotes", found.quotes);
            let is_numbered = settings.rule != SequenceRule::Unnumbered;
            assert_eq!(found.epochs > 5, is_numbered, "{at}: {} epochs", found.epochs);
            assert!(found.snapshots > found.epochs, "{at}: snapshots within epochs");
        }
    }
}

/// A record that is refused, and one that the queue drops, leave a hole in the numbers: the states behind it need another snapshot soon.
#[test]
fn a_lost_record_is_followed_by_a_snapshot() {
    let mut builder = builder(BookSettings::new(SequenceRule::Chained, SnapshotSource::InBand, 5));
    let mut venue = SimulatedBook::new(3);
    let mut at_ns = AT_US * 1_000;
    let mut step = |builder: &mut RecordBuilder, (payload, levels): (Payload, Vec<i64>), seconds: i64| {
        at_ns += seconds * SECOND_NS;
        let mut records = Vec::new();
        builder.event(&payload, &levels, at_ns, at_ns, &mut records);
        let snapshots = records.iter().filter(|record| record.data_type == DataType::OrderBookDelta);
        let is_snapshot = |record: &EventRecord| match record.form.decode(&record.payload).unwrap().body {
            Body::OrderBookDelta(delta) => delta.is_snapshot,
            _ => false,
        };
        (snapshots.map(is_snapshot).collect::<Vec<_>>(), at_ns)
    };
    assert_eq!(step(&mut builder, venue.snapshot(9), 1).0, [true]);
    assert_eq!(step(&mut builder, venue.change(), 1).0, [false]);
    let (mut payload, levels) = venue.change();
    if let Payload::Book(book) = &mut payload {
        book.time_us = Some(5);
    }
    assert_eq!(step(&mut builder, (payload, levels), 1).0, [false; 0]);
    assert!(!builder.take_invalid().is_empty());
    let (found, now_ns) = step(&mut builder, venue.change(), 1);
    assert_eq!(found, [false, true]);
    builder.records_lost(now_ns);
    assert_eq!(step(&mut builder, venue.change(), 1).0, [false], "more may be lost yet");
    assert_eq!(step(&mut builder, venue.change(), 10).0, [false, true]);
    assert_eq!(step(&mut builder, venue.change(), 10).0, [false], "one is enough");
}

/// A waiting state would hold up the audits of the whole edge for as long as its interval.
#[test]
fn a_sampled_state_never_waits_and_none_is_published_where_states_are_off() {
    for (pace, wanted) in [(StatePace::Sampled, vec![0, 6]), (StatePace::Off, vec![])] {
        let settings = BookSettings::new(SequenceRule::Chained, SnapshotSource::InBand, 5);
        let mut books = OrderBooks::new(BooksPlan {
            books: vec![BookPlan { settings, resync: None }],
            publish_interval: Duration::from_secs(6),
            pace,
        });
        let (mut venue, mut published) = (SimulatedBook::new(5), Vec::new());
        for second in 0..8 {
            let (payload, levels) = if second == 0 { venue.snapshot(9) } else { venue.change() };
            let Payload::Book(update) = payload else { panic!("not a book") };
            let at_ns = AT_US * 1_000 + second * SECOND_NS;
            books.apply(&update, &levels, at_ns, at_ns, &mut |_, _| {});
            books.publish_due(at_ns, &mut |_, _| published.push(second));
            assert_eq!(
                (books.oldest_waiting_ns(), books.next_due_ns()),
                (None, i64::MAX),
                "{pace:?} {second}"
            );
        }
        assert_eq!(published, wanted, "{pace:?}");
    }
}

#[test]
fn a_book_of_many_levels_is_split_into_records_that_brokers_take() {
    let mut venue = SimulatedBook::new(1);
    venue.sides = Default::default();
    for offset in 1..9_000 {
        venue.sides[0].insert(1_000_000_000 - offset * 10, i64::MAX - offset);
        venue.sides[1].insert(1_000_000_000 + offset * 10, i64::MAX - offset);
    }
    let settings = BookSettings::new(SequenceRule::Chained, SnapshotSource::InBand, 9_000);
    let mut builder = builder(settings);
    let mut records = Vec::new();
    let at_ns = AT_US * 1_000;
    let (payload, levels) = venue.snapshot(usize::MAX);
    builder.event(&payload, &levels, at_ns, at_ns, &mut records);
    let deltas: Vec<_> = records.iter().filter(|one| one.data_type == DataType::OrderBookDelta).collect();
    assert_eq!(deltas.len(), (levels.len() / 2).div_ceil(DELTA_LEVELS_MAX));
    assert!(deltas.len() > 1);
    for record in deltas {
        let mut json = Vec::new();
        encode_json(&record.form.decode(&record.payload).unwrap(), &mut json);
        assert!(json.len().max(record.payload.len()) < 512 << 10, "{} {}", json.len(), record.payload.len());
    }
    let mut found = Comparison::default();
    found.read(records, settings.depth);
    assert_eq!((found.compared, found.snapshots), (1, 1));
}
