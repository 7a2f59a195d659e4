//! Counters of one adapter, readable from any thread, and the causes of faults.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use enum_map::{Enum, EnumMap};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)? ; $($(#[$other_doc:meta])* $other:ident),* $(,)?) => {
        /// Counters of an adapter over all of its instances.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($name: AtomicU64,)*
            $($other: AtomicU64,)*
            faults: EnumMap<FaultCause, AtomicU64>,
        }

        /// Values of the counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct StatsSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            $($(#[$other_doc])* pub $other: u64,)*
            /// Faults by cause.
            pub faults: EnumMap<FaultCause, u64>,
        }

        impl Stats {
            $(pub(crate) fn $name(&self, by: usize) {
                self.$name.fetch_add(by as u64, Relaxed);
            })*

            /// Reads all counters.
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot {
                    $($name: self.$name.load(Relaxed),)*
                    $($other: self.$other.load(Relaxed),)*
                    faults: EnumMap::from_fn(|cause| self.faults[cause].load(Relaxed)),
                }
            }
        }
    };
}

counters! {
    /// Frames passed to `normalize`, including repeats after a fault.
    frames,
    /// Events returned.
    events,
    /// Notes returned.
    notes,
    /// Instances that replaced a faulted one.
    restarts,
    /// Frames that faulted alone.
    frames_faulted,
    /// Frames skipped because the adapter faulted too often.
    frames_unseen,
    /// Calls and starts of instances that the host denied a resource.
    host_limits,
    /// Frames lost because the host denied resources for too long.
    frames_denied,
    /// Reference answers not stored: too large, or instances fault on them.
    references_dropped,
    /// Log lines written.
    log_lines,
    /// Log lines dropped by the rate limit.
    log_dropped_lines;
    /// Calls of any function.
    calls,
    /// Nanoseconds spent in calls.
    call_ns,
    /// Longest call in nanoseconds.
    longest_call_ns,
    /// Largest memory of one instance in bytes.
    memory_high_water_bytes,
}

impl StatsSnapshot {
    /// Faults of all causes.
    pub fn all_faults(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl Stats {
    pub(crate) fn called(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Relaxed);
        self.call_ns.fetch_add(ns, Relaxed);
        self.longest_call_ns.fetch_max(ns, Relaxed);
    }

    pub(crate) fn faulted(&self, cause: FaultCause) {
        // Counted by the instance.
        if cause != FaultCause::HostLimit {
            self.faults[cause].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn memory_grew(&self, bytes: usize) {
        self.memory_high_water_bytes.fetch_max(bytes as u64, Relaxed);
    }
}

/// Cause for discarding an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum)]
pub enum FaultCause {
    /// Panic, or access outside its memory.
    Trap,
    /// No return before the deadline.
    Deadline,
    /// Memory or table growth beyond the limit.
    Memory,
    /// Too deep recursion.
    StackOverflow,
    /// Unreadable result, or one that contradicts the contract.
    InvalidOutput,
    /// The host denied a resource; counted apart from faults.
    HostLimit,
    /// No new instance, or one that refused a feed which an earlier one had accepted.
    Reload,
}

impl FaultCause {
    /// A label for logs, metrics and file names.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCause::Trap => "trap",
            FaultCause::Deadline => "deadline",
            FaultCause::Memory => "memory",
            FaultCause::StackOverflow => "stack_overflow",
            FaultCause::InvalidOutput => "invalid_output",
            FaultCause::HostLimit => "host_limit",
            FaultCause::Reload => "reload",
        }
    }
}
