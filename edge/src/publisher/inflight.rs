//! The messages without an acknowledgement: a bounded window.

use std::time::{Duration, Instant};

use marketprism_schema::stream_of;

use crate::limits::{REPUBLISH_AFTER_RECONNECT, REPUBLISH_BACKOFF};
use crate::queue::Entry;

/// Names a message in flight. It stays the same when the message is published again, so that a late acknowledgement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AckToken(u64);

/// Why a message is to be published again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryReason {
    /// No acknowledgement came in time.
    Timeout,
    /// The connection broke after it was sent.
    Reconnect,
    /// The broker refused it.
    Refused,
}

impl RetryReason {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "ack_timeout",
            Self::Reconnect => "reconnect",
            Self::Refused => "refused",
        }
    }
}

/// One message.
#[derive(Debug)]
pub(super) struct InFlightMessage {
    pub(super) entry: Entry,
    pub(super) first_sent: Instant,
    pub(super) tries: u32,
    /// When to publish it again, and why.
    again_at: Instant,
    again: RetryReason,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    flight: Option<InFlightMessage>,
}

/// The window of messages in flight, bounded in messages and bytes.
#[derive(Debug)]
pub(super) struct InFlight {
    slots: Vec<Slot>,
    free: Vec<u32>,
    messages_max: usize,
    bytes_max: usize,
    bytes: usize,
    ack_timeout: Duration,
}

impl AckToken {
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    const fn new(generation: u32, index: u32) -> Self {
        Self(((generation as u64) << 32) | index as u64)
    }

    fn index(self) -> usize {
        usize::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX)
    }

    fn generation(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or_default()
    }
}

impl std::fmt::Display for AckToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(itoa::Buffer::new().format(self.0))
    }
}

impl InFlight {
    pub(super) fn new(messages_max: usize, bytes_max: usize, ack_timeout: Duration) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(messages_max, Slot::default);
        let free = (0..u32::try_from(messages_max).unwrap_or(u32::MAX)).rev().collect();
        Self { slots, free, messages_max, bytes_max, bytes: 0, ack_timeout }
    }

    /// Messages in flight.
    pub(super) fn len(&self) -> usize {
        self.messages_max - self.free.len()
    }

    /// Messages that may be added.
    pub(super) fn room(&self) -> usize {
        if self.bytes_left() == 0 { 0 } else { self.free.len() }
    }

    /// Bytes that may be added. A message that is larger than this may be added when nothing else is in flight.
    pub(super) fn bytes_left(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes)
    }

    /// Adds a message that is being sent. `None` when the window is full.
    pub(super) fn insert(&mut self, entry: Entry, now: Instant) -> Option<AckToken> {
        let index = self.free.pop()?;
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        slot.generation = slot.generation.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(entry.record.size());
        let again_at = now + self.ack_timeout;
        slot.flight =
            Some(InFlightMessage { entry, first_sent: now, tries: 1, again_at, again: RetryReason::Timeout });
        Some(AckToken::new(slot.generation, index))
    }

    /// Looks at a message; nothing when it is no longer in flight.
    pub(super) fn get(&self, token: AckToken) -> Option<&InFlightMessage> {
        let slot = self.slots.get(token.index())?;
        slot.flight.as_ref().filter(|_| slot.generation == token.generation())
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, token: AckToken) -> Option<InFlightMessage> {
        let slot = self.slots.get_mut(token.index()).filter(|slot| slot.generation == token.generation())?;
        let flight = slot.flight.take()?;
        self.bytes = self.bytes.saturating_sub(flight.entry.record.size());
        self.free.push(u32::try_from(token.index()).unwrap_or_default());
        Some(flight)
    }

    /// The broker refused it: it waits before it is published again.
    pub(super) fn refused(&mut self, token: AckToken, now: Instant) {
        if let Some(flight) = self.flight_mut(token) {
            let doublings = flight.tries.saturating_sub(1).min(16);
            let (first, last) = REPUBLISH_BACKOFF;
            flight.again_at = now + first.saturating_mul(1 << doublings).min(last);
            flight.again = RetryReason::Refused;
        }
    }

    /// A stream that refused takes messages again: those that it refused need not wait any longer.
    pub(super) fn recovered(&mut self, stream: &str, now: Instant) {
        for flight in self.slots.iter_mut().filter_map(|slot| slot.flight.as_mut()) {
            if flight.again == RetryReason::Refused && stream_of(flight.entry.record.data_type) == stream {
                flight.again_at = now;
            }
        }
    }

    /// The connection was made anew: what was sent over the old one may be lost, its acknowledgement too.
    pub(super) fn reconnected(&mut self, now: Instant) {
        for flight in self.slots.iter_mut().filter_map(|slot| slot.flight.as_mut()) {
            let soon = now + REPUBLISH_AFTER_RECONNECT;
            if flight.again_at > soon {
                flight.again_at = soon;
                flight.again = RetryReason::Reconnect;
            }
        }
    }

    /// The messages that are to be published again now, and why.
    pub(super) fn due(&self, now: Instant) -> Vec<(AckToken, RetryReason)> {
        let due = |(index, slot): (usize, &Slot)| {
            let flight = slot.flight.as_ref().filter(|flight| flight.again_at <= now)?;
            Some((AckToken::new(slot.generation, u32::try_from(index).ok()?), flight.again))
        };
        self.slots.iter().enumerate().filter_map(due).collect()
    }

    /// RemarkLog that a message was published again. Waits grow with each try.
    pub(super) fn sent_again(&mut self, token: AckToken, now: Instant) {
        let ack_timeout = self.ack_timeout;
        if let Some(flight) = self.flight_mut(token) {
            flight.tries = flight.tries.saturating_add(1);
            flight.again_at = now + ack_timeout.saturating_mul(flight.tries.min(6));
            flight.again = RetryReason::Timeout;
        }
    }

    fn flight_mut(&mut self, token: AckToken) -> Option<&mut InFlightMessage> {
        let slot = self.slots.get_mut(token.index()).filter(|slot| slot.generation == token.generation())?;
        slot.flight.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::NO_STREAM;
    use crate::queue::{Position, Record};
    use bytes::Bytes;
    use marketprism_schema::{DataType, EventId, WireForm};

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn entry(position: u64) -> Entry {
        let record = Record {
            subject: "trade.sim_spot.spot.A-B".into(),
            event_id: EventId(u128::from(position)),
            data_type: DataType::Trade,
            form: WireForm::Json,
            coverage: 0,
            stream: NO_STREAM,
            sequence: None,
            received_at_ns: 0,
            timestamp_us: 0,
            payload: Bytes::from_static(b"{}"),
        };
        Entry { position: Position(position), record }
    }

    /// Goal: the window is bounded, and a token of a message that is gone never touches the one that took its slot.
    #[test]
    fn tokens_of_settled_messages_are_dead() {
        let now = Instant::now();
        let mut window = InFlight::new(2, 1 << 20, TIMEOUT);
        let first = window.insert(entry(1), now).unwrap();
        window.insert(entry(2), now).unwrap();
        assert!(window.insert(entry(3), now).is_none());
        assert_eq!(window.room(), 0);
        assert_eq!(window.remove(first).unwrap().entry.position, Position(1));
        let again = window.insert(entry(3), now).unwrap();
        assert_eq!(again.index(), first.index());
        assert!(window.remove(first).is_none() && window.get(first).is_none());
        assert_eq!(AckToken::parse(&again.to_string()), Some(again));
        assert_eq!(window.remove(again).unwrap().entry.position, Position(3));
        assert_eq!(window.len(), 1);
    }

    /// Goal: a message without an acknowledgement, one that was refused, and those of a broken connection are each due at their time.
    #[test]
    fn messages_are_due_again_at_their_time() {
        let now = Instant::now();
        let mut window = InFlight::new(4, 1 << 20, TIMEOUT);
        let silent = window.insert(entry(1), now).unwrap();
        let refused = window.insert(entry(2), now).unwrap();
        window.refused(refused, now);
        assert_eq!(window.due(now), []);
        assert_eq!(window.due(now + REPUBLISH_BACKOFF.0), [(refused, RetryReason::Refused)]);
        window.sent_again(refused, now);
        window.refused(refused, now);
        assert_eq!(window.due(now + REPUBLISH_BACKOFF.0), [], "the wait doubles");
        window.recovered("ORDERBOOK_SNAP", now);
        assert_eq!(window.due(now), [], "another stream");
        window.recovered("MARKET_DATA", now);
        assert_eq!(window.due(now), [(refused, RetryReason::Refused)]);
        window.remove(refused);
        assert_eq!(window.due(now + TIMEOUT), [(silent, RetryReason::Timeout)]);
        window.reconnected(now);
        assert_eq!(window.due(now + REPUBLISH_AFTER_RECONNECT), [(silent, RetryReason::Reconnect)]);
    }
}
