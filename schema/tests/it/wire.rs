//! The wire form is a contract: these tests pin it to the byte, and show that what is written reads back.

use std::borrow::Cow;

use marketprism_schema::{
    Body, BookLevels, DataSource, DataType, Decimal, DecodeError, Event, EventId, FundingRate, Header,
    Liquidation, LongShortRatio, MarketType, OpenInterest, OrderBook, OrderBookDelta, Quote, Side, Trade,
    VolatilityIndex, WireForm, decode_json, decode_protobuf, encode_json,
};

fn event(body: Body<'_>) -> Event<'_> {
    let mut event = Event {
        header: Header {
            exchange: "sim_spot".into(),
            market_type: MarketType::Spot,
            symbol: "BTC-USDT".into(),
            venue_symbol: "BTC\"USDT\u{20bf}".into(),
            timestamp_us: 1_700_000_000_123_456,
            received_at_ns: 1_700_000_000_123_456_789,
            event_id: EventId::default(),
            edge: "edge-1".into(),
            region: "eu".into(),
            adapter: "sim@1.0.0+0123456789ab".into(),
            data_source: DataSource::Live,
        },
        body,
    };
    event.header.event_id = EventId::of(&event);
    event
}

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

fn trade(id: &str) -> Event<'_> {
    event(Body::Trade(Trade {
        trade_id: id.into(),
        price: decimal("64000.10"),
        quantity: decimal("0.00000500"),
        side: Side::Sell,
    }))
}

fn book(last_update_id: i64) -> Event<'static> {
    event(Body::OrderBook(OrderBook {
        last_update_id,
        checksum: None,
        levels: BookLevels {
            price_scale: 2,
            quantity_scale: 8,
            bids: Cow::Owned(vec![[6_400_010, 500], [6_400_000, 100_000_000]]),
            asks: Cow::Owned(vec![[6_400_020, 1]]),
        },
        depth: 400,
        epoch: 3,
    }))
}

fn delta(number: u64) -> Event<'static> {
    event(Body::OrderBookDelta(OrderBookDelta {
        epoch: 2,
        epoch_started_ns: 1_700_000_000_000_000_001,
        number,
        is_snapshot: false,
        parts_left: 1,
        first_update_id: 5,
        previous_update_id: Some(4),
        last_update_id: 7,
        checksum: Some(9),
        is_bids_partial: true,
        is_asks_partial: false,
        levels: BookLevels {
            price_scale: 2,
            quantity_scale: 8,
            bids: Cow::Owned(vec![[6_400_010, 500], [6_400_001, 0]]),
            asks: Cow::Owned(vec![[6_400_021, 1]]),
        },
    }))
}

fn quote(bid: Option<[i64; 2]>, ask: Option<[i64; 2]>) -> Event<'static> {
    event(Body::Quote(Quote { epoch: 2, last_update_id: 7, price_scale: 2, quantity_scale: 8, bid, ask }))
}

fn every_type() -> Vec<Event<'static>> {
    let ratio = || LongShortRatio {
        long: decimal("0.6"),
        short: decimal("0.4"),
        ratio: Some(decimal("1.5")),
        period: "5m".into(),
    };
    vec![
        trade("42"),
        book(7),
        event(Body::FundingRate(FundingRate {
            funding_rate: decimal("-0.0001"),
            funding_time_us: Some(1),
            next_funding_time_us: None,
            interval_hours: Some(4),
            mark_price: Some(decimal("1.5")),
            index_price: None,
        })),
        event(Body::OpenInterest(OpenInterest {
            open_interest: Some(decimal("10659.509")),
            open_interest_contracts: None,
            open_interest_value: None,
        })),
        event(Body::Liquidation(Liquidation {
            side: Side::Buy,
            price: decimal("9910"),
            quantity: decimal("0.014"),
            liquidation_time_us: Some(9),
            liquidation_id: "a-1".into(),
        })),
        event(Body::LsrTopPosition(ratio())),
        event(Body::LsrAllAccount(ratio())),
        event(Body::VolatilityIndex(VolatilityIndex {
            index_value: decimal("129.36"),
            underlying_asset: "BTC".into(),
        })),
        delta(3),
        quote(Some([6_400_010, 500]), Some([6_400_020, 100_000_000])),
    ]
}

fn json(event: &Event<'_>) -> String {
    let mut out = Vec::new();
    encode_json(event, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_trade_is_written_to_the_byte() {
    let trade = trade("42");
    let id = trade.header.event_id;
    let expected = format!(
        concat!(
            r#"{{"data_type":"trade","exchange":"sim_spot","market_type":"spot","symbol":"BTC-USDT","venue_symbol":"BTC\"USDT₿","#,
            r#""timestamp":1700000000123456,"received_at":1700000000123456789,"event_id":"{id}","edge":"edge-1","region":"eu","#,
            r#""adapter":"sim@1.0.0+0123456789ab","trade_id":"42","price":"64000.1","quantity":"0.000005","side":"sell","is_maker":true}}"#
        ),
        id = id
    );
    assert_eq!(json(&trade), expected);
}

#[test]
fn a_book_is_written_to_the_byte() {
    let text = json(&book(7));
    let own = r#""last_update_id":7,"bids":[["64000.1","0.000005"],["64000","1"]],"asks":[["64000.2","0.00000001"]],"depth":400,"epoch":3}"#;
    assert!(text.ends_with(own), "{text}");
}

#[test]
fn a_book_delta_is_written_to_the_byte_and_known_by_edge_epoch_and_number() {
    let text = json(&delta(3));
    let own = r#""epoch":2,"epoch_started_at":1700000000000000001,"number":3,"is_snapshot":false,"parts_left":1,"first_update_id":5,"previous_update_id":4,"last_update_id":7,"checksum":9,"is_bids_partial":true,"is_asks_partial":false,"bids":[["64000.1","0.000005"],["64000.01","0"]],"asks":[["64000.21","0.00000001"]]}"#;
    assert!(text.ends_with(own), "{text}");
    let mut other = delta(3);
    other.header.edge = "edge-2".into();
    assert_ne!(EventId::of(&other), EventId::of(&delta(3)), "edges number on their own");
    let [third, fourth] = [3, 4].map(|number| EventId::of(&delta(number)));
    assert_ne!(third.low_half(), fourth.low_half());
    assert_eq!(third.0 >> 64, fourth.0 >> 64, "ids of one epoch have one half in common");
    let mut later = delta(3);
    if let Body::OrderBookDelta(delta) = &mut later.body {
        delta.epoch_started_ns += 1;
    }
    assert_ne!(EventId::of(&later).0 >> 64, third.0 >> 64);
}

#[test]
fn a_quote_is_written_to_the_byte_and_survives_without_a_side_in_both_forms() {
    let (bid, ask) = (Some([6_400_010, 500]), Some([6_400_020, 100_000_000]));
    let whole = quote(bid, ask);
    let text = json(&whole);
    let own = r#""epoch":2,"last_update_id":7,"bid_price":"64000.1","bid_quantity":"0.000005","ask_price":"64000.2","ask_quantity":"1"}"#;
    assert!(text.ends_with(own), "{text}");
    let mut packed = Vec::new();
    WireForm::Protobuf.encode(&whole, &mut packed);
    let hex: String = packed.iter().skip(packed.len() - 25).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "721708021007180220082894a08d0630f40338144080c2d72f");
    let extreme = Some([i64::MIN, i64::MAX]);
    for [bid, ask] in [[bid, None], [None, ask], [None, None], [extreme, ask], [None, extreme]] {
        let event = quote(bid, ask);
        for form in [WireForm::Json, WireForm::Protobuf] {
            let mut payload = Vec::new();
            form.encode(&event, &mut payload);
            let Body::Quote(read) = form.decode(&payload).unwrap().body else { panic!("{form:?}") };
            let Body::Quote(written) = event.body else { panic!("no quote") };
            assert!(read.has_levels_of(&written), "{read:?} {written:?}");
            assert_eq!((read.epoch, read.last_update_id), (written.epoch, written.last_update_id));
        }
    }
    let half = text.replace(r#""ask_quantity":"1""#, r#""other":"1""#);
    assert!(decode_json(half.as_bytes()).unwrap_err().to_string().contains("ask_quantity"), "{half}");
}

#[test]
fn two_edges_give_one_quote_one_id_and_its_values_and_place_tell_it_apart() {
    let (bid, ask) = (Some([6_400_010, 500]), Some([6_400_020, 100_000_000]));
    let own = quote(bid, ask);
    let id_with = |change: &dyn Fn(&mut Event<'_>, &mut Quote)| {
        let mut event = own.clone();
        let Body::Quote(mut changed) = event.body else { panic!("no quote") };
        change(&mut event, &mut changed);
        event.body = Body::Quote(changed);
        EventId::of(&event)
    };
    let other_edge = id_with(&|event, quote| {
        event.header.edge = "edge-2".into();
        event.header.received_at_ns += 1;
        quote.epoch = 9;
    });
    assert_eq!(other_edge, own.header.event_id);
    let finer = id_with(&|_, quote| {
        quote.price_scale = 3;
        (quote.bid, quote.ask) = (Some([64_000_100, 500]), Some([64_000_200, 100_000_000]));
    });
    assert_eq!(finer, own.header.event_id, "the same numbers at another scale");
    let mut ids = std::collections::BTreeSet::from([own.header.event_id]);
    ids.insert(id_with(&|event, _| event.header.timestamp_us += 1));
    ids.insert(id_with(&|_, quote| quote.last_update_id += 1));
    ids.insert(id_with(&|_, quote| quote.bid = None));
    ids.insert(id_with(&|_, quote| quote.bid = Some([6_400_010, 501])));
    ids.insert(id_with(&|_, quote| (quote.bid, quote.ask) = (None, bid)));
    assert_eq!(ids.len(), 6);
    let halves: std::collections::BTreeSet<u128> = ids.iter().map(|id| id.0 >> 64).collect();
    assert_eq!(halves.len(), 1, "ids of one stream have one half in common");
}

#[test]
fn every_data_type_reads_back() {
    for event in every_type() {
        let text = json(&event);
        let read = decode_json(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(json(&read), text);
        assert_eq!(read.body.data_type(), event.body.data_type());
        assert_eq!(EventId::of(&read), event.header.event_id, "{text}");
    }
    assert_eq!(every_type().len(), DataType::ALL.len());
}

#[test]
fn every_data_type_survives_the_packed_form() {
    let extreme = [[i64::MIN, i64::MAX], [i64::MAX, i64::MIN], [0, -1]];
    let mut wide = book(i64::MIN);
    if let Body::OrderBook(book) = &mut wide.body {
        book.levels.bids = Cow::Owned(extreme.to_vec());
    }
    for event in every_type().into_iter().chain([wide]) {
        let mut packed = Vec::new();
        WireForm::Protobuf.encode(&event, &mut packed);
        let read = WireForm::Protobuf.decode(&packed).unwrap();
        assert_eq!(read, event);
        assert!(packed.len() < json(&event).len());
    }
}

#[test]
fn a_packed_book_is_written_to_the_byte() {
    let mut packed = Vec::new();
    WireForm::Protobuf.encode(&book(7), &mut packed);
    let hex: String = packed.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "0a0873696d5f73706f7410011a084254432d55534454220b4254432255534454e282bf2a06656467652d31320265753a1673696d40312e302e302b303132333435363738396162424308c0c480c1c1c4820310aa0c1a1066a301543e7f79da2d74c15701a8f59332230807109003180320022808320594a08d06133a06e8078084af5f4204a8a08d064a0102"
    );
}

#[test]
fn bad_packed_payloads_are_refused_by_name() {
    let mut packed = Vec::new();
    WireForm::Protobuf.encode(&trade("42"), &mut packed);
    for end in 0..packed.len() {
        assert!(decode_protobuf(&packed[..end]).is_err(), "cut at {end}");
    }
    let mut wrong = trade("42");
    if let Body::Trade(trade) = &mut wrong.body {
        trade.price.scale = 19;
    }
    packed.clear();
    WireForm::Protobuf.encode(&wrong, &mut packed);
    assert!(decode_protobuf(&packed).unwrap_err().to_string().contains("scale is not 0 to 18"));
}

#[test]
fn event_ids_never_change() {
    assert_eq!(EventId::of(&trade("42")).to_string(), "3b11ce237f6264f9757119318cf102ee");
    assert_eq!(EventId::of(&book(7)).to_string(), "66a301543e7f79da2d74c15701a8f593");
}

#[test]
fn event_ids_tell_events_apart_and_edges_not() {
    let mut other_edge = trade("42");
    other_edge.header.edge = "edge-2".into();
    other_edge.header.received_at_ns += 1;
    assert_eq!(EventId::of(&other_edge), trade("42").header.event_id);
    assert_ne!(trade("43").header.event_id, trade("42").header.event_id);
    let mut other_market = trade("42");
    other_market.header.market_type = MarketType::Perpetual;
    assert_ne!(EventId::of(&other_market), trade("42").header.event_id);
    let mut state = book(7);
    let mut id_with = |checksum| {
        let Body::OrderBook(book) = &mut state.body else { panic!("not a book") };
        book.checksum = checksum;
        for form in [WireForm::Json, WireForm::Protobuf] {
            let mut payload = Vec::new();
            form.encode(&state, &mut payload);
            let read = form.decode(&payload).unwrap();
            assert!(matches!(read.body, Body::OrderBook(book) if book.checksum == checksum), "{form:?}");
        }
        EventId::of(&state)
    };
    // Two states of one time, and a snapshot that repeats the first.
    let [first, second, again] = [1_158_635_842, 2_309_317_084, 1_158_635_842].map(|sum| id_with(Some(sum)));
    assert!(first != second && first == again && first != id_with(None));
    let mut forced = every_type().swap_remove(4);
    let ids = ["", "1", "2"].map(|id| {
        let Body::Liquidation(order) = &mut forced.body else { panic!("not a liquidation") };
        order.liquidation_id = id.into();
        EventId::of(&forced)
    });
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "the venue says that they are two");
    let mut renumbered = book(7);
    renumbered.header.timestamp_us += 1;
    assert_ne!(EventId::of(&renumbered), book(7).header.event_id, "a venue may count from the start again");
}

#[test]
fn bad_payloads_are_refused_by_name() {
    let good = json(&trade("42"));
    for (from, to, expected) in [
        ("\"price\":\"64000.1\"", "\"price\":64000.1", "decimal in a string"),
        ("\"price\":\"64000.1\"", "\"price\":\"1e5\"", "1e5"),
        ("\"price\":\"64000.1\",", "", "price"),
        ("\"side\":\"sell\"", "\"side\":\"SELL\"", "side: \"SELL\" is not one of buy, sell"),
        ("\"is_maker\":true", "\"is_maker\":false", "contradicts side sell"),
        ("\"data_type\":\"trade\"", "\"data_type\":\"trades\"", "\"trades\" is not one of trade"),
        ("\"event_id\":\"", "\"event_id\":\"x", "32 hex digits"),
        ("\"timestamp\":1700000000123456", "\"timestamp\":1.5", "1.5"),
    ] {
        assert!(good.contains(from), "{from}");
        let error: DecodeError = decode_json(good.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{to}: {error}");
    }
    let book = json(&book(7)).replacen("\"1\"]]", "\"9223372036854775807\"]]", 1);
    assert!(decode_json(book.as_bytes()).unwrap_err().to_string().contains("63 bits"), "{book}");
}

#[test]
fn a_trade_from_the_history_has_the_id_of_its_live_copy_and_says_where_it_came_from() {
    let live = trade("12345");
    let mut filled = live.clone();
    filled.header.data_source = DataSource::Backfill;
    assert_eq!(EventId::of(&live), EventId::of(&filled));
    for form in [WireForm::Json, WireForm::Protobuf] {
        let mut payload = Vec::new();
        form.encode(&filled, &mut payload);
        assert_eq!(form.decode(&payload).unwrap(), filled, "{form:?}");
    }
    let mut payload = Vec::new();
    encode_json(&filled, &mut payload);
    let text = String::from_utf8(payload).unwrap();
    let place = r#""adapter":"sim@1.0.0+0123456789ab","data_source":"backfill","trade_id":"12345""#;
    assert!(text.contains(place), "{text}");
    let other = text.replace("backfill", "elsewhere");
    let error = decode_json(other.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, r#"payload: data_source: "elsewhere" is not one of live, backfill"#);
}
