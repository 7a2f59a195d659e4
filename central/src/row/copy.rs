use marketprism_schema::Event;

use super::{CREATED_AT_BYTES, binary};

/// A message whose event another message brought.
#[derive(Debug, Clone, Copy)]
pub struct EventCopy<'a> {
    pub event: &'a Event<'a>,
    pub stream: &'a str,
    pub stream_seq: u64,
    /// How it was recognized: `recent`, `in_flight` or `stored`.
    pub found: &'a str,
}

/// Appends a row of `copies`, `created_at` zero.
pub fn encode_copy(copy: &EventCopy<'_>, out: &mut Vec<u8>) {
    let header = &copy.event.header;
    let data_type = copy.event.body.data_type();
    for text in [data_type.as_str(), &header.exchange, header.market_type.as_str(), &header.symbol] {
        binary::text(out, text);
    }
    binary::uint128(out, header.event_id.0);
    binary::text(out, &header.edge);
    binary::int64(out, header.received_at_ns);
    binary::text(out, copy.stream);
    binary::uint64(out, copy.stream_seq);
    binary::text(out, copy.found);
    out.extend_from_slice(&[0; CREATED_AT_BYTES]);
}
