//! The handle of an exchange's raw frames.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use marketprism_schema::RecordingKind;
use marketprism_service::start_thread;

use super::lines::RawLine;
use super::shared::{AdapterInUse, RawInput, RawOptions, RawShared, RawState};
use super::status::RawStatus;
use super::writer::RawWriter;
use crate::journal::JournalFiles;
use crate::limits::{RAW_HEAD_BYTES_MAX, RAW_QUEUE_BYTES};

pub struct RawStore {
    shared: Arc<RawShared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl RawStore {
    /// A thread that this host denies is a failure of the store, never of the feed.
    pub fn start(exchange: &str, folder: PathBuf, options: RawOptions, files: Arc<dyn JournalFiles>) -> Self {
        let shared = Arc::new(RawShared {
            exchange: exchange.to_owned(),
            folder,
            files,
            state: Mutex::new(RawState {
                queue: VecDeque::new(),
                queued_bytes: 0,
                options,
                is_closing: false,
                status: RawStatus::default(),
            }),
            changed: Condvar::new(),
            last_connection: AtomicU32::new(0),
        });
        let writing = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name(format!("raw-{exchange}"));
        let thread = start_thread(builder, move || RawWriter::new(writing).run());
        let thread = thread.map_err(|error| {
            tracing::error!(exchange, %error, "raw frames are not kept: their thread cannot start");
            shared.lock().status.failing = Some(format!("its thread cannot start: {error}"));
        });
        Self { shared, thread: Mutex::new(thread.ok()) }
    }

    pub fn set_options(&self, options: RawOptions) {
        self.shared.lock().options = options;
    }

    pub fn push(&self, line: RawLine) {
        let size = line.size();
        self.shared.push(RawInput::Frame(line), size, RAW_QUEUE_BYTES);
    }

    /// A line that later frames need. It is rare, and has room beyond that of frames.
    pub fn push_state(&self, line: RawLine) {
        let size = line.size();
        self.shared.push(RawInput::State(line), size, RAW_QUEUE_BYTES + RAW_HEAD_BYTES_MAX);
    }

    pub fn set_adapter(&self, adapter: AdapterInUse, at_ns: i64) {
        let data = Some(Bytes::copy_from_slice(adapter.id.as_bytes()));
        let line = RawLine { at_ns, kind: RecordingKind::Adapter, conn: None, url: None, data };
        let size = line.size();
        self.shared.push(RawInput::Adapter(line, adapter), size, RAW_QUEUE_BYTES + RAW_HEAD_BYTES_MAX);
    }

    /// Number of a new connection.
    pub fn next_connection(&self) -> u32 {
        self.shared.last_connection.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    pub fn status(&self) -> RawStatus {
        self.shared.lock().status.clone()
    }

    /// Takes no more lines; the thread writes those that it has, and ends.
    pub fn end(&self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
    }

    /// Waits for the end of the thread. False: the disk did not answer in time.
    pub fn close(&self, deadline: Instant) -> bool {
        self.end();
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.join().is_err() {
            tracing::error!(exchange = self.shared.exchange, "the thread of the raw frames panicked");
        }
        true
    }
}
