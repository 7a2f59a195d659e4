//! Framing of the packed form: the fields that all events of a message share, and its events one by one.

use std::borrow::Cow;

use prost::Message as _;
use prost::encoding::encode_varint;

use super::fields::{BYTES, Field, VARINT, next_field};
use super::message::Event as EventMessage;
use super::written_trade::{WrittenTrade, written_trade};
use super::{data_source, market_type, read_body};
use crate::wire::decode::DecodeError;
use crate::{Body, Event, EventId, Header, MarketType};

/// Number of the field with one event.
const EVENTS: u64 = 8;
/// Most events in a message. A refused event is stored with a copy of the header, so both are bounded.
const MESSAGE_EVENTS_MAX: usize = 10_000;
/// Fields that all events of a message share, of this version.
const HEADER_FIELDS: usize = 7;
/// Most bytes of them.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// A packed message, split into header and events. Nothing is copied.
#[derive(Debug, Clone)]
pub struct PackedEvents<'a> {
    header: SharedHeader<'a>,
    /// The fields that are not events.
    header_fields: Vec<&'a [u8]>,
    /// Each with its tag and length, and from where on it is the event itself.
    events: Vec<(&'a [u8], usize)>,
}

/// The part of a header that all events of a message share.
#[derive(Debug, Clone, Copy, Default)]
struct SharedHeader<'a> {
    exchange: &'a str,
    market_type: u64,
    symbol: &'a str,
    venue_symbol: &'a str,
    edge: &'a str,
    region: &'a str,
    adapter: &'a str,
}

impl<'a> PackedEvents<'a> {
    /// # Errors
    /// It is no packed message, has no event or more than 10,000, or a header of more than 4 KiB. A single wrong event is an
    /// error of [`Self::event`].
    pub fn split(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let (header, header_fields) = (SharedHeader::default(), Vec::with_capacity(HEADER_FIELDS));
        let mut packed = Self { header, header_fields, events: Vec::new() };
        let (mut rest, mut header_bytes) = (payload, 0_usize);
        while !rest.is_empty() {
            let field = next_field(&mut rest)?;
            if field.number == EVENTS {
                if packed.events.is_empty() {
                    // Most are as long as the first.
                    let more = rest.len() / field.whole.len().max(1);
                    packed.events.reserve_exact(more.saturating_add(1).min(MESSAGE_EVENTS_MAX));
                } else if packed.events.len() == MESSAGE_EVENTS_MAX {
                    return Err(DecodeError::Field("events", "at most 10000 events"));
                }
                packed.events.push((field.whole, field.whole.len() - field.bytes.len()));
            } else {
                header_bytes = header_bytes.saturating_add(field.whole.len());
                if header_bytes > HEADER_BYTES_MAX {
                    return Err(DecodeError::Field("header", "at most 4096 bytes"));
                }
                packed.header.set(&field)?;
                packed.header_fields.push(field.whole);
            }
        }
        if packed.events.is_empty() {
            return Err(DecodeError::Field("events", "one or more events"));
        }
        Ok(packed)
    }

    /// Number of events, at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub const fn len(&self) -> usize {
        self.events.len()
    }

    /// An event by its place in the message.
    ///
    /// # Errors
    /// It cannot be read, or there is none.
    pub fn event(&self, place: usize) -> Result<Event<'a>, DecodeError> {
        let field = self.events.get(place).ok_or(DecodeError::Field("events", "that many"))?;
        let bytes = field.0.get(field.1..).unwrap_or_default();
        if let Some(WrittenTrade { timestamp_us, received_after, event_id, source, trade }) =
            written_trade(bytes)
        {
            let received_at_ns = received_at_ns(timestamp_us, received_after);
            return self.with_header(Body::Trade(trade), (timestamp_us, received_at_ns), event_id, source);
        }
        let message = EventMessage::decode(bytes)?;
        let body = message.body.ok_or(DecodeError::Field("body", "one of the known types"))?;
        let received_at_ns = received_at_ns(message.timestamp, message.received_after);
        let body = read_body(body, received_at_ns)?;
        self.with_header(body, (message.timestamp, received_at_ns), &message.event_id, message.data_source)
    }

    /// `times`: of the venue in microseconds, of the receipt in nanoseconds.
    #[inline]
    fn with_header(
        &self,
        body: Body<'a>,
        times: (i64, i64),
        event_id: &[u8],
        source: i32,
    ) -> Result<Event<'a>, DecodeError> {
        let SharedHeader { exchange, symbol, venue_symbol, edge, region, adapter, .. } = self.header;
        let mut header = Header {
            exchange: exchange.into(),
            market_type: self.header.market_type()?,
            symbol: symbol.into(),
            venue_symbol: venue_symbol.into(),
            timestamp_us: times.0,
            received_at_ns: times.1,
            event_id: EventId::default(),
            edge: edge.into(),
            region: region.into(),
            adapter: adapter.into(),
            data_source: data_source(source)?,
        };
        header.event_id = read_id(event_id, &header, &body)?;
        Ok(Event { header, body })
    }

    /// The message that has this event only.
    pub fn alone(&self, place: usize) -> Vec<u8> {
        let event = self.events.get(place).map(|(whole, _)| *whole);
        self.header_fields.iter().copied().chain(event).flatten().copied().collect()
    }
}

const fn received_at_ns(timestamp_us: i64, received_after: i64) -> i64 {
    timestamp_us.wrapping_mul(1_000).wrapping_add(received_after)
}

impl<'a> SharedHeader<'a> {
    fn set(&mut self, field: &Field<'a>) -> Result<(), DecodeError> {
        let text = match field.number {
            1 => &mut self.exchange,
            2 => {
                self.market_type = field.varint;
                return Ok(());
            }
            3 => &mut self.symbol,
            4 => &mut self.venue_symbol,
            5 => &mut self.edge,
            6 => &mut self.region,
            7 => &mut self.adapter,
            // Of a later version.
            _ => return Ok(()),
        };
        *text = std::str::from_utf8(field.bytes)
            .map_err(|_| DecodeError::Field("a text of the header", "UTF-8"))?;
        Ok(())
    }

    fn market_type(&self) -> Result<MarketType, DecodeError> {
        market_type(i32::try_from(self.market_type).unwrap_or_default())
    }
}

/// Appends the fields of a header.
pub(super) fn write_header(header: &Header<'_>, market_type: i32, out: &mut Vec<u8>) {
    let Header { exchange, symbol, venue_symbol, edge, region, adapter, .. } = header;
    write_text(1, exchange, out);
    encode_varint(2 << 3 | VARINT, out);
    encode_varint(u64::try_from(market_type).unwrap_or_default(), out);
    for (number, text) in [(3, symbol), (4, venue_symbol), (5, edge), (6, region), (7, adapter)] {
        write_text(number, text, out);
    }
}

fn write_text(number: u64, text: &str, out: &mut Vec<u8>) {
    write_bytes(number, text.as_bytes(), out);
}

fn write_bytes(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    encode_varint(number << 3 | BYTES, out);
    encode_varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(bytes);
}

/// Appends an event.
pub(super) fn write_event(event: &EventMessage, out: &mut Vec<u8>) {
    encode_varint(EVENTS << 3 | BYTES, out);
    out.extend_from_slice(&event.encode_length_delimited_to_vec());
}

/// The half that follows from the event is left out.
pub(super) fn written_id(id: EventId, body: &Body<'_>) -> Vec<u8> {
    match body {
        Body::OrderBookDelta(_) | Body::Quote(_) => id.low_half().to_be_bytes().to_vec(),
        _ => id.0.to_be_bytes().to_vec(),
    }
}

fn read_id(bytes: &[u8], header: &Header<'_>, body: &Body<'_>) -> Result<EventId, DecodeError> {
    let of = |allowed| DecodeError::Field("event_id", allowed);
    let Some(shared) = EventId::shared_half(header, body) else {
        let id = bytes.try_into().map_err(|_| of("16 bytes"))?;
        return Ok(EventId(u128::from_be_bytes(id)));
    };
    let low: [u8; 8] = bytes.try_into().map_err(|_| of("8 bytes"))?;
    Ok(EventId(u64::from_be_bytes(low).into()).with_high_half(shared))
}

/// Header and events of a packed message whose header comes first, as edges write it. Two messages with the same header are joined by
/// appending the events of the second to the first.
///
/// # Errors
/// It is no such message.
pub fn split_packed_header(payload: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let mut rest = payload;
    let mut header = 0;
    while !rest.is_empty() {
        let field = next_field(&mut rest)?;
        if field.number == EVENTS {
            return Ok(payload.split_at(header));
        }
        header += field.whole.len();
    }
    Err(DecodeError::Field("events", "one or more events"))
}

/// The events of a payload in one of the forms.
#[derive(Debug, Clone)]
pub enum PayloadEvents<'a> {
    /// One event.
    Json(&'a [u8]),
    /// One or more.
    Packed(PackedEvents<'a>),
}

impl<'a> PayloadEvents<'a> {
    /// Number of events, at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub const fn len(&self) -> usize {
        match self {
            Self::Json(_) => 1,
            Self::Packed(packed) => packed.len(),
        }
    }

    /// An event by its place in the payload.
    ///
    /// # Errors
    /// It cannot be read, or there is none.
    pub fn event(&self, place: usize) -> Result<Event<'a>, DecodeError> {
        match self {
            Self::Json(payload) => crate::decode_json(payload),
            Self::Packed(packed) => packed.event(place),
        }
    }

    /// The payload that has this event only.
    pub fn alone(&self, place: usize) -> Cow<'a, [u8]> {
        match self {
            Self::Json(payload) => (*payload).into(),
            Self::Packed(packed) => packed.alone(place).into(),
        }
    }
}
