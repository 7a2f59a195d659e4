//! Decodes and validates an audit message.

use async_nats::Message;
use marketprism_schema::{Audit, audit_subject, decode_audit};

/// Allowed age of an audit in days: a window far in the future would stay open for ever.
const OLDEST_DAYS: i64 = 3_650;
const NEWEST_DAYS: i64 = 1;
const DAY_NS: i64 = 86_400_000_000_000;

pub fn read(message: &Message, now_ns: i64) -> Result<Audit, String> {
    let audit = decode_audit(&message.payload).map_err(|error| error.to_string())?;
    let subject = audit_subject(&audit.edge);
    if *message.subject != *subject {
        return Err(format!("audit: subject {:?} does not match the edge's {subject:?}", &*message.subject));
    }
    let age_ns = now_ns.saturating_sub(audit.window_start);
    if !(-NEWEST_DAYS * DAY_NS..=OLDEST_DAYS * DAY_NS).contains(&age_ns) {
        let allowed = format!("at most {OLDEST_DAYS} days ago and {NEWEST_DAYS} day ahead");
        return Err(format!("audit: window_start is {}, allowed: {allowed}", audit.window_start));
    }
    Ok(audit)
}
