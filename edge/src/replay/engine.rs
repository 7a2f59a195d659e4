//! The replay itself.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use marketprism_adapter_host::contract::{Feed, Plan, Remark, ResyncAction};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, FaultPolicy, FrameBatch, FrameIndex, Limits, NormalizedBatch, PushError,
    Sandbox, SourceIndex, Stats,
};
use marketprism_schema::{DataType, Kind, Line, MarketType};

use super::instruments::instrument_answers;
use super::recording::{Recordings, may_be_answer};
use super::request_match::RequestMatcher;
use crate::books::BooksPlan;
use crate::config::offered;
use crate::contract::{contract_data_type, data_type, market_type};
use crate::feed::{capability, listed_instruments};
use crate::queue::Record;
use crate::records::{EventEncoder, Origin, RecordBuilder, RecordOptions, Subscription};

/// Always tells polls and snapshots of one path apart.
const TELLING: [&str; 3] = ["symbol", "instId", "instrument_name"];

/// Stands for edge and region in replayed events.
const REPLAY: &str = "replay";

/// What to replay, and how.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Exchange id.
    pub exchange: String,
    /// Empty: every data type that the adapter offers for the exchange.
    pub data_types: Vec<DataType>,
    /// Give the live book after each update.
    pub every_update: bool,
    /// Levels a side.
    pub depth: u32,
    /// Least time, by the recording's clock, between two states of one book.
    pub publish_interval: Duration,
    /// The recordings, in order.
    pub recordings: Vec<PathBuf>,
}

/// What came of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replay {
    /// Frames given to the adapter.
    pub frames: u64,
    /// Events written.
    pub events: u64,
    /// Frames that the adapter calls malformed.
    pub malformed: u64,
    /// Frames on which the adapter faulted.
    pub faults: u64,
}

/// One replay under way.
struct ReplayRun<'a> {
    options: &'a ReplayOptions,
    adapter: AdapterSupervisor,
    router: RecordBuilder,
    answers: RequestMatcher,
    /// The source number of each answer target.
    answer_sources: Vec<SourceIndex>,
    batch: FrameBatch,
    /// File and line of each frame in the batch.
    places: Vec<(usize, u64)>,
    records: Vec<Record>,
    last_ns: i64,
    done: Replay,
}

impl Replay {
    /// Writes the events of the recordings to `out`, and what is wrong with their frames to `trouble`.
    pub fn run(
        adapter: &Adapter,
        options: &ReplayOptions,
        out: &mut impl Write,
        trouble: &mut impl Write,
    ) -> anyhow::Result<Self> {
        let feed = feed(adapter, options)?;
        let mut player = ReplayRun::start(adapter, options, feed)?;
        let recordings = Recordings::new(&options.recordings);
        player.learn(&recordings)?;
        recordings.each(
            |_| true,
            |file, number, line| {
                let Some(source) = player.source_of(line) else { return Ok(()) };
                let data = line.data.as_deref().unwrap_or_default().as_bytes();
                if player.batch.push(data, source, line.at) == Err(PushError::Full) {
                    player.flush(&recordings, out, trouble)?;
                    player.batch.push(data, source, line.at)?;
                }
                player.places.push((file, number));
                Ok(())
            },
        )?;
        player.flush(&recordings, out, trouble)?;
        let last_ns = player.last_ns;
        player.router.publish_rest(last_ns, &mut player.records);
        player.write(out)?;
        out.flush()?;
        Ok(player.done)
    }
}

/// What is asked of the adapter: every instrument, and the data types given or all that are offered.
fn feed(adapter: &Adapter, options: &ReplayOptions) -> anyhow::Result<Feed> {
    let Some(venue) = adapter.venue(&options.exchange) else {
        let served: Vec<&str> = adapter.description().venues.iter().map(|v| v.exchange.as_str()).collect();
        bail!(
            "exchange {:?} is not served by {} (allowed: {})",
            options.exchange,
            adapter.id(),
            served.join(", ")
        );
    };
    let offered = offered(venue);
    let names = || offered.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(kind) = options.data_types.iter().find(|kind| !offered.contains(kind)) {
        bail!("data type {kind} is not offered for {} (allowed: {})", options.exchange, names());
    }
    let data_types = if options.data_types.is_empty() { &offered } else { &options.data_types };
    Ok(Feed {
        exchange: options.exchange.clone(),
        symbols: Vec::new(),
        // All of them: none would leave out options.
        market_types: venue.market_types.clone(),
        data_types: data_types.iter().copied().map(contract_data_type).collect(),
        depth: options.depth,
        endpoints: Vec::new(),
    })
}

impl<'a> ReplayRun<'a> {
    fn start(adapter: &Adapter, options: &'a ReplayOptions, feed: Feed) -> anyhow::Result<Self> {
        let limits = Arc::new(Limits::default());
        let mut first = Sandbox::new(adapter, &limits, &Arc::new(Stats::default()))?;
        let answers = instrument_answers(&mut first, &feed, &limits, &options.recordings)?;
        let instruments = listed_instruments(&mut first, &feed, &answers)?;
        // Nothing is skipped in a replay, however often the adapter faults: the same input gives the same output.
        let policy = FaultPolicy {
            consecutive_faults: u32::MAX,
            fault_time: Duration::from_secs(u64::from(u32::MAX)),
            ..FaultPolicy::default()
        };
        let supervised = AdapterSupervisor::start(adapter, &limits, policy, feed.clone(), instruments, None)?;
        let (answers, answer_sources) = answer_targets(supervised.plan());
        let router = router(adapter, options, &feed, &supervised)?;
        Ok(Self {
            options,
            adapter: supervised,
            router,
            answers,
            answer_sources,
            batch: FrameBatch::new(),
            places: Vec::new(),
            records: Vec::new(),
            last_ns: i64::MIN,
            done: Replay::default(),
        })
    }

    /// As in a run, reference polls are answered before anything else: each gets its first recorded answer now, and again in its place.
    fn learn(&mut self, recordings: &Recordings<'_>) -> anyhow::Result<()> {
        let plan = self.adapter.plan();
        let polls = plan.polls.iter().enumerate().filter(|(_, poll)| poll.reference);
        let mut unanswered: BTreeSet<_> = polls.map(|(poll, _)| SourceIndex::of_poll(plan, poll)).collect();
        if unanswered.is_empty() {
            return Ok(());
        }
        recordings.each(may_be_answer, |_, _, line| {
            let Some(source) = self.source_of(line).filter(|source| unanswered.remove(source)) else {
                return Ok(());
            };
            let mut batch = FrameBatch::new();
            batch.push(line.data.as_deref().unwrap_or_default().as_bytes(), source, line.at)?;
            // What it means is written in its place.
            let _known = self.adapter.normalize(&batch);
            Ok(())
        })
    }

    /// The source that a line stands for; nothing for lines that no source of the plan has. Messages of sockets stand for the first
    /// connection: the recording's connections need not be those that the adapter would open today.
    fn source_of(&self, line: &Line<'_>) -> Option<SourceIndex> {
        match line.kind {
            Kind::WsIn => Some(SourceIndex::default()),
            Kind::Rest => self.answer_sources.get(self.answers.find(line.url.as_deref()?)?).copied(),
            Kind::WsOpen | Kind::WsOut => None,
        }
    }

    fn flush(
        &mut self,
        recordings: &Recordings<'_>,
        out: &mut impl Write,
        trouble: &mut impl Write,
    ) -> anyhow::Result<()> {
        let NormalizedBatch { normalized, faults } = self.adapter.normalize(&self.batch);
        let mut events = normalized.events.iter().peekable();
        for (index, frame) in FrameIndex::enumerate(self.batch.iter()) {
            let at_ns = frame.received_at_ns;
            // What was due by the clock before this frame came.
            self.router.publish_due(at_ns, &mut self.records);
            while let Some(event) = events.next_if(|event| index == event.frame.into()) {
                let levels = &normalized.levels;
                self.router.event(&event.payload, levels, at_ns, at_ns, &mut self.records);
            }
            for note in normalized.notes.iter().filter(|note| matches!(note.remark, Remark::RestartBook(_))) {
                if let (Remark::RestartBook(instrument), true) = (&note.remark, index == note.frame.into())
                    && let Some(books) = self.router.books()
                {
                    books.restart((*instrument).into(), at_ns);
                }
            }
            self.router.publish_due(at_ns, &mut self.records);
            self.last_ns = self.last_ns.max(at_ns);
        }
        self.done.frames += u64::try_from(self.batch.len())?;
        for note in &normalized.notes {
            if let Remark::Malformed(malformed) = &note.remark {
                self.done.malformed += 1;
                let place = self.place(recordings, note.frame.into());
                writeln!(trouble, "{place}: malformed at byte {}: {}", malformed.at, malformed.what)?;
            }
        }
        for fault in &faults {
            self.done.faults += 1;
            let place = self.place(recordings, fault.frame);
            writeln!(trouble, "{place}: the adapter faulted: {}", fault.cause.as_str())?;
        }
        self.batch.clear();
        self.places.clear();
        self.write(out)
    }

    fn write(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        for record in self.records.drain(..) {
            self.done.events += 1;
            out.write_all(&record.payload)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn place(&self, recordings: &Recordings<'_>, frame: FrameIndex) -> String {
        let place = self.places.get(frame.position());
        let (file, line) = place.copied().unwrap_or_default();
        format!("{}:{line} ({})", recordings.path(file).display(), self.options.exchange)
    }
}

/// Polls and snapshot requests of a plan, with their source numbers.
fn answer_targets(plan: &Plan) -> (RequestMatcher, Vec<SourceIndex>) {
    let polls = plan.polls.iter().map(|poll| Some(poll.request.url.as_str()));
    let resyncs = plan.resyncs.iter().map(|resync| match &resync.action {
        ResyncAction::Request(request) => Some(request.url.as_str()),
        ResyncAction::Resubscribe(_) => None,
    });
    let answered = polls.chain(resyncs).enumerate();
    let found: Vec<(&str, SourceIndex)> =
        answered.filter_map(|(index, url)| Some((url?, SourceIndex::of_poll(plan, index)))).collect();
    (
        RequestMatcher::new(found.iter().map(|(url, _)| *url), &TELLING),
        found.iter().map(|(_, source)| *source).collect(),
    )
}

fn router(
    adapter: &Adapter,
    options: &ReplayOptions,
    feed: &Feed,
    adapted: &AdapterSupervisor,
) -> anyhow::Result<RecordBuilder> {
    let (plan, instruments) = (adapted.plan(), adapted.instruments());
    let books = capability(adapter, &options.exchange, DataType::OrderBook);
    let asked: Vec<DataType> = feed.data_types.iter().copied().map(data_type).collect();
    let market_types: Vec<MarketType> = feed.market_types.iter().copied().map(market_type).collect();
    let plan = RecordOptions {
        books: books.map(|capability| {
            BooksPlan::new(capability, instruments, plan, options.depth, options.publish_interval)
        }),
        asked: Subscription::new(adapter.venue(&options.exchange), &asked, &market_types, instruments),
        depth: options.depth,
        contiguous_trade_ids: false,
        // One line per event of the input, copies among them.
        deduplicate: false,
        every_update: options.every_update,
    };
    let origin = Origin {
        edge: REPLAY.to_owned(),
        region: REPLAY.to_owned(),
        adapter: adapter.id().to_owned(),
        exchange: options.exchange.clone(),
    };
    let envelope = EventEncoder::new(origin, instruments, [0; 8]).context("the adapter's symbols")?;
    Ok(RecordBuilder::new(plan, envelope, instruments.len()))
}
