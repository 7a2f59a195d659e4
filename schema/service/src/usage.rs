//! Memory and CPU time of this process, as Linux reports them.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

/// Linux reports CPU time to user space in hundredths of a second, whatever its own clock.
const TICK: Duration = Duration::from_millis(10);
const TICKS_PER_SECOND: u64 = 100;

/// Usage so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Memory in RAM.
    pub resident_bytes: u64,
    /// Of all threads since the start of the process.
    pub cpu: Duration,
}

impl ProcessUsage {
    /// Reads it.
    pub fn now() -> Result<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}"));
        let (status, stat) = (read("status")?, read("stat")?);
        let found = resident_bytes(&status).zip(cpu(&stat));
        let (resident_bytes, cpu) = found.ok_or_else(|| Error::from(ErrorKind::InvalidData))?;
        Ok(Self { resident_bytes, cpu })
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

/// The name in brackets may hold blanks; user and system time are fields 14 and 15.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11).map(str::parse::<u64>);
    let ticks = ticks.next()?.ok()?.checked_add(ticks.next()?.ok()?)?;
    Some(
        Duration::from_secs(ticks / TICKS_PER_SECOND)
            + TICK * u32::try_from(ticks % TICKS_PER_SECOND).ok()?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After 248 days on two cores the ticks of a process no longer fit into 32 bits.
    #[test]
    fn a_year_of_several_cores_is_read() {
        let year = "7 (name with ) blanks) S 1 7 7 0 -1 0 0 0 0 0 10000000050 2000000000 0 0 20 0";
        assert_eq!(cpu(year), Some(Duration::from_millis(120_000_000_500)));
    }

    #[test]
    fn usage_rises_with_memory_and_work() {
        let before = ProcessUsage::now().unwrap();
        let memory = vec![1_u8; 64 << 20];
        while ProcessUsage::now().unwrap().cpu < before.cpu + 3 * TICK {
            std::hint::black_box(memory.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        }
        let after = ProcessUsage::now().unwrap();
        assert!(after.resident_bytes > before.resident_bytes + (48 << 20), "{before:?} {after:?}");
        drop(memory);
    }
}
