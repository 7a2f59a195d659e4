//! The lines of a feed's recording.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use marketprism_adapter_host::SourceIndex;
use marketprism_schema::{Kind, Line};
use marketprism_socket::SocketEvent;

use super::files::RecordingFiles;
use crate::feed::{FrameObserver, SourceMap};

/// Records one feed.
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
