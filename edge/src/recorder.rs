//! The command `record`: writes what venues send to recordings, publishes nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use marketprism_schema::Line;
use marketprism_service::Signals;
use marketprism_socket::SocketEvent;
use time::OffsetDateTime;
use tokio::time::{interval, sleep};

use crate::audit::Auditor;
use crate::config::{Adapters, Config};
use crate::feed::{EdgeContext, FeedSet, FrameObserver, SourceMap};
use crate::limits::{RECORDING_BYTES_MAX, RECORDING_FILE_BYTES, RECORDING_FLUSH};
use crate::queue::DiscardQueue;
use crate::raw::{FrameLines, RawLine};

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
    let feeds = FeedSet::start(&context, &config, adapters, |index| {
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
    lines: FrameLines,
    last_number: u32,
    failure: Option<io::Error>,
    /// Frames that are not UTF-8 text.
    skipped: u64,
}

impl Recorder {
    pub(super) fn new(dir: &Path, exchange: &str) -> Self {
        let state = RecorderState {
            files: RecordingFiles::new(dir, exchange),
            lines: FrameLines::default(),
            last_number: 0,
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
    fn write(&mut self, line: &RawLine) {
        let Some(line) = line.line() else {
            self.skipped += 1;
            return;
        };
        if let Err(error) = self.files.write(&line) {
            self.failure.get_or_insert(error);
        }
    }
}

impl FrameObserver for Recorder {
    fn answer(&self, url: &str, body: &Bytes, at_ns: i64) {
        self.lock().write(&RawLine::answer(url, body, at_ns));
    }

    fn event(&self, event: &SocketEvent, sources: &SourceMap) {
        let mut state = self.lock();
        let RecorderState { lines, last_number, .. } = &mut *state;
        let next = || {
            *last_number = last_number.saturating_add(1);
            *last_number
        };
        let line = lines.line(event, |source| sources.url(source).map(str::to_owned), next);
        if let Some(line) = line {
            state.write(&line);
        }
    }
}

/// Files that may start in one second.
const NAMES_MAX: u32 = 1_000;

/// Bytes of the line's buffer that are kept for the next line.
const LINE_KEPT_BYTES: usize = 1 << 20;

/// Writes lines to `<exchange>-<utc>.jsonl`, and continues in a new file at [`RECORDING_FILE_BYTES`].
#[derive(Debug)]
pub(super) struct RecordingFiles {
    dir: PathBuf,
    exchange: String,
    file_bytes_max: u64,
    bytes: u64,
    bytes_max: u64,
    open: Option<OpenFile>,
    line: Vec<u8>,
}

#[derive(Debug)]
struct OpenFile {
    writer: BufWriter<File>,
    bytes: u64,
    flushed: Instant,
}

impl RecordingFiles {
    pub(super) fn new(dir: &Path, exchange: &str) -> Self {
        let (dir, exchange) = (dir.to_owned(), exchange.to_owned());
        Self {
            dir,
            exchange,
            file_bytes_max: RECORDING_FILE_BYTES,
            bytes: 0,
            bytes_max: RECORDING_BYTES_MAX,
            open: None,
            line: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.line.clear();
        // A large line must not keep its memory.
        self.line.shrink_to(LINE_KEPT_BYTES);
        line.write(&mut self.line).map_err(io::Error::other)?;
        let bytes = u64::try_from(self.line.len()).unwrap_or_default();
        if self.bytes.saturating_add(bytes) > self.bytes_max {
            let (written, allowed) = (self.bytes, self.bytes_max);
            return Err(io::Error::other(format!("{written} bytes are written, allowed are {allowed}")));
        }
        self.bytes += bytes;
        if self.open.as_ref().is_some_and(|open| open.bytes >= self.file_bytes_max) {
            self.flush()?;
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let file = create(&self.dir, &self.exchange, line.at)?;
                let writer = BufWriter::with_capacity(1 << 18, file);
                self.open.insert(OpenFile { writer, bytes: 0, flushed: Instant::now() })
            }
        };
        open.writer.write_all(&self.line)?;
        open.bytes += bytes;
        if open.flushed.elapsed() >= RECORDING_FLUSH { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.flushed = Instant::now();
        open.writer.flush()
    }
}

/// A new file; an existing one is never overwritten.
fn create(dir: &Path, exchange: &str, at_ns: i64) -> io::Result<File> {
    let start = utc_text(at_ns);
    for number in 1..=NAMES_MAX {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let path = dir.join(format!("{exchange}-{start}{suffix}.jsonl"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            Ok(file) => {
                tracing::info!(file = %path.display(), "recording");
                return Ok(file);
            }
        }
    }
    Err(io::Error::other(format!("{}: more than {NAMES_MAX} recordings start at {start}", dir.display())))
}

/// `YYYYMMDDTHHMMSSZ`.
fn utc_text(at_ns: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(at_ns.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use marketprism_schema::RecordingKind;

    use super::*;

    #[test]
    fn names_have_the_right_date_on_leap_days_too() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_633_998_511, "20211012T002831Z"),
            (1_709_251_199, "20240229T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(utc_text(seconds * 1_000_000_000), text);
        }
    }

    #[test]
    fn a_recording_ends_at_its_bound_and_keeps_no_large_buffer() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = RecordingFiles::new(dir.path(), "sim_spot");
        files.bytes_max = 5 << 20;
        let line = |bytes: usize| {
            let data = Some("x".repeat(bytes).into());
            Line { at: 1, kind: RecordingKind::WsIn, conn: Some(1), url: None, data }
        };
        files.write(&line(4 << 20)).unwrap();
        files.write(&line(10)).unwrap();
        assert!(files.line.capacity() <= 2 * LINE_KEPT_BYTES, "{} bytes", files.line.capacity());
        let error = files.write(&line(1 << 20)).unwrap_err().to_string();
        assert!(error.ends_with("bytes are written, allowed are 5242880"), "{error}");
    }

    #[test]
    fn a_large_recording_continues_in_a_new_file_without_lost_or_split_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = RecordingFiles::new(dir.path(), "sim_spot");
        files.file_bytes_max = 200;
        for at in 0..20 {
            let data = Some(format!("frame {at}").into());
            files.write(&Line { at, kind: RecordingKind::WsIn, conn: Some(1), url: None, data }).unwrap();
        }
        files.flush().unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert!(names.len() > 2, "{names:?}");
        let mut seen = Vec::new();
        for name in &names {
            let text = std::fs::read_to_string(name).unwrap();
            seen.extend(text.lines().map(|line| Line::parse(line).unwrap().at));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    }
}
