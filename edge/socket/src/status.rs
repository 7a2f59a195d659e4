//! State of each connection, readable while it runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use marketprism_adapter_host::contract::{Connection, DataType};
use marketprism_adapter_host::{InstrumentIndex, SourceIndex, StreamIndex};
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConnectionPhase {
    /// Also while waiting for a budget.
    Connecting,
    #[default]
    Waiting,
    Open,
    /// Open, with a replacement being opened.
    Replacing,
    Stopped,
}

/// Opening messages of the generation that serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SubscriptionPhase {
    /// Not open, or a message waits for the message limit.
    #[default]
    Pending,
    Sent,
    /// Time of the first frame behind the last message.
    Answered(Instant),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStatus {
    pub data_type: DataType,
    pub instrument: Option<InstrumentIndex>,
    pub last_frame_at_ns: Option<i64>,
    /// Monotonic.
    pub last_frame_age: Option<Duration>,
    pub silent: bool,
    /// False: its silence is not watched.
    pub expected: bool,
}

#[derive(Debug, Clone, Default)]
pub struct ConnectionStatus {
    pub name: String,
    pub source: SourceIndex,
    pub phase: ConnectionPhase,
    pub subscription: SubscriptionPhase,
    /// The serving one; 0 before the first.
    pub generation: u64,
    pub connected_since_ns: Option<i64>,
    pub last_frame_at_ns: Option<i64>,
    /// Ended generations by [`crate::CloseReason::label`], and `connect_failed`.
    pub reconnects: BTreeMap<&'static str, u64>,
    pub last_error: Option<String>,
    pub frames: u64,
    pub bytes: u64,
    /// Wait of the reader for the pipeline.
    pub stalled: Duration,
    pub streams: Vec<StreamStatus>,
}

#[derive(Debug)]
struct StreamState {
    data_type: DataType,
    instrument: Option<InstrumentIndex>,
    /// Microseconds after `origin`, plus one; 0 is never.
    seen: AtomicU64,
    seen_at_ns: AtomicI64,
    /// The newest one that brought an event of the stream.
    seen_generation: AtomicU64,
    silent: AtomicBool,
    /// As `seen`; 0 while nothing can come of the stream.
    expected_since: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// Without the counters and streams, which change with every frame.
    status: Mutex<ConnectionStatus>,
    /// Start of the feed.
    origin: Instant,
    last_frame_at_ns: AtomicI64,
    frames: AtomicU64,
    bytes: AtomicU64,
    stalled_us: AtomicU64,
    /// The newest one that brought an event.
    event_generation: AtomicU64,
    streams: Vec<StreamState>,
}

impl ConnectionState {
    pub(crate) fn new(source: SourceIndex, connection: &Connection, origin: Instant) -> Self {
        let streams = connection.streams.iter().map(|stream| StreamState {
            data_type: stream.data_type,
            instrument: stream.instrument.map(InstrumentIndex::from),
            seen: AtomicU64::default(),
            seen_at_ns: AtomicI64::default(),
            seen_generation: AtomicU64::default(),
            silent: AtomicBool::default(),
            expected_since: AtomicU64::new(1),
        });
        let status =
            ConnectionStatus { name: connection.name.clone(), source, ..ConnectionStatus::default() };
        Self {
            status: Mutex::new(status),
            origin,
            last_frame_at_ns: AtomicI64::default(),
            frames: AtomicU64::default(),
            bytes: AtomicU64::default(),
            stalled_us: AtomicU64::default(),
            event_generation: AtomicU64::default(),
            streams: streams.collect(),
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut ConnectionStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn record_failure(&self, label: &'static str, text: String) {
        self.change(|status| {
            *status.reconnects.entry(label).or_insert(0) += 1;
            status.last_error = Some(text);
        });
    }

    pub(crate) fn frame(&self, bytes: usize, at_ns: i64) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last_frame_at_ns.store(at_ns, Ordering::Relaxed);
    }

    pub(crate) fn stalled(&self, time: Duration) {
        self.stalled_us.fetch_add(micros(time), Ordering::Relaxed);
    }

    pub(crate) fn stream_received(&self, generation: u64, stream: StreamIndex, at_ns: i64) {
        self.event_generation.fetch_max(generation, Ordering::Relaxed);
        if let Some(stream) = self.streams.get(stream.position()) {
            stream.seen.store(micros(self.origin.elapsed()) + 1, Ordering::Relaxed);
            stream.seen_at_ns.store(at_ns, Ordering::Relaxed);
            stream.seen_generation.fetch_max(generation, Ordering::Relaxed);
        }
    }

    /// This generation or a newer one brought an event of the stream.
    pub(crate) fn has_brought(&self, generation: u64, stream: StreamIndex) -> bool {
        let stream = self.streams.get(stream.position());
        stream.is_some_and(|stream| stream.seen_generation.load(Ordering::Relaxed) >= generation)
    }

    /// Events came after this time, and none of them of this generation or a newer one.
    pub(crate) fn has_older_events_only(&self, generation: u64, since: Instant) -> bool {
        let newest = self.streams.iter().filter_map(|stream| self.time(&stream.seen)).max();
        self.event_generation.load(Ordering::Relaxed) < generation && newest.is_some_and(|seen| seen > since)
    }

    pub(crate) fn seen(&self, stream: StreamIndex) -> Option<Instant> {
        self.time(&self.streams.get(stream.position())?.seen)
    }

    fn time(&self, stored: &AtomicU64) -> Option<Instant> {
        let since = stored.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.origin + Duration::from_micros(since))
    }

    /// Of streams of other instruments nothing can come; one without an instrument is always expected.
    pub(crate) fn expect(&self, is_expected: impl Fn(InstrumentIndex) -> bool) {
        for stream in &self.streams {
            if !stream.instrument.is_none_or(&is_expected) {
                stream.expected_since.store(0, Ordering::Relaxed);
                stream.silent.store(false, Ordering::Relaxed);
            } else if stream.expected_since.load(Ordering::Relaxed) == 0 {
                stream.expected_since.store(micros(self.origin.elapsed()) + 1, Ordering::Relaxed);
            }
        }
    }

    /// `None`: nothing can come of the stream.
    pub(crate) fn expected_since(&self, stream: StreamIndex) -> Option<Instant> {
        self.time(&self.streams.get(stream.position())?.expected_since)
    }

    /// Start of the expectation of any stream, and the newest event of all. `None`: nothing can come of any.
    pub(crate) fn expectation(&self) -> Option<(Instant, Option<Instant>)> {
        let since = self.streams.iter().filter_map(|stream| self.time(&stream.expected_since)).min()?;
        Some((since, self.streams.iter().filter_map(|stream| self.time(&stream.seen)).max()))
    }

    pub(crate) fn set_silent(&self, stream: StreamIndex, silent: bool) {
        if let Some(stream) = self.streams.get(stream.position()) {
            stream.silent.store(silent, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> ConnectionStatus {
        let now = Instant::now();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let streams = StreamIndex::enumerate(&self.streams).map(|(index, stream)| {
            let seen = self.seen(index);
            StreamStatus {
                data_type: stream.data_type,
                instrument: stream.instrument,
                last_frame_at_ns: seen.map(|_| stream.seen_at_ns.load(Ordering::Relaxed)),
                last_frame_age: seen.map(|seen| now.saturating_duration_since(seen)),
                silent: stream.silent.load(Ordering::Relaxed),
                expected: self.expected_since(index).is_some(),
            }
        });
        let frames = self.frames.load(Ordering::Relaxed);
        status.last_frame_at_ns = (frames > 0).then(|| self.last_frame_at_ns.load(Ordering::Relaxed));
        status.frames = frames;
        status.bytes = self.bytes.load(Ordering::Relaxed);
        status.stalled = Duration::from_micros(self.stalled_us.load(Ordering::Relaxed));
        status.streams = streams.collect();
        status
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
