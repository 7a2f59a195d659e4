//! Streams as the broker describes them: the largest message that each takes, and whether central reads them. Without a configured JetStream domain a
//! leaf node answers for a stream of its own, which only central's confirmed sequences tell from the centre's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_nats::HeaderMap;

use crate::limits::UNCONFIRMED_AFTER;

#[derive(Debug, Default)]
pub(super) struct DescribedStreams(Mutex<BTreeMap<&'static str, DescribedStream>>);

#[derive(Debug, Default)]
struct DescribedStream {
    /// `None`: of any size.
    message_bytes_max: Option<usize>,
    /// First answer without a confirmed sequence, since which none had one.
    unconfirmed_since: Option<Instant>,
    is_logged: bool,
}

impl DescribedStream {
    fn is_unconfirmed(&self, now: Instant) -> bool {
        self.unconfirmed_since.is_some_and(|since| now.saturating_duration_since(since) >= UNCONFIRMED_AFTER)
    }
}

impl DescribedStreams {
    pub(super) fn note_size(&self, stream: &'static str, message_bytes_max: Option<usize>) {
        self.lock().entry(stream).or_default().message_bytes_max = message_bytes_max;
    }

    /// False: it takes no message of so many bytes. True where it was not described yet.
    pub(super) fn takes(&self, stream: &str, bytes: usize) -> bool {
        let streams = self.lock();
        let most = streams.get(stream).and_then(|described| described.message_bytes_max);
        most.is_none_or(|most| bytes <= most)
    }

    /// True once, when central has confirmed nothing for too long.
    pub(super) fn note_confirmed(&self, stream: &'static str, is_confirmed: bool, now: Instant) -> bool {
        let mut streams = self.lock();
        let described = streams.entry(stream).or_default();
        if is_confirmed {
            (described.unconfirmed_since, described.is_logged) = (None, false);
            return false;
        }
        described.unconfirmed_since.get_or_insert(now);
        let is_unconfirmed = described.is_unconfirmed(now);
        is_unconfirmed && !std::mem::replace(&mut described.is_logged, true)
    }

    /// Names of the streams of which central has confirmed nothing for too long.
    pub(super) fn unconfirmed(&self, now: Instant) -> Vec<&'static str> {
        let streams = self.lock();
        let unconfirmed = streams.iter().filter(|(_, described)| described.is_unconfirmed(now));
        unconfirmed.map(|(name, _)| *name).collect()
    }

    /// Another server may have other streams.
    pub(super) fn reconnected(&self) {
        self.lock().clear();
    }

    // Every change is a single assignment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, DescribedStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Size of a message as streams measure it: its headers count as they are sent.
pub(crate) fn message_bytes(headers: &HeaderMap, payload: &[u8]) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let lines = lines.map(|(name, value)| format!("{name}: {value}\r\n").len()).sum::<usize>();
    let frame = if headers.is_empty() { 0 } else { "NATS/1.0\r\n\r\n".len() };
    frame + lines + payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_of_a_message_count_as_they_are_sent() {
        let mut headers = HeaderMap::new();
        assert_eq!(message_bytes(&headers, b"123"), 3);
        headers.insert("Nats-Msg-Id", "7");
        headers.insert("A", "b");
        assert_eq!(message_bytes(&headers, b"123"), "NATS/1.0\r\nNats-Msg-Id: 7\r\nA: b\r\n\r\n123".len());
    }

    /// A leaf node's stream acknowledged everything, and nothing said that central never reads it.
    #[test]
    fn a_stream_of_which_central_confirms_nothing_from_the_start_is_named() {
        let (streams, start) = (DescribedStreams::default(), Instant::now());
        let [early, late, later] = [1, 2, 4].map(|halves| start + UNCONFIRMED_AFTER / 2 * halves);
        assert!(!streams.note_confirmed("A", false, start));
        assert!(!streams.note_confirmed("A", false, early));
        assert!(streams.unconfirmed(early).is_empty());
        assert!(streams.note_confirmed("A", false, late));
        assert!(!streams.note_confirmed("A", false, late), "logged once");
        assert_eq!(streams.unconfirmed(late), ["A"]);
        streams.note_confirmed("A", true, late);
        assert!(streams.unconfirmed(later).is_empty());
        streams.note_confirmed("A", false, late);
        assert_eq!(streams.unconfirmed(later), ["A"]);
        streams.reconnected();
        assert!(streams.unconfirmed(later).is_empty());
    }

    #[test]
    fn a_stream_takes_every_size_up_to_its_limit() {
        let streams = DescribedStreams::default();
        assert!(streams.takes("A", 11));
        streams.note_size("A", Some(10));
        assert!(streams.takes("A", 10) && !streams.takes("A", 11) && streams.takes("B", 11));
        streams.note_size("A", None);
        assert!(streams.takes("A", 11));
    }
}
