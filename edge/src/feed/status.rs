//! State of a feed for the HTTP pages: written by its pipeline, read by the listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marketprism_adapter_host::contract::{Instrument, Plan};
use marketprism_adapter_host::{Adapter, InstrumentIndex, Stats};
use marketprism_schema::{DataType, DataTypeMap, DowntimeReason, InvalidValue, MarketType};
use marketprism_socket::FeedSockets;
use tokio::sync::Notify;

use super::parts::{InstrumentKey, PartNumber, RankedMarket};
use super::sources::PollReport;
use super::version::VersionMailbox;
use crate::books::BookReport;
use crate::config::CurrentAdapter;
use crate::limits::REFUSALS_SHOWN;
use crate::records::TradeIdReport;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedPhase {
    /// It requests its instruments and plan, or waits for its next try after this error.
    Starting(String),
    Running,
    Stopped,
}

/// End of an instrument's streams in a part that runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstrumentEnd {
    /// The venue does not list it any more, or it is no longer configured.
    Downtime(DowntimeReason),
    /// Its terms changed: another part goes on with its streams.
    Moved,
}

impl InstrumentEnd {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downtime(reason) => reason.as_str(),
            Self::Moved => "moved",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstrumentName {
    pub symbol: String,
    pub venue_symbol: String,
    pub market_type: MarketType,
    /// Its streams have ended in this part.
    pub ended: Option<InstrumentEnd>,
    /// By the venue's newest list.
    pub is_trading: bool,
}

impl From<&Instrument> for InstrumentName {
    fn from(instrument: &Instrument) -> Self {
        Self {
            symbol: instrument.symbol.clone(),
            venue_symbol: instrument.venue_symbol.clone(),
            market_type: instrument.market_type.into(),
            ended: None,
            is_trading: instrument.trading,
        }
    }
}

/// Report of the pipeline, renewed every [`crate::limits::STATUS_EVERY`].
#[derive(Debug, Clone, Default)]
pub struct FeedReport {
    pub books: Vec<BookReport>,
    /// Instruments that had a gap in their trade ids.
    pub trades: Vec<TradeIdReport>,
    pub polls: Vec<(DataType, PollReport)>,
    /// The adapter faults on everything; frames are skipped for now.
    pub adapter_unhealthy: bool,
    /// Resource that the host denies the adapter's instances.
    pub host_limit: Option<String>,
}

#[derive(Debug)]
pub struct FeedStatus {
    pub exchange: String,
    pub data_types: Vec<DataType>,
    /// Version that the feed's parts start with.
    pub current: CurrentAdapter,
    /// Commands for the pipeline.
    pub versions: VersionMailbox,
    pub part: PartNumber,
    created: Instant,
    state: Mutex<FeedState>,
    /// Instruments wait for their end: looked at in every turn.
    is_ending: AtomicBool,
    /// Wakes who waits for the end of instruments.
    ended: Notify,
}

#[derive(Debug)]
struct FeedState {
    phase: FeedPhase,
    /// Version that the pipeline runs.
    adapter: Option<Adapter>,
    /// Starts of a pipeline.
    starts: u64,
    instruments: Arc<[InstrumentName]>,
    sockets: Option<Arc<FeedSockets>>,
    stats: Option<Arc<Stats>>,
    report: FeedReport,
    delays_ms: DataTypeMap<u32>,
    not_listed: Arc<[String]>,
    ranked: Arc<[RankedMarket]>,
    unranked: Arc<[String]>,
    ranking_problem: Option<Arc<str>>,
    /// Instruments whose streams the pipeline has not ended.
    ending: Vec<(InstrumentIndex, InstrumentEnd)>,
    refusals: BTreeMap<DataType, EventRefusals>,
}

/// Events refused because a value cannot be true, without a pause of [`REFUSALS_SHOWN`].
#[derive(Debug)]
struct EventRefusals {
    count: u64,
    first: Instant,
    last: Instant,
    newest: InvalidValue,
}

impl FeedStatus {
    pub fn new(exchange: &str, data_types: &[DataType], adapter: impl Into<CurrentAdapter>) -> Self {
        let state = FeedState {
            phase: FeedPhase::Starting("requesting the venue's instrument lists".to_owned()),
            adapter: None,
            starts: 0,
            instruments: Arc::default(),
            sockets: None,
            stats: None,
            report: FeedReport::default(),
            delays_ms: DataTypeMap::default(),
            not_listed: Arc::default(),
            ranked: Arc::default(),
            unranked: Arc::default(),
            ranking_problem: None,
            ending: Vec::new(),
            refusals: BTreeMap::new(),
        };
        let (exchange, data_types) = (exchange.to_owned(), data_types.to_vec());
        Self {
            exchange,
            data_types,
            current: adapter.into(),
            versions: VersionMailbox::default(),
            part: 0,
            created: Instant::now(),
            state: Mutex::new(state),
            is_ending: AtomicBool::new(false),
            ended: Notify::new(),
        }
    }

    #[must_use]
    pub fn with_part(self, part: PartNumber) -> Self {
        Self { part, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the feed, or this part of it, was added.
    pub fn age(&self) -> Duration {
        self.created.elapsed()
    }

    pub fn phase(&self) -> FeedPhase {
        self.lock().phase.clone()
    }

    pub fn set_phase(&self, phase: FeedPhase) {
        let mut state = self.lock();
        if phase != FeedPhase::Running {
            state.ending.clear();
            self.is_ending.store(false, Ordering::Release);
            state.adapter = None;
            self.versions.close();
            self.ended.notify_waiters();
        }
        state.phase = phase;
    }

    /// Symbols of the configuration that the venue does not list.
    pub fn not_listed(&self) -> Arc<[String]> {
        Arc::clone(&self.lock().not_listed)
    }

    pub fn set_not_listed(&self, symbols: &[String]) {
        self.lock().not_listed = symbols.into();
    }

    /// Markets that their rank selects, best first.
    pub fn ranked(&self) -> Arc<[RankedMarket]> {
        Arc::clone(&self.lock().ranked)
    }

    /// Selected symbols with their volume in another currency than the ranking.
    pub fn unranked(&self) -> Arc<[String]> {
        Arc::clone(&self.lock().unranked)
    }

    /// Why the venue's ranking cannot be read.
    pub fn ranking_problem(&self) -> Option<Arc<str>> {
        self.lock().ranking_problem.clone()
    }

    /// Returns the earlier one.
    pub fn set_ranking_problem(&self, problem: Option<&str>) -> Option<Arc<str>> {
        std::mem::replace(&mut self.lock().ranking_problem, problem.map(Arc::from))
    }

    pub fn set_ranked(&self, ranked: &[RankedMarket], unranked: &[String]) {
        let mut state = self.lock();
        (state.ranked, state.unranked) = (ranked.into(), unranked.into());
    }

    /// The pipeline of a running part ends the streams of these instruments.
    pub fn end_instruments(&self, keys: &[InstrumentKey], end: InstrumentEnd) {
        let mut state = self.lock();
        if state.phase != FeedPhase::Running {
            return;
        }
        let mut instruments = state.instruments.to_vec();
        for (index, one) in InstrumentIndex::enumerate(&mut instruments) {
            let is_gone = keys.iter().any(|(symbol, of)| *symbol == one.symbol && *of == one.market_type);
            if is_gone && one.ended.is_none() {
                one.ended = Some(end);
                state.ending.push((index, end));
            }
        }
        state.instruments = instruments.into();
        state.watch_silence();
        self.is_ending.store(!state.ending.is_empty(), Ordering::Release);
    }

    /// All other instruments trade.
    pub fn set_not_trading(&self, keys: &BTreeSet<InstrumentKey>) {
        let mut state = self.lock();
        let mut instruments = state.instruments.to_vec();
        for one in &mut instruments {
            one.is_trading = !keys.contains(&(one.symbol.clone(), one.market_type));
        }
        state.instruments = instruments.into();
        state.watch_silence();
    }

    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    pub fn ending_instruments(&self) -> Vec<(InstrumentIndex, InstrumentEnd)> {
        self.lock().ending.clone()
    }

    /// The streams of these instruments have ended.
    pub fn instruments_ended(&self, ended: &[(InstrumentIndex, InstrumentEnd)]) {
        let mut state = self.lock();
        state.ending.retain(|one| !ended.contains(one));
        self.is_ending.store(!state.ending.is_empty(), Ordering::Release);
        self.ended.notify_waiters();
    }

    /// Waits until the streams of all these instruments have ended, or the feed does not run.
    pub async fn ended_instruments(&self) {
        loop {
            let ended = self.ended.notified();
            if self.lock().ending.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// The version that runs, or that the next start begins with.
    pub fn adapter(&self) -> Adapter {
        self.running_adapter().unwrap_or_else(|| self.current.get())
    }

    /// `None`: no pipeline runs. A resting part is running without one.
    pub fn running_adapter(&self) -> Option<Adapter> {
        self.lock().adapter.clone()
    }

    pub fn set_running_adapter(&self, adapter: Adapter) {
        self.lock().adapter = Some(adapter);
    }

    /// Number of starts of a pipeline: the same number is the same pipeline.
    pub fn starts(&self) -> u64 {
        self.lock().starts
    }

    pub fn set_running(
        &self,
        adapter: Adapter,
        instruments: &[Instrument],
        sockets: Arc<FeedSockets>,
        stats: Arc<Stats>,
        plan: &Plan,
    ) {
        let mut state = self.lock();
        state.delays_ms = planned_delays_ms(plan);
        state.phase = FeedPhase::Running;
        state.adapter = Some(adapter);
        state.starts += 1;
        self.versions.open();
        state.instruments = instruments.iter().map(InstrumentName::from).collect();
        state.sockets = Some(sockets);
        state.stats = Some(stats);
        state.watch_silence();
    }

    /// The feed runs without an instrument of this part.
    pub fn set_resting(&self) {
        self.lock().instruments = Arc::default();
        self.set_phase(FeedPhase::Running);
    }

    /// Planned delay of a data type: its polls ask for what is older. `None`: there is no delay.
    pub fn delay_ms(&self, kind: DataType) -> Option<u32> {
        Some(self.lock().delays_ms[kind]).filter(|delay| *delay > 0)
    }

    pub fn sockets(&self) -> Option<Arc<FeedSockets>> {
        self.lock().sockets.clone()
    }

    /// Takes the sockets out, so that they can be stopped.
    pub fn take_sockets(&self) -> Option<Arc<FeedSockets>> {
        self.lock().sockets.take()
    }

    pub fn stats(&self) -> Option<Arc<Stats>> {
        self.lock().stats.clone()
    }

    pub fn instruments(&self) -> Arc<[InstrumentName]> {
        Arc::clone(&self.lock().instruments)
    }

    /// Notes an event that was not published for this value.
    pub fn refused(&self, kind: DataType, error: &InvalidValue, now: Instant) {
        let mut state = self.lock();
        let before = state.refusals.remove(&kind).filter(|refusals| refusals.is_current(now));
        let (count, first) = before.map_or((0, now), |refusals| (refusals.count, refusals.first));
        let refusals = EventRefusals { count: count + 1, first, last: now, newest: error.clone() };
        state.refusals.insert(kind, refusals);
    }

    /// Reasons for `/health`, one per data type of which events are being refused.
    pub fn refusals(&self, now: Instant) -> Vec<String> {
        let reason = |(kind, refusals): (&DataType, &EventRefusals)| {
            let EventRefusals { count, first, newest, .. } = refusals;
            let (exchange, seconds) = (&self.exchange, now.saturating_duration_since(*first).as_secs());
            refusals.is_current(now).then(|| {
                format!(
                    "{exchange} {kind}: {count} events refused and lost in {seconds} s, the newest: {newest}"
                )
            })
        };
        self.lock().refusals.iter().filter_map(reason).collect()
    }

    pub fn report(&self) -> FeedReport {
        self.lock().report.clone()
    }

    pub fn set_report(&self, report: FeedReport) {
        self.lock().report = report;
    }
}

impl FeedState {
    /// Nothing comes of an instrument whose streams have ended, or that does not trade: a connection is not replaced for their silence.
    fn watch_silence(&self) {
        let Some(sockets) = &self.sockets else { return };
        sockets.expect(|instrument| {
            let one = self.instruments.get(instrument.position());
            one.is_none_or(|one| one.ended.is_none() && one.is_trading)
        });
    }
}

impl EventRefusals {
    fn is_current(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < REFUSALS_SHOWN
    }
}

/// Time from an event to the poll that asks for it, by data type.
pub fn planned_delays_ms(plan: &Plan) -> DataTypeMap<u32> {
    let mut delays_ms = DataTypeMap::default();
    for poll in &plan.polls {
        let delay: &mut u32 = &mut delays_ms[poll.data_type.into()];
        *delay = poll.window.as_ref().map_or(0, |window| window.to_ago_ms).max(*delay);
    }
    delays_ms
}

#[cfg(test)]
mod tests;
