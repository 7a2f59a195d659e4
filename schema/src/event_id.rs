//! Ids of events and of messages.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_128;

/// A 128-bit hash of data type, exchange, market type, venue symbol and the venue's natural key.
///
/// The natural key is the trade id, or the book's update id with its time and checksum (a quote: its values), or time and values where a venue gives no id.
/// Neither the edge nor the receive time is part of it: two edges on one venue give one id, so that JetStream and the tables can distinguish a copy from an event. A state
/// whose message has no time (a rate, an open interest, an index) has the receive time in its place: two receipts are two states. Order-book
/// deltas are the other exception: each edge numbers its own, because only unbroken numbers prove a state. The high half of their ids is a hash of
/// the epoch, that of a quote's id a hash of its stream: the same for all in it, so that an id takes half of the bytes in a table. The low half is
/// of the whole key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EventId(pub u128);

impl EventId {
    /// With these 64 bits in place of the high ones.
    pub(crate) const fn with_high_half(self, high: u64) -> Self {
        Self((high as u128) << 64 | self.low_half() as u128)
    }

    /// Id of the message that has these events, in this order: of one event its own, so that the broker knows a copy of it. The same
    /// events in another order or grouping have another one.
    pub fn of_message(events: impl IntoIterator<Item = Self>) -> Self {
        // In one piece: the state of a hash in parts costs more than the hash.
        let mut ids = Vec::with_capacity(256);
        for id in events {
            ids.extend_from_slice(&id.0.to_be_bytes());
        }
        match ids.as_slice().try_into() {
            Ok(only) => Self(u128::from_be_bytes(only)),
            Err(_) => Self(xxh3_128(&ids)),
        }
    }

    /// The low 64 bits: as good as unique among the events of one stream.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    pub const fn low_half(self) -> u64 {
        self.0 as u64
    }

    /// Reads 32 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
        let (high, low) = digits.split_at(16);
        Some(Self(u128::from(hex(high)?) << 64 | u128::from(hex(low)?)))
    }
}

/// The number of 16 hex digits. Without a branch for each, which no processor guesses.
fn hex(digits: &[u8]) -> Option<u64> {
    let (mut number, mut is_hex) = (0, true);
    for digit in digits {
        is_hex &= digit.is_ascii_hexdigit();
        // Letters have bit 6, and `a` and `A` end in 1.
        number = number << 4 | u64::from((digit & 0x0f) + 9 * (digit >> 6));
    }
    is_hex.then_some(number)
}

impl FromStr for EventId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or("not 32 hex digits")
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself_and_nothing_else_is_one() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            let lower = EventId(id).to_string();
            for text in [lower.to_uppercase(), lower] {
                assert_eq!(EventId::parse(&text), Some(EventId(id)), "{text}");
            }
        }
        let id = EventId(7).to_string();
        for other in ["/", ":", "@", "G", "`", "g", "\u{80}", " ", "-", "+"] {
            for at in [0, 15, 16, 31] {
                let changed = format!("{}{other}{}", &id[..at], &id[at + 1..]);
                assert_eq!(EventId::parse(&changed), None, "{changed}");
            }
        }
        assert_eq!([&id[1..], &format!("0{id}"), ""].map(EventId::parse), [None; 3]);
    }

    /// Of one event it is the event's own, and of several the hash of all in one piece.
    #[test]
    fn the_id_of_a_message_is_that_of_its_events_in_their_order() {
        let ids = [3, 1 << 100, 7].map(EventId);
        assert_eq!(EventId::of_message([ids[1]]), ids[1]);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.0.to_be_bytes()).collect();
        assert_eq!(EventId::of_message(ids), EventId(xxh3_128(&bytes)));
        assert_ne!(EventId::of_message(ids), EventId::of_message([ids[0], ids[2], ids[1]]));
    }
}
