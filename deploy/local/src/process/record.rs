//! Started parts and the processes that they are: a process is identified by id, start time, boot and program.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use marketprism_service::mask_arguments;
use procfs::process::Process;
use serde::{Deserialize, Serialize};

/// Identifies one process forever; a process id alone is reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// Boot from which the ticks count.
    pub boot_id: String,
    /// Without the kernel's mark for deleted files: a rebuild replaces the binary of a running process.
    pub program: PathBuf,
}

impl ProcessIdentity {
    /// The process with this id; `None` if there is none or it is a zombie without threads. While a thread is left, it holds the ports.
    pub fn of(pid: u32) -> Option<Self> {
        let process = process(pid)?;
        let stat = process.stat().ok()?;
        if matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1 {
            return None;
        }
        let boot_id = procfs::sys::kernel::random::boot_id().ok()?;
        let program = process.exe().unwrap_or_default();
        Some(Self { pid, start_ticks: stat.starttime, boot_id, program: without_mark(&program) })
    }

    /// An ending process loses its program before it ends, so an empty program matches any.
    pub fn is_the_same_process(&self, other: &Self) -> bool {
        let unknown = self.program.as_os_str().is_empty() || other.program.as_os_str().is_empty();
        (self.pid, self.start_ticks, &self.boot_id) == (other.pid, other.start_ticks, &other.boot_id)
            && (unknown || self.program == other.program)
    }
}

fn without_mark(program: &Path) -> PathBuf {
    let text = program.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| program.to_path_buf(), PathBuf::from)
}

fn process(pid: u32) -> Option<Process> {
    Process::new(i32::try_from(pid).ok()?).ok()
}

/// Command line without secrets, cut to a readable length; the program's name if the line is not readable.
pub fn command_of(pid: u32) -> Option<String> {
    const SHOWN_CHARS_MAX: usize = 100;
    let process = process(pid)?;
    let text = mask_arguments(&process.cmdline().unwrap_or_default());
    if text.is_empty() {
        return process.stat().ok().map(|stat| stat.comm);
    }
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    Some(if cut.len() < text.len() { format!("{cut}...") } else { cut })
}

pub fn memory_bytes(pid: u32) -> Option<u64> {
    process(pid)?.status().ok()?.vmrss.map(|kibibytes| kibibytes.saturating_mul(1024))
}

/// A started part, kept as JSON in the run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRecord {
    pub part: String,
    pub process: ProcessIdentity,
    pub address: String,
    pub ports: Vec<u16>,
    pub log: PathBuf,
    /// Purpose of this start, such as live or simulated venues.
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessState {
    Alive,
    Gone,
    /// It has ended and its id was reused.
    Reused {
        /// Command line of the process with this id.
        command: String,
    },
}

impl ProcessRecord {
    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let path = path_of(folder, &self.part);
        let write = || -> anyhow::Result<()> {
            std::fs::create_dir_all(folder)?;
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
            std::fs::rename(&fresh, &path)?;
            Ok(())
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    /// `None` if the part was not started.
    pub fn load(folder: &Path, part: &str) -> anyhow::Result<Option<Self>> {
        let path = path_of(folder, part);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let record = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a record of a process", path.display()))?;
        Ok(Some(record))
    }

    pub fn remove(folder: &Path, part: &str) -> anyhow::Result<()> {
        let path = path_of(folder, part);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be deleted", path.display()))
            }
            _ => Ok(()),
        }
    }

    pub fn state(&self) -> ProcessState {
        match ProcessIdentity::of(self.process.pid) {
            None => ProcessState::Gone,
            Some(found) if found.is_the_same_process(&self.process) => ProcessState::Alive,
            Some(found) => {
                let command = command_of(found.pid).unwrap_or_else(|| found.program.display().to_string());
                ProcessState::Reused { command }
            }
        }
    }
}

fn path_of(folder: &Path, part: &str) -> PathBuf {
    folder.join(format!("{part}.json"))
}
