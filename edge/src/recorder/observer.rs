//! From what a feed receives to the lines of its recording.

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

/// Writes down what one feed receives.
#[derive(Debug)]
pub(super) struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: RecordingFiles,
    /// Number of each open socket in the recording: every generation of a connection is one.
    numbers: HashMap<(SourceIndex, u64), u32>,
    last_number: u32,
    /// Where the answer that comes next was asked for: polls of a time window and further pages have other addresses than the plan's.
    asked: Option<(SourceIndex, String)>,
    failure: Option<io::Error>,
    /// Frames that a recording cannot hold because they are not text.
    skipped: u64,
}

impl Recorder {
    pub(super) fn new(dir: &Path, exchange: &str) -> Self {
        let state = State {
            files: RecordingFiles::new(dir, exchange),
            numbers: HashMap::new(),
            last_number: 0,
            asked: None,
            failure: None,
            skipped: 0,
        };
        Self { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what is buffered to the system; gives the first error of all writes so far, once.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        let flushed = state.files.flush();
        state.failure.take().map_or(flushed, Err)
    }

    /// Frames that were not recorded because they are not text.
    pub(super) fn skipped(&self) -> u64 {
        self.lock().skipped
    }
}

impl State {
    fn write(&mut self, line: &Line<'_>) {
        if let Err(error) = self.files.write(line) {
            self.failure.get_or_insert(error);
        }
    }

    fn number(&mut self, source: SourceIndex, generation: u64) -> u32 {
        let last = &mut self.last_number;
        *self.numbers.entry((source, generation)).or_insert_with(|| {
            *last = last.saturating_add(1);
            *last
        })
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
        state.write(&Line {
            at: at_ns,
            kind: Kind::Rest,
            conn: None,
            url: Some(url.into()),
            data: Some(data),
        });
    }

    fn input(&self, input: &SocketEvent, sources: &SourceMap) {
        let mut state = self.lock();
        match input {
            SocketEvent::Opened { source, generation, url, at_ns } => {
                let conn = Some(state.number(*source, *generation));
                let url = Some(Cow::Borrowed(url.as_str()));
                state.write(&Line { at: *at_ns, kind: Kind::WsOpen, conn, url, data: None });
            }
            SocketEvent::Sent { source, generation, text, at_ns } => {
                let conn = Some(state.number(*source, *generation));
                let data = Some(Cow::Borrowed(text.as_str()));
                state.write(&Line { at: *at_ns, kind: Kind::WsOut, conn, url: None, data });
            }
            SocketEvent::Frame(frame) => {
                let Some(data) = state.text(&frame.data) else { return };
                let at = frame.received_at_ns;
                let asked = state.asked.take().filter(|(source, _)| *source == frame.source);
                let asked = asked.as_ref().map(|(_, url)| url.as_str());
                let line = match asked.or_else(|| sources.url(frame.source)) {
                    Some(url) => {
                        Line { at, kind: Kind::Rest, conn: None, url: Some(url.into()), data: Some(data) }
                    }
                    None => {
                        let conn = Some(state.number(frame.source, frame.generation));
                        Line { at, kind: Kind::WsIn, conn, url: None, data: Some(data) }
                    }
                };
                state.write(&line);
            }
            SocketEvent::Asked { source, url, .. } => state.asked = Some((*source, url.clone())),
            SocketEvent::Closed { source, generation, .. } => {
                state.numbers.remove(&(*source, *generation));
            }
            SocketEvent::Silent { .. } | SocketEvent::RequestFailed { .. } => {}
        }
    }
}
