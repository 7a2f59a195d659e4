//! Checkpoint of the open windows: everything in them but their events, which the journal has. A run that is killed is audited from both.

use marketprism_schema::{Audit, SilentStreams};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditCheckpoint {
    pub window_seconds: u16,
    /// Everything received before is in the journal, or is told here.
    pub known_to_ns: i64,
    /// Start of the oldest open window.
    pub open_since_ns: i64,
    /// Window of the oldest audit that the broker has not stored; `i64::MAX`: there is none.
    pub unsent_since_ns: i64,
    /// Streams of the open windows; none if they are those of the checkpoint before.
    pub streams: Option<Vec<SilentStreams>>,
    /// Streams of the run before whose feeds have not started; told with `streams`.
    pub inherited: Vec<String>,
    /// Gaps and counts of the open windows that have changed since the checkpoint before.
    pub windows: Vec<Audit>,
}

impl AuditCheckpoint {
    /// For a run of which nothing is known.
    pub const fn none(run_ns: i64) -> Self {
        Self {
            window_seconds: 60,
            known_to_ns: run_ns,
            open_since_ns: run_ns,
            unsent_since_ns: i64::MIN,
            streams: None,
            inherited: Vec::new(),
            windows: Vec::new(),
        }
    }

    /// Takes over what a newer checkpoint of the same run says.
    pub fn update(&mut self, newer: Self) {
        let (streams, inherited) = match newer.streams {
            Some(streams) => (Some(streams), newer.inherited),
            None => (self.streams.take(), std::mem::take(&mut self.inherited)),
        };
        let is_kept = |window: &Audit| {
            window.window_start >= newer.open_since_ns
                && !newer.windows.iter().any(|one| one.window_start == window.window_start)
        };
        let mut windows: Vec<Audit> = std::mem::take(&mut self.windows);
        windows.retain(is_kept);
        windows.extend(newer.windows);
        windows.sort_by_key(|window| window.window_start);
        *self = Self {
            window_seconds: newer.window_seconds,
            known_to_ns: newer.known_to_ns,
            open_since_ns: newer.open_since_ns,
            unsent_since_ns: newer.unsent_since_ns,
            streams,
            inherited,
            windows,
        };
    }
}
