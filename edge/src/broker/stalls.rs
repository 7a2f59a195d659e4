//! Streams whose messages wait for an acknowledgement, and for how long none came: a full disk of the broker, a deleted stream.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::PUBLISH_STALL;

#[derive(Debug, Default)]
pub struct PublishStalls(Mutex<BTreeMap<&'static str, StreamAcks>>);

#[derive(Debug, Default)]
struct StreamAcks {
    /// First publish of the oldest message without an acknowledgement.
    oldest_sent: Option<Instant>,
    /// Last acknowledgement, or the connection to the broker if that is later.
    counted_from: Option<Instant>,
    /// Last answer of the broker other than an acknowledgement.
    refusal: Option<String>,
    is_logged: bool,
    /// The stream has acknowledged a message in this run.
    has_stored: bool,
}

impl StreamAcks {
    fn waited(&self, now: Instant) -> Option<Duration> {
        let since =
            self.counted_from.map_or(self.oldest_sent?, |from| from.max(self.oldest_sent.unwrap_or(from)));
        Some(now.saturating_duration_since(since)).filter(|waited| *waited >= PUBLISH_STALL)
    }

    fn answer(&self) -> &str {
        self.refusal.as_deref().unwrap_or("no answer")
    }
}

impl PublishStalls {
    pub(crate) fn acknowledged(&self, stream: &'static str, now: Instant) {
        let mut streams = self.lock();
        let acks = streams.entry(stream).or_default();
        acks.counted_from = Some(now);
        acks.refusal = None;
        acks.has_stored = true;
    }

    pub(super) fn has_stored(&self, stream: &str) -> bool {
        self.lock().get(stream).is_some_and(|acks| acks.has_stored)
    }

    pub(crate) fn refused(&self, stream: &'static str, answer: &str) {
        self.lock().entry(stream).or_default().refusal = Some(answer.to_owned());
    }

    /// A new connection: an outage of the broker is a reason of its own.
    pub(crate) fn reconnected(&self, now: Instant) {
        for acks in self.lock().values_mut() {
            acks.counted_from = Some(now);
        }
    }

    /// Takes the oldest unacknowledged message of a stream and logs the begin and the end of a stall. Returns its seconds, else 0.
    pub(crate) fn update(&self, stream: &'static str, oldest_sent: Option<Instant>, now: Instant) -> u64 {
        let mut streams = self.lock();
        let acks = streams.entry(stream).or_default();
        acks.oldest_sent = oldest_sent;
        match (acks.waited(now), acks.is_logged) {
            (Some(waited), false) => {
                acks.is_logged = true;
                let (seconds, answer) = (waited.as_secs(), acks.answer());
                tracing::error!(
                    stream,
                    seconds,
                    answer,
                    "no publish acknowledged: the broker stores nothing; messages wait and are published again"
                );
            }
            (None, true) => {
                acks.is_logged = false;
                tracing::info!(stream, "publishes are acknowledged again");
            }
            _ => {}
        }
        acks.waited(now).map_or(0, |waited| waited.as_secs())
    }

    /// Reasons for `/health`, one per stalled stream.
    pub fn reasons(&self, now: Instant) -> Vec<String> {
        let reason = |(stream, acks): (&&'static str, &StreamAcks)| {
            let seconds = acks.waited(now)?.as_secs();
            Some(format!(
                "no publish acknowledged for {seconds} s by stream {stream}, messages wait; the broker: {}",
                acks.answer()
            ))
        };
        self.lock().iter().filter_map(reason).collect()
    }

    // Every change is a single assignment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, StreamAcks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_stalled_while_messages_wait_and_none_is_acknowledged() {
        let (stalls, start) = (PublishStalls::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(stalls.update("A", Some(start), at(4)), 0);
        stalls.refused("A", "disk full");
        assert_eq!(stalls.update("A", Some(start), at(6)), 6);
        let reasons = stalls.reasons(at(7));
        assert_eq!(
            reasons,
            ["no publish acknowledged for 7 s by stream A, messages wait; the broker: disk full"]
        );
        stalls.acknowledged("A", at(8));
        assert_eq!(stalls.update("A", Some(at(1)), at(9)), 0, "others still wait, but one was stored");
        assert_eq!(stalls.update("A", Some(at(1)), at(13)), 5);
        stalls.reconnected(at(14));
        assert!(stalls.reasons(at(15)).is_empty(), "an outage counts apart");
        assert_eq!(stalls.update("A", None, at(30)), 0, "nothing waits");
        assert!(stalls.reasons(at(30)).is_empty());
    }
}
