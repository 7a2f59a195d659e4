//! Labels of self-care.

use super::labels;

labels! {
    CareLimit {
        Memory = "memory",
        Cpu = "cpu",
        Uptime = "uptime",
    }
}

/// Why the edge restarts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartCause {
    Limit(CareLimit),
    /// A part makes no progress and cannot be restarted alone.
    Stuck,
}

impl RestartCause {
    pub const ALL: [Self; 4] = [
        Self::Limit(CareLimit::Memory),
        Self::Limit(CareLimit::Cpu),
        Self::Limit(CareLimit::Uptime),
        Self::Stuck,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit(limit) => limit.as_str(),
            Self::Stuck => "stuck",
        }
    }
}
