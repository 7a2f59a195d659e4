//! Correction of a span of stored events: another version of an adapter normalized the kept raw frames of the span again.
//!
//! The corrected events travel on the subjects of their streams, each with a [`CorrectionMark`]; then the [`Correction`] on
//! [`correction_subject`] closes it. Nothing is corrected before it is closed and all its events have arrived.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::message::{AuditError, audit_subject, check_edge, demand};
use crate::EventId;
use crate::names::{DataType, names};

/// Version of the message form that this crate writes and reads.
pub const CORRECTION_VERSION: u32 = 1;
/// Header of a corrected event: a [`CorrectionMark`].
pub const CORRECTION_HEADER: &str = "Marketprism-Correction";

/// Greatest time of a row: 2106-02-07.
const WAS_AT_MAX_US: i64 = 4_294_967_295 * 1_000_000;

/// Longest adapter id or digest, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Subject of the messages that close an edge's corrections of an exchange: of the exchange, so that the broker's permissions bind it.
pub fn correction_subject(edge: &str, exchange: &str) -> String {
    format!("{}.{exchange}", audit_subject(edge))
}

/// Begin of every encoded [`Correction`], which distinguishes it from the other messages on the same subject.
pub(super) const PREFIX: &[u8] = b"{\"correction\":";

names! {
    /// Difference between what two versions of an adapter make of the same frames.
    CorrectionKind, "kind", {
        /// An event with other content.
        Changed = "changed",
        /// Only the new version gives the event.
        Added = "added",
        /// Only the old version gives the event.
        Withdrawn = "withdrawn",
    }
}

/// Header of a corrected event: correction, kind, and the time of the event's stored row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrectionMark {
    /// Id of the correction.
    pub correction: EventId,
    /// Difference that it corrects.
    pub kind: CorrectionKind,
    /// Venue time that the old version gave the event, in microseconds; that of the event itself if it is added.
    pub was_at_us: i64,
}

impl CorrectionMark {
    /// Message id: another one than that of the event, which the broker has. One event may be corrected at several frames.
    pub fn message_id(&self, event_id: EventId, received_at_ns: i64) -> String {
        format!("{}-{event_id}-{received_at_ns}-{}", self.correction, self.kind)
    }
}

impl fmt::Display for CorrectionMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{};{}", self.correction, self.kind, self.was_at_us)
    }
}

impl FromStr for CorrectionMark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{CORRECTION_HEADER}: is {text:?}, allowed: `id;kind;microseconds`");
        let mut parts = text.split(';');
        let (Some(id), Some(kind), Some(time), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let correction = EventId::parse(id).ok_or_else(wrong)?;
        let kind = kind.parse::<CorrectionKind>().map_err(|error| format!("{CORRECTION_HEADER}: {error}"))?;
        let was_at_us =
            time.parse().ok().filter(|time| (0..=WAS_AT_MAX_US).contains(time)).ok_or_else(wrong)?;
        Ok(Self { correction, kind, was_at_us })
    }
}

/// A closed correction of one exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// See [`CORRECTION_VERSION`].
    #[serde(rename = "correction")]
    pub version: u32,
    /// Name of the edge that kept the frames.
    pub edge: String,
    /// Region of the edge.
    pub region: String,
    /// Follows from edge, feed, span, data types and versions: repeating a correction changes nothing.
    #[serde(with = "id_text")]
    pub id: EventId,
    /// Exchange id.
    pub exchange: String,
    /// Begin of the span of receive time, nanoseconds since 1970 UTC.
    pub from: i64,
    /// End of the span, exclusive.
    pub to: i64,
    /// Frames of the span.
    pub frames: u64,
    /// Version whose events are corrected.
    pub old: CorrectionAdapter,
    /// Version whose events win.
    pub new: CorrectionAdapter,
    /// Data types that were compared.
    pub types: Vec<TypeCorrection>,
}

/// A version of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectionAdapter {
    /// As its events carry it.
    pub id: String,
    /// SHA-256 of the component.
    pub digest: String,
}

/// Comparison of one data type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeCorrection {
    /// Data type of the events.
    pub data_type: DataType,
    /// Hashes of the content of all events that the old version gives.
    pub old: Fingerprint,
    /// Those of the new version.
    pub new: Fingerprint,
    /// Events of each kind, as they were published.
    pub changed: u64,
    /// Only the new version gives them.
    pub added: u64,
    /// Only the old version gives them.
    pub withdrawn: u64,
}

impl TypeCorrection {
    /// Number of published events.
    pub const fn events(&self) -> u64 {
        self.changed.saturating_add(self.added).saturating_add(self.withdrawn)
    }
}

impl Correction {
    /// The message as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, AuditError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Another one each time that the correction is closed: the broker would drop a repetition, which is carried out again. `now_ns`: time of the
    /// command.
    pub fn message_id(&self, now_ns: i64) -> String {
        format!("correction-{}-{now_ns}", self.id)
    }

    pub(super) fn check(self) -> Result<Self, AuditError> {
        if self.version != CORRECTION_VERSION {
            return Err(AuditError::Version { found: self.version });
        }
        check_edge(&self.edge)?;
        demand(self.from > 0 && self.from < self.to, "from", &self.from, "a time after 1970, before `to`")?;
        for text in [&self.exchange, &self.old.id, &self.old.digest, &self.new.id, &self.new.digest] {
            let found = format!("{} bytes", text.len());
            demand(
                (1..=TEXT_BYTES_MAX).contains(&text.len()),
                "correction",
                &found,
                "texts of 1 to 256 bytes",
            )?;
        }
        demand(self.old != self.new, "new", &self.new.id, "another version than `old`")?;
        let mut types: Vec<DataType> = self.types.iter().map(|one| one.data_type).collect();
        let count = types.len();
        types.sort_unstable();
        types.dedup();
        demand(count > 0 && types.len() == count, "types", &count, "each data type once")?;
        let events = self.types.iter().map(TypeCorrection::events).fold(0, u64::saturating_add);
        demand(events > 0, "types", &"no event", "at least one that is changed, added or withdrawn")?;
        Ok(self)
    }
}

mod id_text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::EventId;

    pub(super) fn serialize<S: Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(text: D) -> Result<EventId, D::Error> {
        let text = String::deserialize(text)?;
        EventId::parse(&text).ok_or_else(|| D::Error::custom(format!("id: {text:?} is not 32 hex digits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditPayload, decode_audit_payload};

    #[test]
    fn the_written_form_is_pinned_and_read_back() {
        let adapter =
            |version: &str| CorrectionAdapter { id: format!("sim@{version}"), digest: version.into() };
        let one: Fingerprint = [EventId(1)].into_iter().collect();
        let correction = Correction {
            version: CORRECTION_VERSION,
            edge: "e1".into(),
            region: "r".into(),
            id: EventId(10),
            exchange: "sim_spot".into(),
            from: 5,
            to: 9,
            frames: 3,
            old: adapter("1"),
            new: adapter("2"),
            types: vec![TypeCorrection {
                data_type: DataType::Trade,
                old: one,
                new: Fingerprint::default(),
                changed: 1,
                added: 2,
                withdrawn: 3,
            }],
        };
        let text = r#"{"correction":1,"edge":"e1","region":"r","id":"0000000000000000000000000000000a","exchange":"sim_spot","from":5,"to":9,"frames":3,"old":{"id":"sim@1","digest":"1"},"new":{"id":"sim@2","digest":"2"},"types":[{"data_type":"trade","old":{"count":1,"xor":"0000000000000001","sum":"0000000000000000"},"new":{"count":0,"xor":"0000000000000000","sum":"0000000000000000"},"changed":1,"added":2,"withdrawn":3}]}"#;
        let bytes = correction.encode().unwrap();
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        assert_eq!(decode_audit_payload(&bytes).unwrap(), AuditPayload::Correction(correction));
        for (from, to, expected) in [
            ("\"correction\":1", "\"correction\":2", "version 2"),
            ("\"from\":5", "\"from\":9", "from is 9, allowed: a time after 1970, before `to`"),
            ("\"2\"}", "\"2x\"}", ""),
            ("sim@2\",\"digest\":\"2", "sim@1\",\"digest\":\"1", "another version than `old`"),
            ("\"e1\"", "\"a.b\"", "edge is \"a.b\""),
            (
                r#""changed":1,"added":2,"withdrawn":3"#,
                r#""changed":0,"added":0,"withdrawn":0"#,
                "types is no event",
            ),
        ] {
            let read =
                decode_audit_payload(text.replace(from, to).as_bytes()).map_err(|error| error.to_string());
            assert_eq!(read.is_ok(), expected.is_empty(), "{to}");
            assert!(read.err().unwrap_or_default().contains(expected), "{to}");
        }
    }

    #[test]
    fn a_mark_is_read_back_and_anything_else_is_refused() {
        let mark = CorrectionMark { correction: EventId(7), kind: CorrectionKind::Withdrawn, was_at_us: 3 };
        assert_eq!(mark.to_string().parse(), Ok(mark.clone()));
        let id = mark.message_id(EventId(1), 5);
        assert!(id.len() > 64 && EventId::parse(&id).is_none(), "{id}");
        for text in
            ["", "7;changed;1", &format!("{};other;1", EventId(7)), &format!("{};added;-1", EventId(7))]
        {
            assert!(text.parse::<CorrectionMark>().is_err(), "{text}");
        }
    }
}
