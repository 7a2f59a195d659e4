//! A bounded directory of the frames that made an adapter fault, for its author.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::error::Fault;
use crate::frames::Frame;

/// Where a frame came from, in the words of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A message on a connection of the plan.
    Socket {
        /// The connection's position in the plan.
        connection: u32,
        /// Its URL.
        url: String,
    },
    /// The answer to a request.
    Rest {
        /// Its URL.
        url: String,
    },
}

/// A frame with the fault that it is held for.
#[derive(Clone, Copy, Debug)]
pub struct Suspect<'a> {
    /// The frame.
    pub frame: Frame<'a>,
    /// Where it came from.
    pub origin: &'a Origin,
    /// What happened with it.
    pub fault: &'a Fault,
    /// The adapter, as events name it.
    pub adapter: &'a str,
    /// The feed's exchange id.
    pub exchange: &'a str,
}

/// Why a frame could not be kept, or the directory not be used.
#[derive(Debug, Error)]
#[error("quarantine {}: {source}", path.display())]
pub struct QuarantineError {
    path: PathBuf,
    source: io::Error,
}

/// The directory. At most so many files and bytes; the oldest go first. Several feeds may share it.
#[derive(Debug)]
pub struct Quarantine {
    dir: PathBuf,
    max_files: usize,
    max_bytes: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Oldest first.
    files: VecDeque<(String, u64)>,
    bytes: u64,
    stored: u64,
    deleted: u64,
}

impl Quarantine {
    /// Opens the directory, makes it if it is missing, and takes over what is in it.
    ///
    /// # Errors
    /// When the directory cannot be made, read or cleaned.
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
        let held = Mutex::new(Held { files: files.into(), bytes, stored: 0, deleted: 0 });
        let quarantine = Quarantine { dir: dir.to_owned(), max_files, max_bytes, held };
        quarantine.make_room(&mut quarantine.lock(), 0, 0)?;
        Ok(quarantine)
    }

    /// Keeps a frame as `<receive time>-<cause>-<digest of the frame>.json`. The same frame with the same
    /// fault is kept once.
    ///
    /// # Errors
    /// When the file cannot be written. A frame that is larger than the directory may be is an error too.
    pub fn keep(&self, suspect: &Suspect<'_>) -> Result<PathBuf, QuarantineError> {
        let text = record(suspect);
        let digest: String =
            Sha256::digest(suspect.frame.bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let at = suspect.frame.received_at_ns;
        let name = format!("{at:019}-{}-{digest}.json", suspect.fault.cause.as_str());
        let path = self.dir.join(&name);
        let failed = |source| QuarantineError { path: path.clone(), source };
        let bytes = text.len() as u64;
        if bytes > self.max_bytes || self.max_files == 0 {
            let text = format!("record has {bytes} bytes, allowed are {}", self.max_bytes);
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, text)));
        }
        let mut held = self.lock();
        if held.files.iter().any(|(known, _)| *known == name) {
            held.stored += 1;
            return Ok(path);
        }
        self.make_room(&mut held, 1, bytes)?;
        let part = path.with_extension("part");
        fs::write(&part, text).and_then(|()| fs::rename(&part, &path)).map_err(failed)?;
        held.files.push_back((name, bytes));
        held.bytes += bytes;
        held.stored += 1;
        Ok(path)
    }

    /// Frames kept since the start.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.lock().stored
    }

    /// Files deleted to stay within the bounds since the start.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.lock().deleted
    }

    /// Files that are there.
    #[must_use]
    pub fn files(&self) -> usize {
        self.lock().files.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        // A panic between two steps leaves at worst a file that is not counted until the next start.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self, held: &mut Held, files: usize, bytes: u64) -> Result<(), QuarantineError> {
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

/// A line of a recording with the fault beside it, so that `replay` can read it.
fn record(suspect: &Suspect<'_>) -> String {
    let (kind, connection, url) = match suspect.origin {
        Origin::Socket { connection, url } => ("ws-in", Some(connection), url),
        Origin::Rest { url } => ("rest", None, url),
    };
    let mut line = json!({
        "at": suspect.frame.received_at_ns,
        "kind": kind,
        "url": url,
        "data": String::from_utf8_lossy(suspect.frame.bytes),
        "cause": suspect.fault.cause.as_str(),
        "detail": suspect.fault.detail,
        "adapter": suspect.adapter,
        "exchange": suspect.exchange,
        "source": suspect.frame.source,
    });
    if let Some(fields) = line.as_object_mut() {
        if let Some(connection) = connection {
            fields.insert("conn".into(), json!(connection));
        }
        if std::str::from_utf8(suspect.frame.bytes).is_err() {
            let hex: String = suspect.frame.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            fields.insert("data_hex".into(), json!(hex));
        }
    }
    format!("{line}\n")
}
