//! One exchange being played: its market, its subscribers, its ledger.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::clock;
use crate::config::SimConfig;
use crate::decimal::Decimal;
use crate::fault::Faults;
use crate::frame::Frame;
use crate::ledger::{Backlog, Ledger, TradeKey, TradeKind, TradeRecord};
use crate::market::{Event, Instrument, SymbolMarket, Trade};
use crate::recording::{RecordedTrade, Recording};
use crate::server::{Connection, Counters, Hub, Verdict, Way, WeightRules, Weights, offer};
use crate::venue::{Limits, Listed, Venue};

/// Settings of an exchange, its own limits with what the configuration changes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Limits and periods.
    pub limits: Limits,
    /// What a new subscriber of trades is sent again.
    pub backlog: Option<Backlog>,
    /// How often a client is asked how far it has read, in backlog mode.
    pub confirm_every: Duration,
    /// How long before a connection's end by age it is announced.
    pub notice_before: Option<Duration>,
    /// A flush that takes longer ends the connection.
    pub write_within: Duration,
    /// Frames queued per connection. Full policy: the connection is ended and counted.
    pub queue_capacity: usize,
}

/// The generated markets and the dice that choose among them.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) symbols: Vec<SymbolMarket>,
    dice: StdRng,
    events: Vec<Event>,
}

/// One exchange.
pub struct Exchange {
    venue: Box<dyn Venue>,
    options: Options,
    pub(crate) listed: Vec<Listed>,
    by_name: HashMap<String, usize>,
    trade_streams: HashMap<Arc<str>, (usize, TradeKind)>,
    pub(crate) market: Mutex<Market>,
    pub(crate) hub: Mutex<Hub>,
    ledger: Mutex<Ledger>,
    /// Trades taken by sockets and not yet noted in the ledger. Sessions must not wait for the generator,
    /// which holds the ledger nearly all the time at high rates. Bounded by what the sessions' queues can
    /// hold.
    taken: Mutex<Vec<(TradeKey, u64)>>,
    weights: Mutex<Weights>,
    faults: Arc<Faults>,
    /// Sums.
    pub counters: Counters,
    /// The recording that is played instead of a generated market.
    pub(crate) recording: Option<Recording>,
}

/// Takes a lock; a panic elsewhere does not make the data worthless for a test tool.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    /// An exchange with its market, or with a recording.
    #[must_use]
    pub fn new(
        venue: Box<dyn Venue>,
        config: &SimConfig,
        faults: Arc<Faults>,
        recording: Option<Recording>,
    ) -> Exchange {
        let now_ms = clock::now_ms();
        let first_id = config.first_id.unwrap_or_else(|| u64::try_from(now_ms).unwrap_or(0));
        let options = config.options_for(venue.limits());
        let symbols = recording.as_ref().map_or_else(|| config.symbols.clone(), Recording::symbols);
        let instruments = venue.instruments(&symbols, now_ms);
        let listed: Vec<Listed> =
            instruments.into_iter().enumerate().map(|(n, i)| list(&*venue, n, i)).collect();
        let mut rules = venue.rules();
        rules.history_changes = config.history_changes;
        let market = |l: &Listed| {
            let seed = config
                .seed
                .wrapping_add(1_000_003 * (l.index as u64 + 1))
                .wrapping_add(venue.exchange().len() as u64);
            SymbolMarket::new(l.instrument.clone(), rules.clone(), seed, first_id)
        };
        let symbols = if recording.is_some() { Vec::new() } else { listed.iter().map(market).collect() };
        let mut trade_streams = HashMap::new();
        for l in &listed {
            for kind in [TradeKind::Trade, TradeKind::Aggregate] {
                if let Some(stream) = venue.trade_stream(l, kind) {
                    trade_streams.insert(stream.clone(), (l.index, kind));
                }
            }
        }
        let weight = WeightRules {
            max: options.limits.weight_max,
            window: Duration::from_millis(config.weight_window_ms),
            ignored_max: config.ban_after_ignored,
            ban: Duration::from_millis(config.ban_ms),
        };
        Exchange {
            by_name: listed.iter().map(|l| (l.instrument.symbol.clone(), l.index)).collect(),
            market: Mutex::new(Market {
                symbols,
                dice: StdRng::seed_from_u64(config.seed),
                events: Vec::new(),
            }),
            hub: Mutex::new(Hub::default()),
            ledger: Mutex::new(Ledger::new(config.ledger_trades)),
            taken: Mutex::new(Vec::new()),
            weights: Mutex::new(Weights::new(weight)),
            counters: Counters::default(),
            venue,
            options,
            listed,
            trade_streams,
            faults,
            recording,
        }
    }

    /// The venue's protocol.
    #[must_use]
    pub fn venue(&self) -> &dyn Venue {
        &*self.venue
    }

    /// Settings.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Faults of the simulator.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The ledger with everything noted that happened until now.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = lock(&self.ledger);
        let taken = std::mem::take(&mut *lock(&self.taken));
        taken.iter().for_each(|(key, connection)| ledger.accepted(*key, *connection));
        ledger
    }

    /// A symbol by its name.
    #[must_use]
    pub fn find_symbol(&self, symbol: &str) -> Option<&Listed> {
        self.listed.get(*self.by_name.get(symbol)?)
    }

    /// Generates events until about `frames` frames were made (trades and fast book updates); returns how
    /// many were.
    pub fn generate(&self, now_ms: i64, frames: u64, trade_percent: u32) -> u64 {
        let mut guard = lock(&self.market);
        let Market { symbols, dice, events } = &mut *guard;
        if symbols.is_empty() {
            return frames;
        }
        let usual = self.venue.usual_trades();
        let mut made = 0;
        let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
        while made < frames {
            let chosen = dice.random_range(0..symbols.len());
            let Some(symbol) = symbols.get_mut(chosen) else { break };
            self.tell_wanted(symbol, chosen, &hub);
            let count = if dice.random_range(0..100) < trade_percent {
                let (matches, aggregates) = symbol.trade_event(now_ms, events);
                if usual == TradeKind::Trade { matches } else { aggregates }
            } else {
                symbol.book_event(now_ms, events)
            };
            // An event that yields nothing still costs one, so that the loop always ends.
            made += count.max(1) as u64;
            self.publish(chosen, events, &mut hub, &mut ledger);
        }
        made
    }

    /// Publishes what is due by time.
    pub fn generate_timed(&self, now_ms: i64) {
        self.each_symbol(|symbol, events| symbol.timed_events(now_ms, events));
        let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
        hub.release_held(Instant::now(), &mut self.way("", &mut ledger));
    }

    /// Publishes every book change not yet published, so that what clients have is the book as it stands.
    pub fn settle(&self, now_ms: i64) {
        self.each_symbol(|symbol, events| symbol.settle(now_ms, events));
    }

    fn each_symbol(&self, work: impl Fn(&mut SymbolMarket, &mut Vec<Event>)) {
        let mut guard = lock(&self.market);
        let Market { symbols, events, .. } = &mut *guard;
        let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
        for (n, symbol) in symbols.iter_mut().enumerate() {
            self.tell_wanted(symbol, n, &hub);
            work(symbol, events);
            self.publish(n, events, &mut hub, &mut ledger);
        }
    }

    fn tell_wanted(&self, symbol: &mut SymbolMarket, index: usize, hub: &Hub) {
        if let Some(listed) = self.listed.get(index) {
            symbol.want(|cadence| {
                self.venue.depth_streams(listed, cadence).iter().any(|stream| hub.is_wanted(stream))
            });
        }
    }

    fn way<'a>(&'a self, symbol: &'a str, ledger: &'a mut Ledger) -> Way<'a> {
        Way { venue: &*self.venue, symbol, faults: &self.faults, ledger, counters: &self.counters }
    }

    fn publish(&self, symbol: usize, events: &mut Vec<Event>, hub: &mut Hub, ledger: &mut Ledger) {
        let Some(listed) = self.listed.get(symbol) else { return };
        let mut frames = Vec::new();
        for event in events.drain(..) {
            let (kind, trade, matches) = match &event {
                Event::Trade(trade) => (TradeKind::Trade, trade, (trade.id, trade.id)),
                Event::Aggregate(a) => (TradeKind::Aggregate, &a.trade, (a.first_id, a.last_id)),
                other => {
                    self.venue.encode(listed, other, &|stream| hub.is_wanted(stream), &mut frames);
                    continue;
                }
            };
            let record = record_of(&listed.instrument, trade, matches);
            if let Some(stream) = self.venue.trade_stream(listed, kind).filter(|stream| hub.is_wanted(stream))
            {
                frames.push(self.trade_frame(listed, stream, kind, &record));
            }
            ledger.record(symbol, kind, record);
        }
        let mut way = self.way(&listed.instrument.symbol, ledger);
        for frame in frames {
            hub.dispatch(&Arc::new(frame), &mut way);
        }
    }

    fn trade_frame(
        &self,
        listed: &Listed,
        stream: &Arc<str>,
        kind: TradeKind,
        record: &TradeRecord,
    ) -> Frame {
        let key = TradeKey { symbol: listed.index, kind, id: record.id };
        let raw = self.venue.encode_trade(listed, kind, record);
        Frame::new(stream.clone(), Some(listed.index), false, Some(key), raw)
    }

    /// Sends a recorded frame.
    pub(crate) fn publish_recorded(
        &self,
        stream: &str,
        symbol: &str,
        book: bool,
        raw: String,
        trade: Option<RecordedTrade>,
    ) {
        let index = self.by_name.get(symbol).copied();
        let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
        let mut key = None;
        if let (Some(symbol), Some(trade)) = (index, trade) {
            key = Some(TradeKey { symbol, kind: trade.kind, id: trade.record.id });
            ledger.record(symbol, trade.kind, trade.record);
        }
        let frame = Frame::new(Arc::from(stream), index, book, key, raw);
        hub.dispatch(&Arc::new(frame), &mut self.way(symbol, &mut ledger));
    }

    /// Adds a connection and the streams of its address.
    pub fn join(&self, connection: &Arc<Connection>, streams: &[String]) {
        Counters::add(&self.counters.connections, 1);
        lock(&self.hub).add(connection.clone());
        self.subscribe(connection, streams);
    }

    /// Takes a connection away.
    pub fn leave(&self, connection: u64) {
        lock(&self.hub).remove(connection);
    }

    /// Subscribes a connection. Unknown streams and streams of another route are noted and stay silent.
    pub fn subscribe(&self, connection: &Arc<Connection>, streams: &[String]) {
        let mut hub = lock(&self.hub);
        for stream in streams {
            connection.with_subscriptions(|names| names.insert(stream.clone()));
            if !self.venue.carries(connection.route, stream) || !hub.subscribe(stream, connection) {
                continue;
            }
            if let (Some(backlog), Some((symbol, kind))) =
                (self.options.backlog, self.trade_streams.get(stream.as_str()))
            {
                self.send_backlog(connection, stream, (*symbol, *kind), backlog);
            }
        }
    }

    fn send_backlog(
        &self,
        connection: &Arc<Connection>,
        stream: &str,
        (symbol, kind): (usize, TradeKind),
        backlog: Backlog,
    ) {
        let Some(listed) = self.listed.get(symbol) else { return };
        let mut ledger = self.ledger();
        let records = ledger.backlog(symbol, kind, backlog);
        let mut way = self.way(&listed.instrument.symbol, &mut ledger);
        for record in records {
            let frame = self.trade_frame(listed, &Arc::from(stream), kind, &record);
            offer(connection, &Arc::new(frame), &mut way);
        }
    }

    /// Ends subscriptions of a connection.
    pub fn unsubscribe(&self, connection: &Arc<Connection>, streams: &[String]) {
        let mut hub = lock(&self.hub);
        for stream in streams {
            connection.with_subscriptions(|names| names.remove(stream));
            hub.unsubscribe(stream, connection.id);
        }
    }

    /// Notes trades that a socket took.
    pub fn accepted(&self, trades: &[TradeKey], connection: u64) {
        if !trades.is_empty() {
            lock(&self.taken).extend(trades.iter().map(|key| (*key, connection)));
        }
    }

    /// Notes trades that a client proved to have read.
    pub fn confirmed(&self, marks: &HashMap<(usize, TradeKind), u64>) {
        let mut ledger = self.ledger();
        for ((symbol, kind), id) in marks {
            ledger.confirmed(TradeKey { symbol: *symbol, kind: *kind, id: *id });
        }
    }

    /// Charges a REST request to its address.
    pub fn charge(&self, address: IpAddr, weight: u32) -> Verdict {
        lock(&self.weights).charge(address, weight, Instant::now())
    }
}

fn list(venue: &dyn Venue, index: usize, instrument: Instrument) -> Listed {
    Listed { index, streams: venue.streams(&instrument), instrument }
}

fn record_of(instrument: &Instrument, trade: &Trade, matches: (u64, u64)) -> TradeRecord {
    TradeRecord {
        id: trade.id,
        matches,
        price: Decimal { units: trade.price * instrument.tick, scale: instrument.price_scale },
        quantity: Decimal { units: trade.quantity * instrument.step, scale: instrument.quantity_scale },
        taker: trade.taker,
        trade_ms: trade.trade_ms,
        event_ms: trade.event_ms,
        sends: Vec::new(),
        withheld: 0,
    }
}
