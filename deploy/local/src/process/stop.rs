use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{ProcessRecord, ProcessState};
use crate::limits;

/// Result of stopping a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopResult {
    /// It ended after SIGTERM.
    Ended(Duration),
    /// It did not end in time and was killed.
    Killed(Duration),
    /// It had ended before.
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
    let begun = Instant::now();
    let send = |signal| match pidfd_send_signal(&handle, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("{} (pid {}) cannot be signalled", record.part, record.process.pid)),
    };
    send(Signal::TERM)?;
    if ended_within(record, patience) {
        return Ok(StopResult::Ended(begun.elapsed()));
    }
    send(Signal::KILL)?;
    anyhow::ensure!(
        ended_within(record, limits::KILL_WAIT),
        "{} (pid {}) still exists {} s after SIGKILL; it may wait for a disk",
        record.part,
        record.process.pid,
        limits::KILL_WAIT.as_secs()
    );
    Ok(StopResult::Killed(begun.elapsed()))
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
