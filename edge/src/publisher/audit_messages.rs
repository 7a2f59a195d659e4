//! Messages of audits, each small enough for the broker.

use marketprism_schema::{AUDIT_PART_BYTES, Audit, AuditError, Downtime, audit_message_id, encode_audit};

use crate::audit::{UnsentMessage, encode_downtime};

pub(super) fn encode_parts(audit: Audit) -> Result<Vec<UnsentMessage>, AuditError> {
    let encode = |part: Audit| {
        let encoded = encode_audit(&part)?;
        Ok(UnsentMessage::new(audit_message_id(&part, &encoded), encoded))
    };
    audit.into_parts(AUDIT_PART_BYTES)?.into_iter().map(encode).collect()
}

pub(super) fn recovered_messages(audits: Vec<Audit>, downtimes: Vec<Downtime>) -> Vec<UnsentMessage> {
    let audits = audits.into_iter().map(encode_parts);
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
