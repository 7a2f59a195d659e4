//! The event of a trade as edges write it: known fields, each at most once, in rising order. Its texts are those of the payload, so that reading it
//! allocates nothing. Any other form is left to the general reader, which decides what is an error.

use prost::encoding::decode_varint;

use super::fields::{BYTES, VARINT};
use super::numbers::scale;
use crate::{Decimal, Side, Trade};

pub(super) struct WrittenTrade<'a> {
    pub(super) timestamp_us: i64,
    pub(super) received_after: i64,
    pub(super) event_id: &'a [u8],
    pub(super) source: i32,
    pub(super) trade: Trade<'a>,
}

/// None for an event that is no trade in this form.
pub(super) fn written_trade(event: &[u8]) -> Option<WrittenTrade<'_>> {
    const TIMESTAMP: u64 = 1 << 3 | VARINT;
    const RECEIVED_AFTER: u64 = 2 << 3 | VARINT;
    const EVENT_ID: u64 = 3 << 3 | BYTES;
    const DATA_SOURCE: u64 = 4 << 3 | VARINT;
    const TRADE: u64 = 5 << 3 | BYTES;
    let (mut timestamp_us, mut received_after, mut source) = (0, 0, 0);
    let (mut event_id, mut trade): (&[u8], _) = (&[], None);
    each_field(event, |tag, rest| {
        match tag {
            TIMESTAMP => timestamp_us = rest.varint()?.cast_signed(),
            RECEIVED_AFTER => received_after = zigzag(rest.varint()?),
            EVENT_ID => event_id = rest.bytes()?,
            DATA_SOURCE => source = i32::try_from(rest.varint()?).ok()?,
            TRADE => trade = Some(read_trade(rest.bytes()?)?),
            _ => return None,
        }
        Some(())
    })?;
    Some(WrittenTrade { timestamp_us, received_after, event_id, source, trade: trade? })
}

fn read_trade(message: &[u8]) -> Option<Trade<'_>> {
    const TRADE_ID: u64 = 1 << 3 | BYTES;
    const PRICE: u64 = 2 << 3 | BYTES;
    const QUANTITY: u64 = 3 << 3 | BYTES;
    const SIDE: u64 = 4 << 3 | VARINT;
    let (mut trade_id, mut price, mut quantity, mut side) = ("", None, None, None);
    each_field(message, |tag, rest| {
        match tag {
            TRADE_ID => trade_id = std::str::from_utf8(rest.bytes()?).ok()?,
            PRICE => price = Some(decimal(rest.bytes()?)?),
            QUANTITY => quantity = Some(decimal(rest.bytes()?)?),
            SIDE => side = side_of(rest.varint()?),
            _ => return None,
        }
        Some(())
    })?;
    Some(Trade { trade_id: trade_id.into(), price: price?, quantity: quantity?, side: side? })
}

const fn side_of(number: u64) -> Option<Side> {
    match number {
        1 => Some(Side::Buy),
        2 => Some(Side::Sell),
        _ => None,
    }
}

fn decimal(message: &[u8]) -> Option<Decimal> {
    const MANTISSA: u64 = 1 << 3 | VARINT;
    const SCALE: u64 = 2 << 3 | VARINT;
    let (mut mantissa, mut places) = (0, 0);
    each_field(message, |tag, rest| {
        match tag {
            MANTISSA => mantissa = zigzag(rest.varint()?),
            SCALE => places = u32::try_from(rest.varint()?).ok()?,
            _ => return None,
        }
        Some(())
    })?;
    Some(Decimal { mantissa, scale: scale(places, "scale").ok()? })
}

/// Runs `each`, which takes the value, over the tags of fields whose numbers rise.
fn each_field<'a>(
    message: &'a [u8],
    mut each: impl FnMut(u64, &mut FieldCursor<'a>) -> Option<()>,
) -> Option<()> {
    let (mut rest, mut before) = (FieldCursor(message), 0);
    while !rest.0.is_empty() {
        let tag = rest.varint()?;
        let number = tag >> 3;
        if std::mem::replace(&mut before, number) >= number {
            return None;
        }
        each(tag, &mut rest)?;
    }
    Some(())
}

struct FieldCursor<'a>(&'a [u8]);

impl<'a> FieldCursor<'a> {
    /// Most have one byte.
    fn varint(&mut self) -> Option<u64> {
        match self.0.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.0 = rest;
                Some(byte.into())
            }
            _ => decode_varint(&mut self.0).ok(),
        }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// Number of a `sint64`.
const fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::PackedEvents;
    use crate::wire::protobuf::message::event::Body;
    use crate::wire::protobuf::message::{
        Decimal as DecimalMessage, Event as EventMessage, Side as SideName, Trade as TradeMessage,
    };

    fn message(mantissa: i64, places: u32, side: SideName) -> EventMessage {
        let trade = TradeMessage {
            trade_id: "7-é".to_owned(),
            price: Some(DecimalMessage { mantissa, scale: places }),
            quantity: Some(DecimalMessage { mantissa: 3, scale: 0 }),
            side: side.into(),
        };
        EventMessage {
            timestamp: 1_700_000_000_000_000,
            received_after: -mantissa,
            event_id: vec![9; 16],
            data_source: 1,
            body: Some(Body::Trade(trade)),
        }
    }

    fn packed(event: &[u8]) -> Vec<u8> {
        let length = u8::try_from(event.len()).unwrap();
        [&[0x10, 1, 0x42, length][..], event].concat()
    }

    #[test]
    fn a_trade_as_edges_write_it_is_read_as_by_the_general_reader() {
        for mantissa in [0, 1, -1, 6_400_010, i64::MAX, i64::MIN + 1] {
            for (places, name, side) in [(0, SideName::Buy, Side::Buy), (18, SideName::Sell, Side::Sell)] {
                let event = message(mantissa, places, name);
                let bytes = event.encode_to_vec();
                let read = written_trade(&bytes).unwrap();
                assert_eq!(
                    (read.timestamp_us, read.received_after, read.event_id, read.source),
                    (event.timestamp, event.received_after, &event.event_id[..], event.data_source)
                );
                let price = Decimal { mantissa, scale: u8::try_from(places).unwrap() };
                assert_eq!((&*read.trade.trade_id, read.trade.price, read.trade.side), ("7-é", price, side));
                // A field of a later version, before all others, leads to the general reader.
                let other = [&[0x78, 1][..], &bytes].concat();
                assert!(written_trade(&other).is_none());
                let both = [packed(&bytes), packed(&other)];
                let [by_fields, by_message] =
                    both.each_ref().map(|payload| PackedEvents::split(payload).unwrap().event(0).unwrap());
                assert_eq!(by_fields, by_message);
            }
        }
    }

    #[test]
    fn what_the_general_reader_refuses_or_reads_otherwise_is_left_to_it() {
        let whole = message(5, 2, SideName::Buy).encode_to_vec();
        let twice = [&whole[..], &whole[..8]].concat();
        for (what, bytes) in [
            ("a side that is none", message(5, 2, SideName::Unspecified).encode_to_vec()),
            ("19 places", message(5, 19, SideName::Buy).encode_to_vec()),
            ("cut", whole[..whole.len() - 1].to_vec()),
            ("the first field again", twice),
            ("no body", EventMessage { body: None, ..message(5, 2, SideName::Buy) }.encode_to_vec()),
        ] {
            assert!(written_trade(&bytes).is_none(), "{what}");
        }
    }
}
