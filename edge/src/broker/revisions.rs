//! Newest revisions of keys that were read from buckets. Any replica of a bucket answers, also one that has not caught up with its leader.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_nats::{HeaderMap, Message};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const SUBJECT: &str = "Nats-Subject";
const SEQUENCE: &str = "Nats-Sequence";
const STORED_AT: &str = "Nats-Time-Stamp";

/// One entry for each key that the edge reads.
#[derive(Debug, Default)]
pub(super) struct NewestRevisions(Mutex<BTreeMap<String, Revision>>);

#[derive(Debug, Clone, Copy)]
struct Revision {
    sequence: u64,
    /// By the broker's clock.
    stored_at: OffsetDateTime,
}

impl Revision {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let sequence = headers.get(SEQUENCE)?.as_str().parse().ok()?;
        let stored_at = OffsetDateTime::parse(headers.get(STORED_AT)?.as_str(), &Rfc3339).ok()?;
        Some(Self { sequence, stored_at })
    }

    /// Sequences begin again in a bucket that was created again or put back to an earlier state, times do not.
    fn is_before(self, other: Self) -> bool {
        self.sequence < other.sequence && self.stored_at < other.stored_at
    }
}

impl NewestRevisions {
    /// Remembers the revision of a value. False: it is older than the newest one. A value without a revision is taken.
    pub(super) fn is_newest(&self, value: &Message) -> bool {
        let Some(headers) = &value.headers else { return true };
        let (Some(subject), Some(found)) = (headers.get(SUBJECT), Revision::of(headers)) else { return true };
        // Each change is a single assignment, so a panic of another holder does not matter.
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.get(subject.as_str()).is_some_and(|newest| found.is_before(*newest)) {
            return false;
        }
        newest.insert(subject.as_str().to_owned(), found);
        true
    }
}
