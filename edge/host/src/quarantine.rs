//! Bounded directory of the frames that made an adapter fault, for its author.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fmt, fs, io};

use marketprism_service::mask;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::error::Fault;
use crate::frames::Frame;
use crate::index::SourceIndex;

/// A frame with the fault that it caused.
#[derive(Clone, Copy, Debug)]
pub struct QuarantinedFrame<'a> {
    /// Bytes, source and receive time.
    pub frame: Frame<'a>,
    /// The plan's connection; `None` for the answer to a request.
    pub connection: Option<SourceIndex>,
    /// URL of the connection or the request.
    pub url: &'a str,
    /// Kind and message of the failure.
    pub fault: &'a Fault,
    /// Adapter id, as in events.
    pub adapter: &'a str,
    /// The feed's exchange id.
    pub exchange: &'a str,
}

/// Error of a file or the directory.
#[derive(Debug, Error)]
#[error("quarantine {}: {source}", path.display())]
pub struct QuarantineError {
    path: PathBuf,
    source: io::Error,
}

/// At most a number of files and bytes; the oldest are deleted first. Several feeds may share it.
#[derive(Debug)]
pub struct Quarantine {
    dir: PathBuf,
    max_files: usize,
    max_bytes: u64,
    held: Mutex<StoredFiles>,
}

#[derive(Debug, Default)]
struct StoredFiles {
    /// Oldest first.
    files: VecDeque<(String, u64)>,
    bytes: u64,
    stored: u64,
    deleted: u64,
}

impl Quarantine {
    /// Opens or creates the directory; existing files count.
    pub fn open(dir: &Path, max_files: usize, max_bytes: u64) -> Result<Self, QuarantineError> {
        let failed = |source| QuarantineError { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".part") {
                fs::remove_file(entry.path()).map_err(failed)?;
            } else if name.ends_with(".json") {
                files.push((name, entry.metadata().map_err(failed)?.len()));
            }
        }
        // Names start with the receive time, 19 digits until the year 2286.
        files.sort();
        let bytes = files.iter().map(|(_, bytes)| bytes).sum();
        let held = Mutex::new(StoredFiles { files: files.into(), bytes, stored: 0, deleted: 0 });
        let quarantine = Quarantine { dir: dir.to_owned(), max_files, max_bytes, held };
        quarantine.make_room(&mut quarantine.lock(), 0, 0)?;
        Ok(quarantine)
    }

    /// Stores a frame as `<receive time>-<cause>-<digest of the frame>.json`. The same frame with the same
    /// fault is stored once.
    pub fn store(&self, suspect: &QuarantinedFrame<'_>) -> Result<PathBuf, QuarantineError> {
        let digest: String =
            Sha256::digest(suspect.frame.bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let at = suspect.frame.received_at_ns;
        let name = format!("{at:019}-{}-{digest}.json", suspect.fault.cause.as_str());
        let path = self.dir.join(&name);
        let failed = |source| QuarantineError { path: path.clone(), source };
        let mut held = self.lock();
        if held.files.iter().any(|(known, _)| *known == name) {
            held.stored += 1;
            return Ok(path);
        }
        if self.max_files == 0 {
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "no file is allowed")));
        }
        let part = path.with_extension("part");
        let written = write_line(&part, suspect, self.max_bytes).map_err(failed);
        let stored = written.and_then(|bytes| {
            self.make_room(&mut held, 1, bytes)?;
            fs::rename(&part, &path).map_err(failed)?;
            Ok(bytes)
        });
        if stored.is_err() {
            // Parts would fill a disk that is nearly full; the error is the one of the write.
            let _ = fs::remove_file(&part);
        }
        let bytes = stored?;
        held.files.push_back((name, bytes));
        held.bytes += bytes;
        held.stored += 1;
        Ok(path)
    }

    /// Frames stored since the start.
    pub fn stored(&self) -> u64 {
        self.lock().stored
    }

    /// Files deleted since the start to stay within the bounds.
    pub fn deleted(&self) -> u64 {
        self.lock().deleted
    }

    /// Files in the directory.
    pub fn files(&self) -> usize {
        self.lock().files.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, StoredFiles> {
        // A panic between two steps at worst leaves a file uncounted until the next start.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self, held: &mut StoredFiles, files: usize, bytes: u64) -> Result<(), QuarantineError> {
        while held.files.len() + files > self.max_files || held.bytes + bytes > self.max_bytes {
            let Some((name, size)) = held.files.pop_front() else {
                break;
            };
            let path = self.dir.join(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(QuarantineError { path, source });
                }
                _ => {}
            }
            held.bytes = held.bytes.saturating_sub(size);
            held.deleted += 1;
        }
        Ok(())
    }
}

/// A line of a recording, readable by `replay`, with the fault.
#[derive(Serialize)]
struct QuarantineLine<'a> {
    at: i64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn: Option<u32>,
    url: Cow<'a, str>,
    data: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hex")]
    data_hex: Option<&'a [u8]>,
    cause: &'static str,
    detail: &'a str,
    adapter: &'a str,
    exchange: &'a str,
    source: u32,
}

fn hex<S: Serializer>(bytes: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    struct Hex<'a>(&'a [u8]);
    impl fmt::Display for Hex<'_> {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
    }
    serializer.collect_str(&Hex(bytes.unwrap_or_default()))
}

/// Writes straight to the file: a text of it would be several times as large as the frame. Returns its bytes, at most `bytes_max`.
fn write_line(path: &Path, suspect: &QuarantinedFrame<'_>, bytes_max: u64) -> io::Result<u64> {
    let bytes = suspect.frame.bytes;
    let data = String::from_utf8_lossy(bytes);
    let line = QuarantineLine {
        at: suspect.frame.received_at_ns,
        kind: if suspect.connection.is_some() { "ws-in" } else { "rest" },
        conn: suspect.connection.map(u32::from),
        url: mask(suspect.url),
        data_hex: matches!(data, Cow::Owned(_)).then_some(bytes),
        data,
        cause: suspect.fault.cause.as_str(),
        detail: &suspect.fault.detail,
        adapter: suspect.adapter,
        exchange: suspect.exchange,
        source: u32::from(suspect.frame.source),
    };
    let mut file = BoundedFile { file: fs::File::create(path)?, bytes: 0, bytes_max };
    let mut writer = BufWriter::with_capacity(64 << 10, &mut file);
    serde_json::to_writer(&mut writer, &line)?;
    writer.write_all(b"\n")?;
    writer.flush()?;
    drop(writer);
    Ok(file.bytes)
}

struct BoundedFile {
    file: fs::File,
    bytes: u64,
    bytes_max: u64,
}

impl Write for BoundedFile {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let bytes = self.bytes + part.len() as u64;
        if bytes > self.bytes_max {
            let text = format!("record has {bytes} bytes and more, allowed are {}", self.bytes_max);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        self.bytes = bytes;
        self.file.write_all(part).map(|()| part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
