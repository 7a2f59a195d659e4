//! Messages without an acknowledgement, bounded in number and bytes.

use std::time::{Duration, Instant};

use marketprism_schema::stream_of;

use crate::limits::{REPUBLISH_AFTER_RECONNECT, REPUBLISH_BACKOFF};
use crate::queue::QueueEntry;

/// Identifies a message in flight in its reply subject. It does not change when the message is published again, so that a late
/// acknowledgement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AckToken(u64);

/// Reason to publish a message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryReason {
    Timeout,
    /// The connection was lost after it was sent.
    Reconnect,
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

#[derive(Debug)]
pub(super) struct InFlightMessage {
    pub(super) entry: QueueEntry,
    pub(super) first_sent: Instant,
    pub(super) tries: u32,
    retry_at: Instant,
    retry: RetryReason,
}

#[derive(Debug, Default)]
struct FlightSlot {
    generation: u32,
    flight: Option<InFlightMessage>,
}

#[derive(Debug)]
pub(super) struct InFlight {
    slots: Vec<FlightSlot>,
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
        slots.resize_with(messages_max, FlightSlot::default);
        let free = (0..u32::try_from(messages_max).unwrap_or(u32::MAX)).rev().collect();
        Self { slots, free, messages_max, bytes_max, bytes: 0, ack_timeout }
    }

    pub(super) fn len(&self) -> usize {
        self.messages_max - self.free.len()
    }

    /// Number of messages that may be added.
    pub(super) fn room(&self) -> usize {
        if self.bytes_left() == 0 { 0 } else { self.free.len() }
    }

    /// Bytes that may be added. A larger message may be added when nothing else is in flight.
    pub(super) fn bytes_left(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes)
    }

    /// Adds a message that is being sent. `None` when the window is full.
    pub(super) fn insert(&mut self, entry: QueueEntry, now: Instant) -> Option<AckToken> {
        let index = self.free.pop()?;
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        slot.generation = slot.generation.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(entry.record.size());
        let retry_at = now + self.ack_timeout;
        slot.flight =
            Some(InFlightMessage { entry, first_sent: now, tries: 1, retry_at, retry: RetryReason::Timeout });
        Some(AckToken::new(slot.generation, index))
    }

    /// `None` when the message is no longer in flight.
    pub(super) fn get(&self, token: AckToken) -> Option<&InFlightMessage> {
        let slot = self.slots.get(token.index())?;
        slot.flight.as_ref().filter(|_| slot.generation == token.generation())
    }

    pub(super) fn remove(&mut self, token: AckToken) -> Option<InFlightMessage> {
        let slot = self.slots.get_mut(token.index()).filter(|slot| slot.generation == token.generation())?;
        let flight = slot.flight.take()?;
        self.bytes = self.bytes.saturating_sub(flight.entry.record.size());
        self.free.push(u32::try_from(token.index()).unwrap_or_default());
        Some(flight)
    }

    /// The broker refused the message: it is published again after a back-off.
    pub(super) fn refused(&mut self, token: AckToken, now: Instant) {
        if let Some(flight) = self.flight_mut(token) {
            let doublings = flight.tries.saturating_sub(1).min(16);
            let (first, last) = REPUBLISH_BACKOFF;
            flight.retry_at = now + first.saturating_mul(1 << doublings).min(last);
            flight.retry = RetryReason::Refused;
        }
    }

    /// A stream stores messages again: those that it refused are due now.
    pub(super) fn recovered(&mut self, stream: &str, now: Instant) {
        for flight in self.slots.iter_mut().filter_map(|slot| slot.flight.as_mut()) {
            if flight.retry == RetryReason::Refused && stream_of(flight.entry.record.data_type) == stream {
                flight.retry_at = now;
            }
        }
    }

    /// Messages sent over the old connection, or their acknowledgements, may be lost.
    pub(super) fn reconnected(&mut self, now: Instant) {
        for flight in self.slots.iter_mut().filter_map(|slot| slot.flight.as_mut()) {
            let soon = now + REPUBLISH_AFTER_RECONNECT;
            if flight.retry_at > soon {
                flight.retry_at = soon;
                flight.retry = RetryReason::Reconnect;
            }
        }
    }

    /// Messages to publish again now.
    pub(super) fn due(&self, now: Instant) -> Vec<(AckToken, RetryReason)> {
        let due = |(index, slot): (usize, &FlightSlot)| {
            let flight = slot.flight.as_ref().filter(|flight| flight.retry_at <= now)?;
            Some((AckToken::new(slot.generation, u32::try_from(index).ok()?), flight.retry))
        };
        self.slots.iter().enumerate().filter_map(due).collect()
    }

    /// A message was published again; the next retry is later with each try.
    pub(super) fn sent_again(&mut self, token: AckToken, now: Instant) {
        let ack_timeout = self.ack_timeout;
        if let Some(flight) = self.flight_mut(token) {
            flight.tries = flight.tries.saturating_add(1);
            flight.retry_at = now + ack_timeout.saturating_mul(flight.tries.min(6));
            flight.retry = RetryReason::Timeout;
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
    use crate::queue::{EventRecord, QueuePosition};
    use crate::telemetry::CoverageIndex;
    use bytes::Bytes;
    use marketprism_schema::{DataType, EventId, WireForm};

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn entry(position: u64) -> QueueEntry {
        let record = EventRecord {
            subject: "trade.sim_spot.spot.A-B".into(),
            event_id: EventId(u128::from(position)),
            data_type: DataType::Trade,
            form: WireForm::Json,
            coverage: CoverageIndex::NONE,
            stream: None,
            sequence: None,
            received_at_ns: 0,
            timestamp_us: 0,
            payload: Bytes::from_static(b"{}"),
        };
        QueueEntry { position: QueuePosition(position), record }
    }

    #[test]
    fn the_token_of_a_removed_message_never_matches_the_next_message_in_its_slot() {
        let now = Instant::now();
        let mut window = InFlight::new(2, 1 << 20, TIMEOUT);
        let first = window.insert(entry(1), now).unwrap();
        window.insert(entry(2), now).unwrap();
        assert!(window.insert(entry(3), now).is_none());
        assert_eq!(window.room(), 0);
        assert_eq!(window.remove(first).unwrap().entry.position, QueuePosition(1));
        let again = window.insert(entry(3), now).unwrap();
        assert_eq!(again.index(), first.index());
        assert!(window.remove(first).is_none() && window.get(first).is_none());
        assert_eq!(AckToken::parse(&again.to_string()), Some(again));
        assert_eq!(window.remove(again).unwrap().entry.position, QueuePosition(3));
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn messages_are_due_retry_at_their_time() {
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
