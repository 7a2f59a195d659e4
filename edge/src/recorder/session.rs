//! A recording from its start to its end, and the lines of each feed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use marketprism_adapter_host::SourceIndex;
use marketprism_schema::{Kind, Line};
use marketprism_service::Signals;
use marketprism_socket::SocketEvent;
use tokio::time::{interval, sleep};

use super::files::RecordingFiles;
use crate::audit::Auditor;
use crate::config::{Adapters, Config};
use crate::feed::{EdgeContext, FrameObserver, SourceMap};
use crate::limits::RECORDING_FLUSH;
use crate::queue::DiscardQueue;
use crate::run::FeedTasks;

/// Length of a recording without a limit: a century.
const NO_LIMIT: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Records every feed to `dir` until a signal, or for `limit`. Feeds run as in `run`, adapters and books included, so that snapshots
/// are requested when they are needed.
pub async fn record(
    config: Config,
    adapters: &Adapters,
    dir: &Path,
    limit: Option<Duration>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("signals cannot be received")?;
    std::fs::create_dir_all(dir).with_context(|| format!("folder {}", dir.display()))?;
    let context = EdgeContext::new(&config, Arc::new(DiscardQueue::default()), Arc::new(Auditor::off()))?;
    let context = Arc::new(context);
    let recorders: Vec<Arc<Recorder>> =
        config.feeds.iter().map(|feed| Arc::new(Recorder::new(dir, &feed.exchange))).collect();
    let mut feeds = FeedTasks::start(&context, &config, adapters, |index| {
        recorders.get(index).map(|recorder| Arc::clone(recorder) as Arc<dyn FrameObserver>)
    })?;
    let end = sleep(limit.unwrap_or(NO_LIMIT));
    tokio::pin!(end);
    let mut flush = interval(RECORDING_FLUSH);
    let mut written = Ok(());
    while written.is_ok() {
        tokio::select! {
            () = signals.next() => break,
            () = &mut end => break,
            _ = flush.tick() => written = flush_all(&recorders),
        }
    }
    context.stop.cancel();
    tokio::select! {
        () = feeds.join() => {}
        () = signals.next() => tracing::warn!("second signal: the last frames may be missing in the recording"),
    }
    let last = flush_all(&recorders);
    let skipped: u64 = recorders.iter().map(|recorder| recorder.skipped()).sum();
    if skipped > 0 {
        tracing::warn!(skipped, "frames that are not UTF-8 text are not in the recording");
    }
    written.and(last)
}

fn flush_all(recorders: &[Arc<Recorder>]) -> anyhow::Result<()> {
    for recorder in recorders {
        recorder.flush().context("the recording cannot be written")?;
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct Recorder {
    state: Mutex<RecorderState>,
}

#[derive(Debug)]
struct RecorderState {
    files: RecordingFiles,
    /// Number of each open socket in the recording; every generation of a connection has its own.
    numbers: HashMap<(SourceIndex, u64), u32>,
    last_number: u32,
    /// Source and address of the next answer: for time windows and further pages the address is not that of the plan.
    asked: Option<(SourceIndex, String)>,
    failure: Option<io::Error>,
    /// Frames that are not UTF-8 text.
    skipped: u64,
}

impl Recorder {
    pub(super) fn new(dir: &Path, exchange: &str) -> Self {
        let state = RecorderState {
            files: RecordingFiles::new(dir, exchange),
            numbers: HashMap::new(),
            last_number: 0,
            asked: None,
            failure: None,
            skipped: 0,
        };
        Self { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, RecorderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the buffer to the file; returns the first error of all writes so far, once.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        let flushed = state.files.flush();
        state.failure.take().map_or(flushed, Err)
    }

    pub(super) fn skipped(&self) -> u64 {
        self.lock().skipped
    }
}

impl RecorderState {
    fn write(
        &mut self,
        at: i64,
        kind: Kind,
        conn: Option<u32>,
        url: Option<&str>,
        data: Option<Cow<'_, str>>,
    ) {
        let line = Line { at, kind, conn, url: url.map(Cow::Borrowed), data };
        if let Err(error) = self.files.write(&line) {
            self.failure.get_or_insert(error);
        }
    }

    fn number(&mut self, source: SourceIndex, generation: u64) -> Option<u32> {
        let last = &mut self.last_number;
        let number = self.numbers.entry((source, generation)).or_insert_with(|| {
            *last = last.saturating_add(1);
            *last
        });
        Some(*number)
    }

    fn text<'a>(&mut self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        let text = std::str::from_utf8(bytes).ok().map(Cow::Borrowed);
        self.skipped += u64::from(text.is_none());
        text
    }
}

impl FrameObserver for Recorder {
    fn answer(&self, url: &str, body: &[u8], at_ns: i64) {
        let mut state = self.lock();
        let Some(data) = state.text(body) else { return };
        state.write(at_ns, Kind::Rest, None, Some(url), Some(data));
    }

    fn event(&self, event: &SocketEvent, sources: &SourceMap) {
        let mut state = self.lock();
        match event {
            SocketEvent::Opened { source, generation, url, at_ns } => {
                let conn = state.number(*source, *generation);
                state.write(*at_ns, Kind::WsOpen, conn, Some(url), None);
            }
            SocketEvent::Sent { source, generation, text, at_ns } => {
                let conn = state.number(*source, *generation);
                state.write(*at_ns, Kind::WsOut, conn, None, Some(text.into()));
            }
            SocketEvent::Frame(frame) => {
                let Some(data) = state.text(&frame.data) else { return };
                let at_ns = frame.received_at_ns;
                let asked = state.asked.take().filter(|(source, _)| *source == frame.source);
                let asked = asked.as_ref().map(|(_, url)| url.as_str());
                match asked.or_else(|| sources.url(frame.source)) {
                    Some(url) => state.write(at_ns, Kind::Rest, None, Some(url), Some(data)),
                    None => {
                        let conn = state.number(frame.source, frame.generation);
                        state.write(at_ns, Kind::WsIn, conn, None, Some(data));
                    }
                }
            }
            SocketEvent::Requested { source, url, .. } => state.asked = Some((*source, url.clone())),
            SocketEvent::Closed { source, generation, .. } => {
                state.numbers.remove(&(*source, *generation));
            }
            SocketEvent::Silent { .. } | SocketEvent::RequestFailed { .. } => {}
        }
    }
}
