//! False events are refused with field, value and what is allowed; true ones pass, however odd.

use marketprism_schema::{
    Body, BookLevels, DataSource, Decimal, Event, EventChecks, EventId, FundingRate, Header, InvalidKind,
    Liquidation, LongShortRatio, MarketType, OpenInterest, OrderBook, Quote, RECEIVED_AHEAD_MAX,
    RECEIVED_BEHIND_MAX, Side, Trade, VolatilityIndex, is_edge_name, validate_event,
};

const NOW_NS: i64 = 1_763_800_000_000_000_000;
const NOW_US: i64 = NOW_NS / 1_000;

fn event(market_type: MarketType, body: Body<'static>) -> Event<'static> {
    let header = Header {
        exchange: "sim_spot".into(),
        market_type,
        symbol: "BTC-USDT".into(),
        venue_symbol: "BTC USDT\u{20bf}".into(),
        timestamp_us: NOW_US,
        received_at_ns: NOW_NS,
        event_id: EventId::default(),
        edge: "edge-1".into(),
        region: "eu".into(),
        adapter: "sim@1.0.0+0123456789ab".into(),
        data_source: DataSource::Live,
    };
    sealed(Event { header, body })
}

fn sealed(mut event: Event<'static>) -> Event<'static> {
    event.header.event_id = EventId::of(&event);
    event
}

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

fn trade(market_type: MarketType, price: &str, quantity: &str) -> Event<'static> {
    let (price, quantity) = (decimal(price), decimal(quantity));
    event(market_type, Body::Trade(Trade { trade_id: "7".into(), price, quantity, side: Side::Buy }))
}

fn book(bids: &[[i64; 2]], asks: &[[i64; 2]]) -> Event<'static> {
    let levels = BookLevels {
        price_scale: 2,
        quantity_scale: 3,
        bids: bids.to_vec().into(),
        asks: asks.to_vec().into(),
    };
    event(
        MarketType::Spot,
        Body::OrderBook(OrderBook { last_update_id: 1, checksum: None, levels, depth: 400, epoch: 1 }),
    )
}

fn funding(rate: &str, index: &str, next_us: i64, hours: u32) -> Event<'static> {
    let body = FundingRate {
        funding_rate: decimal(rate),
        funding_time_us: None,
        next_funding_time_us: Some(next_us),
        interval_hours: Some(hours),
        mark_price: None,
        index_price: Some(decimal(index)),
    };
    event(MarketType::Perpetual, Body::FundingRate(body))
}

fn quote(bid: Option<[i64; 2]>, ask: Option<[i64; 2]>) -> Event<'static> {
    let body = Quote { epoch: 0, last_update_id: 1, price_scale: 2, quantity_scale: 3, bid, ask };
    event(MarketType::Spot, Body::Quote(body))
}

fn liquidation(price: &str, quantity: &str) -> Event<'static> {
    let body = Liquidation {
        side: Side::Sell,
        price: decimal(price),
        quantity: decimal(quantity),
        liquidation_time_us: Some(NOW_US),
        liquidation_id: "".into(),
    };
    event(MarketType::Perpetual, Body::Liquidation(body))
}

fn interest(value: &str) -> Event<'static> {
    let body = OpenInterest {
        open_interest: Some(decimal(value)),
        open_interest_contracts: None,
        open_interest_value: None,
    };
    event(MarketType::Perpetual, Body::OpenInterest(body))
}

fn ratio(long: &str) -> Event<'static> {
    let (long, short) = (decimal(long), decimal("0.4"));
    let body = LongShortRatio { long, short, ratio: None, period: "5m".into() };
    event(MarketType::Perpetual, Body::LsrAllAccount(body))
}

fn with(change: impl FnOnce(&mut Header<'static>)) -> Event<'static> {
    let mut event = trade(MarketType::Spot, "1", "1");
    change(&mut event.header);
    sealed(event)
}

fn refused(event: &Event<'_>) -> (InvalidKind, String) {
    let error = validate_event(event, NOW_NS).expect_err(&format!("{event:?}"));
    (error.kind, error.to_string())
}

#[test]
fn what_cannot_be_true_is_refused_by_field_value_and_allowed() {
    use InvalidKind::{Book, Name, Price, Quantity, Time};
    let year_us = 366 * 86_400 * 1_000_000_i64;
    for (event, kind, text) in [
        (trade(MarketType::Spot, "-1", "1"), Price, "price: is -1, allowed: above 0"),
        (trade(MarketType::Perpetual, "0", "1"), Price, "price: is 0, allowed: above 0"),
        (trade(MarketType::Options, "-0.01", "1"), Price, "price: is -0.01, allowed: 0 or above"),
        (trade(MarketType::Spot, "1", "0"), Quantity, "quantity: is 0, allowed: above 0"),
        (
            book(&[[101, 1]], &[[100, 1]]),
            Book,
            "bids: is crossed: best bid 1.01, allowed: at most the best ask 1",
        ),
        (book(&[[100, 1], [100, 2]], &[]), Book, "bids: is 1 after 1, allowed: each price once, best first"),
        (book(&[], &[[100, 1], [99, 2]]), Book, "asks: is 0.99 after 1"),
        (
            quote(Some([101, 1]), Some([100, 1])),
            Book,
            "bid_price: is crossed: best bid 1.01, allowed: at most the best ask 1",
        ),
        (quote(Some([0, 1]), None), Price, "bid_price: is 0, allowed: above 0"),
        (quote(None, Some([1, 0])), Quantity, "ask_quantity: is 0, allowed: above 0"),
        (book(&[[-100, 1]], &[]), Price, "bids: is -1, allowed: above 0"),
        (book(&[], &[[100, -1]]), Quantity, "asks: is -0.001, allowed: above 0"),
        (funding("0.1", "-1", NOW_US, 8), Price, "index_price: is -1, allowed: 0 or above"),
        (funding("0.1", "1", NOW_US + year_us * 2, 8), Time, "next_funding_time: is"),
        (funding("0.1", "1", NOW_US, 0), Time, "interval_hours: is 0, allowed: 1 to 744"),
        (liquidation("0", "1"), Price, "price: is 0, allowed: above 0"),
        (liquidation("1", "-1"), Quantity, "quantity: is -1, allowed: above 0"),
        (interest("-5"), Quantity, "open_interest: is -5, allowed: 0 or above"),
        (ratio("1.01"), Quantity, "long ratio: is 1.01, allowed: 0 to 1"),
        (
            with(|header| header.timestamp_us = 1),
            Time,
            "timestamp: is 1, allowed: microseconds since 1970 from",
        ),
        (with(|header| header.timestamp_us = NOW_NS), Time, "timestamp: is 1763800000000000000"),
        (with(|header| header.edge = "e".repeat(33).into()), Name, "allowed: 1 to 32 of a-z, 0-9 and -"),
        (with(|header| header.edge = "\u{1b}[31m".into()), Name, r#"edge: is "\u{1b}[31m""#),
        (with(|header| header.region = "".into()), Name, r#"region: is """#),
        (with(|header| header.adapter = "a b".into()), Name, "adapter: is"),
        (with(|header| header.exchange = "Sim".into()), Name, "exchange: is"),
        (with(|header| header.symbol = "A B".into()), Name, "symbol: is"),
        (with(|header| header.venue_symbol = "x".repeat(5_000).into()), Name, "... (5000 bytes)"),
    ] {
        let (found, message) = refused(&event);
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(text), "{text}: {message}");
        assert!(message.len() < 300, "{message}");
    }
}

/// The names of a message's events are checked once, so any name that differs must be reported.
#[test]
fn names_of_a_later_event_are_checked_unless_all_are_those_of_the_one_before() {
    let before = trade(MarketType::Spot, "1", "1");
    let next = |event: &Event<'_>| {
        let mut checks = EventChecks::default();
        assert_eq!(checks.check(&before, None, NOW_NS), Ok(()));
        checks.check(event, Some(&before), NOW_NS).map_err(|error| (error.kind, error.field))
    };
    assert_eq!(next(&trade(MarketType::Spot, "2", "3")), Ok(()));
    assert_eq!(next(&trade(MarketType::Spot, "-1", "1")), Err((InvalidKind::Price, "price")));
    type Change = fn(&mut Header<'static>);
    let changes: [(&str, Change); 6] = [
        ("exchange", |header| header.exchange = "Sim".into()),
        ("symbol", |header| header.symbol = "A B".into()),
        ("venue_symbol", |header| header.venue_symbol = "".into()),
        ("edge", |header| header.edge = "E".into()),
        ("region", |header| header.region = "".into()),
        ("adapter", |header| header.adapter = "a b".into()),
    ];
    for (field, change) in changes {
        assert_eq!(next(&with(change)), Err((InvalidKind::Name, field)));
    }
}

/// The part that ids of neighbours share is hashed from one buffer, so another stream or a refused event in between must leave nothing in it.
#[test]
fn each_event_of_a_message_has_the_id_of_its_own_content_whatever_came_before_it() {
    let numbered = |id: &'static str, change: fn(&mut Event<'static>)| {
        let mut event = trade(MarketType::Spot, "1", "1");
        if let Body::Trade(trade) = &mut event.body {
            trade.trade_id = id.into();
        }
        change(&mut event);
        sealed(event)
    };
    let wrong_id = |mut event: Event<'static>| {
        event.header.event_id = EventId(event.header.event_id.0 ^ 1);
        event
    };
    let same = |id| numbered(id, |_| {});
    let events = [
        (same("a trade whose id is long"), None),
        (same("2"), None),
        (numbered("3", |event| event.header.market_type = MarketType::Perpetual), None),
        (numbered("4", |event| event.header.venue_symbol = "OTHER".into()), None),
        (quote(Some([1, 2]), None), None),
        (liquidation("1", "1"), None),
        (same("5"), None),
        (wrong_id(same("6")), Some(InvalidKind::EventId)),
        (same("7"), None),
        (numbered("8", |event| event.header.symbol = "".into()), Some(InvalidKind::Name)),
        (same("9"), None),
    ];
    let (mut checks, mut before) = (EventChecks::default(), None);
    for (event, expected) in &events {
        let found = checks.check(event, before, NOW_NS).map_err(|error| error.kind);
        assert_eq!(found, expected.map_or(Ok(()), Err), "{event:?}");
        before = found.is_ok().then_some(event);
    }
}

#[test]
fn what_is_odd_but_true_passes() {
    let month_us = 30 * 86_400 * 1_000_000_i64;
    for event in [
        trade(MarketType::Options, "0", "1"),
        book(&[[100, 1]], &[[100, 1]]),
        book(&[[100, 1], [99, 1]], &[]),
        book(&[], &[]),
        quote(Some([100, 1]), Some([100, 1])),
        quote(None, Some([100, 1])),
        quote(None, None),
        funding("-0.75", "0", NOW_US + month_us, 1),
        liquidation("1", "0.000000000000000001"),
        interest("0"),
        ratio("1"),
        with(|header| header.timestamp_us = NOW_US - 12 * month_us),
        with(|header| header.symbol = "\u{5e01}\u{5b89}-USDT".into()),
        event(
            MarketType::Options,
            Body::VolatilityIndex(VolatilityIndex {
                index_value: decimal("129.36"),
                underlying_asset: "BTC".into(),
            }),
        ),
    ] {
        assert_eq!(validate_event(&event, NOW_NS), Ok(()), "{event:?}");
    }
}

#[test]
fn a_receive_time_is_within_two_days_before_and_five_minutes_after_the_brokers() {
    let received = |at_ns: i64| {
        validate_event(&with(|header| header.received_at_ns = at_ns), NOW_NS).map_err(|error| error.kind)
    };
    let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap();
    let (first, last) = (NOW_NS - nanos(RECEIVED_BEHIND_MAX), NOW_NS + nanos(RECEIVED_AHEAD_MAX));
    assert_eq!((received(first), received(last)), (Ok(()), Ok(())));
    let refused = Err(InvalidKind::Time);
    assert_eq!(
        [received(first - 1), received(last + 1), received(i64::MIN), received(i64::MAX)],
        [refused; 4]
    );
}

#[test]
fn an_id_that_is_not_the_contents_is_refused() {
    let mut event = trade(MarketType::Spot, "1", "1");
    let id = event.header.event_id;
    event.header.event_id = EventId(id.0 ^ 1);
    let (kind, message) = refused(&event);
    assert_eq!(kind, InvalidKind::EventId);
    assert!(message.contains(&format!("allowed: {id}")), "{message}");
    let mut renamed = trade(MarketType::Spot, "1", "1");
    let Body::Trade(trade) = &mut renamed.body else { panic!("no trade") };
    trade.trade_id = "8".into();
    assert_eq!(refused(&renamed).0, InvalidKind::EventId);
}

#[test]
fn edge_names_have_a_small_alphabet() {
    assert!(is_edge_name("edge-1") && is_edge_name(&"a".repeat(32)));
    for name in ["", "A", "a b", "a.b", "\u{e4}", &"a".repeat(33)] {
        assert!(!is_edge_name(name), "{name:?}");
    }
}
