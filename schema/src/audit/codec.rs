//! Audits on the wire: subject, message id, bytes, validation.

use xxhash_rust::xxh3::xxh3_64;

use super::message::AUDIT_VERSION;
use super::{Audit, GAPS_MAX, StreamAudit};

/// Most bytes of a part, as an edge cuts them: well below the 1 MiB that brokers allow a message.
pub const AUDIT_PART_BYTES: usize = 400 * 1024;
/// Most bytes of a part that is read. Longer: refused.
pub const AUDIT_BYTES_MAX: usize = 1024 * 1024;
/// Most ids in [`StreamAudit::unsure`]. More: the rest is left out, and [`StreamAudit::unsure_truncated`] set.
pub const UNSURE_MAX: usize = 4_096;

/// Room that keys and numbers outside the lists take in a part.
const PART_FRAME_BYTES: usize = 1_024;

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

/// A newer form may have other keys: its version tells more than the first unknown key.
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
    demand(!audit.edge.is_empty(), "edge", &"empty", "a name")?;
    audit.streams.iter().try_for_each(check_stream)
}

fn check_stream(stream: &StreamAudit) -> Result<(), AuditError> {
    stream.id.check().map_err(|error| wrong("streams", error.to_string(), "legal subjects"))?;
    let (unsure, gaps) = (stream.unsure.len(), stream.gaps.len());
    demand(unsure <= UNSURE_MAX, "unsure", &format!("{unsure} ids"), &format!("at most {UNSURE_MAX}"))?;
    demand(gaps <= GAPS_MAX, "gaps", &format!("{gaps} gaps"), &format!("at most {GAPS_MAX}"))
}

fn demand(holds: bool, field: &'static str, found: &dyn ToString, allowed: &str) -> Result<(), AuditError> {
    if holds { Ok(()) } else { Err(wrong(field, found.to_string(), allowed)) }
}

fn wrong(field: &'static str, found: String, allowed: &str) -> AuditError {
    AuditError::Value { field, found, allowed: allowed.to_owned() }
}

impl Audit {
    /// Cuts an audit into parts of at most `bytes_max` bytes each, as far as a single stream does not need more.
    pub fn into_parts(mut self, bytes_max: usize) -> Result<Vec<Self>, AuditError> {
        let room = bytes_max.saturating_sub(PART_FRAME_BYTES);
        let (streams, silent) = (std::mem::take(&mut self.streams), std::mem::take(&mut self.silent));
        let head = Self { feeds: Vec::new(), ..self.clone() };
        let mut used = serde_json::to_vec(&self.feeds)?.len();
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
            parts.extend_last(|part| part.streams.push(stream));
        }
        for subject in silent {
            room_for(&mut parts, subject.to_string().len() + 3);
            parts.extend_last(|part| part.silent.push(subject));
        }
        let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        for (number, part) in (1..).zip(&mut parts) {
            part.part = number;
            part.parts = count;
        }
        Ok(parts)
    }
}

trait Last<T> {
    fn extend_last(&mut self, with: impl FnOnce(&mut T));
}

impl<T> Last<T> for Vec<T> {
    fn extend_last(&mut self, with: impl FnOnce(&mut T)) {
        if let Some(last) = self.last_mut() {
            with(last);
        }
    }
}
