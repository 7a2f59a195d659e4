//! Seeded random market and network: a LIVE book always equals the venue's book.

use std::collections::{BTreeMap, VecDeque};

use marketprism_book::{
    Book, BookLimits, BookSettings, BookState, BookUpdate, BookView, Change, SequenceRule, SnapshotSource,
};

/// SplitMix64: each seed gives the same test run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound.unsigned_abs()) as i64
    }

    pub fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }
}

type Levels = BTreeMap<i64, i64>;

#[derive(Clone)]
pub struct Message {
    pub change: Change,
    pub first_id: i64,
    pub last_id: i64,
    pub previous_id: i64,
    pub time_us: i64,
    pub scale: u8,
    pub bids: Vec<i64>,
    pub asks: Vec<i64>,
}

impl Message {
    pub fn empty() -> Self {
        let (change, bids, asks) = (Change::Delta, Vec::new(), Vec::new());
        Message { change, first_id: 0, last_id: 0, previous_id: 0, time_us: 0, scale: 3, bids, asks }
    }

    pub fn update(&self) -> BookUpdate<'_> {
        BookUpdate {
            change: self.change,
            time_us: Some(self.time_us),
            received_at_ns: self.time_us * 1_000,
            first_id: self.first_id,
            last_id: self.last_id,
            previous_id: Some(self.previous_id),
            checksum: None,
            price_scale: 2,
            quantity_scale: self.scale,
            bids: &self.bids,
            asks: &self.asks,
        }
    }
}

/// Two maps, and a copy of them after every update. Quantities are at scale 3.
pub struct Venue {
    pub bids: Levels,
    pub asks: Levels,
    pub id: i64,
    pub time_us: i64,
    pub middle: i64,
    pub history: BTreeMap<i64, (Levels, Levels)>,
}

impl Venue {
    pub fn new() -> Self {
        let bids = (1..=60).map(|i| (1_000 - i, i * 10)).collect();
        let asks = (1..=60).map(|i| (1_000 + i, i * 10)).collect();
        Venue { bids, asks, id: 100, time_us: 1, middle: 1_000, history: BTreeMap::new() }
    }

    /// Changes levels on both sides; the middle price wanders and removes levels that it crosses.
    pub fn step(&mut self, random: &mut Random) -> Message {
        self.middle += random.below(5) - 2;
        let scale = if random.chance(10) { 4 } else { 3 };
        let mut change = [BTreeMap::new(), BTreeMap::new()];
        for _ in 0..=random.below(6) {
            let near = random.chance(80);
            let away = 1 + random.below(if near { 6 } else { 80 });
            let quantity = if random.chance(40) { 0 } else { 1 + random.below(1_000) };
            if random.chance(50) {
                change[0].insert(self.middle - away, quantity);
            } else {
                change[1].insert(self.middle + away, quantity);
            }
        }
        for price in self.bids.range(self.middle..).map(|level| *level.0) {
            change[0].insert(price, 0);
        }
        for price in self.asks.range(..=self.middle).map(|level| *level.0) {
            change[1].insert(price, 0);
        }
        for (levels, change) in [&mut self.bids, &mut self.asks].into_iter().zip(&change) {
            for (price, quantity) in change {
                if *quantity == 0 {
                    levels.remove(price)
                } else {
                    levels.insert(*price, *quantity)
                };
            }
        }
        let previous_id = self.id;
        self.id += 1 + random.below(3);
        self.time_us += 1;
        self.history.insert(self.id, (self.bids.clone(), self.asks.clone()));
        let factor = if scale == 4 { 10 } else { 1 };
        let flat = |levels: &Levels| levels.iter().flat_map(|(p, q)| [*p, *q * factor]).collect();
        Message {
            change: Change::Delta,
            first_id: previous_id + 1,
            last_id: self.id,
            previous_id,
            time_us: self.time_us,
            scale,
            bids: flat(&change[0]),
            asks: flat(&change[1]),
        }
    }

    pub fn snapshot(&self, limit: usize) -> Message {
        let bids = self.bids.iter().rev().take(limit).flat_map(|(p, q)| [*p, *q]).collect();
        let asks = self.asks.iter().take(limit).flat_map(|(p, q)| [*p, *q]).collect();
        let (change, id, time_us) = (Change::Snapshot, self.id, self.time_us);
        Message { change, first_id: id, last_id: id, previous_id: id, time_us, scale: 3, bids, asks }
    }

    /// Compares a view with the copy of its id: equal levels, up to the depth unless the view is short.
    pub fn check(&self, view: BookView<'_>, depth: usize, seed: u64) {
        let id = view.last_update_id();
        let (bids, asks) =
            &self.history.get(&id).unwrap_or_else(|| panic!("seed {seed}: no venue book has id {id}"));
        let factor = 10_i64.pow(u32::from(view.quantity_scale() - 3));
        let sides: [(Vec<_>, Vec<_>); 2] = [
            (view.bids().collect(), bids.iter().rev().take(depth).map(|(p, q)| (*p, *q * factor)).collect()),
            (view.asks().collect(), asks.iter().take(depth).map(|(p, q)| (*p, *q * factor)).collect()),
        ];
        for (ours, venue) in sides {
            assert_eq!(ours, venue[..ours.len().min(venue.len())], "seed {seed}, id {id}");
            assert!(ours.len() == venue.len() || view.is_short(), "seed {seed}, id {id}: levels are missing");
        }
    }
}

struct Run {
    venue: Venue,
    book: Book,
    wire: VecDeque<Message>,
    answers: VecDeque<(i64, Message)>,
    checked: u64,
    seed: u64,
}

const DEPTH: usize = 8;

impl Run {
    fn new(rule: SequenceRule, source: SnapshotSource, seed: u64) -> Self {
        let limits = BookLimits { max_pending_updates: 20, max_levels: 40, ..BookLimits::default() };
        let settings = BookSettings { limits, ..BookSettings::new(rule, source, DEPTH) };
        let (wire, answers) = (VecDeque::new(), VecDeque::new());
        Run { venue: Venue::new(), book: Book::new(settings), wire, answers, checked: 0, seed }
    }

    fn deliver(&mut self, message: &Message, random: &mut Random) {
        let Run { venue, book, checked, seed, .. } = self;
        let outcome = book.apply_each(&message.update(), &mut |view| {
            venue.check(view, DEPTH, *seed);
            *checked += 1;
        });
        if outcome.action.is_some() {
            match book.settings().snapshot {
                SnapshotSource::Request => {
                    // Venues may answer from a cache, with a snapshot older than the request.
                    let answer = self.venue.snapshot(12 + random.below(30) as usize);
                    self.answers.push_back((self.venue.time_us + random.below(8), answer));
                }
                SnapshotSource::InBand => self.wire.push_back(self.venue.snapshot(usize::MAX)),
            }
        }
    }

    /// One message over a network that loses, duplicates and reorders `percent` of them each.
    fn step(&mut self, random: &mut Random, percent: i64) {
        let message = self.venue.step(random);
        if random.chance(percent) {
            return;
        }
        if random.chance(percent) {
            self.wire.push_back(message.clone());
        }
        self.wire.push_back(message);
        if self.wire.len() > 1 && random.chance(percent) {
            let last = self.wire.len() - 1;
            self.wire.swap(last, last - 1);
        }
        // Keep a few messages back so that reordering is possible.
        while self.wire.len() > 3 {
            let message = self.wire.pop_front().unwrap();
            self.deliver(&message, random);
        }
        while self.answers.front().is_some_and(|(at, _)| *at <= self.venue.time_us) {
            let (_, answer) = self.answers.pop_front().unwrap();
            self.deliver(&answer, random);
        }
    }
}

#[test]
fn a_live_book_equals_the_venues_book() {
    let mut gaps = 0;
    let mut extended = 0;
    for seed in 0..400 {
        for rule in [SequenceRule::Contiguous, SequenceRule::Chained] {
            for source in [SnapshotSource::Request, SnapshotSource::InBand] {
                let mut random = Random(seed);
                let mut run = Run::new(rule, source, seed);
                if source == SnapshotSource::InBand {
                    let first = run.venue.snapshot(usize::MAX);
                    run.venue.history.insert(first.last_id, (run.venue.bids.clone(), run.venue.asks.clone()));
                    run.deliver(&first, &mut random);
                }
                let percent = random.below(12);
                for _ in 0..300 {
                    run.step(&mut random, percent);
                }
                for _ in 0..60 {
                    run.step(&mut random, 0);
                }
                assert_eq!(run.book.state(), BookState::Live, "seed {seed} {rule:?} {source:?}");
                assert!(run.checked > 40, "seed {seed} {rule:?} {source:?}: {} books compared", run.checked);
                gaps += run.book.stats().gaps;
                extended += run.book.stats().refreshes;
                assert_eq!(run.book.stats().refresh_mismatches, 0, "seed {seed} {rule:?} {source:?}");
            }
        }
    }
    assert!(gaps > 1_000 && extended > 1_000, "the network was too good: {gaps} gaps, {extended} extensions");
}
