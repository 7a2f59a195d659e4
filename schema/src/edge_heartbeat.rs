//! Heartbeat of an edge: its state, written again and again to its own key of the bucket that also has its lease, and the answer to a request of central.

use serde::{Deserialize, Serialize};

use crate::adapter_promotion::FollowedAdapter;
use crate::edge_lease::EDGE_LEASES_BUCKET;
use crate::names::names;

/// Version of the form that this crate writes and reads. Fields may be added within a version.
pub const EDGE_HEARTBEAT_VERSION: u32 = 1;
/// Most bytes of a heartbeat. Longer: refused.
pub const EDGE_HEARTBEAT_BYTES_MAX: usize = 256 * 1024;
/// Subject of requests for the heartbeat of now, which have no content: every edge answers.
pub const EDGE_STATUS_SUBJECT: &str = "edge_status";
/// Most changes of adapters in a heartbeat: the newest.
pub const HEARTBEAT_SWAPS_MAX: usize = 8;

/// End of the key, behind the edge's name, which has no dot.
const KEY_SUFFIX: &str = ".heartbeat";

/// State of an edge, reported by itself. Times are of the edge's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeHeartbeat {
    /// See [`EDGE_HEARTBEAT_VERSION`].
    pub version: u32,
    /// Name of the edge.
    pub edge: String,
    /// As it stamps on its events.
    pub region: String,
    /// As `--version` prints it.
    pub program_version: String,
    /// Name of its host.
    pub host: String,
    /// Start of the process, nanoseconds since 1970.
    pub started: i64,
    /// Running, or stopped: no heartbeat follows then.
    pub state: EdgeRunState,
    /// `healthy`, `degraded` or `unhealthy`, as in its `/health`.
    pub status: String,
    /// Reasons for the status, at most as many as there is room for.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Versions of its adapters.
    #[serde(default)]
    pub adapters: Vec<RunningAdapter>,
    /// The newest changes of adapters, newest last, the running one included. See [`HEARTBEAT_SWAPS_MAX`].
    #[serde(default)]
    pub swaps: Vec<AdapterSwap>,
    /// State of the versions that central wants.
    #[serde(default)]
    pub followed: Vec<FollowedAdapter>,
    /// Its feeds, one per exchange.
    #[serde(default)]
    pub feeds: Vec<FeedHeartbeat>,
    /// Folder of its data.
    pub data_dir: String,
    /// Room on the disk of that folder; `None` if it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<EdgeDisk>,
    /// Its journal on disk; `None` if it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalHeartbeat>,
    /// Offset of its host's clock; `None` if it is not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockHeartbeat>,
    /// Memory of its process in RAM; `None` if it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
}

names! {
    /// Life of an edge's process.
    EdgeRunState, "state", unknown = Running, {
        /// It runs: heartbeats follow.
        Running = "running",
        /// It was stopped cleanly; this is its last heartbeat.
        Stopped = "stopped",
    }
}

names! {
    /// Part that a version of an adapter has.
    AdapterState, "state", unknown = Unknown, {
        /// Its events are published.
        Active = "active",
        /// It gets the live frames in parallel with the active version, and its events are compared only.
        Shadow = "shadow",
        /// Its events are published, and the version before it is ready to take over again.
        Probation = "probation",
        /// A name that this version does not know.
        Unknown = "unknown",
    }
}

/// A version of an adapter, and the exchanges whose frames it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningAdapter {
    /// Name without version.
    pub adapter: String,
    /// As the adapter describes itself.
    pub version: String,
    /// SHA-256 of the component, 64 hex digits.
    pub digest: String,
    /// Its part.
    pub state: AdapterState,
    /// Ids of exchanges.
    pub exchanges: Vec<String>,
}

/// A change of an adapter that runs or has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterSwap {
    /// Counted per edge.
    pub number: u64,
    /// Name of the adapter, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// `http`, `rollback`, or the file that it came from.
    pub source: String,
    /// SHA-256 of the new component.
    pub digest: String,
    /// Id of the version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Id of the new version, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Step that runs, or at which it ended.
    pub step: String,
    /// `running`, `promoted`, `refused`, `rolled_back` or `stopped`.
    pub outcome: String,
    /// Reason of a refusal or rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Seconds since 1970.
    pub started: i64,
    /// Seconds since 1970; `None` while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
}

names! {
    /// Life of a feed.
    FeedRunState, "state", unknown = Unknown, {
        /// It requests its instruments, or waits for its next try.
        Starting = "starting",
        /// It collects.
        Running = "running",
        /// It ended.
        Stopped = "stopped",
        /// A name that this version does not know.
        Unknown = "unknown",
    }
}

/// Feeds of one exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedHeartbeat {
    /// Exchange id.
    pub exchange: String,
    /// The least advanced of its feeds.
    pub state: FeedRunState,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Collected instruments.
    pub instruments: u64,
    /// Collected streams; 0 while nothing is audited.
    pub streams: u64,
    /// Time of the newest published event, nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_event: Option<i64>,
}

/// Journal of an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHeartbeat {
    /// Bytes on disk.
    pub bytes: u64,
    /// Events on disk that wait for the broker.
    pub waiting: u64,
    /// Receive time of the oldest event on disk, nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<i64>,
    /// Error of its disk, until a write succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeDisk {
    /// Bytes that the edge may still write.
    pub free_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
}

/// Offset of a host's clock from its time source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockHeartbeat {
    /// Positive: the clock is ahead.
    pub offset_us: i64,
    /// Bound of the error of the offset.
    pub error_us: u64,
    /// Time source.
    pub source: String,
}

/// Bytes are no heartbeat.
#[derive(Debug, thiserror::Error)]
pub enum EdgeHeartbeatError {
    /// Too long to be one.
    #[error("heartbeat: {found} bytes, at most {EDGE_HEARTBEAT_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not the JSON form.
    #[error("heartbeat: {0}")]
    Json(#[from] serde_json::Error),
    /// A form that this version does not read.
    #[error("heartbeat: version {found}, {EDGE_HEARTBEAT_VERSION} is what is read")]
    Version {
        /// The version that it names.
        found: u32,
    },
    /// Another edge's.
    #[error("heartbeat: edge is {found:?}, its key is of {key:?}")]
    Edge {
        /// Name inside.
        found: String,
        /// Name of the key.
        key: String,
    },
}

/// Key of an edge's heartbeat.
pub fn edge_heartbeat_key(edge: &str) -> String {
    format!("{edge}{KEY_SUFFIX}")
}

/// Name of the edge whose heartbeat this key has; `None` for other keys.
pub fn edge_of_heartbeat(key: &str) -> Option<&str> {
    key.strip_suffix(KEY_SUFFIX).filter(|edge| !edge.contains('.'))
}

/// Subject under which an edge writes its heartbeat.
pub fn edge_heartbeat_subject(edge: &str) -> String {
    format!("$KV.{EDGE_LEASES_BUCKET}.{edge}{KEY_SUFFIX}")
}

impl EdgeHeartbeat {
    /// Reads the value of this edge's key.
    pub fn of_key(edge: &str, bytes: &[u8]) -> Result<Self, EdgeHeartbeatError> {
        let heartbeat = Self::decode(bytes)?;
        if heartbeat.edge != edge {
            return Err(EdgeHeartbeatError::Edge { found: heartbeat.edge, key: edge.to_owned() });
        }
        Ok(heartbeat)
    }

    /// Reads a heartbeat of whichever edge.
    pub fn decode(bytes: &[u8]) -> Result<Self, EdgeHeartbeatError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        if bytes.len() > EDGE_HEARTBEAT_BYTES_MAX {
            return Err(EdgeHeartbeatError::TooLong { found: bytes.len() });
        }
        let Versioned { version: found } = serde_json::from_slice(bytes)?;
        if found != EDGE_HEARTBEAT_VERSION {
            return Err(EdgeHeartbeatError::Version { found });
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The heartbeat as bytes, with as many reasons as there is room for.
    pub fn encode(mut self) -> Result<Vec<u8>, EdgeHeartbeatError> {
        loop {
            let bytes = serde_json::to_vec(&self)?;
            if bytes.len() <= EDGE_HEARTBEAT_BYTES_MAX || self.reasons.is_empty() {
                return Ok(bytes);
            }
            self.reasons.truncate(self.reasons.len() / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter_promotion::FollowState;

    fn heartbeat() -> EdgeHeartbeat {
        EdgeHeartbeat {
            version: EDGE_HEARTBEAT_VERSION,
            edge: "e1".into(),
            region: "r".into(),
            program_version: "1".into(),
            host: "h".into(),
            started: 5,
            state: EdgeRunState::Running,
            status: "degraded".into(),
            reasons: vec!["one".into()],
            adapters: vec![RunningAdapter {
                adapter: "sim".into(),
                version: "1.1.0".into(),
                digest: "ab".into(),
                state: AdapterState::Probation,
                exchanges: vec!["sim_spot".into()],
            }],
            swaps: vec![AdapterSwap {
                number: 7,
                adapter: Some("sim".into()),
                source: "http".into(),
                digest: "ab".into(),
                from: Some("sim@1.0.0".into()),
                to: Some("sim@1.1.0".into()),
                step: "probation".into(),
                outcome: "running".into(),
                cause: None,
                started: 6,
                ended: None,
            }],
            followed: vec![FollowedAdapter {
                adapter: "sim".into(),
                wish: "w".into(),
                digest: "ab".into(),
                state: FollowState::Changing,
                cause: None,
            }],
            feeds: vec![FeedHeartbeat {
                exchange: "sim_spot".into(),
                state: FeedRunState::Running,
                reason: None,
                instruments: 2,
                streams: 4,
                newest_event: Some(9),
            }],
            data_dir: "/d".into(),
            disk: Some(EdgeDisk { free_bytes: 1, total_bytes: 2 }),
            journal: Some(JournalHeartbeat { bytes: 1, waiting: 2, oldest: None, problem: None }),
            clock: None,
            resident_bytes: Some(4_096),
        }
    }

    #[test]
    fn the_written_form_is_pinned_and_read_back_under_its_own_key_only() {
        let bytes = heartbeat().encode().unwrap();
        let text = concat!(
            r#"{"version":1,"edge":"e1","region":"r","program_version":"1","host":"h","started":5,"state":"running","#,
            r#""status":"degraded","reasons":["one"],"adapters":[{"adapter":"sim","version":"1.1.0","digest":"ab","#,
            r#""state":"probation","exchanges":["sim_spot"]}],"swaps":[{"number":7,"adapter":"sim","source":"http","#,
            r#""digest":"ab","from":"sim@1.0.0","to":"sim@1.1.0","step":"probation","outcome":"running","started":6}],"#,
            r#""followed":[{"adapter":"sim","wish":"w","digest":"ab","state":"changing"}],"#,
            r#""feeds":[{"exchange":"sim_spot","state":"running","instruments":2,"streams":4,"newest_event":9}],"#,
            r#""data_dir":"/d","disk":{"free_bytes":1,"total_bytes":2},"journal":{"bytes":1,"waiting":2},"resident_bytes":4096}"#
        );
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        assert_eq!(EdgeHeartbeat::of_key("e1", &bytes).unwrap(), heartbeat());
        let wrong = |edge: &str, text: &str| EdgeHeartbeat::of_key(edge, text.as_bytes()).unwrap_err();
        let error = wrong("e2", text).to_string();
        assert!(error.contains("edge is \"e1\", its key is of \"e2\""), "{error}");
        let newer = text.replace("\"version\":1,", "\"version\":2,").replace("\"state\":\"running\",", "");
        assert_eq!(wrong("e1", &newer).to_string(), "heartbeat: version 2, 1 is what is read");
        assert!(matches!(
            wrong("e1", &" ".repeat(EDGE_HEARTBEAT_BYTES_MAX + 1)),
            EdgeHeartbeatError::TooLong { .. }
        ));
    }

    #[test]
    fn a_heartbeat_loses_reasons_rather_than_its_reader() {
        let endless = EdgeHeartbeat { reasons: vec!["x".repeat(1_000); 1_000], ..heartbeat() };
        let read = EdgeHeartbeat::of_key("e1", &endless.encode().unwrap()).unwrap();
        assert!((1..1_000).contains(&read.reasons.len()));
    }

    #[test]
    fn keys_of_heartbeats_are_told_from_those_of_leases() {
        assert_eq!(edge_of_heartbeat(&edge_heartbeat_key("e1")), Some("e1"));
        assert_eq!(edge_heartbeat_subject("e1"), "$KV.MARKETPRISM_EDGES.e1.heartbeat");
        assert_eq!([edge_of_heartbeat("e1"), edge_of_heartbeat("e1.x.heartbeat")], [None, None]);
    }
}
