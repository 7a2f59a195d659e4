//! Audits of an edge: what the broker stored per closed window of receive time, and the wire form.

mod codec;
mod fingerprint;
mod gap;
mod message;

pub use codec::{
    AUDIT_BYTES_MAX, AUDIT_PART_BYTES, AuditError, UNSURE_MAX, audit_message_id, audit_subject, decode_audit,
    encode_audit,
};
pub use fingerprint::{FINGERPRINT_SQL, Fingerprint};
pub use gap::{GAPS_MAX, Gap, GapCause, GapKind};
pub use message::{AUDIT_VERSION, Audit, FeedAudit, StreamAudit};
