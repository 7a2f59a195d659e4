//! What an edge says that it stored: audits of closed windows of receive time, and how they travel.

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
