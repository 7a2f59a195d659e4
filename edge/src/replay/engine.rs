//! A replay: recorded frames through adapter and order books, by the recording's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::TypedValueParser as _;
use marketprism_adapter_host::contract::{self, Feed, Plan, Remark, ResyncAction, Venue};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, FaultCause, FaultPolicy, FrameBatch, FrameIndex, Limits, NormalizedBatch,
    PushError, Sandbox, SourceIndex, Stats,
};
use marketprism_schema::{DataType, Line, RecordingKind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::recording::{Recordings, RequestMatcher, instrument_answers, may_be_answer};
use crate::config::{book_depth, collectable, offered};
use crate::feed::listed_instruments;
use crate::queue::EventRecord;
use crate::raw::TimeSpan;
use crate::records::{EventEncoder, EventOrigin, InvalidEvent, RecordBuilder, RecordOptions};

/// Parameters in which polls and snapshot requests of one path always differ.
const KEY_PARAMETERS: [&str; 3] = ["symbol", "instId", "instrument_name"];

/// Edge and region of replayed events.
const REPLAY: &str = "replay";

#[derive(Debug, Clone, Args)]
pub struct ReplayOptions {
    /// Exchange id.
    #[arg(long, value_name = "ID")]
    pub exchange: String,
    /// Only this data type; may be given several times. Default: all that the adapter offers.
    #[arg(long = "data-type", value_name = "TYPE")]
    pub data_types: Vec<DataType>,
    /// Print the live book after each update instead of once per interval.
    #[arg(long)]
    pub every_update: bool,
    /// Levels a side of printed books; default: 400, or the venue's deepest where that is less.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub depth: Option<u32>,
    /// Least time between two printed states of a book, by the recording's clock.
    #[arg(
        long = "publish-interval-ms",
        value_name = "MS",
        default_value = "100",
        value_parser = clap::value_parser!(u64).range(1..=60_000).map(Duration::from_millis)
    )]
    pub publish_interval: Duration,
    /// Begin of the time: frames before it are left out, lists and reference answers are not.
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    pub from: Option<i64>,
    /// End of the time.
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    pub to: Option<i64>,
    /// Recordings, in order, and folders of raw frames (`raw/<exchange>` in `edge.data_dir`).
    #[arg(required = true, value_name = "RECORDING")]
    pub recordings: Vec<PathBuf>,
}

impl ReplayOptions {
    fn span(&self) -> TimeSpan {
        TimeSpan { from_ns: self.from.unwrap_or(i64::MIN), to_ns: self.to.unwrap_or(i64::MAX) }
    }
}

/// Nanoseconds since 1970.
fn parse_time(text: &str) -> Result<i64, String> {
    let allowed = "a time such as 2026-01-31T12:00:00Z";
    let time =
        OffsetDateTime::parse(text, &Rfc3339).map_err(|error| format!("{error} (allowed: {allowed})"))?;
    i64::try_from(time.unix_timestamp_nanos()).map_err(|_| format!("out of range (allowed: {allowed})"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replay {
    pub frames: u64,
    pub events: u64,
    /// Frames, or elements of frames, that the adapter calls malformed.
    pub malformed: u64,
    /// Frames on which the adapter faulted.
    pub faults: u64,
}

struct ReplayRun<'a> {
    options: &'a ReplayOptions,
    adapter: AdapterSupervisor,
    builder: RecordBuilder,
    requests: RequestMatcher,
    /// Source of each request in `requests`.
    sources: Vec<SourceIndex>,
    batch: FrameBatch,
    /// File and line of each frame in the batch.
    places: Vec<(usize, u64)>,
    records: Vec<EventRecord>,
    last_ns: i64,
    counts: Replay,
}

impl Replay {
    /// Writes the events of the recordings to `out`, and problems of frames to `problems`.
    pub fn run(
        adapter: &Adapter,
        options: &ReplayOptions,
        out: &mut impl Write,
        problems: &mut impl Write,
    ) -> anyhow::Result<Self> {
        let recordings = Recordings::new(&options.recordings, options.span())?;
        let mut run = ReplayRun::start(adapter, options, &recordings)?;
        run.answer_references(&recordings)?;
        recordings.each_frame(|file, number, line| {
            let Some(source) = run.source_of(line) else { return Ok(()) };
            let data = line.data.as_deref().unwrap_or_default().as_bytes();
            if run.batch.push(data, source, line.at) == Err(PushError::Full) {
                run.flush(&recordings, out, problems)?;
                run.batch.push(data, source, line.at)?;
            }
            run.places.push((file, number));
            Ok(())
        })?;
        run.flush(&recordings, out, problems)?;
        let last_ns = run.last_ns;
        run.builder.publish_rest(last_ns, &mut run.records);
        run.write(out)?;
        out.flush()?;
        Ok(run.counts)
    }
}

/// The data types of the options, or all that are offered.
fn wanted_data_types(
    adapter: &Adapter,
    venue: &Venue,
    options: &ReplayOptions,
) -> anyhow::Result<Vec<DataType>> {
    let allowed = collectable(venue);
    if let Some(kind) = options.data_types.iter().find(|kind| !allowed.contains(kind)) {
        let names: Vec<&str> = allowed.iter().map(|kind| kind.as_str()).collect();
        let (exchange, id, names) = (&options.exchange, adapter.id(), names.join(", "));
        bail!("data type {kind} of {exchange} is not offered by {id} (allowed: {names})");
    }
    Ok(if options.data_types.is_empty() { offered(venue) } else { options.data_types.clone() })
}

/// All instruments.
fn contract_feed(venue: &Venue, options: &ReplayOptions, data_types: &[DataType]) -> Feed {
    Feed {
        exchange: options.exchange.clone(),
        symbols: Vec::new(),
        // An empty list would leave out options.
        market_types: venue.market_types.clone(),
        data_types: contract::DataType::subscribed(data_types),
        depth: book_depth(options.depth, venue),
        endpoints: Vec::new(),
    }
}

impl<'a> ReplayRun<'a> {
    fn start(adapter: &Adapter, options: &'a ReplayOptions, recordings: &Recordings) -> anyhow::Result<Self> {
        let Some(venue) = adapter.venue(&options.exchange) else {
            let venues: Vec<&str> =
                adapter.description().venues.iter().map(|v| v.exchange.as_str()).collect();
            let (exchange, id, venues) = (&options.exchange, adapter.id(), venues.join(", "));
            bail!("exchange {exchange:?} is not served by {id} (allowed: {venues})");
        };
        let data_types = wanted_data_types(adapter, venue, options)?;
        let feed = contract_feed(venue, options, &data_types);
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
        let supervisor = AdapterSupervisor::start(adapter, &limits, policy, feed.clone(), instruments, None)?;
        let (plan, instruments) = (supervisor.plan(), supervisor.instruments());
        let (requests, sources) = planned_requests(plan);
        let origin = EventOrigin {
            edge: REPLAY.to_owned(),
            region: REPLAY.to_owned(),
            adapter: adapter.id().to_owned(),
            exchange: options.exchange.clone(),
        };
        let encoder = EventEncoder::new(origin, instruments).context("symbols of the adapter")?;
        let record_options = RecordOptions {
            // One line per event of the input, duplicates included.
            deduplicate: false,
            contiguous_trade_ids: false,
            every_update: options.every_update,
            ..RecordOptions::new(venue, &feed, instruments, plan, &data_types, options.publish_interval)
        };
        Ok(Self {
            options,
            builder: RecordBuilder::new(record_options, encoder, instruments.len()),
            adapter: supervisor,
            requests,
            sources,
            batch: FrameBatch::new(),
            places: Vec::new(),
            records: Vec::new(),
            last_ns: i64::MIN,
            counts: Replay::default(),
        })
    }

    /// Gives an answer of each reference poll to the adapter before all other frames, as in a run: the newest one before the time, or else
    /// the first. Its events are written later, in its place.
    fn answer_references(&mut self, recordings: &Recordings) -> anyhow::Result<()> {
        let plan = self.adapter.plan();
        let polls = plan.polls.iter().enumerate().filter(|(_, poll)| poll.reference);
        let references: BTreeSet<_> = polls.map(|(poll, _)| SourceIndex::of_poll(plan, poll)).collect();
        if references.is_empty() {
            return Ok(());
        }
        let (from_ns, mut answers) = (recordings.span().from_ns, BTreeMap::new());
        recordings.each(may_be_answer, |_, _, line| {
            if let Some(source) = self.source_of(line).filter(|source| references.contains(source))
                && (line.at <= from_ns || !answers.contains_key(&source))
            {
                answers.insert(source, (line.at, line.data.as_deref().unwrap_or_default().to_owned()));
            }
            Ok(())
        })?;
        for (source, (at_ns, data)) in answers {
            let mut batch = FrameBatch::new();
            batch.push(data.as_bytes(), source, at_ns)?;
            self.adapter.normalize(&batch);
        }
        Ok(())
    }

    /// The source of a line, if the plan has one. Messages of sockets count as the first connection's: the recorded connections need
    /// not be those of the plan.
    fn source_of(&self, line: &Line<'_>) -> Option<SourceIndex> {
        match line.kind {
            RecordingKind::WsIn => Some(SourceIndex::default()),
            RecordingKind::Rest => self.sources.get(self.requests.find(line.url.as_deref()?)?).copied(),
            RecordingKind::WsOpen | RecordingKind::WsOut | RecordingKind::Adapter => None,
        }
    }

    fn flush(
        &mut self,
        recordings: &Recordings,
        out: &mut impl Write,
        problems: &mut impl Write,
    ) -> anyhow::Result<()> {
        let NormalizedBatch { normalized, faults } = self.adapter.normalize(&self.batch);
        for (frame, events, notes) in normalized.by_frame(self.batch.len()) {
            let at_ns = self.batch.frame(frame).map_or(self.last_ns, |frame| frame.received_at_ns);
            // Books that were due before this frame came.
            self.builder.publish_due(at_ns, &mut self.records);
            for event in events {
                self.builder.event(&event.payload, &normalized.levels, at_ns, at_ns, &mut self.records);
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
        self.write(out)
    }

    fn write(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        for record in self.records.drain(..) {
            self.counts.events += 1;
            out.write_all(&record.payload)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn place(&self, recordings: &Recordings, frame: FrameIndex) -> String {
        let (file, line) = self.places.get(frame.position()).copied().unwrap_or_default();
        format!("{}:{line} ({})", recordings.path(file).display(), self.options.exchange)
    }
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
