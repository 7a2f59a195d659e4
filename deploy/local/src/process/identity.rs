//! Identifies processes.

use std::path::{Path, PathBuf};

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
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name stands in parentheses and may hold anything, parentheses among it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?;
        if matches!(state, "Z" | "X" | "x") {
            return None;
        }
        let start_ticks = fields.nth(18)?.parse().ok()?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        Some(Self { pid, start_ticks, boot_id, program: without_mark(&program) })
    }

    /// An ending process loses its program before it is gone, so an empty program matches any.
    #[must_use]
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

#[must_use]
pub fn command_of(pid: u32) -> Option<String> {
    const SHOWN_CHARS_MAX: usize = 100;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    let text = words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return std::fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned());
    }
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    Some(if cut.len() < text.len() { format!("{cut}...") } else { cut })
}

#[must_use]
pub fn memory_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}
