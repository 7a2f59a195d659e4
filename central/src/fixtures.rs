//! Events and messages for unit tests.

use async_nats::{HeaderMap, Message};
use marketprism_schema::{
    Body, DataSource, Decimal, Event, EventId, Header, MarketType, Side, Trade, encode_protobuf,
    split_packed_header,
};

pub const TRADE_SUBJECT: &str = "trade.sim_spot.spot.A-B";

pub fn header() -> Header<'static> {
    Header {
        exchange: "sim_spot".into(),
        market_type: MarketType::Spot,
        symbol: "A-B".into(),
        venue_symbol: "AB".into(),
        timestamp_us: 1,
        received_at_ns: 2,
        event_id: EventId(3),
        edge: "e".into(),
        region: "r".into(),
        adapter: "a".into(),
        data_source: DataSource::Live,
    }
}

pub fn trade(header: Header<'static>, price: Decimal) -> Event<'static> {
    let quantity = Decimal { mantissa: 1, scale: 18 };
    Event { header, body: Body::Trade(Trade { trade_id: "7".into(), price, quantity, side: Side::Sell }) }
}

pub fn message(subject: &str, header: Option<(&str, &str)>, payload: Vec<u8>) -> Message {
    let headers = header.map(|(name, value)| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value);
        headers
    });
    Message {
        subject: subject.into(),
        reply: None,
        payload: payload.into(),
        headers,
        status: None,
        description: None,
        length: 0,
    }
}

/// Events of one header in one packed message.
pub fn packed(events: &[&Event<'_>]) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        let mut one = Vec::new();
        encode_protobuf(event, &mut one);
        let header = split_packed_header(&one).map_or(0, |(header, _)| header.len());
        all.extend(one.drain(if all.is_empty() { 0 } else { header }..));
    }
    all
}
