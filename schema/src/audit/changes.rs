//! Changes of a running edge: versions of adapters, feeds, symbols, settings.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::message::{AuditError, check_edge, demand};
use crate::names::names;

/// Version of the message form that this crate writes and reads.
pub const EDGE_CHANGES_VERSION: u32 = 1;

/// Longest text of an [`EdgeChange`], in bytes.
const TEXT_BYTES_MAX: usize = 1_000;
/// Most changes in a message: at their longest they fit into one.
const CHANGES_MAX: usize = 32;

/// Begin of every encoded [`EdgeChanges`], which distinguishes it from the other messages on the same subject.
pub(super) const PREFIX: &[u8] = b"{\"changes\":";

/// Changes of one edge. A change that is reported again has the same id and time, and replaces the earlier report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeChanges {
    /// See [`EDGE_CHANGES_VERSION`].
    #[serde(rename = "changes")]
    pub version: u32,
    /// Name of the edge.
    pub edge: String,
    /// As it stamps on its events.
    pub region: String,
    /// Oldest first.
    pub changed: Vec<EdgeChange>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeChange {
    /// Unique among the edge's changes of this time.
    pub id: String,
    /// Begin of the change, nanoseconds since 1970 UTC.
    pub at: i64,
    /// Kind of what changed.
    pub kind: ChangeKind,
    /// Changed object: an adapter, an exchange, a key of the configuration.
    pub subject: String,
    /// Cause of the change, such as `POST /reload`, or the file of a new adapter.
    pub why: String,
    /// State before; empty: there was none.
    pub from: String,
    /// State after, or the refused one; empty: there is none.
    pub to: String,
    /// Result.
    pub outcome: ChangeOutcome,
    /// Reason of a refusal or rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// SHA-256 of the new component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

names! {
    /// Kinds of changes of a running edge.
    ChangeKind, "kind", unknown = Unknown, {
        /// Version of an adapter.
        Adapter = "adapter",
        /// A feed began, ended or started again.
        Feed = "feed",
        /// Instruments of a feed began or ended: the configuration or the venue's list changed.
        Symbols = "symbols",
        /// Value of a key of the configuration.
        Setting = "setting",
        /// The configuration as a whole was refused.
        Configuration = "configuration",
        /// A name that this version does not know.
        Unknown = "unknown",
    }
}

names! {
    /// Results of changes.
    ChangeOutcome, "outcome", unknown = Unknown, {
        /// It is on trial.
        Running = "running",
        /// It was made.
        Applied = "applied",
        /// The new version of an adapter runs, and runs after a restart.
        Promoted = "promoted",
        /// Nothing was changed.
        Refused = "refused",
        /// It was made, and taken back.
        RolledBack = "rolled_back",
        /// The edge ended before the change did: the state before counts.
        Stopped = "stopped",
        /// A name that this version does not know.
        Unknown = "unknown",
    }
}

impl EdgeChanges {
    /// Messages with these changes.
    pub fn new(edge: &str, region: &str, changed: Vec<EdgeChange>) -> impl Iterator<Item = Self> + use<> {
        let head = Self {
            version: EDGE_CHANGES_VERSION,
            edge: edge.to_owned(),
            region: region.to_owned(),
            changed: Vec::new(),
        };
        let changed: Vec<EdgeChange> = changed.into_iter().map(EdgeChange::cut).collect();
        let parts: Vec<Vec<EdgeChange>> = changed.chunks(CHANGES_MAX).map(<[EdgeChange]>::to_vec).collect();
        parts.into_iter().map(move |changed| Self { changed, ..head.clone() })
    }

    /// The message as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, AuditError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// The message id of the encoded form: the same for the same content.
    pub fn message_id(&self, encoded: &[u8]) -> String {
        format!("changes-{}-{:016x}", self.edge, xxh3_64(encoded))
    }

    pub(super) fn check(self) -> Result<Self, AuditError> {
        if self.version != EDGE_CHANGES_VERSION {
            return Err(AuditError::Version { found: self.version });
        }
        check_edge(&self.edge)?;
        let count = self.changed.len();
        demand((1..=CHANGES_MAX).contains(&count), "changed", &count, "1 to 32 changes")?;
        self.changed.iter().try_for_each(EdgeChange::check)?;
        Ok(self)
    }
}

impl EdgeChange {
    fn texts(&mut self) -> impl Iterator<Item = (&'static str, &mut String)> {
        let Self { id, subject, why, from, to, cause, digest, .. } = self;
        let named = [("id", id), ("subject", subject), ("why", why), ("from", from), ("to", to)];
        named
            .into_iter()
            .chain(cause.as_mut().map(|cause| ("cause", cause)))
            .chain(digest.as_mut().map(|digest| ("digest", digest)))
    }

    /// Cuts texts that are too long.
    fn cut(mut self) -> Self {
        const MARK: &str = "...";
        for (_, text) in self.texts() {
            if text.len() > TEXT_BYTES_MAX {
                text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX - MARK.len()));
                text.push_str(MARK);
            }
        }
        self
    }

    fn check(&self) -> Result<(), AuditError> {
        demand(self.at > 0, "at", &self.at, "a time after 1970")?;
        demand(!self.id.is_empty(), "id", &self.id, "a text")?;
        self.clone().texts().try_for_each(|(field, text)| {
            let found = format!("{} bytes", text.len());
            demand(text.len() <= TEXT_BYTES_MAX, field, &found, "at most 1000 bytes")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AUDIT_PART_BYTES, AuditPayload, decode_audit_payload};

    fn change(number: usize, cause: &str) -> EdgeChange {
        EdgeChange {
            id: format!("adapter-{number}"),
            at: 5,
            kind: ChangeKind::Adapter,
            subject: "sim".into(),
            why: "http".into(),
            from: "sim@1.0.0".into(),
            to: "sim@1.1.0".into(),
            outcome: ChangeOutcome::RolledBack,
            cause: Some(cause.to_owned()),
            digest: Some("ab".into()),
        }
    }

    fn messages(changed: Vec<EdgeChange>) -> Vec<EdgeChanges> {
        EdgeChanges::new("e1", "r", changed).collect()
    }

    #[test]
    fn the_written_form_is_pinned_and_read_back() {
        let [message] = &messages(vec![change(1, "probation: silent")])[..] else { panic!("one message") };
        let bytes = message.encode().unwrap();
        let text = r#"{"changes":1,"edge":"e1","region":"r","changed":[{"id":"adapter-1","at":5,"kind":"adapter","subject":"sim","why":"http","from":"sim@1.0.0","to":"sim@1.1.0","outcome":"rolled_back","cause":"probation: silent","digest":"ab"}]}"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        assert_eq!(decode_audit_payload(&bytes).unwrap(), AuditPayload::Changes(message.clone()));
        for (from, to, expected) in [
            ("\"changes\":1", "\"changes\":2", "version 2"),
            ("\"at\":5", "\"at\":0", "at is 0, allowed: a time after 1970"),
            ("adapter-1", "", "id is , allowed: a text"),
            (
                "\"http\"",
                &format!("\"{}\"", "x".repeat(1_001)),
                "why is 1001 bytes, allowed: at most 1000 bytes",
            ),
        ] {
            let error = decode_audit_payload(text.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn messages_hold_every_change_once_and_none_is_too_long() {
        let long = "\u{e4}".repeat(TEXT_BYTES_MAX);
        let all = messages((0..300).map(|number| change(number, &long)).collect());
        assert!(all.iter().all(|message| message.encode().unwrap().len() <= AUDIT_PART_BYTES));
        assert!(all.iter().all(|message| message.clone().check().is_ok()));
        assert_eq!(all.iter().map(|message| message.changed.len()).sum::<usize>(), 300);
        assert!(messages(Vec::new()).is_empty());
    }
}
