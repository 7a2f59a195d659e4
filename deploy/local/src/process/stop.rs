//! Stopping a part: ours, and nobody else's.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Liveness, Record};
use crate::limits;

/// How stopping went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It ended by itself after the signal.
    Ended(Duration),
    /// It did not end in time and was killed.
    Killed(Duration),
    /// It had ended before.
    WasGone,
    /// It had ended before, and its process id is another's, which was left alone.
    LeftAlone {
        /// That one's command line.
        command: String,
    },
}

/// Asks the process of a record to end, and kills it when it does not within `patience`.
pub fn stop(record: &Record, patience: Duration) -> anyhow::Result<Stopped> {
    let pid = i32::try_from(record.process.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(Stopped::WasGone) };
    // The handle stays with the process that has the id now. Its identity is looked at after that, so that the signal cannot reach a
    // process that gets the id between the look and the signal.
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(Stopped::WasGone),
        Err(error) => {
            return Err(error).with_context(|| format!("process {} cannot be reached", record.process.pid));
        }
    };
    match record.liveness() {
        Liveness::Alive => {}
        Liveness::Gone => return Ok(Stopped::WasGone),
        Liveness::Reused { command } => return Ok(Stopped::LeftAlone { command }),
    }
    let begun = Instant::now();
    let send = |signal| match pidfd_send_signal(&handle, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("{} (pid {}) cannot be signalled", record.part, record.process.pid)),
    };
    send(Signal::TERM)?;
    if ended_within(record, patience) {
        return Ok(Stopped::Ended(begun.elapsed()));
    }
    send(Signal::KILL)?;
    anyhow::ensure!(
        ended_within(record, limits::KILL_WAIT),
        "{} (pid {}) does not end although it was killed; it may wait for a disk",
        record.part,
        record.process.pid
    );
    Ok(Stopped::Killed(begun.elapsed()))
}

fn ended_within(record: &Record, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while record.liveness() == Liveness::Alive {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(limits::PART_POLL);
    }
    true
}
