//! What an edge says that it stored: audits of closed windows of receive time, and how they travel.

mod codec;
mod fingerprint;
mod message;

pub use codec::{
    AUDIT_BYTES_MAX, AUDIT_PART_BYTES, AuditError, GAPS_MAX, UNSURE_MAX, audit_message_id, audit_subject,
    decode_audit, encode_audit,
};
pub use fingerprint::{FINGERPRINT_SQL, Fingerprint};
pub use message::{AUDIT_VERSION, Audit, FeedAudit, Gap, GapCause, GapKind, StreamAudit};
