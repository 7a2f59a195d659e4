//! The pipeline of one feed: frames in batches through the adapter, records into the queue. It owns a thread and all its state.

mod backfilling;
mod handover;
mod reactions;
mod versions;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use marketprism_adapter_host::contract::Payload;
use marketprism_adapter_host::{
    AdapterSupervisor, FaultCause, FrameBatch, FrameFault, FrameIndex, InstrumentIndex, PushError,
    SourceIndex, StreamIndex,
};
use marketprism_book::UpdateOutcome;
use marketprism_schema::{DataType, DataTypeMap};
use marketprism_service::{LogLimit, clock};
use marketprism_socket::{FeedSockets, InputReceiver, ReceivedFrame, SocketEvent, TakenInputs};
use prometheus::Histogram;
use prometheus::local::LocalHistogram;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::handover::BookHandover;
use self::reactions::{SilentStream, hides_lost_books};
use self::versions::VersionFollower;
use super::observer::FrameObserver;
use super::parts::StreamMemories;
use super::positions::FeedPositions;
use super::progress::PipelineProgress;
use super::remark_log::RemarkLog;
use super::sources::{PollTracker, SourceMap};
use super::status::FeedStatus;
use crate::gaps::{Backfill, GapMonitor, IncidentKind};
use crate::limits::{INPUT_BYTES_PER_TURN_MAX, INPUTS_PER_TURN_MAX, STATUS_EVERY, TURN_RECORDS_MAX};
use crate::queue::{EventQueue, EventRecord, QueueLane};
use crate::records::RecordBuilder;
use crate::telemetry::{Metrics, seconds_between};

pub use self::reactions::{SILENCE_HINTS, invalid_cause};

pub struct PipelineParts {
    pub inputs: InputReceiver,
    pub adapter: AdapterSupervisor,
    pub builder: RecordBuilder,
    pub sources: SourceMap,
    /// Weak, so that whoever stops the sockets can own them.
    pub sockets: Weak<FeedSockets>,
    pub queue: Arc<dyn EventQueue>,
    pub lane: QueueLane,
    pub status: Arc<FeedStatus>,
    pub metrics: Metrics,
    pub gaps: GapMonitor,
    /// `None`: the adapter offers none, or the feed wants none.
    pub backfill: Option<Backfill>,
    pub positions: Option<FeedPositions>,
    pub observer: Option<Arc<dyn FrameObserver>>,
    /// Ends the pipeline now; frames that are left are lost and counted.
    pub abort: CancellationToken,
    pub progress: Arc<PipelineProgress>,
}

#[derive(Debug, Clone, Copy)]
struct FrameOrigin {
    source: SourceIndex,
    generation: u64,
    received_at_ns: i64,
}

pub struct Pipeline {
    parts: PipelineParts,
    batch: FrameBatch,
    origins: Vec<FrameOrigin>,
    records: Vec<EventRecord>,
    remarks: RemarkLog,
    /// Streams with an event in the batch, each with the generation of its source and the receive time of the first.
    active: HashMap<(SourceIndex, u64, StreamIndex), i64>,
    /// The stream of the event before: most events are of the same stream.
    last_active: Option<(SourceIndex, u64, DataType, InstrumentIndex)>,
    polls: PollTracker,
    /// Instruments whose streams have ended.
    ended: BTreeSet<InstrumentIndex>,
    /// Connections and polls that were ended with them.
    retired: BTreeSet<SourceIndex>,
    handover: BookHandover,
    /// Frames of the batch that are no success of their poll.
    unusable: HashSet<FrameIndex>,
    /// Trades of the frame at hand that filled a hole.
    past_filled: u64,
    receive_to_normalized: Histogram,
    venue_to_edge: DataTypeMap<Option<LocalHistogram>>,
    gap_lines: LogLimit,
    loss_lines: LogLimit,
    refusal_lines: LogLimit,
    invalid_lines: LogLimit,
    reported_at: Instant,
    versions: VersionFollower,
    /// Everything received before is in this turn or was in an earlier one.
    frontier_ns: i64,
}

impl Pipeline {
    pub fn new(parts: PipelineParts) -> Self {
        Self {
            remarks: RemarkLog::new(&parts.status.exchange, parts.metrics.clone()),
            receive_to_normalized: parts
                .metrics
                .receive_to_normalized
                .with_label_values(&[&parts.status.exchange]),
            venue_to_edge: DataTypeMap::from_fn(|kind| {
                let labels = [parts.status.exchange.as_str(), kind.as_str()];
                let is_wanted = parts.status.data_types.contains(&kind);
                is_wanted.then(|| parts.metrics.venue_to_edge.with_label_values(&labels).local())
            }),
            batch: FrameBatch::new(),
            origins: Vec::with_capacity(INPUTS_PER_TURN_MAX),
            records: Vec::with_capacity(4 * INPUTS_PER_TURN_MAX),
            active: HashMap::new(),
            last_active: None,
            polls: PollTracker::new(parts.adapter.plan()),
            ended: BTreeSet::new(),
            retired: BTreeSet::new(),
            handover: BookHandover::default(),
            unusable: HashSet::new(),
            past_filled: 0,
            gap_lines: LogLimit::default(),
            loss_lines: LogLimit::default(),
            refusal_lines: LogLimit::default(),
            invalid_lines: LogLimit::default(),
            reported_at: Instant::now(),
            versions: VersionFollower::new(&parts.adapter),
            frontier_ns: 0,
            parts,
        }
    }

    /// Runs until every sender of inputs is closed and all inputs are processed. Blocks: needs a thread of its own. Gives what a pipeline that goes
    /// on with the streams needs.
    pub fn run(mut self, runtime: &Handle) -> StreamMemories {
        let mut inputs = Vec::with_capacity(INPUTS_PER_TURN_MAX);
        while self.receive(runtime, &mut inputs) {
            for input in inputs.drain(..) {
                self.take(input);
                if self.parts.progress.is_given_up() {
                    return self.leave();
                }
            }
            self.end_turn();
            if self.parts.progress.is_given_up() {
                return self.leave();
            }
            let PipelineParts { adapter, builder, status, observer, .. } = &mut self.parts;
            self.versions.obey(adapter, builder, status, observer.as_deref());
            self.parts.progress.turn();
            if self.parts.abort.is_cancelled() {
                break;
            }
        }
        self.finish()
    }

    /// Receives the inputs of one turn; none when a timer is due. False when there will be no more.
    fn receive(&mut self, runtime: &Handle, inputs: &mut Vec<SocketEvent>) -> bool {
        let asked_ns = clock::now_ns();
        let taken = self.receive_some(runtime, inputs);
        // Older inputs may be left in the queue, or wait for it; a turn that took everything has all that was received before it.
        self.frontier_ns = if taken == TakenInputs::Part {
            let frames = inputs.iter().filter_map(|input| match input {
                SocketEvent::Frame(frame) => Some(frame.received_at_ns),
                _ => None,
            });
            frames.min().unwrap_or(self.frontier_ns)
        } else {
            asked_ns
        };
        taken != TakenInputs::End
    }

    fn receive_some(&mut self, runtime: &Handle, inputs: &mut Vec<SocketEvent>) -> TakenInputs {
        let taken = self.take_queued(inputs);
        if !inputs.is_empty() || taken == TakenInputs::End {
            return taken;
        }
        let wait = self.wait();
        let receiver = &mut self.parts.inputs;
        let (abort, status) = (&self.parts.abort, &self.parts.status);
        let first = runtime.block_on(async {
            tokio::select! {
                received = receiver.recv() => Some(received),
                () = tokio::time::sleep(wait) => None,
                () = status.versions.arrived() => None,
                () = abort.cancelled() => None,
            }
        });
        match first {
            Some(Some(input)) => {
                inputs.push(input);
                self.take_queued(inputs)
            }
            Some(None) => TakenInputs::End,
            None => taken,
        }
    }

    fn take_queued(&mut self, inputs: &mut Vec<SocketEvent>) -> TakenInputs {
        self.parts.inputs.take(INPUTS_PER_TURN_MAX, INPUT_BYTES_PER_TURN_MAX, inputs)
    }

    /// Time until something is due without an input.
    fn wait(&self) -> Duration {
        let due_ns = self.parts.builder.next_due_ns();
        let until_due = u64::try_from(due_ns.saturating_sub(clock::now_ns()).max(0)).unwrap_or(u64::MAX);
        Duration::from_nanos(until_due).min(STATUS_EVERY.saturating_sub(self.reported_at.elapsed()))
    }

    fn take(&mut self, input: SocketEvent) {
        if let Some(observer) = &self.parts.observer {
            observer.event(&input, &self.parts.sources);
        }
        match input {
            SocketEvent::Frame(frame) => self.push(&frame),
            SocketEvent::Closed { source, generation, reason, overlap, is_late, at_ns } => {
                // Frames that came before it are processed before it.
                self.normalize();
                if !overlap {
                    self.parts.gaps.closed((source, generation), &reason, at_ns, is_late);
                }
                self.parts.gaps.generation_ended((source, generation));
                self.closed((source, generation), overlap, &reason.to_string());
            }
            SocketEvent::Opened { source, generation, .. } => {
                tracing::info!(exchange = self.exchange(), %source, generation, "connected");
            }
            SocketEvent::Silent {
                source,
                stream,
                data_type,
                instrument,
                connection,
                url,
                silence_ms,
                hint,
                at_ns,
            } => {
                // Events that came before it are processed before it.
                self.normalize();
                let of = (source, stream);
                if !self.parts.gaps.has_brought(of, silence_ms, at_ns) {
                    let silent =
                        SilentStream { of, data_type, instrument, connection, url, silence_ms, hint };
                    self.silent(&silent);
                }
            }
            SocketEvent::RequestFailed { source, reason, at_ns } => {
                // Answers that came before it are processed before it.
                self.normalize();
                self.parts.gaps.request_failed(source, &reason, at_ns);
                self.request_failed(source, &reason, at_ns);
            }
            SocketEvent::Sent { .. } | SocketEvent::Requested { .. } => {}
        }
    }

    fn push(&mut self, frame: &ReceivedFrame) {
        let connection = (frame.source, frame.generation);
        self.parts.gaps.frame(connection, frame.received_at_ns, frame.subscribed_at_ns);
        let mut pushed = self.batch.push(&frame.data, frame.source, frame.received_at_ns);
        if pushed == Err(PushError::Full) {
            self.normalize();
            pushed = self.batch.push(&frame.data, frame.source, frame.received_at_ns);
        }
        match pushed {
            Ok(()) => self.origins.push(FrameOrigin {
                source: frame.source,
                generation: frame.generation,
                received_at_ns: frame.received_at_ns,
            }),
            Err(error) => {
                self.remarks.count_error("frame_too_large");
                self.parts.gaps.frame_lost(IncidentKind::FrameLost, frame.source, frame.received_at_ns);
                if let Some(held_back) = self.loss_lines.allow(Instant::now()) {
                    let exchange = self.exchange();
                    tracing::error!(exchange, source = %frame.source, %error, held_back, "a frame is lost");
                }
                // Frames that came before it are processed before it.
                self.normalize();
                if let Some(asked) = self.backfilled(frame.source) {
                    self.backfill_failed(asked, "the answer is too large");
                }
                self.unnumbered_frame_lost((frame.source, frame.generation), clock::now_ns());
            }
        }
    }

    /// Gives the batch to the adapter and processes the result, frame by frame.
    fn normalize(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let result = self.parts.adapter.normalize(&self.batch);
        if self.parts.progress.is_given_up() {
            return;
        }
        // A version on probation may have been rolled back: the result is the other one's.
        let PipelineParts { adapter, builder, status, observer, .. } = &mut self.parts;
        self.versions.follow(adapter, builder, status, observer.as_deref());
        let now_ns = clock::now_ns();
        for (frame, events, notes) in result.normalized.by_frame(self.batch.len()) {
            for event in events {
                self.event(frame, &event.payload, &result.normalized.levels, now_ns);
                if self.records.len() >= TURN_RECORDS_MAX {
                    self.append();
                }
            }
            self.remarks(frame, notes, now_ns);
            self.past_answered(frame, &result.faults);
            if events.is_empty() && self.unusable.contains(&frame) {
                self.answer_unusable(frame);
            }
            if hides_lost_books(notes)
                && let Some(origin) = self.origin(frame)
            {
                self.unnumbered_frame_lost((origin.source, origin.generation), now_ns);
            }
        }
        self.lost_to_faults(&result.faults, now_ns);
        self.count_poll_answers(now_ns);
        let frames = u64::try_from(self.batch.len()).unwrap_or_default();
        let bytes = u64::try_from(self.batch.bytes()).unwrap_or_default();
        let exchange = [self.parts.status.exchange.as_str()];
        self.parts.metrics.frames.with_label_values(&exchange).inc_by(frames);
        self.parts.metrics.frame_bytes.with_label_values(&exchange).inc_by(bytes);
        if let Some(oldest) = self.origins.first() {
            self.receive_to_normalized.observe(seconds_between(oldest.received_at_ns, now_ns));
        }
        self.report_active(now_ns);
        self.batch.clear();
        self.origins.clear();
    }

    /// The host has logged, counted and stored the frames. A snapshot among them must be requested again.
    fn lost_to_faults(&mut self, faults: &[FrameFault], now_ns: i64) {
        for fault in faults {
            let is_faulty = fault.cause != FaultCause::HostLimit;
            let (error, incident) = match is_faulty {
                true => ("adapter_fault", IncidentKind::AdapterFault),
                false => ("host_limit", IncidentKind::FrameLost),
            };
            self.remarks.count_error(error);
            if let Some(origin) = self.origin(fault.frame) {
                self.unusable.insert(fault.frame);
                self.parts.gaps.frame_lost(incident, origin.source, origin.received_at_ns);
                let detail = match is_faulty {
                    true => format!("the adapter faulted: {}", fault.cause.as_str()),
                    false => "not given to the adapter: limit of this host".to_owned(),
                };
                self.polls.failed(origin.source, error, &detail, now_ns);
                if let Some(asked) = self.backfilled(origin.source) {
                    self.backfill_failed(asked, &detail);
                }
                self.snapshot_failed(origin.source, now_ns);
                self.unnumbered_frame_lost((origin.source, origin.generation), now_ns);
            }
        }
    }

    fn event(&mut self, frame: FrameIndex, payload: &Payload, levels: &[i64], now_ns: i64) {
        let Some(origin) = self.origin(frame) else { return };
        if let Some(asked) = self.backfilled(origin.source) {
            return self.past_event(asked, origin, payload);
        }
        self.mark_active(origin, payload);
        let received_at_ns = origin.received_at_ns;
        if let Payload::Book(book) = payload
            && self.is_superseded(origin, book)
        {
            return;
        }
        let before = self.records.len();
        let outcome = self.parts.builder.event(payload, levels, received_at_ns, now_ns, &mut self.records);
        self.count_invalid(Some((origin.source, received_at_ns)));
        if let Some(outcome) = outcome.filter(|outcome| outcome.gap.is_some() || outcome.rejected.is_some()) {
            self.book_problem(payload.instrument(), &outcome, received_at_ns);
        }
        let connection = (origin.source, origin.generation);
        let is_live = self.parts.gaps.event(connection, received_at_ns, payload.time_us());
        // The age of a copy, or of what came before the connection, is no latency.
        if is_live && (matches!(payload, Payload::Book(_)) || self.records.len() > before) {
            let delay = &self.venue_to_edge[payload.data_type()];
            if let (Some(delay), Some(time_us)) = (delay, payload.time_us()) {
                delay.observe(seconds_between(time_us.saturating_mul(1_000), received_at_ns));
            }
        }
    }

    fn book_problem(&mut self, instrument: InstrumentIndex, outcome: &UpdateOutcome, at_ns: i64) {
        let books = self.parts.builder.books();
        let after_ns = books.map_or(at_ns, |books| books.previous_update_ns(instrument));
        match (&outcome.gap, &outcome.rejected) {
            (Some(gap), _) => self.parts.gaps.book_gap(instrument, after_ns, *gap),
            (None, Some(error)) if outcome.action.is_some() => {
                self.parts.gaps.book_update_rejected(instrument, after_ns, at_ns, error);
            }
            _ => {}
        }
        let Some(held_back) = self.gap_lines.allow(Instant::now()) else { return };
        let (exchange, symbol) = (self.exchange(), self.symbol(instrument));
        if let Some(gap) = outcome.gap {
            let (cause, expected, got) = (gap.cause.as_str(), gap.expected, gap.got);
            tracing::warn!(
                exchange,
                symbol,
                cause,
                expected,
                got,
                held_back,
                "order book has a gap, resyncing"
            );
        }
        if let Some(error) = outcome.rejected {
            tracing::warn!(exchange, symbol, %error, held_back, "order-book update rejected");
        }
    }

    fn mark_active(&mut self, origin: FrameOrigin, payload: &Payload) {
        let FrameOrigin { source, generation, .. } = origin;
        let key = (source, generation, payload.data_type(), payload.instrument());
        if self.last_active == Some(key) {
            return;
        }
        self.last_active = Some(key);
        if let Some(stream) = self.parts.sources.stream(source, payload) {
            self.active.entry((source, generation, stream)).or_insert(origin.received_at_ns);
        }
    }

    fn report_active(&mut self, now_ns: i64) {
        self.last_active = None;
        let sockets = self.parts.sockets.upgrade();
        for ((source, generation, stream), received_at_ns) in self.active.drain() {
            self.parts.gaps.stream_received(source, stream, received_at_ns);
            if let Some(sockets) = &sockets {
                sockets.stream_received(source, generation, stream, now_ns);
            }
        }
    }

    fn origin(&self, frame: FrameIndex) -> Option<FrameOrigin> {
        self.origins.get(frame.position()).copied()
    }

    fn exchange(&self) -> &str {
        &self.parts.status.exchange
    }

    fn symbol(&self, instrument: InstrumentIndex) -> String {
        let instruments = self.parts.status.instruments();
        let found = instruments.get(instrument.position());
        found.map(|instrument| instrument.symbol.clone()).unwrap_or_default()
    }
}
