//! Messages without an acknowledgement, bounded in number and bytes. A message keeps its position in the queue as its identity when it is
//! published again, so that a late acknowledgement counts. It is published again only where it is lost, or may be: on a connection that still
//! carries it, copies would take the place of new messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use marketprism_schema::stream_of;

use super::ack_progress::AckProgress;
use super::batches::OutgoingMessage;
use super::send_window::SendWindow;
use crate::limits::{REPUBLISH_AFTER_RECONNECT, REPUBLISH_BACKOFF};
use crate::queue::{EventRecord, QueuePosition};
use crate::telemetry::labels;

labels! {
    RetryReason {
        Timeout = "ack_timeout",
        Reconnect = "reconnect",
        Refused = "refused",
    }
}

#[derive(Debug)]
pub(super) struct InFlightMessage {
    pub(super) message: OutgoingMessage,
    pub(super) first_sent: Instant,
    pub(super) tries: u32,
    /// Number of the last send, and its time.
    send: (u64, Instant),
    retry_at: Instant,
    retry: RetryReason,
    /// Part of a message that was taken apart, and not sent alone yet: answers are those to the whole.
    is_apart: bool,
}

impl InFlightMessage {
    pub(super) fn first(&self) -> Option<&EventRecord> {
        self.message.entries.first().map(|entry| &entry.record)
    }

    /// Number of its last send; a reply names that of the copy that it answers.
    pub(super) const fn send(&self) -> u64 {
        self.send.0
    }

    pub(super) fn stream(&self) -> Option<&'static str> {
        self.first().map(|record| stream_of(record.data_type))
    }
}

#[derive(Debug)]
pub(super) struct InFlight {
    messages: BTreeMap<QueuePosition, InFlightMessage>,
    window: SendWindow,
    bytes: usize,
    /// Messages that take events and are not sent yet, and their bytes: they take room too.
    open: (usize, usize),
    ack_timeout: Duration,
    sends: u64,
    acks: BTreeMap<&'static str, AckProgress>,
}

impl InFlight {
    pub(super) fn new(messages_max: usize, bytes_max: usize, ack_timeout: Duration) -> Self {
        let window = SendWindow::new(messages_max, bytes_max);
        let (messages, acks) = (BTreeMap::new(), BTreeMap::new());
        Self { messages, window, bytes: 0, open: (0, 0), ack_timeout, sends: 0, acks }
    }

    /// From now on. Messages that are in flight keep their time.
    pub(super) const fn set_limits(&mut self, messages_max: usize, bytes_max: usize, ack_timeout: Duration) {
        self.window.set_max(messages_max, bytes_max);
        self.ack_timeout = ack_timeout;
    }

    pub(super) const fn set_open(&mut self, messages: usize, bytes: usize) {
        self.open = (messages, bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn room(&self) -> usize {
        if self.bytes_left() == 0 { 0 } else { self.window.messages().saturating_sub(self.len()) }
    }

    /// Bytes that may be added. A larger message may be added when nothing else is in flight.
    pub(super) fn bytes_left(&self) -> usize {
        self.window.bytes().saturating_sub(self.bytes)
    }

    /// Adds a message that is being sent, under the position of its first event. The room is asked for when events are read: of those
    /// that were read none is left out, whatever the limits are by then. `None`: it has no event.
    pub(super) fn insert(&mut self, message: OutgoingMessage, now: Instant) -> Option<QueuePosition> {
        self.add(message, (now, 1), (now + self.ack_timeout, RetryReason::Timeout))
    }

    fn add(
        &mut self,
        message: OutgoingMessage,
        (first_sent, tries): (Instant, u32),
        (retry_at, retry): (Instant, RetryReason),
    ) -> Option<QueuePosition> {
        let position = message.entries.first()?.position;
        self.bytes = self.bytes.saturating_add(message.size);
        let (send, is_apart) = ((self.next_send(), first_sent), false);
        let flight = InFlightMessage { message, first_sent, tries, send, retry_at, retry, is_apart };
        self.messages.insert(position, flight);
        Some(position)
    }

    const fn next_send(&mut self) -> u64 {
        self.sends = self.sends.wrapping_add(1);
        self.sends
    }

    /// The broker takes no message of this size: its events are due each alone. False for a single event that was sent so, and for a message that
    /// cannot be taken apart.
    pub(super) fn take_apart(&mut self, position: QueuePosition, now: Instant) -> bool {
        let Some(flight) = self.messages.get(&position) else { return false };
        if flight.message.entries.len() < 2 {
            return flight.is_apart;
        }
        let (parts, sent) = (flight.message.clone().apart(), (flight.first_sent, flight.tries));
        if parts.len() < flight.message.entries.len() {
            return false;
        }
        self.remove(position);
        for alone in parts {
            let added = self.add(alone, sent, (now, RetryReason::Refused));
            if let Some(part) = added.and_then(|position| self.messages.get_mut(&position)) {
                part.is_apart = true;
            }
        }
        true
    }

    /// `None` when the message is no longer in flight.
    pub(super) fn get(&self, position: QueuePosition) -> Option<&InFlightMessage> {
        self.messages.get(&position)
    }

    pub(super) fn remove(&mut self, position: QueuePosition) -> Option<InFlightMessage> {
        let message = self.messages.remove(&position)?;
        self.bytes = self.bytes.saturating_sub(message.message.size);
        Some(message)
    }

    /// The stream has stored the message; `send`: the number of the copy that it acknowledges.
    pub(super) fn acknowledged(
        &mut self,
        position: QueuePosition,
        send: u64,
        now: Instant,
    ) -> Option<InFlightMessage> {
        let (messages, bytes) = (self.window.messages(), self.window.bytes());
        let (open, open_bytes) = self.open;
        let is_used = self.len().saturating_add(open).saturating_mul(2) >= messages
            || self.bytes.saturating_add(open_bytes).saturating_mul(2) >= bytes;
        let flight = self.remove(position)?;
        // Not of a message that an outage or a refusal held up, and of an earlier copy at least.
        let (last_send, sent) = flight.send;
        let is_timed = flight.retry == RetryReason::Timeout;
        if let Some(stream) = flight.stream() {
            let took = if is_timed { now.saturating_duration_since(sent) } else { Duration::ZERO };
            self.acks.entry(stream).or_default().acknowledged(send, took, now);
        }
        if is_timed && send == last_send {
            self.window.acknowledged((sent, now), flight.message.size, is_used, self.ack_timeout);
        }
        Some(flight)
    }

    /// The broker refused the message: it is published again after a back-off.
    pub(super) fn refused(&mut self, position: QueuePosition, now: Instant) {
        if let Some(message) = self.messages.get_mut(&position) {
            let doublings = message.tries.saturating_sub(1).min(16);
            let (first, last) = REPUBLISH_BACKOFF;
            message.retry_at = now + first.saturating_mul(1 << doublings).min(last);
            message.retry = RetryReason::Refused;
        }
    }

    /// A stream stores messages again: those that it refused are due now.
    pub(super) fn recovered(&mut self, stream: &str, now: Instant) {
        for message in self.messages.values_mut() {
            if message.retry == RetryReason::Refused && message.stream() == Some(stream) {
                message.retry_at = now;
            }
        }
    }

    /// Messages sent over the old connection, or their acknowledgements, may be lost.
    pub(super) fn reconnected(&mut self, now: Instant) {
        self.window.reconnected();
        self.acks.values_mut().for_each(AckProgress::reconnected);
        let soon = now + REPUBLISH_AFTER_RECONNECT;
        let waits_for_ack = |message: &InFlightMessage| message.retry == RetryReason::Timeout;
        for message in self.messages.values_mut() {
            if message.retry_at > soon || waits_for_ack(message) {
                message.retry_at = soon;
                message.retry = RetryReason::Reconnect;
            }
        }
    }

    /// The oldest messages that are to be published again now, at most this many. While the acknowledgements of messages sent before them
    /// still come, those that wait longer than the timeout are not.
    pub(super) fn due(&mut self, now: Instant, most: usize) -> Vec<(QueuePosition, RetryReason)> {
        let mut due = Vec::new();
        for (position, message) in &self.messages {
            if due.len() == most {
                break;
            }
            if message.retry_at > now {
                continue;
            }
            if message.retry == RetryReason::Timeout
                && let Some(stream) = message.stream()
            {
                let (send, sent) = message.send;
                let acks = self.acks.entry(stream).or_default();
                if !acks.has_overtaken(send) && !acks.is_probe_due(sent, now, self.ack_timeout) {
                    continue;
                }
            }
            due.push((*position, message.retry));
        }
        due
    }

    /// First publish of the oldest message of each stream.
    pub(super) fn oldest_sent(&self) -> BTreeMap<&'static str, Instant> {
        let mut oldest = BTreeMap::new();
        for message in self.messages.values() {
            let Some(stream) = message.stream() else { continue };
            let sent = oldest.entry(stream).or_insert(message.first_sent);
            *sent = message.first_sent.min(*sent);
        }
        oldest
    }

    /// A message was published again; the next retry is later with each try.
    pub(super) fn sent_again(&mut self, position: QueuePosition, now: Instant) {
        let send = self.next_send();
        if let Some(message) = self.messages.get_mut(&position) {
            message.tries = message.tries.saturating_add(1);
            message.send = (send, now);
            message.retry_at = now + self.ack_timeout.saturating_mul(message.tries.min(6));
            message.retry = RetryReason::Timeout;
            message.is_apart = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SEND_WINDOW_FIRST;
    use crate::queue::QueueEntry;
    use marketprism_schema::DataType;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn entry(position: u64) -> OutgoingMessage {
        let record = EventRecord::fixture(position, DataType::Trade, "A-B");
        OutgoingMessage {
            subject: record.subject.clone(),
            form: record.form,
            message_id: Some(record.event_id),
            payload: record.payload.clone(),
            size: record.size(),
            opened: Instant::now(),
            entries: vec![QueueEntry { position: QueuePosition(position), record }],
        }
    }

    const FIRST: QueuePosition = QueuePosition(1);
    const SECOND: QueuePosition = QueuePosition(2);

    #[test]
    fn the_window_is_bounded_and_a_late_acknowledgement_finds_nothing() {
        let now = Instant::now();
        let mut window = InFlight::new(2, 1 << 20, TIMEOUT);
        assert_eq!([1, 2].map(|n| window.insert(entry(n), now)), [Some(FIRST), Some(SECOND)]);
        assert_eq!(window.room(), 0);
        assert!(window.remove(FIRST).is_some());
        assert!(window.insert(entry(3), now).is_some());
        assert!(window.remove(FIRST).is_none() && window.get(FIRST).is_none());
        assert!(window.remove(QueuePosition(3)).is_some());
        assert_eq!((window.len(), window.room()), (1, 1));
    }

    /// Events that were read wait for the linger, and meanwhile a reload may lower the limits.
    #[test]
    fn what_was_read_is_sent_also_above_a_limit_that_was_lowered_meanwhile() {
        let now = Instant::now();
        let mut window = InFlight::new(2, 1 << 20, TIMEOUT);
        assert_eq!(window.insert(entry(1), now), Some(FIRST));
        window.set_limits(1, 1, TIMEOUT);
        assert_eq!(window.insert(entry(2), now), Some(SECOND));
        assert_eq!((window.len(), window.room()), (2, 0));
    }

    #[test]
    fn unacknowledged_refused_and_reconnected_messages_are_due_at_their_time() {
        let now = Instant::now();
        let mut window = InFlight::new(4, 1 << 20, TIMEOUT);
        assert_eq!([1, 2].map(|n| window.insert(entry(n), now)), [Some(FIRST), Some(SECOND)]);
        window.refused(SECOND, now);
        assert_eq!(window.due(now, 10), []);
        assert_eq!(window.due(now + REPUBLISH_BACKOFF.0, 10), [(SECOND, RetryReason::Refused)]);
        window.sent_again(SECOND, now);
        window.refused(SECOND, now);
        assert_eq!(window.due(now + REPUBLISH_BACKOFF.0, 10), [], "the wait doubles");
        window.recovered("ORDERBOOK_SNAP", now);
        assert_eq!(window.due(now, 10), [], "another stream");
        window.recovered("MARKET_DATA", now);
        assert_eq!(window.due(now, 10), [(SECOND, RetryReason::Refused)]);
        window.remove(SECOND);
        assert_eq!(window.due(now + TIMEOUT, 10), [(FIRST, RetryReason::Timeout)]);
        window.reconnected(now);
        assert_eq!(window.due(now + REPUBLISH_AFTER_RECONNECT, 10), [(FIRST, RetryReason::Reconnect)]);
    }

    /// The connection loses nothing: copies of what it still carries took the place of new messages, until a slow link carried copies only.
    #[test]
    fn messages_whose_acknowledgements_still_come_are_not_published_again_however_late() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = InFlight::new(64, 1 << 20, TIMEOUT);
        for second in 0..10 {
            window.insert(entry(second + 1), at(second));
            let due = window.due(at(second), 10);
            // Nothing was acknowledged until then.
            assert_eq!(!due.is_empty(), second == 5, "second {second}: {due:?}");
            for (position, _) in due {
                window.sent_again(position, at(second));
            }
        }
        // The first send of each, one a second.
        for (second, send) in [(10, 1), (11, 2), (12, 3)] {
            let position = QueuePosition(send);
            assert!(window.acknowledged(position, send, at(second)).is_some());
            assert_eq!(window.due(at(second), 10), [], "second {second}");
        }
        let overtaking = window.get(QueuePosition(5)).unwrap().send();
        assert!(window.acknowledged(QueuePosition(5), overtaking, at(14)).is_some());
        assert_eq!(
            window.due(at(14), 10),
            [(QueuePosition(4), RetryReason::Timeout)],
            "overtaken: it is lost"
        );
    }

    /// With a long linger most of the room is that of messages which take events.
    #[test]
    fn messages_that_take_events_use_the_window() {
        let (start, first) = (Instant::now(), SEND_WINDOW_FIRST.0);
        let room_after = |open| {
            let mut window = InFlight::new(4_096, 16 << 20, TIMEOUT);
            window.set_open(open, 0);
            for n in 1..=100 {
                let position = window.insert(entry(n), start).unwrap();
                let send = window.get(position).unwrap().send();
                window.acknowledged(position, send, start + Duration::from_millis(1)).unwrap();
            }
            window.room()
        };
        assert_eq!((room_after(0), room_after(first)), (first, first + 100));
    }

    #[test]
    fn a_silent_stream_gets_one_message_again_and_the_others_once_that_is_acknowledged() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = InFlight::new(64, 1 << 20, TIMEOUT);
        for number in 1..=5 {
            window.insert(entry(number), start);
        }
        assert_eq!(window.due(at(5), 10), [(FIRST, RetryReason::Timeout)]);
        window.sent_again(FIRST, at(5));
        assert_eq!(window.due(at(10), 10), [], "the wait for the next one doubles");
        let copy = window.get(FIRST).unwrap().send();
        assert!(window.acknowledged(FIRST, copy, at(10)).is_some());
        let others = [2, 3, 4, 5].map(|number| (QueuePosition(number), RetryReason::Timeout));
        assert_eq!(window.due(at(10), 2), others[..2], "no more than asked for");
        assert_eq!(window.due(at(10), 10), others);
        window.reconnected(at(10));
        assert_eq!(window.due(at(10), 10), []);
        let again = others.map(|(position, _)| (position, RetryReason::Reconnect));
        assert_eq!(window.due(at(10) + REPUBLISH_AFTER_RECONNECT, 10), again);
    }
}
