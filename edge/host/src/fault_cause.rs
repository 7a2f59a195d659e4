//! Causes of faults, as counted and named in quarantine files.

use enum_map::Enum;

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
    /// No new instance, or one that refused a feed which an earlier one had accepted.
    Reload,
}

impl FaultCause {
    /// Every cause.
    pub const ALL: [FaultCause; 6] = [
        FaultCause::Trap,
        FaultCause::Deadline,
        FaultCause::Memory,
        FaultCause::StackOverflow,
        FaultCause::InvalidOutput,
        FaultCause::Reload,
    ];

    /// A label for logs, metrics and file names.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCause::Trap => "trap",
            FaultCause::Deadline => "deadline",
            FaultCause::Memory => "memory",
            FaultCause::StackOverflow => "stack_overflow",
            FaultCause::InvalidOutput => "invalid_output",
            FaultCause::Reload => "reload",
        }
    }
}
