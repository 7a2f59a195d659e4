//! Recorded frames through adapter and order books, by the recording's clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use marketprism_adapter_host::contract::{
    self, Feed, Payload, Plan, Remark, ResyncAction, TradeId, TradeRange, Venue,
};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, FaultCause, FaultPolicy, FrameBatch, FrameIndex, InstrumentIndex, Limits,
    NormalizedBatch, PushError, Sandbox, SourceIndex, Stats,
};
use marketprism_schema::{DataType, Line, MarketType, RecordingKind};

use super::recorded_answers::{RequestMatcher, instrument_answers, may_be_answer};
use super::recording::Recordings;
use crate::config::{book_depth, collectable, offered};
use crate::feed::listed_instruments;
use crate::queue::EventRecord;
use crate::records::{EventEncoder, EventOrigin, InvalidEvent, PastTrade, RecordBuilder, RecordOptions};

/// Parameters in which polls and snapshot requests of one path always differ.
const KEY_PARAMETERS: [&str; 3] = ["symbol", "instId", "instrument_name"];

/// Choice of what is made of the frames.
#[derive(Debug, Clone)]
pub struct ReplaySetup {
    /// Empty: all that the adapter offers.
    pub data_types: Vec<DataType>,
    /// `None`: all that the adapter serves.
    pub market_types: Option<Vec<MarketType>>,
    pub depth: Option<u32>,
    pub publish_interval: Duration,
    /// A state of a book after each update instead of once per interval.
    pub every_update: bool,
    pub deduplicate: bool,
    pub origin: EventOrigin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayCounts {
    pub frames: u64,
    pub events: u64,
    /// Frames, or elements of frames, that the adapter calls malformed.
    pub malformed: u64,
    /// Frames on which the adapter faulted.
    pub faults: u64,
    /// Trades of the venue's history from before the first trade of their instrument: whether they were missing is not known.
    pub earlier_trades: u64,
}

pub struct FrameReplay {
    exchange: String,
    adapter: AdapterSupervisor,
    builder: RecordBuilder,
    requests: RequestMatcher,
    /// Source of each request in `requests`.
    sources: Vec<SourceIndex>,
    /// Requests of past trades, one per instrument, and their sources.
    history: (RequestMatcher, Vec<SourceIndex>),
    /// First id of each instrument's trades.
    first_trades: HashMap<InstrumentIndex, u64>,
    batch: FrameBatch,
    /// File and line of each frame in the batch.
    places: Vec<(usize, u64)>,
    /// Events that nobody has taken yet.
    pub records: Vec<EventRecord>,
    last_ns: i64,
    pub counts: ReplayCounts,
}

/// The data types of the setup, or all that are offered.
fn wanted_data_types(adapter: &Adapter, venue: &Venue, setup: &ReplaySetup) -> anyhow::Result<Vec<DataType>> {
    let allowed = collectable(venue);
    if let Some(kind) = setup.data_types.iter().find(|kind| !allowed.contains(kind)) {
        let names: Vec<&str> = allowed.iter().map(|kind| kind.as_str()).collect();
        let (exchange, id, names) = (&setup.origin.exchange, adapter.id(), names.join(", "));
        bail!("data type {kind} of {exchange} is not offered by {id} (allowed: {names})");
    }
    Ok(if setup.data_types.is_empty() { offered(venue) } else { setup.data_types.clone() })
}

/// All instruments.
fn contract_feed(venue: &Venue, setup: &ReplaySetup, data_types: &[DataType]) -> Feed {
    let market_types = setup.market_types.as_ref().map_or_else(
        || venue.market_types.clone(),
        |wanted| wanted.iter().copied().map(Into::into).collect(),
    );
    Feed {
        exchange: setup.origin.exchange.clone(),
        symbols: Vec::new(),
        market_types,
        data_types: contract::DataType::subscribed(data_types),
        depth: book_depth(setup.depth, venue),
        endpoints: Vec::new(),
    }
}

impl FrameReplay {
    /// Gives the adapter the state from before the span.
    pub fn start(adapter: &Adapter, setup: ReplaySetup, recordings: &Recordings) -> anyhow::Result<Self> {
        let exchange = setup.origin.exchange.clone();
        let Some(venue) = adapter.venue(&exchange) else {
            let venues: Vec<&str> =
                adapter.description().venues.iter().map(|v| v.exchange.as_str()).collect();
            let (id, venues) = (adapter.id(), venues.join(", "));
            bail!("exchange {exchange:?} is not served by {id} (allowed: {venues})");
        };
        let data_types = wanted_data_types(adapter, venue, &setup)?;
        let feed = contract_feed(venue, &setup, &data_types);
        let limits = Arc::new(Limits::default());
        let mut first = Sandbox::new(adapter, &limits, &Arc::new(Stats::default()))?;
        let answers = instrument_answers(&mut first, &feed, &limits, recordings)?;
        let instruments = listed_instruments(&mut first, &feed, &answers)?;
        // No frame is skipped, however often the adapter faults: the same input gives the same output.
        let policy = FaultPolicy {
            consecutive_faults: u32::MAX,
            fault_time: Duration::from_secs(u64::from(u32::MAX)),
            ..FaultPolicy::default()
        };
        let mut supervisor =
            AdapterSupervisor::start(adapter, &limits, policy, feed.clone(), instruments, None)?;
        let trades = venue.capability(DataType::Trade).filter(|_| data_types.contains(&DataType::Trade));
        let has_history = trades.is_some_and(|trades| trades.backfill);
        let history = if has_history { history_requests(&mut supervisor) } else { Vec::new() };
        let (urls, of_history): (Vec<String>, Vec<SourceIndex>) = history.into_iter().unzip();
        let history = (RequestMatcher::new(urls.iter().map(String::as_str), &KEY_PARAMETERS), of_history);
        let (plan, instruments) = (supervisor.plan(), supervisor.instruments());
        let (requests, sources) = planned_requests(plan);
        let encoder = EventEncoder::new(setup.origin, instruments).context("symbols of the adapter")?;
        let record_options = RecordOptions {
            deduplicate: setup.deduplicate,
            // Only missing trades are taken from the history, as in the run.
            contiguous_trade_ids: has_history,
            every_update: setup.every_update,
            ..RecordOptions::new(venue, &feed, instruments, plan, &data_types, setup.publish_interval)
        };
        let mut replay = Self {
            exchange,
            builder: RecordBuilder::new(record_options, encoder, instruments.len()),
            adapter: supervisor,
            requests,
            sources,
            history,
            first_trades: HashMap::new(),
            batch: FrameBatch::new(),
            places: Vec::new(),
            records: Vec::new(),
            last_ns: i64::MIN,
            counts: ReplayCounts::default(),
        };
        replay.answer_references(recordings)?;
        Ok(replay)
    }

    /// Symbols by the venue's names.
    pub fn symbols(&self) -> BTreeMap<(&str, &str), &str> {
        let instruments = self.adapter.instruments().iter();
        let named = instruments.map(|one| {
            let market = MarketType::from(one.market_type).as_str();
            ((one.venue_symbol.as_str(), market), one.symbol.as_str())
        });
        named.collect()
    }

    /// True if a frame of this line is normalized.
    pub fn has_source(&self, line: &Line<'_>) -> bool {
        self.source_of(line).is_some()
    }

    /// False: the batch is full, and must be normalized before the frame. A frame that the plan has no source of is left out.
    pub fn push(&mut self, file: usize, number: u64, line: &Line<'_>) -> anyhow::Result<bool> {
        let Some(source) = self.source_of(line) else { return Ok(true) };
        let data = line.data.as_deref().unwrap_or_default().as_bytes();
        match self.batch.push(data, source, line.at) {
            Err(PushError::Full) => return Ok(false),
            pushed => pushed?,
        };
        self.places.push((file, number));
        Ok(true)
    }

    /// Gives the answers of each reference poll from before the time to the adapter before all other frames, as in a run: also those before the
    /// newest one, which may be an error of the venue and leaves them in force. Without any, the first later one. Their events are written
    /// later, in their place.
    fn answer_references(&mut self, recordings: &Recordings) -> anyhow::Result<()> {
        let plan = self.adapter.plan();
        let polls = plan.polls.iter().enumerate().filter(|(_, poll)| poll.reference);
        let references: BTreeSet<_> = polls.map(|(poll, _)| SourceIndex::of_poll(plan, poll)).collect();
        if references.is_empty() {
            return Ok(());
        }
        let (from_ns, mut answered) = (recordings.span().from_ns, BTreeSet::new());
        recordings.each(may_be_answer, |_, _, line| {
            if let Some(source) = self.source_of(line).filter(|source| references.contains(source))
                && (line.at <= from_ns || !answered.contains(&source))
            {
                answered.insert(source);
                let mut batch = FrameBatch::new();
                batch.push(line.data.as_deref().unwrap_or_default().as_bytes(), source, line.at)?;
                self.adapter.normalize(&batch);
            }
            Ok(())
        })
    }

    /// The source of a line, if the plan has one. Messages of sockets count as the first connection's: the recorded connections need
    /// not be those of the plan.
    fn source_of(&self, line: &Line<'_>) -> Option<SourceIndex> {
        match line.kind {
            RecordingKind::WsIn => Some(SourceIndex::default()),
            RecordingKind::Rest => {
                let url = line.url.as_deref()?;
                let planned = self.requests.find(url).and_then(|one| self.sources.get(one));
                let (history, sources) = &self.history;
                planned.or_else(|| sources.get(history.find(url)?)).copied()
            }
            RecordingKind::WsOpen | RecordingKind::WsOut | RecordingKind::Adapter => None,
        }
    }

    /// Normalizes the frames of the batch.
    pub fn normalize(&mut self, recordings: &Recordings, problems: &mut impl Write) -> anyhow::Result<()> {
        let before = self.records.len();
        let NormalizedBatch { normalized, faults } = self.adapter.normalize(&self.batch);
        for (frame, events, notes) in normalized.by_frame(self.batch.len()) {
            let (at_ns, source) = self
                .batch
                .frame(frame)
                .map_or((self.last_ns, SourceIndex::default()), |frame| (frame.received_at_ns, frame.source));
            let past_of = source.backfilled(self.adapter.plan());
            // Books that were due before this frame came.
            self.builder.publish_due(at_ns, &mut self.records);
            for event in events {
                match past_of {
                    Some(instrument) => self.past_trade(instrument, &event.payload, at_ns),
                    None => self.event(&event.payload, &normalized.levels, at_ns),
                }
            }
            for note in notes {
                match &note.remark {
                    Remark::RestartBook(instrument) => {
                        self.builder.restart_book((*instrument).into(), at_ns);
                    }
                    Remark::Malformed(malformed) => {
                        self.counts.malformed += u64::from(malformed.count);
                        let place = self.place(recordings, frame);
                        writeln!(
                            problems,
                            "{place}: malformed at byte {}: {}",
                            malformed.at, malformed.what
                        )?;
                    }
                    _ => {}
                }
            }
            self.builder.publish_due(at_ns, &mut self.records);
            // Whoever kept the frames has asked for them.
            drop(self.builder.take_trade_holes());
            for InvalidEvent { data_type, error, .. } in self.builder.take_invalid() {
                self.counts.malformed += 1;
                let place = self.place(recordings, frame);
                writeln!(problems, "{place}: {data_type} not published: {error}")?;
            }
            self.last_ns = self.last_ns.max(at_ns);
        }
        self.counts.frames += u64::try_from(self.batch.len())?;
        for fault in &faults {
            self.counts.faults += 1;
            let place = self.place(recordings, fault.frame);
            match self.adapter.host_limit() {
                Some(limit) if fault.cause == FaultCause::HostLimit => {
                    writeln!(problems, "{place}: {limit}")?
                }
                _ => writeln!(problems, "{place}: the adapter faulted: {}", fault.cause.as_str())?,
            }
        }
        self.batch.clear();
        self.places.clear();
        self.counts.events += u64::try_from(self.records.len() - before)?;
        Ok(())
    }

    fn event(&mut self, payload: &Payload, levels: &[i64], at_ns: i64) {
        if let Payload::Trade(trade) = payload
            && let TradeId::Number(id) = trade.id
        {
            self.first_trades.entry(payload.instrument()).or_insert(id);
        }
        self.builder.event(payload, levels, at_ns, at_ns, &mut self.records);
    }

    /// An event in an answer of the venue's history of an instrument.
    fn past_trade(&mut self, instrument: InstrumentIndex, payload: &Payload, at_ns: i64) {
        let past = self.builder.past_trade(instrument, payload, at_ns, &mut self.records);
        if let Payload::Trade(trade) = payload
            && let TradeId::Number(id) = trade.id
            && past == PastTrade::NotMissing
            && self.first_trades.get(&instrument).is_none_or(|first| id < *first)
        {
            self.counts.earlier_trades += 1;
        }
    }

    /// Books that changed since they were published.
    pub fn publish_rest(&mut self) {
        let before = self.records.len();
        self.builder.publish_rest(self.last_ns, &mut self.records);
        self.counts.events += u64::try_from(self.records.len() - before).unwrap_or_default();
    }

    pub const fn last_ns(&self) -> i64 {
        self.last_ns
    }

    fn place(&self, recordings: &Recordings, frame: FrameIndex) -> String {
        let (file, line) = self.places.get(frame.position()).copied().unwrap_or_default();
        format!("{}:{line} ({})", recordings.path(file).display(), self.exchange)
    }
}

/// A request of past trades for each instrument of which the adapter gives one: those of a run differ from it in their range only.
fn history_requests(adapter: &mut AdapterSupervisor) -> Vec<(String, SourceIndex)> {
    let count = u32::try_from(adapter.instruments().len()).unwrap_or(u32::MAX);
    let request = |instrument: u32| {
        let request = adapter.backfill(TradeRange { instrument, first: 1, last: 1 }).ok()?;
        Some((request.url, SourceIndex::of_backfill(adapter.plan(), instrument.into())))
    };
    (0..count).filter_map(request).collect()
}

fn planned_requests(plan: &Plan) -> (RequestMatcher, Vec<SourceIndex>) {
    let polls = plan.polls.iter().map(|poll| Some(poll.request.url.as_str()));
    let resyncs = plan.resyncs.iter().map(|resync| match &resync.action {
        ResyncAction::Request(request) => Some(request.url.as_str()),
        ResyncAction::Resubscribe(_) => None,
    });
    let (urls, sources): (Vec<&str>, Vec<SourceIndex>) = polls
        .chain(resyncs)
        .enumerate()
        .filter_map(|(index, url)| Some((url?, SourceIndex::of_poll(plan, index))))
        .unzip();
    (RequestMatcher::new(urls.into_iter(), &KEY_PARAMETERS), sources)
}
