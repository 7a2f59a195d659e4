//! The parts of an exchange.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::listings::{HistoryHorizon, Listings};
use crate::clock;
use crate::config::SimConfig;
use crate::delivery::{Counters, DeliveryContext, Hub, Rolling, Verdict, Weights};
use crate::fault::Faults;
use crate::ledger::{EventData, Ledger, LedgerEntry, TradeRecord};
use crate::market::{Event, Instrument, Pace, Side, SymbolMarket, draw_in};
use crate::recording::Recording;
use crate::venue::{Content, Limits, ListedInstrument, RestCall, Venue, symbols_of};

#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) symbols: Vec<SymbolMarket>,
    pub(super) dice: StdRng,
    pub(super) events: Vec<Event>,
    pub(super) indices_ms: i64,
}

pub struct Exchange {
    pub(crate) venue: Box<dyn Venue>,
    pub(crate) config: SimConfig,
    pub(crate) limits: Limits,
    pub(crate) listed: Vec<ListedInstrument>,
    pub(crate) listings: Listings,
    pub(crate) history: HistoryHorizon,
    /// Added to the clock in REST answers, ms.
    pub(crate) skew_ms: AtomicI64,
    by_name: HashMap<String, usize>,
    /// Symbol and content of each stream; `None` for one that carries several instruments.
    pub(super) streams: HashMap<Arc<str>, Option<(usize, Content)>>,
    pub(crate) market: Mutex<Market>,
    pub(crate) hub: Mutex<Hub>,
    pub(super) ledger: Mutex<Ledger>,
    /// Entries taken by sockets and not yet in the ledger: at high rates the generator holds the ledger nearly all the time, and
    /// sessions must not wait for it. Bounded by the sessions' queues.
    taken: Mutex<Vec<LedgerEntry>>,
    weights: Mutex<Weights>,
    connects: Mutex<HashMap<IpAddr, Rolling>>,
    pace: Mutex<Pace>,
    /// A client has connected; an exchange without clients gets no share of the rate while others have some.
    visited: AtomicBool,
    past: Vec<Vec<TradeRecord>>,
    pub(super) seed: u64,
    pub(crate) faults: Arc<Faults>,
    pub counters: Counters,
    pub(crate) recording: Option<Recording>,
}

/// Takes a lock, poisoned or not.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    pub fn new(
        venue: Box<dyn Venue>,
        config: &SimConfig,
        faults: Arc<Faults>,
        recording: Option<Recording>,
    ) -> Exchange {
        let now_ms = clock::now_ms();
        let first_id = config.first_id.unwrap_or_else(|| u64::try_from(now_ms).unwrap_or(0));
        let limits = config.limits(venue.profile().limits);
        let configured = symbols_of(venue.exchange(), &config.symbols);
        let symbols = recording.as_ref().map_or(configured, Recording::symbols);
        let named = |symbols: &[String]| -> Vec<Instrument> {
            symbols.iter().filter_map(|symbol| venue.instrument(symbol, now_ms)).collect()
        };
        let mut instruments = named(&symbols);
        if instruments.is_empty() {
            instruments = named(&venue.default_symbols(now_ms));
        }
        let list = |(index, instrument): (usize, Instrument)| ListedInstrument {
            index,
            streams: venue.streams(&instrument),
            instrument,
        };
        let listed: Vec<ListedInstrument> = instruments.into_iter().enumerate().map(list).collect();
        let mut rules = venue.profile().rules.clone();
        rules.history_changes = kept_per_symbol(config.history_changes, listed.len());
        let seed = config.seed.wrapping_add(venue.exchange().len() as u64);
        let seed_of = |l: &ListedInstrument| seed.wrapping_add(1_000_003 * (l.index as u64 + 1));
        let market = |l: &ListedInstrument| {
            SymbolMarket::new(l.instrument.clone(), rules.clone(), seed_of(l), first_id, now_ms)
        };
        let generated: &[ListedInstrument] = if recording.is_some() { &[] } else { &listed };
        let symbols: Vec<SymbolMarket> = generated.iter().map(market).collect();
        let times = (venue.profile().past_minutes, config.past_per_minute);
        let past = |l: &ListedInstrument| past_trades(&l.instrument, times, seed_of(l), first_id);
        let past = generated.iter().map(past).collect();
        let ledger = Ledger::new(kept_per_symbol(config.ledger_trades, listed.len()), config.ledger_events);
        Exchange {
            by_name: listed.iter().map(|l| (l.instrument.symbol.clone(), l.index)).collect(),
            streams: streams_of(&*venue, &listed),
            market: Mutex::new(Market {
                symbols,
                dice: StdRng::seed_from_u64(config.seed),
                events: Vec::new(),
                indices_ms: 0,
            }),
            hub: Mutex::new(Hub::default()),
            ledger: Mutex::new(ledger),
            taken: Mutex::new(Vec::new()),
            weights: Mutex::new(Weights::new(limits.bans)),
            connects: Mutex::new(HashMap::new()),
            pace: Mutex::new(Pace { event_ms: config.event_ms, still_book_ms: config.still_book_ms }),
            visited: AtomicBool::new(false),
            counters: Counters::default(),
            past,
            seed,
            venue,
            limits,
            config: config.clone(),
            listings: Listings::all(listed.len()),
            history: HistoryHorizon::none(listed.len()),
            skew_ms: AtomicI64::new(0),
            listed,
            faults,
            recording,
        }
    }

    pub fn pace(&self) -> Pace {
        *lock(&self.pace)
    }

    pub fn set_pace(&self, pace: Pace) {
        *lock(&self.pace) = pace;
    }

    pub fn is_visited(&self) -> bool {
        self.visited.load(Ordering::Acquire)
    }

    pub(crate) fn past(&self, symbol: usize) -> &[TradeRecord] {
        self.past.get(symbol).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = lock(&self.ledger);
        let taken = std::mem::take(&mut *lock(&self.taken));
        taken.into_iter().for_each(|entry| ledger.accepted(entry));
        ledger
    }

    pub fn find_symbol(&self, symbol: &str) -> Option<&ListedInstrument> {
        self.listed.get(*self.by_name.get(symbol)?)
    }

    pub fn has_stream(&self, stream: &str) -> bool {
        let listed = |of: &Option<(usize, Content)>| of.is_none_or(|(index, _)| self.listings.has(index));
        self.streams.get(stream).is_some_and(listed)
    }

    pub(super) fn context<'a>(&'a self, symbol: &'a str, ledger: &'a mut Ledger) -> DeliveryContext<'a> {
        DeliveryContext {
            venue: &*self.venue,
            symbol,
            faults: &self.faults,
            ledger,
            counters: &self.counters,
        }
    }

    pub fn accepted(&self, entries: &[LedgerEntry]) {
        if !entries.is_empty() {
            lock(&self.taken).extend(entries);
        }
    }

    pub fn answered(&self, events: Vec<EventData>) {
        if !events.is_empty() {
            let mut ledger = self.ledger();
            events.into_iter().for_each(|event| ledger.answered(event));
        }
    }

    pub fn admits(&self, address: IpAddr) -> bool {
        self.visited.store(true, Ordering::Release);
        let Some(limit) = self.limits.connects else { return true };
        let mut all = lock(&self.connects);
        all.entry(address).or_insert_with(|| Rolling::new(limit)).take(Instant::now())
    }

    pub fn charge(&self, address: IpAddr, call: &RestCall) -> Verdict {
        self.visited.store(true, Ordering::Release);
        let (mut weights, now) = (lock(&self.weights), Instant::now());
        if let Some((pool, size)) = &call.pool {
            let verdict = weights.charge((address, pool), *size, 1, now);
            if matches!(verdict, Verdict::Refused { .. }) {
                return verdict;
            }
        }
        weights.charge((address, ""), self.limits.weight, call.weight, now)
    }
}

fn streams_of(venue: &dyn Venue, listed: &[ListedInstrument]) -> HashMap<Arc<str>, Option<(usize, Content)>> {
    let own = |l: &ListedInstrument| {
        let index = l.index;
        l.streams.clone().into_iter().map(move |stream| (stream.name, Some((index, stream.content))))
    };
    let shared = venue.shared_streams(listed).into_iter().map(|name| (name, None));
    listed.iter().flat_map(own).chain(shared).collect()
}

/// Trades spread evenly over the minutes before now, with ids ending just below `first_id`.
fn past_trades(
    instrument: &Instrument,
    (minutes, per_minute): (u32, u32),
    seed: u64,
    first_id: u64,
) -> Vec<TradeRecord> {
    let now_ms = clock::now_ms();
    let count = i64::from(minutes) * i64::from(per_minute);
    let start_ms = now_ms - i64::from(minutes) * 60_000;
    let first = first_id.saturating_sub(count.unsigned_abs());
    let one = |n: i64| {
        let id = first + n.unsigned_abs();
        let ticks = instrument.start_ticks + draw_in(-20..21, seed, 31, n);
        let trade_ms = start_ms + n * 60_000 / i64::from(per_minute.max(1));
        TradeRecord {
            id,
            matches: (id, id),
            price: instrument.price(ticks.max(1)),
            quantity: instrument.quantity(draw_in(1..instrument.usual_steps.max(2), seed, 32, n)),
            taker: if draw_in(0..2, seed, 33, n) == 0 { Side::Bid } else { Side::Ask },
            trade_ms,
            event_ms: trade_ms,
            ..TradeRecord::default()
        }
    };
    (0..count).map(one).collect()
}

fn kept_per_symbol(per_symbol: usize, symbols: usize) -> usize {
    per_symbol.min(SimConfig::KEPT_TOTAL / symbols.max(1))
}
