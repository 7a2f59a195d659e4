//! Starts parts so that they outlive the terminal, stops them, and reads their logs.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{ProcessRecord, ProcessState};
use crate::limits;
use crate::settings::PREDECESSORS;

/// Variable by which MarketPrism's own parts bound their log. Others bound it by their configuration.
const LOG_FILE: &str = "MARKETPRISM_LOG_FILE";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    /// Variables in addition to those of this process.
    pub variables: Vec<(String, String)>,
    /// Configuration sections whose overrides (`MARKETPRISM_<SECTION>__<KEY>`) the program accepts. Those
    /// of other sections are removed: it would reject them as unknown.
    pub sections: &'static [&'static str],
    pub folder: PathBuf,
}

/// Starts a program in a process group of its own, so that neither closing the terminal nor Ctrl-C reaches
/// it, without input, its output appended to `log`.
pub fn spawn(program: &Program, log: &Path) -> anyhow::Result<Child> {
    let mut command = command(program, log)?;
    command.spawn().with_context(|| format!("{} cannot be started", program.path.display()))
}

fn command(program: &Program, log: &Path) -> anyhow::Result<Command> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    let output = open().with_context(|| format!("{} cannot be written", log.display()))?;
    let errors = output.try_clone().with_context(|| format!("{} cannot be written", log.display()))?;
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).current_dir(&program.folder).process_group(0);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    keep_sections(&mut command, program.sections);
    command.env(LOG_FILE, log);
    command.envs(program.variables.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

/// Removes overrides of other sections, and the variables of the earlier system: their values are in the files of the stack.
pub fn keep_sections(command: &mut Command, sections: &[&str]) {
    for (name, _) in std::env::vars_os() {
        let is_left_out = |name: &str| is_for_others(name, sections) || PREDECESSORS.contains(&name);
        if name.to_str().is_some_and(is_left_out) {
            command.env_remove(name);
        }
    }
}

fn is_for_others(variable: &str, sections: &[&str]) -> bool {
    let section = variable.strip_prefix("MARKETPRISM_").and_then(|rest| rest.split_once("__"));
    section.is_some_and(|(section, _)| !sections.contains(&section.to_lowercase().as_str()))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopResult {
    /// It ended after SIGTERM.
    Ended(Duration),
    /// It did not end in time and was killed.
    Killed(Duration),
    WasGone,
    /// It had ended before and its process id was reused; that process was not touched.
    LeftAlone {
        /// Command line of the process with this id.
        command: String,
    },
}

/// Sends SIGTERM to the process of a record, and SIGKILL if it has not ended within `patience`.
pub fn stop(record: &ProcessRecord, patience: Duration) -> anyhow::Result<StopResult> {
    let pid = i32::try_from(record.process.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(StopResult::WasGone) };
    // The handle is bound to the current process of this id, and the identity is checked afterwards: the signal cannot reach a
    // process that reuses the id in between.
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(StopResult::WasGone),
        Err(error) => {
            return Err(error).with_context(|| format!("process {} cannot be opened", record.process.pid));
        }
    };
    match record.state() {
        ProcessState::Alive => {}
        ProcessState::Gone => return Ok(StopResult::WasGone),
        ProcessState::Reused { command } => return Ok(StopResult::LeftAlone { command }),
    }
    let started = Instant::now();
    let send = |signal| match pidfd_send_signal(&handle, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("{} (pid {}) cannot be signalled", record.part, record.process.pid)),
    };
    send(Signal::TERM)?;
    if ended_within(record, patience) {
        return Ok(StopResult::Ended(started.elapsed()));
    }
    send(Signal::KILL)?;
    anyhow::ensure!(
        ended_within(record, limits::KILL_WAIT),
        "{} (pid {}) still exists {} s after SIGKILL; it may wait for a disk",
        record.part,
        record.process.pid,
        limits::KILL_WAIT.as_secs()
    );
    Ok(StopResult::Killed(started.elapsed()))
}

fn ended_within(record: &ProcessRecord, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while record.state() == ProcessState::Alive {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(limits::PART_POLL);
    }
    true
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_reach_only_the_part_that_knows_them() {
        let sections = ["nats", "feed"];
        assert!(is_for_others("MARKETPRISM_LOCAL__EDGE_PORT", &sections));
        assert!(!is_for_others("MARKETPRISM_FEED__0__DEPTH", &sections));
        assert!(!is_for_others("MARKETPRISM_NATS__URLS", &sections));
        assert!(!is_for_others("MARKETPRISM_LOG", &sections));
        assert!(!is_for_others("HOME__X", &sections));
    }
}
