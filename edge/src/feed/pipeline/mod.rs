//! The pipeline of one feed: inputs in batches through the adapter, events to the journal. It owns a thread and all its state.

mod reactions;
mod turn;

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use marketprism_adapter_host::contract::Payload;
use marketprism_adapter_host::{
    AdapterSupervisor, FrameBatch, FrameFault, FrameIndex, InstrumentIndex, PushError, SourceIndex,
    StreamIndex,
};
use marketprism_schema::DataType;
use marketprism_socket::{FeedSockets, ReceivedFrame, SocketEvent};
use prometheus::Histogram;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::sync::CancellationToken;

use self::reactions::SilentStream;
use super::observer::FrameObserver;
use super::polls::PollTracker;
use super::remark_log::RemarkLog;
use super::sources::SourceMap;
use super::status::FeedStatus;
use crate::clock;
use crate::contract::stream_key;
use crate::gaps::{GapMonitor, IncidentKind};
use crate::limits::{INPUTS_PER_TURN_MAX, STATUS_EVERY};
use crate::queue::{EventQueue, Record};
use crate::records::RecordBuilder;
use crate::telemetry::{LogLimit, Metrics, seconds_between};

/// What a pipeline is made of.
pub struct PipelineParts {
    /// What comes in.
    pub inputs: Receiver<SocketEvent>,
    /// The loaded adapter.
    pub adapter: AdapterSupervisor,
    /// Makes the records.
    pub router: RecordBuilder,
    /// What the source numbers stand for.
    pub sources: SourceMap,
    /// Takes commands. Held weakly, so that whoever stops the sockets can own them.
    pub sockets: Weak<FeedSockets>,
    /// Takes the records.
    pub journal: Arc<dyn EventQueue>,
    /// What is told to others.
    pub status: Arc<FeedStatus>,
    /// Every metric.
    pub metrics: Metrics,
    /// Notices for the audits what events do not tell.
    pub watch: GapMonitor,
    /// Looks on, when recording.
    pub tap: Option<Arc<dyn FrameObserver>>,
    /// End now, and count what is left as lost.
    pub abort: CancellationToken,
}

/// Where a frame of the batch came from.
#[derive(Debug, Clone, Copy)]
struct Origin {
    source: SourceIndex,
    generation: u64,
    received_at_ns: i64,
}

/// The pipeline of one feed.
pub struct Pipeline {
    parts: PipelineParts,
    batch: FrameBatch,
    origins: Vec<Origin>,
    records: Vec<Record>,
    notes: RemarkLog,
    /// Streams that the batch brought something of.
    seen: HashSet<(SourceIndex, StreamIndex)>,
    /// The stream of the event before: most events follow one of their own stream.
    seen_last: Option<(SourceIndex, (DataType, InstrumentIndex))>,
    polls: PollTracker,
    /// Frames of the batch that told nothing useful: not a success of their poll.
    useless: HashSet<FrameIndex>,
    receive_to_normalized: Histogram,
    gaps: LogLimit,
    losses: LogLimit,
    refusals: LogLimit,
    told_at: Instant,
    /// Everything received before is in this turn or was in an earlier one.
    frontier_ns: i64,
}

impl Pipeline {
    /// A pipeline that did not start yet.
    #[must_use]
    pub fn new(parts: PipelineParts) -> Self {
        Self {
            notes: RemarkLog::new(&parts.status.exchange, parts.metrics.clone()),
            receive_to_normalized: parts.metrics.hop_seconds.with_label_values(&["receive_to_normalized"]),
            batch: FrameBatch::new(),
            origins: Vec::with_capacity(INPUTS_PER_TURN_MAX),
            records: Vec::with_capacity(4 * INPUTS_PER_TURN_MAX),
            seen: HashSet::new(),
            seen_last: None,
            polls: PollTracker::new(parts.adapter.plan()),
            useless: HashSet::new(),
            gaps: LogLimit::default(),
            losses: LogLimit::default(),
            refusals: LogLimit::default(),
            told_at: Instant::now(),
            frontier_ns: 0,
            parts,
        }
    }

    /// Works until every sender of inputs is gone and all inputs are worked off. Blocks: needs a thread of its own.
    pub fn run(mut self, runtime: &Handle) {
        let mut inputs = Vec::with_capacity(INPUTS_PER_TURN_MAX);
        while self.receive(runtime, &mut inputs) {
            for input in inputs.drain(..) {
                self.take(input);
            }
            self.end_turn();
            if self.parts.abort.is_cancelled() {
                break;
            }
        }
        self.finish();
    }

    /// Gets the inputs of one turn; none when a timer is due. False when there will be no more.
    fn receive(&mut self, runtime: &Handle, inputs: &mut Vec<SocketEvent>) -> bool {
        let asked_ns = clock::now_ns();
        let goes_on = self.receive_some(runtime, inputs);
        // A full turn may have left older inputs behind; one that is not full took everything that had come.
        self.frontier_ns = if inputs.len() < INPUTS_PER_TURN_MAX {
            asked_ns
        } else {
            let frames = inputs.iter().filter_map(|input| match input {
                SocketEvent::Frame(frame) => Some(frame.received_at_ns),
                _ => None,
            });
            frames.min().unwrap_or(self.frontier_ns)
        };
        goes_on
    }

    fn receive_some(&mut self, runtime: &Handle, inputs: &mut Vec<SocketEvent>) -> bool {
        while inputs.len() < INPUTS_PER_TURN_MAX {
            match self.parts.inputs.try_recv() {
                Ok(input) => inputs.push(input),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return !inputs.is_empty(),
            }
        }
        if !inputs.is_empty() {
            return true;
        }
        let wait = self.wait();
        let receiver = &mut self.parts.inputs;
        let abort = &self.parts.abort;
        runtime.block_on(async {
            tokio::select! {
                count = receiver.recv_many(inputs, INPUTS_PER_TURN_MAX) => count > 0,
                () = tokio::time::sleep(wait) => true,
                () = abort.cancelled() => true,
            }
        })
    }

    /// Time until something is due without an input.
    fn wait(&self) -> Duration {
        let due_ns = self.parts.router.next_due_ns();
        let until_due = u64::try_from(due_ns.saturating_sub(clock::now_ns()).max(0)).unwrap_or(u64::MAX);
        Duration::from_nanos(until_due).min(STATUS_EVERY.saturating_sub(self.told_at.elapsed()))
    }

    fn take(&mut self, input: SocketEvent) {
        if let Some(tap) = &self.parts.tap {
            tap.input(&input, &self.parts.sources);
        }
        match input {
            SocketEvent::Frame(frame) => self.push(&frame),
            SocketEvent::Closed { source, reason, overlap, at_ns, .. } => {
                // What came before it belongs to the time before it.
                self.normalize();
                if !overlap {
                    self.parts.watch.closed(source, &reason, at_ns);
                }
                self.closed(source, overlap, &reason.to_string());
            }
            SocketEvent::Opened { source, generation, .. } => {
                tracing::info!(exchange = self.exchange(), %source, generation, "connected");
            }
            SocketEvent::Silent { data_type, instrument, connection, url, silence_ms, hint, .. } => {
                self.silent(&SilentStream { data_type, instrument, connection, url, silence_ms, hint });
            }
            SocketEvent::RequestFailed { source, reason, at_ns } => {
                // Answers that came before it are judged before it.
                self.normalize();
                self.parts.watch.request_failed(source, &reason, at_ns);
                self.request_failed(source, reason.label(), &reason, at_ns);
            }
            SocketEvent::Sent { .. } | SocketEvent::Asked { .. } => {}
        }
    }

    fn push(&mut self, frame: &ReceivedFrame) {
        self.parts.watch.frame(frame.source, frame.received_at_ns);
        let mut pushed = self.batch.push(&frame.data, frame.source, frame.received_at_ns);
        if pushed == Err(PushError::Full) {
            self.normalize();
            pushed = self.batch.push(&frame.data, frame.source, frame.received_at_ns);
        }
        match pushed {
            Ok(()) => self.origins.push(Origin {
                source: frame.source,
                generation: frame.generation,
                received_at_ns: frame.received_at_ns,
            }),
            Err(error) => {
                self.notes.count_error("frame_too_large");
                self.parts.watch.frame_lost(IncidentKind::FrameLost, frame.source, frame.received_at_ns);
                if let Some(held_back) = self.losses.allow(Instant::now()) {
                    let exchange = self.exchange();
                    tracing::error!(exchange, source = %frame.source, %error, held_back, "a frame is lost");
                }
            }
        }
    }

    /// Gives the batch to the adapter and routes what comes back.
    fn normalize(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let outcome = self.parts.adapter.normalize(&self.batch);
        let now_ns = clock::now_ns();
        for event in &outcome.normalized.events {
            self.event(event.frame.into(), &event.payload, &outcome.normalized.levels, now_ns);
        }
        for note in &outcome.normalized.notes {
            self.remark(note.frame.into(), &note.remark, now_ns);
        }
        self.lost_to_faults(&outcome.faults, now_ns);
        self.judge_polls(now_ns);
        let frames = u64::try_from(self.batch.len()).unwrap_or_default();
        let bytes = u64::try_from(self.batch.bytes()).unwrap_or_default();
        let exchange = [self.parts.status.exchange.as_str()];
        self.parts.metrics.frames.with_label_values(&exchange).inc_by(frames);
        self.parts.metrics.frame_bytes.with_label_values(&exchange).inc_by(bytes);
        if let Some(oldest) = self.origins.first() {
            self.receive_to_normalized.observe(seconds_between(oldest.received_at_ns, now_ns));
        }
        self.tell_seen(now_ns);
        self.batch.clear();
        self.origins.clear();
    }

    /// The host has logged, counted and kept them. A snapshot among them leaves its book without a starting state.
    fn lost_to_faults(&mut self, faults: &[FrameFault], now_ns: i64) {
        for fault in faults {
            self.notes.count_error("adapter_fault");
            if let Some(origin) = self.origin(fault.frame) {
                self.useless.insert(fault.frame);
                self.parts.watch.frame_lost(IncidentKind::AdapterFault, origin.source, origin.received_at_ns);
                let detail = format!("the adapter faulted: {}", fault.cause.as_str());
                self.polls.failed(origin.source, "adapter_fault", &detail, now_ns);
                self.starting_state_failed(origin.source, now_ns);
            }
        }
    }

    fn event(&mut self, frame: FrameIndex, payload: &Payload, levels: &[i64], now_ns: i64) {
        let Some(origin) = self.origin(frame) else { return };
        self.saw(origin.source, payload);
        let received_at_ns = origin.received_at_ns;
        let outcome = self.parts.router.event(payload, levels, received_at_ns, now_ns, &mut self.records);
        let (Some(outcome), Payload::Book(book)) = (outcome, payload) else { return };
        if outcome.gap.is_none() && outcome.rejected.is_none() {
            return;
        }
        let (books, instrument) = (self.parts.router.books(), InstrumentIndex::from(book.instrument));
        let after_ns = books.map_or(received_at_ns, |books| books.previous_update_ns(instrument));
        match (&outcome.gap, &outcome.rejected) {
            (Some(gap), _) => self.parts.watch.book_gap(instrument, after_ns, *gap),
            (None, Some(why)) if outcome.action.is_some() => {
                self.parts.watch.book_refused(instrument, after_ns, received_at_ns, why);
            }
            _ => {}
        }
        if let Some(held_back) = self.gaps.allow(Instant::now()) {
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
                    "a gap in an order book, it starts anew"
                );
            }
            if let Some(error) = outcome.rejected {
                tracing::warn!(exchange, symbol, %error, held_back, "an order-book update was refused");
            }
        }
    }

    fn saw(&mut self, source: SourceIndex, payload: &Payload) {
        let key = (source, stream_key(payload));
        if self.seen_last == Some(key) {
            return;
        }
        self.seen_last = Some(key);
        if let Some(stream) = self.parts.sources.stream(source, payload) {
            self.seen.insert((source, stream));
        }
    }

    fn tell_seen(&mut self, now_ns: i64) {
        self.seen_last = None;
        if let Some(sockets) = self.parts.sockets.upgrade() {
            for (source, stream) in self.seen.drain() {
                sockets.saw(source, stream, now_ns);
            }
        }
        self.seen.clear();
    }

    fn origin(&self, frame: FrameIndex) -> Option<Origin> {
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
