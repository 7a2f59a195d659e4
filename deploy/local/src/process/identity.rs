//! Identifies processes.

use std::path::{Path, PathBuf};

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
    /// The process with this id; `None` if there is none or it is a zombie.
    pub fn of(pid: u32) -> Option<Self> {
        let process = process(pid)?;
        let stat = process.stat().ok()?;
        if matches!(stat.state, 'Z' | 'X' | 'x') {
            return None;
        }
        let boot_id = procfs::sys::kernel::random::boot_id().ok()?;
        let program = process.exe().unwrap_or_default();
        Some(Self { pid, start_ticks: stat.starttime, boot_id, program: without_mark(&program) })
    }

    /// An ending process loses its program before it is gone, so an empty program matches any.
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

/// Command line, cut to a readable length; the program's name if the line is not readable.
pub fn command_of(pid: u32) -> Option<String> {
    const SHOWN_CHARS_MAX: usize = 100;
    let process = process(pid)?;
    let text = process.cmdline().unwrap_or_default().join(" ");
    if text.is_empty() {
        return process.stat().ok().map(|stat| stat.comm);
    }
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    Some(if cut.len() < text.len() { format!("{cut}...") } else { cut })
}

/// Resident memory.
pub fn memory_bytes(pid: u32) -> Option<u64> {
    process(pid)?.status().ok()?.vmrss.map(|kibibytes| kibibytes.saturating_mul(1024))
}
