//! The running simulator, for tests and the control API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::delivery::{Connection, ConnectionView, End, close_of};
use crate::exchange::{Exchange, lock};
use crate::fault::{FaultAction, FaultError, FaultId, FaultSpec, FaultStatus, Faults};
use crate::ledger::{DataType, EventFilter, EventRecord, TradeKind};
use crate::market::{Event, Pace, SymbolMarket};
use crate::view::{self, BookView, EndpointsView, InstrumentView, StateView, TradeView};

/// Takes the listener down.
#[derive(Debug)]
pub struct ListenerControl {
    down_until: watch::Sender<Option<Instant>>,
}

impl ListenerControl {
    pub fn new() -> (ListenerControl, watch::Receiver<Option<Instant>>) {
        let (down_until, receiver) = watch::channel(None);
        (ListenerControl { down_until }, receiver)
    }

    pub fn take_down(&self, duration: Duration) {
        self.down_until.send_replace(Some(Instant::now() + duration));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub rate: u64,
    pub trade_percent: u32,
    /// Period of bursts, ms; 0 for none.
    pub burst_every_ms: u64,
    pub burst_frames: u64,
    /// Period of everything timed, ms; `None`: the venues' own periods.
    pub event_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeQuery<'a> {
    pub exchange: &'a str,
    pub symbol: &'a str,
    /// `None`: the kind that the exchange's adapter takes.
    pub kind: Option<TradeKind>,
    pub from_id: u64,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value} is not simulated")]
pub struct Unknown {
    pub field: &'static str,
    pub value: String,
}

pub struct Simulation {
    exchanges: Vec<Arc<Exchange>>,
    pub(crate) faults: Arc<Faults>,
    settings: Mutex<Settings>,
    /// Locked during generation, so that a pause is complete when it returns.
    pub(crate) generating: Mutex<()>,
    pub(crate) paused: Arc<AtomicBool>,
    pub(crate) listener: ListenerControl,
    address: SocketAddr,
    ca_file: Option<PathBuf>,
}

impl Simulation {
    pub(crate) fn new(
        exchanges: Vec<Arc<Exchange>>,
        faults: Arc<Faults>,
        settings: Settings,
        listener: ListenerControl,
        (address, ca_file): (SocketAddr, Option<PathBuf>),
    ) -> Simulation {
        Simulation {
            exchanges,
            faults,
            settings: Mutex::new(settings),
            generating: Mutex::new(()),
            paused: Arc::new(AtomicBool::new(false)),
            listener,
            address,
            ca_file,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The server's certificate, with TLS.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    pub fn ws_base(&self, exchange: &str) -> String {
        let scheme = if self.ca_file.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/{exchange}", self.address)
    }

    pub fn rest_base(&self, exchange: &str) -> String {
        let scheme = if self.ca_file.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/{exchange}", self.address)
    }

    pub fn exchanges(&self) -> &[Arc<Exchange>] {
        &self.exchanges
    }

    pub fn exchange(&self, name: &str) -> Option<Arc<Exchange>> {
        self.exchanges.iter().find(|e| e.venue.exchange() == name).cloned()
    }

    pub(crate) fn find(&self, exchange: &str, symbol: &str) -> Result<(Arc<Exchange>, usize), Unknown> {
        let unknown = |field, value: &str| Unknown { field, value: value.to_owned() };
        let found = self.exchange(exchange).ok_or_else(|| unknown("exchange", exchange))?;
        let index =
            found.find_symbol(symbol).map(|listed| listed.index).ok_or_else(|| unknown("symbol", symbol))?;
        Ok((found, index))
    }

    pub fn trades(&self, query: &TradeQuery<'_>) -> Result<Vec<TradeView>, Unknown> {
        let (exchange, symbol) = self.find(query.exchange, query.symbol)?;
        let kind = query.kind.unwrap_or_else(|| exchange.venue.profile().usual_trades);
        let records = exchange.ledger().trades.list(symbol, kind, query.from_id, query.limit);
        let listed = exchange.listed.get(symbol);
        let view = |record| listed.map(|listed| view::trade(&*exchange.venue, listed, record));
        Ok(records.iter().filter_map(view).collect())
    }

    /// Events other than trades and books.
    pub fn events(&self, exchange: &str, filter: EventFilter<'_>) -> Result<Vec<EventRecord>, Unknown> {
        let unknown = || Unknown { field: "exchange", value: exchange.to_owned() };
        let records = self.exchange(exchange).ok_or_else(unknown)?.ledger().events.list(filter);
        Ok(records)
    }

    pub fn all_events(&self, exchange: &str, data_type: DataType) -> Result<Vec<EventRecord>, Unknown> {
        let data_type = Some(data_type);
        self.events(exchange, EventFilter { data_type, symbol: None, from: 0, limit: usize::MAX })
    }

    pub fn instruments(&self, exchange: &str) -> Result<Vec<InstrumentView>, Unknown> {
        let unknown = || Unknown { field: "exchange", value: exchange.to_owned() };
        let exchange = self.exchange(exchange).ok_or_else(unknown)?;
        Ok(exchange.listed.iter().map(|listed| view::instrument(&listed.instrument)).collect())
    }

    pub fn endpoints(&self) -> BTreeMap<String, EndpointsView> {
        let of = |e: &Arc<Exchange>| {
            let name = e.venue.exchange();
            (name.to_owned(), EndpointsView { ws: self.ws_base(name), rest: self.rest_base(name) })
        };
        self.exchanges.iter().map(of).collect()
    }

    /// Lists an instrument, or delists it (also as expired). It flows, or rests, from here on.
    pub fn set_listed(&self, exchange: &str, symbol: &str, listed: bool) -> Result<(), Unknown> {
        let _generating = lock(&self.generating);
        let (exchange, index) = self.find(exchange, symbol)?;
        exchange.set_listed(index, listed);
        Ok(())
    }

    /// The list states a tick of so many ticks from here on; the market keeps its own. Binance only.
    pub fn set_listed_ticks(&self, exchange: &str, symbol: &str, ticks: i64) -> Result<(), Unknown> {
        let (exchange, index) = self.find(exchange, symbol)?;
        exchange.set_listed_ticks(index, ticks);
        Ok(())
    }

    /// The list states a contract size of so many sizes from here on; the market keeps its own. OKX futures and swaps only.
    pub fn set_listed_size(&self, exchange: &str, symbol: &str, sizes: i64) -> Result<(), Unknown> {
        let (exchange, index) = self.find(exchange, symbol)?;
        exchange.set_listed_size(index, sizes);
        Ok(())
    }

    /// The tickers state this turnover of the last 24 hours from here on. Binance only.
    pub fn set_turnover(&self, exchange: &str, symbol: &str, turnover: u64) -> Result<(), Unknown> {
        let (exchange, index) = self.find(exchange, symbol)?;
        exchange.set_turnover(index, turnover);
        Ok(())
    }

    /// REST no longer gives trades before this id by their ids.
    pub fn set_history(&self, exchange: &str, symbol: &str, first_id: u64) -> Result<(), Unknown> {
        let (exchange, index) = self.find(exchange, symbol)?;
        exchange.history.set(index, first_id);
        Ok(())
    }

    /// Sets the clock in REST answers of an exchange this far ahead; that of its events is right.
    pub fn set_clock_skew(&self, exchange: &str, skew_ms: i64) -> bool {
        let Some(exchange) = self.exchange(exchange) else { return false };
        exchange.skew_ms.store(skew_ms, Ordering::Relaxed);
        true
    }

    /// All kept trades of a symbol, of the kind that the exchange's adapter takes.
    pub fn all_trades(&self, exchange: &str, symbol: &str) -> Result<Vec<TradeView>, Unknown> {
        self.trades(&TradeQuery { exchange, symbol, kind: None, from_id: 0, limit: usize::MAX })
    }

    /// The book at an update id; `None` for an id without change, or an old one.
    pub fn book_at(&self, exchange: &str, symbol: &str, update_id: u64) -> Result<Option<BookView>, Unknown> {
        let (exchange, index) = self.find(exchange, symbol)?;
        let book = {
            let market = lock(&exchange.market);
            market.symbols.get(index).and_then(|symbol| symbol.book_at(update_id))
        };
        Ok(book.and_then(|book| Some(view::book(exchange.listed.get(index)?, update_id, &book))))
    }

    /// The current book; `None` for a recording.
    pub fn book_now(&self, exchange: &str, symbol: &str) -> Result<Option<BookView>, Unknown> {
        let (exchange, index) = self.find(exchange, symbol)?;
        let market = lock(&exchange.market);
        let now = market.symbols.get(index).zip(exchange.listed.get(index));
        Ok(now.map(|(symbol, listed)| view::book(listed, symbol.last_update_id(), symbol.book())))
    }

    pub fn faults(&self) -> Vec<FaultStatus> {
        self.faults.list()
    }

    pub fn fired(&self, id: FaultId) -> u64 {
        self.faults.list().iter().find(|fault| fault.id == id).map_or(0, |fault| fault.fired)
    }

    pub fn remove_fault(&self, id: FaultId) -> bool {
        self.faults.remove(id)
    }

    /// Stops generation and publishes all unpublished changes: books no longer change, and all trades are in the ledger.
    pub fn pause(&self) {
        let _generating = lock(&self.generating);
        if !self.paused.swap(true, Ordering::AcqRel) {
            let now_ms = clock::now_ms();
            self.exchanges.iter().for_each(|exchange| exchange.flush(now_ms));
        }
    }

    pub fn resume(&self) {
        self.paused.store(false, Ordering::Release);
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub fn settings(&self) -> Settings {
        *lock(&self.settings)
    }

    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = lock(&self.settings);
        change(&mut settings);
        for exchange in &self.exchanges {
            exchange.set_pace(Pace { event_ms: settings.event_ms, ..exchange.pace() });
        }
    }

    pub fn set_rate(&self, rate: u64) {
        self.change_settings(|settings| settings.rate = rate);
    }

    pub fn connections(&self) -> Vec<ConnectionView> {
        let of = |e: &Arc<Exchange>| {
            let name = e.venue.exchange();
            lock(&e.hub).connections().map(|connection| connection.view(name)).collect::<Vec<_>>()
        };
        self.exchanges.iter().flat_map(of).collect()
    }

    pub fn state(&self) -> StateView {
        StateView {
            paused: self.is_paused(),
            rate: self.settings().rate,
            exchanges: self
                .exchanges
                .iter()
                .map(|e| (e.venue.exchange().to_owned(), view::exchange(e)))
                .collect(),
        }
    }

    /// Lock for generation; `None` while paused.
    pub(crate) fn running(&self) -> Option<MutexGuard<'_, ()>> {
        let guard = lock(&self.generating);
        (!self.is_paused()).then_some(guard)
    }
}

impl Simulation {
    /// Registers a fault; an immediate one has happened when this returns.
    pub fn fault(&self, spec: FaultSpec) -> Result<FaultId, FaultError> {
        if let Some(name) = spec.exchange.as_ref().filter(|name| self.exchange(name).is_none()) {
            return Err(FaultError::UnknownExchange(name.clone()));
        }
        if spec.action == FaultAction::RestartSequence {
            self.check_restart(&spec)?;
        }
        let (id, is_immediate) = self.faults.set(spec.clone())?;
        if is_immediate {
            let most = usize::try_from(spec.times()).unwrap_or(usize::MAX);
            let fired = match spec.action {
                FaultAction::Notice => self.announce_end(&spec, most),
                FaultAction::RestartSequence => self.restart_sequences(&spec),
                FaultAction::ListenerDown => {
                    self.listener.take_down(Duration::from_millis(spec.duration_ms.unwrap_or(0)));
                    1
                }
                _ => self.end_connections(&spec, most),
            };
            self.faults.add_fired(id, fired);
        }
        Ok(id)
    }

    fn chosen(&self, spec: &FaultSpec) -> Vec<(&Arc<Exchange>, Arc<Connection>)> {
        let mut chosen = Vec::new();
        for exchange in self.named(spec) {
            let streams =
                spec.symbol.as_ref().and_then(|s| exchange.find_symbol(s)).map(|l| l.streams.as_slice());
            let matching = lock(&exchange.hub).matching(spec, streams);
            chosen.extend(matching.into_iter().map(|connection| (exchange, connection)));
        }
        chosen
    }

    fn named(&self, spec: &FaultSpec) -> impl Iterator<Item = &Arc<Exchange>> {
        let named = |name: &str| spec.exchange.as_ref().is_none_or(|wanted| wanted == name);
        self.exchanges().iter().filter(move |e| named(e.venue.exchange()))
    }

    /// Sends the venue's notice that a connection will end; it ends after `delay_ms`.
    fn announce_end(&self, spec: &FaultSpec, most: usize) -> u64 {
        let after = Duration::from_millis(spec.delay_ms.unwrap_or(60_000));
        let tell = |(exchange, connection): &(&Arc<Exchange>, Arc<Connection>)| {
            let venue = &exchange.venue;
            let Some((stream, raw)) = venue.shutdown_notice(clock::now_ms()) else { return false };
            let combined = connection.combined.load(Ordering::Relaxed);
            connection.retire(if combined { venue.wrap(stream, &raw) } else { raw }, after)
        };
        self.chosen(spec).iter().take(most).filter(|chosen| tell(chosen)).count() as u64
    }

    fn check_restart(&self, spec: &FaultSpec) -> Result<(), FaultError> {
        match self.named(spec).find(|exchange| !exchange.venue.profile().restarts_sequence) {
            Some(exchange) => Err(FaultError::Field {
                field: "exchange",
                got: exchange.venue.exchange().to_owned(),
                allowed: "an exchange whose update numbers may start anew",
            }),
            None => Ok(()),
        }
    }

    fn restart_sequences(&self, spec: &FaultSpec) -> u64 {
        let _generating = lock(&self.generating);
        let mut restarted = 0;
        for exchange in self.named(spec) {
            let wanted = |name: &str| spec.symbol.as_ref().is_none_or(|symbol| symbol == name);
            for listed in exchange.listed.iter().filter(|l| wanted(&l.instrument.symbol)) {
                let restart = |market: &mut SymbolMarket, events: &mut Vec<Event>| {
                    market.restart_sequence(clock::now_ms(), events)
                };
                restarted += u64::from(exchange.with_symbol(listed.index, restart) == Some(true));
            }
        }
        restarted
    }

    fn end_connections(&self, spec: &FaultSpec, most: usize) -> u64 {
        let end = |connection: &Arc<Connection>| {
            connection.end(match spec.action {
                FaultAction::Close => close_of(spec),
                FaultAction::HalfCut => End::HalfCut,
                _ => End::Cut,
            })
        };
        let alive = |(_, c): &&(&Arc<Exchange>, Arc<Connection>)| c.ending().is_none();
        self.chosen(spec).iter().filter(alive).take(most).filter(|(_, c)| end(c)).count() as u64
    }

    pub fn cut_all(&self) -> u64 {
        self.end_connections(&FaultSpec::new(FaultAction::Cut), usize::MAX)
    }

    /// Generates about this many frames of an exchange at once, paused or not.
    pub fn burst(&self, exchange: &str, frames: u64) {
        let _generating = lock(&self.generating);
        if let Some(exchange) = self.exchange(exchange) {
            exchange.generate(clock::now_ms(), frames, self.settings().trade_percent);
        }
    }

    /// Publishes events of a data type now, paused or not. Returns the number: 0 where the venue does not push that type for this
    /// instrument. `symbol`: the venue's symbol, or its name of a volatility index.
    pub fn push(
        &self,
        exchange: &str,
        symbol: &str,
        data_type: DataType,
        count: usize,
    ) -> Result<usize, Unknown> {
        let _generating = lock(&self.generating);
        if let (DataType::VolatilityIndex, Some(found)) = (data_type, self.exchange(exchange))
            && found.venue.profile().indices.contains(&symbol)
        {
            for n in 0..count {
                found.push_index(symbol, clock::now_ms() + i64::try_from(n).unwrap_or(0));
            }
            return Ok(count);
        }
        let (exchange, index) = self.find(exchange, symbol)?;
        Ok(exchange.push(index, data_type, count, clock::now_ms()))
    }

    /// Publishes a change of the best bid with the time of the book's newest update; false where updates are not numbered by their time.
    pub fn push_book_of_same_time(&self, exchange: &str, symbol: &str) -> Result<bool, Unknown> {
        let _generating = lock(&self.generating);
        let (exchange, index) = self.find(exchange, symbol)?;
        let push = |market: &mut SymbolMarket, events: &mut Vec<Event>| {
            market.book_of_same_time(clock::now_ms(), events)
        };
        Ok(exchange.with_symbol(index, push) == Some(true))
    }

    /// Publishes a book update without changes, as some venues do for an unchanged book.
    pub fn push_still_book(&self, exchange: &str, symbol: &str) -> Result<(), Unknown> {
        let _generating = lock(&self.generating);
        let (exchange, index) = self.find(exchange, symbol)?;
        exchange.with_symbol(index, |market, events| market.still_book(clock::now_ms(), events));
        Ok(())
    }
}
