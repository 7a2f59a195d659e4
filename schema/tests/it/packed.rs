//! Several events in one packed message.

use marketprism_schema::{
    Body, BookLevels, DataSource, Decimal, Event, EventId, Header, MarketType, OrderBookDelta, Side, Trade,
    WireForm, decode_protobuf, split_packed_header,
};

/// Numbers without a pattern, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    /// Any number, more often one at an end.
    fn wide(&mut self) -> i64 {
        match self.next() % 4 {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => (self.next().cast_signed() << 24) ^ self.next().cast_signed(),
        }
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.next() % bound).unwrap()
    }

    fn levels(&mut self) -> Vec<[i64; 2]> {
        (0..self.below(5)).map(|_| [self.wide(), self.wide()]).collect()
    }

    fn event(&mut self) -> Event<'static> {
        let body = if self.next().is_multiple_of(2) {
            Body::Trade(Trade {
                trade_id: "7".repeat(self.below(200)).into(),
                price: Decimal { mantissa: self.wide(), scale: 18 },
                quantity: Decimal { mantissa: self.wide(), scale: 0 },
                side: Side::Sell,
            })
        } else {
            Body::OrderBookDelta(OrderBookDelta {
                epoch: 3,
                epoch_started_ns: self.wide(),
                number: self.next(),
                is_snapshot: self.next().is_multiple_of(2),
                parts_left: 0,
                first_update_id: self.wide(),
                previous_update_id: Some(self.wide()).filter(|id| id % 2 == 0),
                last_update_id: self.wide(),
                checksum: Some(self.wide()).filter(|sum| sum % 2 == 0),
                is_bids_partial: true,
                is_asks_partial: false,
                levels: BookLevels {
                    price_scale: 2,
                    quantity_scale: 8,
                    bids: self.levels().into(),
                    asks: self.levels().into(),
                },
            })
        };
        let data_source = if self.next().is_multiple_of(2) { DataSource::Live } else { DataSource::Backfill };
        let header = Header {
            exchange: "sim_spot".into(),
            market_type: MarketType::Spot,
            symbol: "BTC-USDT".into(),
            venue_symbol: "BTC\u{20bf}".into(),
            timestamp_us: self.wide(),
            received_at_ns: self.wide(),
            event_id: EventId(u128::from(self.next()) << 64 | u128::from(self.next())),
            edge: "edge-1".into(),
            region: "eu".into(),
            adapter: "sim@1.0.0+0123456789ab".into(),
            data_source,
        };
        let mut event = Event { header, body };
        // Half of such an id is not in the message.
        if let Some(shared) = EventId::shared_half(&event.header, &event.body) {
            event.header.event_id.0 = u128::from(shared) << 64 | u128::from(event.header.event_id.low_half());
        }
        event
    }
}

fn packed(event: &Event<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    WireForm::Protobuf.encode(event, &mut payload);
    payload
}

/// As an edge does: the first message whole, of the others what comes behind the header.
fn joined(events: &[Event<'_>]) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        let one = packed(event);
        let (header, event) = split_packed_header(&one).unwrap();
        if all.is_empty() {
            all.extend_from_slice(header);
        }
        assert!(all.starts_with(header), "one header for all");
        all.extend_from_slice(event);
    }
    all
}

#[test]
fn events_of_any_values_survive_in_one_message_in_their_order_and_each_alone() {
    let mut numbers = Numbers(7);
    for _ in 0..500 {
        let events: Vec<_> = (0..=numbers.below(40)).map(|_| numbers.event()).collect();
        let message = joined(&events);
        assert_eq!(WireForm::Protobuf.decode_all(&message).unwrap(), events);
        let parts = WireForm::Protobuf.split(&message).unwrap();
        assert_eq!(parts.len(), events.len());
        for (place, event) in events.iter().enumerate() {
            assert_eq!(*parts.alone(place), packed(event));
        }
        assert_eq!(decode_protobuf(&message).is_ok(), events.len() == 1, "several are not one");
    }
}

#[test]
fn a_message_that_is_cut_anywhere_is_refused_or_has_its_first_events_only() {
    let mut numbers = Numbers(11);
    let events: Vec<_> = (0..6).map(|_| numbers.event()).collect();
    let message = joined(&events);
    for end in 0..message.len() {
        if let Ok(found) = WireForm::Protobuf.decode_all(&message[..end]) {
            assert!(!found.is_empty() && found.len() < events.len(), "cut at {end}");
            assert_eq!(found, events[..found.len()]);
        }
    }
    // No byte of it makes the reader fail otherwise than by an error.
    for place in 0..message.len() {
        for byte in [0, 0x42, 0x7f, 0x80, 0xff] {
            let mut other = message.clone();
            other[place] = byte;
            let _ = WireForm::Protobuf.decode_all(&other);
        }
    }
}

#[test]
fn one_wrong_event_leaves_the_others_readable() {
    let mut numbers = Numbers(13);
    let events: Vec<_> = (0..3).map(|_| numbers.event()).collect();
    let mut message = joined(&events[..1]);
    message.extend_from_slice(&[0x42, 2, 0x1a, 0]);
    let rest = joined(&events[1..]);
    message.extend_from_slice(split_packed_header(&rest).unwrap().1);
    let parts = WireForm::Protobuf.split(&message).unwrap();
    let found: Vec<_> = (0..parts.len()).map(|place| parts.event(place).ok()).collect();
    let [first, second, third] = &events[..] else { panic!("three") };
    assert_eq!(found, [Some(first.clone()), None, Some(second.clone()), Some(third.clone())]);
    assert!(parts.event(1).unwrap_err().to_string().contains("body is not one of the known types"));
    assert!(parts.alone(1).ends_with(&[0x42, 2, 0x1a, 0]), "what is refused is kept with its header");
}

#[test]
fn the_id_of_a_message_is_that_of_its_events_in_their_order() {
    let [a, b] = [EventId(1), EventId(2)];
    assert_eq!(EventId::of_message([a]), a, "an event alone has one id in every form");
    assert_eq!(EventId::of_message([a, b]).to_string(), EventId::of_message([a, b]).to_string());
    let all = [vec![a, b], vec![b, a], vec![a, a], vec![a, b, a], vec![a], vec![b]];
    let ids: std::collections::BTreeSet<EventId> = all.into_iter().map(EventId::of_message).collect();
    assert_eq!(ids.len(), 6);
}

/// Changes of books are most of the bytes in a broker.
#[test]
fn a_change_is_small_alone_and_takes_less_than_two_thirds_of_it_among_sixteen() {
    let mut numbers = Numbers(17);
    let mut change = |number: u64| {
        let mut event = numbers.event();
        event.header.data_source = DataSource::Live;
        event.header.timestamp_us = 1_763_800_000_000_000;
        event.header.received_at_ns = 1_763_800_000_000_456_789;
        event.body = Body::OrderBookDelta(OrderBookDelta {
            epoch: 1,
            epoch_started_ns: 1_763_799_000_000_000_000,
            number,
            is_snapshot: false,
            parts_left: 0,
            first_update_id: 60_000_000_000,
            previous_update_id: Some(59_999_999_999),
            last_update_id: 60_000_000_007,
            checksum: None,
            is_bids_partial: true,
            is_asks_partial: true,
            levels: BookLevels {
                price_scale: 2,
                quantity_scale: 5,
                bids: vec![[6_400_010, 50_000], [6_400_001, 0]].into(),
                asks: vec![[6_400_021, 1_000]].into(),
            },
        });
        event
    };
    let events: Vec<_> = (0..16).map(&mut change).collect();
    let (alone, together) = (packed(&events[0]).len(), joined(&events).len() / events.len());
    assert!(alone <= 140, "{alone} bytes, 66 of them the header");
    assert!(together * 3 <= alone * 2, "{alone} bytes alone, {together} of sixteen");
}

/// A refused event is stored with a copy of the header: a small message must not become many large ones.
#[test]
fn events_and_header_of_a_message_are_bounded() {
    let mut payload = Vec::new();
    WireForm::Protobuf.encode(&Numbers(7).event(), &mut payload);
    let (header, events) = split_packed_header(&payload).unwrap();
    let most = [header, &events.repeat(10_000)].concat();
    assert_eq!(WireForm::Protobuf.split(&most).unwrap().len(), 10_000);
    let more = [header, &events.repeat(10_001)].concat();
    let refused = WireForm::Protobuf.split(&more).unwrap_err().to_string();
    assert_eq!(refused, "payload: events is not at most 10000 events");
    // Field 6, the region, again and again: the last one counts.
    let field = [&[6 << 3 | 2, 100][..], &[b'r'; 100]].concat();
    let long = [&field.repeat(50), header, events].concat();
    let refused = WireForm::Protobuf.split(&long).unwrap_err().to_string();
    assert_eq!(refused, "payload: header is not at most 4096 bytes");
}
