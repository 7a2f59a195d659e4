//! The audit of one closed window: messages stored, data missing, and the causes.

use serde::{Deserialize, Serialize};

use super::{Fingerprint, Gap};
use crate::{EventId, StreamId};

/// Version of the message form that this crate writes and reads.
pub const AUDIT_VERSION: u32 = 1;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Audit of one window of receive time by one run of an edge. Large ones travel in parts; each stream is in one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// See [`AUDIT_VERSION`].
    pub version: u32,
    /// Name of the edge.
    pub edge: String,
    /// Region of the edge.
    pub region: String,
    /// When this run of the edge began, nanoseconds since 1970 UTC: tells two runs apart.
    pub run: i64,
    /// Start of the window, nanoseconds; a multiple of its length.
    pub window_start: i64,
    /// Length of the window: 1 to 60, a divisor of 60.
    pub window_seconds: u16,
    /// Start of the time that this run covers, nanoseconds.
    pub from: i64,
    /// End of the time that this run covers, exclusive, nanoseconds.
    pub to: i64,
    /// Number of this part, from 1.
    pub part: u16,
    /// Number of parts.
    pub parts: u16,
    /// Streams with anything to say.
    #[serde(default)]
    pub streams: Vec<StreamAudit>,
    /// Subscribed streams without an event or a gap.
    #[serde(default, with = "texts")]
    pub silent: Vec<StreamId>,
    /// Trouble that no stream can be named for. In the first part only.
    #[serde(default)]
    pub feeds: Vec<FeedAudit>,
}

impl Audit {
    /// End of the window, exclusive, nanoseconds.
    pub fn window_end(&self) -> i64 {
        self.window_start.saturating_add(i64::from(self.window_seconds) * NANOS_PER_SECOND)
    }

    /// True if this run covers the whole window.
    pub fn covers_window(&self) -> bool {
        self.from <= self.window_start && self.to >= self.window_end()
    }
}

/// One stream in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamAudit {
    /// The stream.
    #[serde(flatten)]
    pub id: StreamId,
    /// Messages that the broker stored as new.
    pub stored: Fingerprint,
    /// Messages that the broker had already although they were sent once only: another edge's, or an earlier message's.
    #[serde(default)]
    pub duplicates: u64,
    /// Ambiguous acknowledgements: the broker had the message already after it was sent more than once, by this edge or another one.
    #[serde(default, with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub unsure: Vec<EventId>,
    /// There are more of them than are named.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unsure_truncated: bool,
    /// Least sequence of the venue (trade id, update id) among the messages that the broker has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sequence: Option<i64>,
    /// Greatest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sequence: Option<i64>,
    /// Least time of the venue among the messages that the broker stored as new, microseconds: rows older than hot's keeping time do
    /// not stay there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_timestamp: Option<i64>,
    /// Frames of this stream that could not be read, where its connection carries no other stream.
    #[serde(default)]
    pub malformed: u64,
    /// Order-book states that a newer one replaced before they were published: by plan, nothing is lost.
    #[serde(default)]
    pub conflated: u64,
    /// Events lost because the edge's queue was full.
    #[serde(default)]
    pub dropped: u64,
    /// Data that is missing, or may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

impl StreamAudit {
    /// An audit without events and gaps.
    pub fn new(id: &StreamId) -> Self {
        Self {
            id: id.clone(),
            stored: Fingerprint::default(),
            duplicates: 0,
            unsure: Vec::new(),
            unsure_truncated: false,
            first_sequence: None,
            last_sequence: None,
            oldest_timestamp: None,
            malformed: 0,
            conflated: 0,
            dropped: 0,
            gaps: Vec::new(),
        }
    }
}

/// One feed in a window: trouble that no single stream can be named for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedAudit {
    /// Exchange id.
    pub exchange: String,
    /// Frames that could not be read.
    #[serde(default)]
    pub malformed: u64,
    /// Connections that were lost.
    #[serde(default)]
    pub reconnects: u64,
    /// Frames that made the adapter fault.
    #[serde(default)]
    pub adapter_faults: u64,
    /// Why the feed does not run at the end of the window: then its streams need not be known, and none of them is collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_running: Option<String>,
}

impl FeedAudit {
    /// True if the feed runs and had no trouble.
    pub const fn is_quiet(&self) -> bool {
        self.malformed == 0 && self.reconnects == 0 && self.adapter_faults == 0 && self.not_running.is_none()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Lists whose items are written as their text.
mod texts {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<T: Display, S: Serializer>(items: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(items.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts
            .iter()
            .map(|text| text.parse().map_err(|e| D::Error::custom(format!("{text:?}: {e}"))))
            .collect()
    }
}
