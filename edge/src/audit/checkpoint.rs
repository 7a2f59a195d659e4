//! Checkpoint of the open windows: everything in them but their events, which the journal has. A run that is killed is audited from both.

use std::collections::BTreeMap;

use marketprism_schema::{Audit, FeedAudit, Gap, GapCause, SilentStreams, StreamId};
use serde::{Deserialize, Serialize};

use super::open_gap::part_of;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditCheckpoint {
    pub window_seconds: u16,
    /// Everything received before is in the journal, or is listed here.
    pub known_to_ns: i64,
    /// Start of the oldest open window.
    pub open_since_ns: i64,
    /// Window of the oldest audit that the broker has not stored; `i64::MAX`: there is none.
    pub unsent_since_ns: i64,
    /// None if they are those of the checkpoint before.
    pub streams: Option<CheckpointStreams>,
    /// Open gaps of the streams whose open gaps have changed since the checkpoint before.
    pub open_gaps: BTreeMap<String, Vec<Gap>>,
    /// Ended gaps and counts of the open windows that have changed since the checkpoint before.
    pub windows: Vec<Audit>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointStreams {
    /// Streams of the open windows.
    pub collected: Vec<SilentStreams>,
    /// Streams of the run before whose feeds have not started.
    pub inherited: Vec<String>,
    /// Feeds that do not run, or do not have all their symbols.
    pub feeds: Vec<FeedAudit>,
    /// Known causes of starts.
    pub starts: BTreeMap<i64, GapCause>,
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
            open_gaps: BTreeMap::new(),
            windows: Vec::new(),
        }
    }

    /// Takes over what a newer checkpoint of the same run says.
    pub fn update(&mut self, newer: Self) {
        let mut open_gaps = std::mem::take(&mut self.open_gaps);
        open_gaps.extend(newer.open_gaps);
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
            streams: newer.streams.or(self.streams.take()),
            open_gaps,
            windows,
        };
    }

    /// Parts of a stream's open gaps in a window.
    pub(super) fn gaps_of(&self, id: &StreamId, start_ns: i64, to_ns: i64) -> Vec<Gap> {
        let Some(streams) = &self.streams else { return Vec::new() };
        let open = self.open_gaps.get(&id.to_string()).into_iter().flatten();
        open.filter_map(|gap| part_of(gap, start_ns, to_ns, to_ns, &streams.starts)).collect()
    }

    /// The counts of a window, and the feeds as they were at last.
    pub(super) fn feeds_with(&self, counts: Vec<FeedAudit>) -> Vec<FeedAudit> {
        let mut feeds = self.streams.as_ref().map(|streams| streams.feeds.clone()).unwrap_or_default();
        for feed in counts {
            match feeds.iter_mut().find(|known| known.exchange == feed.exchange) {
                Some(known) => {
                    let (not_running, not_listed) =
                        (known.not_running.take(), std::mem::take(&mut known.not_listed));
                    *known = FeedAudit { not_running, not_listed, ..feed };
                }
                None => feeds.push(FeedAudit { not_running: None, not_listed: Vec::new(), ..feed }),
            }
        }
        feeds
    }
}
