//! The audit of one closed window: messages stored, data missing, and the causes; its form on the wire.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::capability::Capability;
use super::fingerprint::Fingerprint;
use super::gap::{GAPS_MAX, Gap};
use super::health::EdgeHealth;
use crate::event_id::EventId;
use crate::names::known_entries;
use crate::stream_id::StreamId;
use crate::texts;
use crate::validation::{EDGE_NAME_ALLOWED, is_edge_name};

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
    /// When this run of the edge began, nanoseconds since 1970 UTC: distinguishes two runs.
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
    #[serde(default, deserialize_with = "known_entries")]
    pub streams: Vec<StreamAudit>,
    /// Subscribed streams without an event or a gap, by capability.
    #[serde(default)]
    pub silent: Vec<SilentStreams>,
    /// Trouble that no stream can be named for. In the first part only.
    #[serde(default)]
    pub feeds: Vec<FeedAudit>,
    /// Clock and latencies of the edge. In the first part only.
    #[serde(default, skip_serializing_if = "EdgeHealth::is_empty")]
    pub health: EdgeHealth,
}

impl Audit {
    /// End of the window, exclusive, nanoseconds.
    pub fn window_end(&self) -> i64 {
        self.window_start.saturating_add(i64::from(self.window_seconds) * NANOS_PER_SECOND)
    }
}

/// One stream in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamAudit {
    /// Stream that these figures are of.
    #[serde(flatten)]
    pub id: StreamId,
    /// The venue's guarantees for it.
    pub capability: Capability,
    /// Messages that the broker stored as new.
    pub stored: Fingerprint,
    /// Messages that the broker had already although they were sent once only: another edge's, or an earlier message's.
    #[serde(default)]
    pub duplicates: u64,
    /// Low halves of their ids, rising, one of each message: each must be in storage, or another message took its id.
    #[serde(default, with = "super::packed_ids", skip_serializing_if = "Vec::is_empty")]
    pub duplicate_ids: Vec<u64>,
    /// There are more of them than are named.
    #[serde(default, skip_serializing_if = "is_false")]
    pub duplicates_truncated: bool,
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
    /// Least time of the venue among the messages that the broker has, microseconds: rows older than hot's keeping time do not stay
    /// there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_timestamp: Option<i64>,
    /// Frames of this stream that could not be read, where its connection carries no other stream.
    #[serde(default)]
    pub malformed: u64,
    /// Order-book states that a newer one replaced before they were published: by plan, nothing is lost.
    #[serde(default)]
    pub conflated: u64,
    /// Events lost because the edge's queue was full, or left in it when the edge stopped.
    #[serde(default)]
    pub dropped: u64,
    /// Data that is missing, or may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

impl StreamAudit {
    /// An audit without events and gaps.
    pub fn new(id: &StreamId, capability: Capability) -> Self {
        Self {
            id: id.clone(),
            capability,
            stored: Fingerprint::default(),
            duplicates: 0,
            duplicate_ids: Vec::new(),
            duplicates_truncated: false,
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

/// Streams of one capability without an event or a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilentStreams {
    /// Their guarantees.
    pub capability: Capability,
    /// Their ids.
    #[serde(with = "texts")]
    pub streams: Vec<StreamId>,
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
    /// Configured symbols that the venue does not list: nothing of them is collected. At most 64 a feed of the exchange.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_listed: Vec<String>,
}

impl FeedAudit {
    /// True if the feed runs, collects all its symbols and had no trouble.
    pub const fn is_quiet(&self) -> bool {
        self.malformed == 0
            && self.reconnects == 0
            && self.adapter_faults == 0
            && self.not_running.is_none()
            && self.not_listed.is_empty()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Most bytes of a part, as an edge cuts them: well below the 1 MiB that brokers allow a message.
pub const AUDIT_PART_BYTES: usize = 400 * 1024;
/// Most bytes of a part that is read. Longer: refused.
pub const AUDIT_BYTES_MAX: usize = 1024 * 1024;
/// Most ids in [`StreamAudit::unsure`]. More: the rest is left out, and [`StreamAudit::unsure_truncated`] set.
pub const UNSURE_MAX: usize = 4_096;
/// Most ids in [`StreamAudit::duplicate_ids`], 700 KB: a thousand events a second for a minute, all from another edge first. More: the rest is left
/// out, and [`StreamAudit::duplicates_truncated`] set.
pub const DUPLICATES_MAX: usize = 65_536;

/// Room that keys and numbers outside the lists take in a part.
const PART_FRAME_BYTES: usize = 1_024;
/// Characters of a refused name that an error repeats.
const SHOWN_CHARS: usize = 48;

/// Why bytes are no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Too long to be one.
    #[error("audit: {found} bytes, at most {AUDIT_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not the JSON form of an audit.
    #[error("audit: {0}")]
    Json(#[from] serde_json::Error),
    /// A form that this version does not read.
    #[error("audit: version {found}, {AUDIT_VERSION} is what is read")]
    Version {
        /// The version that it names.
        found: u32,
    },
    /// A value that cannot be.
    #[error("audit: {field} is {found}, allowed: {allowed}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// The value.
        found: String,
        /// Values allowed.
        allowed: String,
    },
}

/// Subject of an edge's audits.
pub fn audit_subject(edge: &str) -> String {
    format!("audit.{edge}")
}

/// The message id of an encoded part: the same for the same content, another one when anything differs.
pub fn audit_message_id(audit: &Audit, encoded: &[u8]) -> String {
    let Audit { edge, run, window_start, part, .. } = audit;
    format!("audit-{edge}-{run}-{window_start}-{part}-{:016x}", xxh3_64(encoded))
}

/// One part as bytes.
pub fn encode_audit(audit: &Audit) -> Result<Vec<u8>, AuditError> {
    Ok(serde_json::to_vec(audit)?)
}

/// Reads a part. Everything that it says about itself is consistent then.
pub fn decode_audit(bytes: &[u8]) -> Result<Audit, AuditError> {
    if bytes.len() > AUDIT_BYTES_MAX {
        return Err(AuditError::TooLong { found: bytes.len() });
    }
    let audit = match serde_json::from_slice::<Audit>(bytes) {
        Ok(audit) => audit,
        Err(error) => return Err(other_version(bytes).unwrap_or(AuditError::Json(error))),
    };
    if audit.version != AUDIT_VERSION {
        return Err(AuditError::Version { found: audit.version });
    }
    check(&audit)?;
    Ok(audit)
}

/// A newer form may have other keys: its version is more specific than the first unknown key.
fn other_version(bytes: &[u8]) -> Option<AuditError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let found = serde_json::from_slice::<Versioned>(bytes).ok()?.version;
    (found != AUDIT_VERSION).then_some(AuditError::Version { found })
}

fn check(audit: &Audit) -> Result<(), AuditError> {
    let seconds = audit.window_seconds;
    let divides = (1..=60).contains(&seconds) && 60 % seconds == 0;
    demand(divides, "window_seconds", &seconds, "1 to 60, a divisor of 60")?;
    let length = audit.window_end().saturating_sub(audit.window_start);
    let is_start = audit.window_start > 0 && audit.window_start % length == 0;
    demand(is_start, "window_start", &audit.window_start, "a multiple of the window's length")?;
    let (from, to) = (audit.from, audit.to);
    let is_inside = audit.window_start <= from && from <= to && to <= audit.window_end();
    demand(is_inside, "from..to", &format!("{from}..{to}"), "a part of the window")?;
    let is_part = 1 <= audit.part && audit.part <= audit.parts;
    demand(is_part, "part", &format!("{} of {}", audit.part, audit.parts), "1 to parts")?;
    check_edge(&audit.edge)?;
    audit.health.check()?;
    audit.streams.iter().try_for_each(check_stream)
}

fn check_stream(stream: &StreamAudit) -> Result<(), AuditError> {
    stream.id.check().map_err(|error| wrong("streams", error.to_string(), "legal subjects"))?;
    let (unsure, gaps) = (stream.unsure.len(), stream.gaps.len());
    let (duplicates, ids) = (stream.duplicates, stream.duplicate_ids.len());
    let most = DUPLICATES_MAX.min(usize::try_from(duplicates).unwrap_or(usize::MAX));
    let named = ids <= most && (ids > 0 || duplicates == 0 || stream.duplicates_truncated);
    let allowed = format!("1 to {most}, or truncated");
    demand(named, "duplicate_ids", &format!("{ids} ids of {duplicates} duplicates"), &allowed)?;
    demand(unsure <= UNSURE_MAX, "unsure", &format!("{unsure} ids"), &format!("at most {UNSURE_MAX}"))?;
    demand(gaps <= GAPS_MAX, "gaps", &format!("{gaps} gaps"), &format!("at most {GAPS_MAX}"))
}

pub(super) fn check_edge(edge: &str) -> Result<(), AuditError> {
    let shown: String = edge.chars().take(SHOWN_CHARS).collect();
    demand(is_edge_name(edge), "edge", &format!("{shown:?}"), EDGE_NAME_ALLOWED)
}

pub(super) fn demand(
    holds: bool,
    field: &'static str,
    found: &dyn ToString,
    allowed: &str,
) -> Result<(), AuditError> {
    if holds { Ok(()) } else { Err(wrong(field, found.to_string(), allowed)) }
}

fn wrong(field: &'static str, found: String, allowed: &str) -> AuditError {
    AuditError::Value { field, found, allowed: allowed.to_owned() }
}

impl Audit {
    /// Adds a stream without an event or a gap.
    pub fn add_silent(&mut self, capability: Capability, stream: StreamId) {
        match self.silent.iter_mut().find(|silent| silent.capability == capability) {
            Some(silent) => silent.streams.push(stream),
            None => self.silent.push(SilentStreams { capability, streams: vec![stream] }),
        }
    }

    /// Subscribed streams without an event or a gap, each with its guarantees.
    pub fn silent_streams(&self) -> impl Iterator<Item = (&StreamId, Capability)> {
        let of = |silent: &SilentStreams| silent.capability;
        self.silent.iter().flat_map(move |silent| silent.streams.iter().map(move |id| (id, of(silent))))
    }

    /// Cuts an audit into parts of at most `bytes_max` bytes each, as far as a single stream does not need more.
    pub fn into_parts(mut self, bytes_max: usize) -> Result<Vec<Self>, AuditError> {
        let room = bytes_max.saturating_sub(PART_FRAME_BYTES);
        let (streams, silent) = (std::mem::take(&mut self.streams), std::mem::take(&mut self.silent));
        let head = Self { feeds: Vec::new(), health: EdgeHealth::default(), ..self.clone() };
        let mut used = serde_json::to_vec(&(&self.feeds, &self.health))?.len();
        let mut parts = vec![self];
        let mut room_for = |parts: &mut Vec<Self>, bytes: usize| {
            if used > 0 && used.saturating_add(bytes) > room {
                parts.push(head.clone());
                used = 0;
            }
            used = used.saturating_add(bytes);
        };
        for stream in streams {
            let bytes = serde_json::to_vec(&stream)?.len() + 1;
            room_for(&mut parts, bytes);
            if let Some(part) = parts.last_mut() {
                part.streams.push(stream);
            }
        }
        for SilentStreams { capability, streams } in silent {
            for stream in streams {
                room_for(&mut parts, stream.to_string().len() + 3);
                if let Some(part) = parts.last_mut() {
                    part.add_silent(capability, stream);
                }
            }
        }
        let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        for (number, part) in (1..).zip(&mut parts) {
            part.part = number;
            part.parts = count;
        }
        Ok(parts)
    }
}
