//! Newest revisions of keys that were read from buckets. Any replica of a bucket answers, also one that has not caught up with its leader.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Time for which answers about a key are left alone while all of them are older than one before. A replica that lags is not the only one that answers
/// for so long.
pub(crate) const OLDER_REVISIONS_FOR: Duration = Duration::from_secs(60);
/// The time begins anew after a longer one without an answer: an outage tells nothing about other replicas.
const BETWEEN_ANSWERS: Duration = Duration::from_secs(30);

const SEQUENCE: &str = "Nats-Sequence";
const STORED_AT: &str = "Nats-Time-Stamp";

/// One entry for each key that the edge reads, by the subject of its requests.
#[derive(Debug, Default)]
pub(super) struct NewestRevisions(Mutex<BTreeMap<String, NewestRevision>>);

#[derive(Debug)]
struct NewestRevision {
    revision: Revision,
    /// Times of the first and the last answer since which all are older.
    older: Option<(Instant, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    /// Sequences begin again in a bucket that was created again, times do not.
    fn is_before(self, other: Self) -> bool {
        self.sequence < other.sequence && self.stored_at < other.stored_at
    }
}

impl NewestRevisions {
    /// Remembers the revision of an answer; `None`: there is no such key. False: it is older than the newest one. When all answers have been older
    /// for [`OLDER_REVISIONS_FOR`], the broker was put back, and they are taken. A value without a revision is taken.
    pub(super) fn is_newest(&self, key: &str, answer: Option<&Message>, now: Instant) -> bool {
        let found = answer.map(|value| value.headers.as_ref().and_then(Revision::of));
        if found == Some(None) {
            return true;
        }
        let found = found.flatten();
        // Each change is a single assignment, so a panic of another holder does not matter.
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = newest.get_mut(key)
            && found.is_none_or(|found| found.is_before(known.revision))
        {
            let goes_on = |(_, last): &(Instant, Instant)| now.duration_since(*last) < BETWEEN_ANSWERS;
            let since = known.older.filter(goes_on).map_or(now, |(since, _)| since);
            known.older = Some((since, now));
            if now.duration_since(since) < OLDER_REVISIONS_FOR {
                return false;
            }
        }
        match found {
            Some(revision) => newest.insert(key.to_owned(), NewestRevision { revision, older: None }),
            None => newest.remove(key),
        };
        true
    }

    /// The broker was put back to an earlier state: what it has now counts.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use async_nats::Subject;
    use bytes::Bytes;

    use super::*;

    fn value(sequence: u64) -> Message {
        let mut headers = HeaderMap::new();
        headers.insert(SEQUENCE, sequence.to_string());
        headers.insert(STORED_AT, format!("2026-01-01T00:00:{sequence:02}Z"));
        let (subject, payload) = (Subject::from_static("answer"), Bytes::new());
        Message {
            subject,
            reply: None,
            payload,
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn only_a_broker_that_was_put_back_answers_with_older_values_for_long() {
        let (newest, start) = (NewestRevisions::default(), Instant::now());
        let (old, new) = (value(3), value(7));
        let is_newest =
            |answer, seconds| newest.is_newest("key", answer, start + Duration::from_secs(seconds));
        assert!(is_newest(None, 0), "there is no such key yet");
        assert!(is_newest(Some(&new), 0));
        assert!(!is_newest(Some(&old), 1));
        assert!(!is_newest(None, 30));
        assert!(is_newest(Some(&new), 50), "another replica");
        for seconds in [55, 80, 105, 114] {
            assert!(!is_newest(Some(&old), seconds), "{seconds}");
        }
        assert!(is_newest(Some(&old), 115), "the broker was put back");
        assert!(is_newest(Some(&old), 116));
        assert!(is_newest(Some(&new), 120));
        for seconds in [121, 145, 170] {
            assert!(!is_newest(None, seconds), "{seconds}");
        }
        assert!(is_newest(None, 181), "the key is gone");
        assert!(is_newest(Some(&new), 182));
        newest.forget();
        assert!(is_newest(Some(&old), 183), "the broker is known to have been put back");
        assert!(is_newest(Some(&new), 184));
        assert!(!is_newest(Some(&old), 185));
        for seconds in [255, 280, 305] {
            assert!(!is_newest(Some(&old), seconds), "{seconds}: the link was cut for a minute");
        }
        assert!(is_newest(Some(&old), 315));
    }
}
