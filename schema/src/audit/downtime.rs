//! Time in which an edge collects nothing: reported at a clean stop, and again with its end by the next start; after a kill by that start only.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::changes::{self, EdgeChanges};
use super::corrections::{self, Correction};
use super::instruments::{self, InstrumentListing};
use super::message::{AUDIT_BYTES_MAX, Audit, AuditError, check_edge, decode_audit, demand};
use crate::names::names;
use crate::stream_id::StreamId;
use crate::texts;

/// Version of the message form that this crate writes and reads.
pub const DOWNTIME_VERSION: u32 = 1;

/// Longest [`Downtime::detail`], in bytes.
const DETAIL_BYTES_MAX: usize = 200;

/// Begin of every encoded [`Downtime`], which distinguishes it from an [`Audit`] on the same subject.
const PREFIX: &[u8] = b"{\"downtime\":";

/// Streams that an edge does not collect from one time to another. Audits cover everything before `from`, and from `to` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downtime {
    /// See [`DOWNTIME_VERSION`].
    #[serde(rename = "downtime")]
    pub version: u32,
    /// Name of the edge.
    pub edge: String,
    /// Region of the edge.
    pub region: String,
    /// First moment that is not collected, nanoseconds since 1970 UTC.
    pub from: i64,
    /// Start of the next run, exclusive; none while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Why.
    pub reason: DowntimeReason,
    /// Cause in words, such as `memory 612 MB above 600 MB`, where there is more to say than the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Streams that were collected until `from`.
    #[serde(with = "texts")]
    pub streams: Vec<StreamId>,
}

names! {
    /// Reasons why an edge collects nothing.
    DowntimeReason, "reason", unknown = Killed, {
        /// The edge was stopped cleanly.
        Stopped = "stopped",
        /// The edge stopped itself to start again; the detail names the limit that was passed.
        SelfCare = "self_care",
        /// The stream is no longer configured: the edge started, or was reloaded, without it.
        Removed = "removed",
        /// The venue does not list the stream's instrument any more.
        Delisted = "delisted",
        /// Other instruments of the venue have more volume: the feed collects only the first ones of a ranking.
        Outranked = "outranked",
        /// The edge was killed: what it received since its last checkpoint is not audited. Nobody wanted this time. Also an unknown reason, which excuses
        /// nothing.
        Killed = "killed",
    }
}

impl DowntimeReason {
    /// The reason with its detail, if it has one, as reports show it.
    pub fn text(self, detail: &str) -> String {
        let words = self.words();
        if detail.is_empty() { words.to_owned() } else { format!("{words}: {detail}") }
    }

    /// False: the time is lost.
    pub const fn is_on_purpose(self) -> bool {
        !matches!(self, Self::Killed)
    }

    /// The reason in words, as reports show it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Stopped => "stopped by operator",
            Self::SelfCare => "restarted by self-care",
            Self::Removed => "ended: configuration",
            Self::Delisted => "ended: delisted",
            Self::Outranked => "ended: fell out of the ranking",
            Self::Killed => "edge killed",
        }
    }
}

impl Downtime {
    /// Cuts the list of streams, so that each message has at most `bytes_max` bytes. Each one is complete in itself.
    pub fn into_parts(self, bytes_max: usize) -> Vec<Self> {
        let detail = self.detail.as_ref().map_or(0, String::len);
        let room = bytes_max.saturating_sub(self.edge.len() + self.region.len() + 2 * detail + 256);
        let head = Self { streams: Vec::new(), ..self.clone() };
        let (mut parts, mut used): (Vec<Self>, usize) = (Vec::new(), room);
        for stream in self.streams {
            let bytes = stream.to_string().len() + 3;
            if used.saturating_add(bytes) > room {
                parts.push(head.clone());
                used = 0;
            }
            used = used.saturating_add(bytes);
            if let Some(part) = parts.last_mut() {
                part.streams.push(stream);
            }
        }
        parts
    }

    /// The message as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, AuditError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// The message id of the encoded form: the same for the same content.
    pub fn message_id(&self, encoded: &[u8]) -> String {
        format!("downtime-{}-{}-{:016x}", self.edge, self.from, xxh3_64(encoded))
    }

    fn check(self) -> Result<Self, AuditError> {
        if self.version != DOWNTIME_VERSION {
            return Err(AuditError::Version { found: self.version });
        }
        check_edge(&self.edge)?;
        demand(self.from > 0, "from", &self.from, "a time after 1970")?;
        let to = self.to.unwrap_or(i64::MAX);
        demand(self.from < to, "to", &to, "a time after `from`")?;
        let detail = self.detail.as_deref().unwrap_or_default();
        demand(detail.len() <= DETAIL_BYTES_MAX, "detail", &detail, "at most 200 bytes")?;
        Ok(self)
    }
}

/// A message on an edge's audit subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditPayload {
    /// A window, or a part of one.
    Audit(Audit),
    /// A stop or a start.
    Downtime(Downtime),
    /// Instruments with their terms.
    Instruments(InstrumentListing),
    /// Changes of the running edge.
    Changes(EdgeChanges),
    /// A closed correction.
    Correction(Correction),
}

/// Reads a message of an edge's audit subject. Everything that it says about itself is consistent then.
pub fn decode_audit_payload(bytes: &[u8]) -> Result<AuditPayload, AuditError> {
    if bytes.len() > AUDIT_BYTES_MAX {
        return Err(AuditError::TooLong { found: bytes.len() });
    }
    if bytes.starts_with(PREFIX) {
        serde_json::from_slice::<Downtime>(bytes)?.check().map(AuditPayload::Downtime)
    } else if bytes.starts_with(instruments::PREFIX) {
        serde_json::from_slice::<InstrumentListing>(bytes)?.check().map(AuditPayload::Instruments)
    } else if bytes.starts_with(changes::PREFIX) {
        serde_json::from_slice::<EdgeChanges>(bytes)?.check().map(AuditPayload::Changes)
    } else if bytes.starts_with(corrections::PREFIX) {
        serde_json::from_slice::<Correction>(bytes)?.check().map(AuditPayload::Correction)
    } else {
        decode_audit(bytes).map(AuditPayload::Audit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn downtime(streams: usize) -> Downtime {
        let stream = |number: usize| StreamId::parse(&format!("trade.sim_spot.spot.A{number}-B")).unwrap();
        Downtime {
            version: DOWNTIME_VERSION,
            edge: "e1".into(),
            region: "r".into(),
            from: 5,
            to: None,
            reason: DowntimeReason::Stopped,
            detail: None,
            streams: (0..streams).map(stream).collect(),
        }
    }

    #[test]
    fn the_written_form_is_pinned_and_read_back() {
        let open = downtime(1);
        let bytes = open.encode().unwrap();
        let text = r#"{"downtime":1,"edge":"e1","region":"r","from":5,"reason":"stopped","streams":["trade.sim_spot.spot.A0-B"]}"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        assert_eq!(decode_audit_payload(&bytes).unwrap(), AuditPayload::Downtime(open.clone()));
        let closed = Downtime { to: Some(9), ..open };
        let read = decode_audit_payload(&closed.encode().unwrap()).unwrap();
        assert_eq!(read, AuditPayload::Downtime(closed.clone()));
        let backwards = Downtime { to: Some(5), ..closed.clone() };
        let error = decode_audit_payload(&backwards.encode().unwrap()).unwrap_err().to_string();
        assert!(error.contains("to is 5"), "{error}");
        let long = Downtime { detail: Some("x".repeat(DETAIL_BYTES_MAX + 1)), to: None, ..closed.clone() };
        let error = decode_audit_payload(&long.encode().unwrap()).unwrap_err().to_string();
        assert!(error.contains("at most 200 bytes"), "{error}");
        let newer = text.replace("\"downtime\":1", "\"downtime\":2");
        assert!(matches!(decode_audit_payload(newer.as_bytes()), Err(AuditError::Version { found: 2 })));
    }

    #[test]
    fn parts_hold_every_stream_once_and_none_is_too_long() {
        let whole = downtime(2_000);
        let parts = whole.clone().into_parts(10_000);
        assert!(parts.len() > 4 && parts.iter().all(|part| part.encode().unwrap().len() <= 10_000));
        assert_eq!(parts.into_iter().flat_map(|part| part.streams).collect::<Vec<_>>(), whole.streams);
        assert!(downtime(0).into_parts(10_000).is_empty());
    }
}
