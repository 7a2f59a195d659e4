//! Audits of an edge: what the broker stored per closed window of receive time, and the wire form.

mod capability;
mod changes;
mod corrections;
mod downtime;
mod fingerprint;
mod gap;
mod health;
mod instruments;
mod message;
mod packed_ids;

pub use capability::{Capability, Completeness, Numbering};
pub use changes::{ChangeKind, ChangeOutcome, EDGE_CHANGES_VERSION, EdgeChange, EdgeChanges};
pub use corrections::{
    CORRECTION_HEADER, CORRECTION_VERSION, Correction, CorrectionAdapter, CorrectionKind, CorrectionMark,
    TypeCorrection, correction_subject,
};
pub use downtime::{AuditPayload, DOWNTIME_VERSION, Downtime, DowntimeReason, decode_audit_payload};
pub use fingerprint::{FINGERPRINT_SQL, Fingerprint};
pub use gap::{GAPS_MAX, Gap, GapCause, GapKind};
pub use health::{
    CLOCK_OFFSET_MAX, CLOCKS_MAX, ClockReading, ClockStep, EdgeHealth, EdgeHop, HopLatency, LATENCIES_MAX,
};
pub use instruments::{INSTRUMENTS_VERSION, InstrumentListing, InstrumentTerms};
pub use message::{
    AUDIT_BYTES_MAX, AUDIT_PART_BYTES, AUDIT_VERSION, Audit, AuditError, DUPLICATES_MAX, FeedAudit,
    SilentStreams, StreamAudit, UNSURE_MAX, audit_message_id, audit_subject, decode_audit, encode_audit,
};
