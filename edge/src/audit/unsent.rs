//! Messages on the subject of an edge's audits, encoded and not sent yet.

use marketprism_schema::{
    AUDIT_PART_BYTES, Audit, AuditError, Downtime, EdgeChanges, InstrumentListing, audit_message_id,
    encode_audit,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsentMessage {
    pub id: String,
    pub payload: String,
}

impl UnsentMessage {
    /// The payload is JSON, so it is UTF-8.
    pub fn new(id: String, payload: Vec<u8>) -> Self {
        Self { id, payload: String::from_utf8_lossy(&payload).into_owned() }
    }
}

pub fn encode_window(audit: Audit) -> Result<Vec<UnsentMessage>, AuditError> {
    let encode = |part: Audit| Ok(message(encode_audit(&part)?, |bytes| audit_message_id(&part, bytes)));
    audit.into_parts(AUDIT_PART_BYTES)?.into_iter().map(encode).collect()
}

pub fn encode_listing(listing: InstrumentListing) -> Result<Vec<UnsentMessage>, AuditError> {
    let encode = |part: InstrumentListing| Ok(message(part.encode()?, |bytes| part.message_id(bytes)));
    listing.into_parts(AUDIT_PART_BYTES)?.into_iter().map(encode).collect()
}

/// Messages of a downtime; none if it has no stream.
pub fn encode_downtime(downtime: Downtime) -> Result<Vec<UnsentMessage>, AuditError> {
    let encode = |part: Downtime| Ok(message(part.encode()?, |bytes| part.message_id(bytes)));
    downtime.into_parts(AUDIT_PART_BYTES).into_iter().map(encode).collect()
}

pub fn encode_changes(changes: &EdgeChanges) -> Result<Vec<UnsentMessage>, AuditError> {
    Ok(vec![message(changes.encode()?, |bytes| changes.message_id(bytes))])
}

/// Messages of a killed run: its audits, and the times that they do not cover.
pub fn encode_recovered(audits: Vec<Audit>, downtimes: Vec<Downtime>) -> Vec<UnsentMessage> {
    let audits = audits.into_iter().map(encode_window);
    let messages = audits.chain(downtimes.into_iter().map(encode_downtime));
    let messages = messages.flat_map(|messages| {
        messages.unwrap_or_else(|error| {
            // Unreachable: every audit can be encoded.
            tracing::error!(%error, "audit of a killed run not encoded, it is lost");
            Vec::new()
        })
    });
    messages.collect()
}

fn message(encoded: Vec<u8>, id: impl FnOnce(&[u8]) -> String) -> UnsentMessage {
    UnsentMessage::new(id(&encoded), encoded)
}
