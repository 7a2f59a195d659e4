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
use crate::delivery::ConnectionView;
use crate::exchange::{Exchange, lock};
use crate::fault::{FaultId, FaultStatus, Faults};
use crate::ledger::{DataType, EventFilter, EventRecord, TradeKind};
use crate::market::Pace;
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
        self.exchanges.iter().find(|e| e.venue().exchange() == name).cloned()
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
        let kind = query.kind.unwrap_or_else(|| exchange.venue().profile().usual_trades);
        let records = exchange.ledger().trades.list(symbol, kind, query.from_id, query.limit);
        let listed = exchange.listed.get(symbol);
        let view = |record| listed.map(|listed| view::trade(exchange.venue(), listed, record));
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
            let name = e.venue().exchange();
            (name.to_owned(), EndpointsView { ws: self.ws_base(name), rest: self.rest_base(name) })
        };
        self.exchanges.iter().map(of).collect()
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
            let name = e.venue().exchange();
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
                .map(|e| (e.venue().exchange().to_owned(), view::exchange(e)))
                .collect(),
        }
    }

    /// Lock for generation; `None` while paused.
    pub(crate) fn running(&self) -> Option<MutexGuard<'_, ()>> {
        let guard = lock(&self.generating);
        (!self.is_paused()).then_some(guard)
    }
}
