//! What a feed tells about itself: written by its pipeline now and then, read by the HTTP listeners.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use marketprism_adapter_host::contract::{Plan, Poll};
use marketprism_adapter_host::{Adapter, Stats};
use marketprism_schema::{DataType, MarketType};
use marketprism_socket::FeedSockets;

use super::polls::PollReport;
use crate::books::BookReport;
use crate::contract::data_type;
use crate::records::TradeReport;

/// Where a feed stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedPhase {
    /// It is getting its instruments and plan; the text says why it is not done yet.
    Starting(String),
    /// It collects.
    Running,
    /// It was stopped.
    Stopped,
    /// It ended though nobody stopped it.
    Failed(String),
}

/// An instrument as `/coverage` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstrumentName {
    /// Normalized symbol.
    pub symbol: String,
    /// The venue's own symbol.
    pub venue_symbol: String,
    /// Market type.
    pub market_type: MarketType,
}

/// What the pipeline tells every now and then.
#[derive(Debug, Clone, Default)]
pub struct FeedReport {
    /// Every book.
    pub books: Vec<BookReport>,
    /// Every instrument with a hole in its trade ids.
    pub trades: Vec<TradeReport>,
    /// The polls of each data type that has any.
    pub polls: Vec<(DataType, PollReport)>,
    /// The adapter was given up for now: it faults on everything.
    pub adapter_unhealthy: bool,
}

/// What a feed tells about itself.
#[derive(Debug)]
pub struct FeedStatus {
    /// Exchange id.
    pub exchange: String,
    /// What it collects.
    pub data_types: Vec<DataType>,
    /// The component.
    pub adapter: Adapter,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: FeedPhase,
    instruments: Arc<[InstrumentName]>,
    sockets: Option<Arc<FeedSockets>>,
    stats: Option<Arc<Stats>>,
    report: FeedReport,
    /// How long ago the answers of a data type's polls end, in milliseconds.
    delays: Vec<(DataType, u32)>,
}

impl FeedStatus {
    /// A feed that starts.
    #[must_use]
    pub fn new(exchange: &str, data_types: &[DataType], adapter: Adapter) -> Self {
        let inner = Inner {
            phase: FeedPhase::Starting("waiting for the venue's instrument lists".to_owned()),
            instruments: Arc::default(),
            sockets: None,
            stats: None,
            report: FeedReport::default(),
            delays: Vec::new(),
        };
        Self {
            exchange: exchange.to_owned(),
            data_types: data_types.to_vec(),
            adapter,
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> FeedPhase {
        self.lock().phase.clone()
    }

    /// RemarkLog where it stands.
    pub fn set_phase(&self, phase: FeedPhase) {
        self.lock().phase = phase;
    }

    /// RemarkLog that it runs.
    pub fn set_running(
        &self,
        instruments: Vec<InstrumentName>,
        sockets: Arc<FeedSockets>,
        stats: Arc<Stats>,
        plan: &Plan,
    ) {
        let delay = |poll: &Poll| Some((data_type(poll.data_type), poll.window.as_ref()?.to_ago_ms));
        let delays = plan.polls.iter().filter_map(delay).collect();
        let mut inner = self.lock();
        inner.delays = delays;
        inner.phase = FeedPhase::Running;
        inner.instruments = instruments.into();
        inner.sockets = Some(sockets);
        inner.stats = Some(stats);
    }

    /// How late a data type is by plan, in milliseconds: its polls ask for what is older than this. None: not late by plan.
    #[must_use]
    pub fn delay_ms(&self, kind: DataType) -> Option<u32> {
        let inner = self.lock();
        let delays = inner.delays.iter().filter(|(of, ms)| *of == kind && *ms > 0);
        delays.map(|(_, ms)| *ms).max()
    }

    /// Its sockets, while it runs.
    #[must_use]
    pub fn sockets(&self) -> Option<Arc<FeedSockets>> {
        self.lock().sockets.clone()
    }

    /// Lets go of the sockets, so that they can be stopped.
    pub fn take_sockets(&self) -> Option<Arc<FeedSockets>> {
        self.lock().sockets.take()
    }

    /// The counters of its adapter instance.
    #[must_use]
    pub fn stats(&self) -> Option<Arc<Stats>> {
        self.lock().stats.clone()
    }

    /// Its instruments.
    #[must_use]
    pub fn instruments(&self) -> Arc<[InstrumentName]> {
        Arc::clone(&self.lock().instruments)
    }

    /// What the pipeline told last.
    #[must_use]
    pub fn report(&self) -> FeedReport {
        self.lock().report.clone()
    }

    /// RemarkLog what the pipeline tells.
    pub fn set_report(&self, report: FeedReport) {
        self.lock().report = report;
    }
}
