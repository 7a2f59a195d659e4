//! One edge as pages, reports and commands show it.

use std::time::Duration;

use marketprism_schema::{
    AdapterSwap, ClockHeartbeat, EdgeHeartbeat, FeedHeartbeat, JournalHeartbeat, RunningAdapter,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::read::StoredHeartbeat;
use crate::limits::EDGE_SILENT;
use crate::time::Time;

/// State of an edge as central sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EdgeLife {
    /// Its heartbeats come.
    Running,
    /// It was stopped cleanly.
    Stopped,
    /// Its heartbeats stopped without a reported stop.
    Silent,
    /// Its heartbeats come in a form that this version does not read.
    Unreadable,
}

impl EdgeLife {
    pub const ALL: &[Self] = &[Self::Running, Self::Stopped, Self::Silent, Self::Unreadable];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Silent => "silent",
            Self::Unreadable => "unreadable",
        }
    }
}

/// An edge by its newest heartbeat. What the edge reports has the times of its own clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FleetEdge {
    pub edge: String,
    pub state: EdgeLife,
    /// Time for which the newest heartbeat is known, or its age by the broker's clock in commands.
    pub heartbeat_age_seconds: u64,
    /// Time at which the broker stored it.
    pub heartbeat_at: Time,
    /// Revision of its key: another one is another heartbeat.
    pub revision: u64,
    pub region: String,
    pub program_version: String,
    pub host: String,
    /// Start of its process; absent if its heartbeat is unreadable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// `healthy`, `degraded` or `unhealthy`, as its newest heartbeat says.
    pub status: String,
    pub reasons: Vec<String>,
    pub adapters: Vec<FleetAdapter>,
    /// The newest changes of adapters, newest last.
    pub swaps: Vec<FleetSwap>,
    pub feeds: Vec<FleetFeed>,
    pub data_dir: String,
    /// Free bytes on the disk of that folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Absent if its journal is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<FleetJournal>,
    /// Absent while it is not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<FleetClock>,
    /// Memory of its process in RAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
}

/// A version of an adapter on an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FleetAdapter {
    pub adapter: String,
    pub version: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// `active`, `shadow` (compared with the active version) or `probation` (active, and taken back at a fault).
    pub state: &'static str,
    pub exchanges: Vec<String>,
    /// The last change of this adapter that the edge reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_swap: Option<FleetSwap>,
}

/// A change of an adapter on an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FleetSwap {
    pub number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    pub source: String,
    /// SHA-256 of the new component.
    pub digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Step that runs, or at which it ended.
    pub step: String,
    /// `running`, `promoted`, `refused`, `rolled_back` or `stopped`.
    pub outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    pub started: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
}

/// Feeds of one exchange on an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FleetFeed {
    pub exchange: String,
    /// `starting`, `running` or `stopped`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub instruments: u64,
    pub streams: u64,
    /// Time at which the newest event was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_event: Option<Time>,
}

/// Journal of an edge on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FleetJournal {
    pub bytes: u64,
    /// Events that wait for the broker.
    pub waiting: u64,
    /// Receive time of the oldest event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Offset of an edge's clock from its time source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FleetClock {
    /// Positive: the edge's clock is ahead.
    pub offset_us: i64,
    /// Bound of its error.
    pub error_us: u64,
    pub source: String,
}

const fn of_nanos(ns: i64) -> Time {
    Time(ns.div_euclid(1_000_000))
}

const fn of_seconds(seconds: i64) -> Time {
    Time(seconds.saturating_mul(1_000))
}

impl FleetEdge {
    /// `age`: time for which nothing newer came.
    pub(super) fn new(stored: &StoredHeartbeat, age: Duration) -> Self {
        let state = match &stored.beat {
            Ok(_) if stored.is_stopped() => EdgeLife::Stopped,
            _ if age >= EDGE_SILENT => EdgeLife::Silent,
            Ok(_) => EdgeLife::Running,
            Err(_) => EdgeLife::Unreadable,
        };
        let unread = Self {
            edge: stored.edge.clone(),
            state,
            heartbeat_age_seconds: age.as_secs(),
            heartbeat_at: of_nanos(stored.stored_ns),
            revision: stored.revision,
            region: String::new(),
            program_version: String::new(),
            host: String::new(),
            started: None,
            status: String::new(),
            reasons: Vec::new(),
            adapters: Vec::new(),
            swaps: Vec::new(),
            feeds: Vec::new(),
            data_dir: String::new(),
            disk_free_bytes: None,
            journal: None,
            clock: None,
            resident_bytes: None,
        };
        match &stored.beat {
            Ok(beat) => unread.with(beat),
            Err(reason) => Self { reasons: vec![reason.clone()], ..unread },
        }
    }

    fn with(self, beat: &EdgeHeartbeat) -> Self {
        let swaps: Vec<FleetSwap> = beat.swaps.iter().map(FleetSwap::from).collect();
        Self {
            region: beat.region.clone(),
            program_version: beat.program_version.clone(),
            host: beat.host.clone(),
            started: Some(of_nanos(beat.started)),
            status: beat.status.clone(),
            reasons: beat.reasons.clone(),
            adapters: beat.adapters.iter().map(|adapter| FleetAdapter::new(adapter, &swaps)).collect(),
            feeds: beat.feeds.iter().map(FleetFeed::from).collect(),
            data_dir: beat.data_dir.clone(),
            disk_free_bytes: beat.disk.map(|disk| disk.free_bytes),
            journal: beat.journal.as_ref().map(FleetJournal::from),
            clock: beat.clock.as_ref().map(FleetClock::from),
            resident_bytes: beat.resident_bytes,
            swaps,
            ..self
        }
    }

    pub fn is_running(&self) -> bool {
        self.state == EdgeLife::Running
    }

    pub fn collects(&self, exchange: &str) -> bool {
        self.feeds.iter().any(|feed| feed.exchange == exchange)
    }
}

impl FleetAdapter {
    fn new(adapter: &RunningAdapter, swaps: &[FleetSwap]) -> Self {
        let RunningAdapter { adapter: name, version, digest, state, exchanges } = adapter;
        let is_of = |swap: &&FleetSwap| swap.adapter.as_ref() == Some(name);
        Self {
            adapter: name.clone(),
            version: version.clone(),
            digest: digest.clone(),
            state: state.as_str(),
            exchanges: exchanges.clone(),
            last_swap: swaps.iter().rev().find(is_of).cloned(),
        }
    }
}

impl From<&AdapterSwap> for FleetSwap {
    fn from(swap: &AdapterSwap) -> Self {
        Self {
            number: swap.number,
            adapter: swap.adapter.clone(),
            source: swap.source.clone(),
            digest: swap.digest.clone(),
            from: swap.from.clone(),
            to: swap.to.clone(),
            step: swap.step.clone(),
            outcome: swap.outcome.clone(),
            cause: swap.cause.clone(),
            started: of_seconds(swap.started),
            ended: swap.ended.map(of_seconds),
        }
    }
}

impl From<&FeedHeartbeat> for FleetFeed {
    fn from(feed: &FeedHeartbeat) -> Self {
        Self {
            exchange: feed.exchange.clone(),
            state: feed.state.as_str(),
            reason: feed.reason.clone(),
            instruments: feed.instruments,
            streams: feed.streams,
            newest_event: feed.newest_event.map(of_nanos),
        }
    }
}

impl From<&ClockHeartbeat> for FleetClock {
    fn from(clock: &ClockHeartbeat) -> Self {
        let ClockHeartbeat { offset_us, error_us, source } = clock;
        Self { offset_us: *offset_us, error_us: *error_us, source: source.clone() }
    }
}

impl From<&JournalHeartbeat> for FleetJournal {
    fn from(journal: &JournalHeartbeat) -> Self {
        Self {
            bytes: journal.bytes,
            waiting: journal.waiting,
            oldest: journal.oldest.map(of_nanos),
            problem: journal.problem.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::EdgeRunState;

    use super::super::fixtures::edge;
    use super::*;

    #[test]
    fn an_adapter_has_its_own_last_change_and_an_unreadable_heartbeat_its_reason() {
        let known = edge("e1", Duration::from_secs(2), EdgeRunState::Running);
        assert_eq!(
            (known.state, known.heartbeat_age_seconds, known.started),
            (EdgeLife::Running, 2, Some(Time(5)))
        );
        let last = known.adapters[0].last_swap.as_ref().unwrap();
        assert_eq!((last.number, last.outcome.as_str(), last.started), (2, "promoted", Time(6_000)));
        assert_eq!(edge("e1", EDGE_SILENT, EdgeRunState::Running).state, EdgeLife::Silent);
        assert_eq!(edge("e1", EDGE_SILENT, EdgeRunState::Stopped).state, EdgeLife::Stopped);
        let unread = |age| {
            let beat = Err("heartbeat: version 2".to_owned());
            let (edge, unknown) = ("e1".into(), Vec::new());
            FleetEdge::new(&StoredHeartbeat { edge, revision: 1, stored_ns: 0, beat, unknown }, age)
        };
        assert_eq!(unread(Duration::ZERO).state, EdgeLife::Unreadable);
        assert_eq!(unread(EDGE_SILENT).state, EdgeLife::Silent);
        assert_eq!(unread(Duration::ZERO).reasons, ["heartbeat: version 2"]);
    }
}
