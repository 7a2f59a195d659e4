//! Logs of the parts.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::limits;

/// Renames the previous log, so that at most two runs are kept.
pub fn rotate(log: &Path) -> std::io::Result<()> {
    match std::fs::rename(log, log.with_extension("previous.log")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The last lines; empty if the log cannot be read.
pub fn tail(log: &Path) -> String {
    let Ok(bytes) = last_bytes(log) else { return String::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(limits::LOG_TAIL_LINES);
    lines.get(first..).unwrap_or_default().join("\n")
}

/// [`tail`] with each line on a new, indented line.
pub fn tail_indented(log: &Path) -> String {
    tail(log).lines().map(|line| format!("\n    {line}")).collect()
}

fn last_bytes(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let start = file.metadata()?.len().saturating_sub(limits::LOG_TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limits::LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
