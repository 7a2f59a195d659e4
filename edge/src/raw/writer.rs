//! The writing thread of a store: lines become blocks, blocks segments; the oldest segments make room.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_service::{FileLock, LogLimit, clock};
use zstd::bulk::Compressor;

use super::components::keep_component;
use super::head::{ADAPTER, SegmentHead};
use super::lines::RawLine;
use super::reader::segment_path;
use super::segment::{BlockEntry, write_block};
use super::shared::{AdapterInUse, RawInput, RawOptions, RawShared};
use super::status::{RawDeletion, RawLoss};
use crate::journal::JournalFile;
use crate::limits::{
    RAW_BLOCK_BYTES, RAW_COMPONENT_EVERY, RAW_COMPRESSION, RAW_FLUSH, RAW_RETRY, RAW_SEGMENT_AGES, RAW_SYNC,
};

pub(super) struct RawWriter {
    shared: Arc<RawShared>,
    compressor: io::Result<Compressor<'static>>,
    lock: Option<FileLock>,
    is_recovered: bool,
    /// JSON lines of the next block.
    lines: Vec<u8>,
    entry: BlockEntry,
    head: SegmentHead,
    segments: VecDeque<KeptSegment>,
    /// The last segment, while it takes blocks.
    current: Option<OpenRawSegment>,
    last_number: u64,
    retry_at: Option<Instant>,
    /// By the wall clock and the monotonic one.
    started: (i64, Instant),
    component: Option<(AdapterInUse, Instant)>,
    error_lines: LogLimit,
    component_lines: LogLimit,
    head_lines: LogLimit,
    deletion_lines: LogLimit,
}

struct KeptSegment {
    path: PathBuf,
    first_ns: i64,
    /// For its age.
    last_ns: i64,
    bytes: u64,
}

struct OpenRawSegment {
    file: Arc<dyn JournalFile>,
    opened: Instant,
    synced: Instant,
}

impl RawWriter {
    pub(super) fn new(shared: Arc<RawShared>) -> Self {
        Self {
            shared,
            compressor: Compressor::new(RAW_COMPRESSION),
            lock: None,
            is_recovered: false,
            lines: Vec::new(),
            entry: BlockEntry::EMPTY,
            head: SegmentHead::default(),
            segments: VecDeque::new(),
            current: None,
            last_number: 0,
            retry_at: None,
            started: (clock::now_ns(), Instant::now()),
            component: None,
            error_lines: LogLimit::default(),
            component_lines: LogLimit::default(),
            head_lines: LogLimit::default(),
            deletion_lines: LogLimit::default(),
        }
    }

    pub(super) fn run(mut self) {
        self.prepare();
        loop {
            let (inputs, is_due, is_closing) = self.shared.take(RAW_FLUSH);
            let is_empty = inputs.is_empty();
            for input in inputs {
                self.add(input);
            }
            if is_due || is_closing {
                self.write();
            }
            self.sweep();
            if is_closing && is_empty {
                if let Some(current) = self.current.take() {
                    let synced = current.file.sync();
                    self.note(synced);
                }
                return;
            }
        }
    }

    fn add(&mut self, input: RawInput) {
        match input {
            RawInput::Frame(line) => self.add_line(&line),
            RawInput::State(line) => {
                let url = line.url.clone().unwrap_or_default();
                self.add_state(&line, &url);
            }
            RawInput::Adapter(line, adapter) => {
                self.add_state(&line, ADAPTER);
                self.component = Some((adapter, Instant::now()));
            }
        }
    }

    fn add_line(&mut self, line: &RawLine) {
        let before = self.lines.len();
        let written = line.line().map(|line| line.write(&mut self.lines));
        if !matches!(written, Some(Ok(()))) {
            self.lines.truncate(before);
            return self.shared.lock().status.lose(RawLoss::NotText, 1);
        }
        self.entry.add(line.at_ns);
        if self.lines.len() >= RAW_BLOCK_BYTES {
            self.write();
        }
    }

    /// A block of its own, which the next segments repeat.
    fn add_state(&mut self, line: &RawLine, key: &str) {
        self.write();
        let mut text = Vec::new();
        if !matches!(line.line().map(|line| line.write(&mut text)), Some(Ok(()))) {
            self.shared.lock().status.lose(RawLoss::NotText, 1);
            return;
        }
        self.lines = text;
        self.entry.add(line.at_ns);
        if let Some(compressed) = self.write() {
            let bytes_max = self.options().head_bytes_max();
            let left_out = self.head.set(key, line.at_ns, &compressed, bytes_max);
            if left_out > 0
                && let Some(held_back) = self.head_lines.allow(Instant::now())
            {
                let exchange = &self.shared.exchange;
                tracing::warn!(
                    exchange,
                    left_out,
                    bytes_max,
                    held_back,
                    "lists and reference answers have no room at the begin of raw segments; a larger raw.max_bytes gives them room"
                );
            }
        }
    }

    /// Writes the lines as a block. Gives the compressed lines, written or not.
    fn write(&mut self) -> Option<Vec<u8>> {
        let entry = std::mem::replace(&mut self.entry, BlockEntry::EMPTY);
        if entry.lines == 0 {
            return None;
        }
        let compressed = match &mut self.compressor {
            Ok(compressor) => compressor.compress(&self.lines),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        self.lines.clear();
        // A large answer must not keep its memory.
        self.lines.shrink_to(2 * RAW_BLOCK_BYTES);
        let mut result = None;
        let written = compressed.and_then(|data| {
            let data = result.insert(data);
            self.append(&entry, data)
        });
        if written.is_err() {
            self.shared.lock().status.lose(RawLoss::WriteFailed, u64::from(entry.lines));
        } else {
            self.shared.lock().status.written += u64::from(entry.lines);
        }
        self.note(written);
        result
    }

    fn append(&mut self, entry: &BlockEntry, data: &[u8]) -> io::Result<()> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Err(io::Error::other("an earlier write failed"));
        }
        self.prepare();
        if !self.is_recovered {
            return Err(io::Error::other("the folder's earlier segments are not known"));
        }
        let (options, mut block) = (self.options(), Vec::with_capacity(data.len() + 64));
        if self.current.is_none() {
            self.head.write(&mut block);
        }
        write_block(&mut block, entry, data);
        let size = u64::try_from(block.len()).unwrap_or(u64::MAX);
        self.make_room(size, &options);
        let passed_to_ns = self.passed_to_ns();
        let current = match self.current.take() {
            Some(current) => current,
            None => self.create(entry.first_ns)?,
        };
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        if let Err(error) = current.file.append(&block) {
            // If this fails too, the next start cuts the torn tail.
            let _ = current.file.truncate(segment.bytes);
            self.drop_empty();
            return Err(error);
        }
        segment.bytes += size;
        segment.last_ns = segment.last_ns.max(entry.last_ns.min(passed_to_ns));
        let is_full = segment.bytes >= options.segment_bytes_max()
            || current.opened.elapsed() >= options.max_age / RAW_SEGMENT_AGES;
        let is_due = current.synced.elapsed() >= RAW_SYNC;
        if is_full || is_due {
            current.file.sync()?;
        }
        if !is_full {
            let synced = if is_due { Instant::now() } else { current.synced };
            self.current = Some(OpenRawSegment { synced, ..current });
        }
        Ok(())
    }

    fn options(&self) -> RawOptions {
        self.shared.lock().options.clone()
    }

    fn create(&mut self, first_ns: i64) -> io::Result<OpenRawSegment> {
        let path = segment_path(&self.shared.folder, self.last_number + 1, first_ns);
        let file = self.shared.files.create(&path)?;
        self.last_number += 1;
        let last_ns = first_ns.min(self.passed_to_ns());
        self.segments.push_back(KeptSegment { path, first_ns, last_ns, bytes: 0 });
        let now = Instant::now();
        Ok(OpenRawSegment { file, opened: now, synced: now })
    }

    /// A segment without a block would stay until it is too old, one more after each failure.
    fn drop_empty(&mut self) {
        if let Some(empty) = self.segments.pop_back_if(|segment| segment.bytes == 0) {
            // If this fails too, the next start finds it.
            let _ = self.shared.files.remove(&empty.path);
        }
    }

    fn make_room(&mut self, size: u64, options: &RawOptions) {
        while self.bytes().saturating_add(size) > options.max_bytes
            && self.segments.len() > usize::from(self.current.is_some())
        {
            self.delete_oldest(RawDeletion::Bytes);
        }
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The clock of the start and the time since: no frame is newer for its age, so that none stays longer because the clock was behind at the start.
    fn passed_to_ns(&self) -> i64 {
        let (started_ns, started) = self.started;
        started_ns.saturating_add_unsigned(nanos(started.elapsed()))
    }

    /// Deletes what is too old, looks for a missing component, and publishes the state.
    fn sweep(&mut self) {
        // Frames do not age because the wall clock was set ahead.
        let now_ns = clock::now_ns().min(self.passed_to_ns());
        let oldest_ns = now_ns.saturating_sub_unsigned(nanos(self.options().max_age));
        while self.segments.front().is_some_and(|segment| segment.last_ns < oldest_ns) {
            if self.segments.len() == 1 {
                self.current = None;
            }
            self.delete_oldest(RawDeletion::Age);
        }
        if let Some((adapter, due)) =
            self.component.take_if(|(_, due)| self.lock.is_some() && *due <= Instant::now())
        {
            match keep_component(&self.shared.folder, &adapter) {
                Ok(true) => {}
                Ok(false) => self.component = Some((adapter, due + RAW_COMPONENT_EVERY)),
                Err(error) => {
                    self.component = Some((adapter, due + RAW_COMPONENT_EVERY));
                    self.note_component(&error);
                }
            }
        }
        let mut state = self.shared.lock();
        state.status.bytes = self.bytes();
        state.status.segments = u64::try_from(self.segments.len()).unwrap_or(u64::MAX);
        state.status.oldest_ns = self.segments.front().map(|segment| segment.first_ns);
    }

    fn delete_oldest(&mut self, reason: RawDeletion) {
        let Some(segment) = self.segments.pop_front() else { return };
        let removed = self.shared.files.remove(&segment.path);
        self.shared.lock().status.delete(reason);
        let Some(held_back) = self.deletion_lines.allow(Instant::now()) else { return };
        let (exchange, reason, path) = (&self.shared.exchange, reason.as_str(), &segment.path);
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::error!(exchange, %error, ?path, held_back, "raw segment not deleted");
            }
            _ => tracing::info!(exchange, reason, ?path, held_back, "the oldest raw frames are deleted"),
        }
    }

    /// The frames are written all the same.
    fn note_component(&mut self, error: &io::Error) {
        self.shared.lock().status.component_errors += 1;
        if let Some(held_back) = self.component_lines.allow(Instant::now()) {
            let (exchange, folder) = (&self.shared.exchange, &self.shared.folder);
            tracing::error!(exchange, %error, ?folder, held_back, "component not kept with its raw frames");
        }
    }

    /// After a failure a new segment begins, and the disk is left alone for a while. A full disk gets room: events need it more.
    fn note(&mut self, result: io::Result<()>) {
        let Err(error) = result else {
            self.retry_at = None;
            let failed = self.shared.lock().status.failing.take();
            if failed.is_some() {
                tracing::info!(exchange = self.shared.exchange, "raw frames are written again");
            }
            return;
        };
        self.current = None;
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = Some(Instant::now() + RAW_RETRY);
        let mut state = self.shared.lock();
        state.status.write_errors += 1;
        state.status.failing = Some(error.to_string());
        drop(state);
        if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            self.delete_oldest(RawDeletion::DiskFull);
        }
        if let Some(held_back) = self.error_lines.allow(Instant::now()) {
            let (exchange, folder) = (&self.shared.exchange, &self.shared.folder);
            tracing::error!(exchange, %error, ?folder, held_back, "raw frames not written; events are not affected");
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[path = "writer_recovery.rs"]
mod recovery;
#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
