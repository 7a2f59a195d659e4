//! Only what a feed asks for is published, once.

use marketprism_adapter_host::contract::{
    Capability, ChecksumRule, Completeness, DataType as Kind, Decimal, Delivery, FundingRate, Instrument,
    Liquidation, LongShortRatio, MarketType as Market, OpenInterest, Payload, SequenceRule, Side,
    SnapshotSource, Trade, TradeId, Venue, VolatilityIndex,
};
use marketprism_edge::records::{EventEncoder, Origin};
use marketprism_edge::records::{RecordBuilder, RecordOptions, Subscription};
use marketprism_schema::{DataType, MarketType};

fn instrument(symbol: &str, market_type: Market) -> Instrument {
    Instrument {
        symbol: symbol.into(),
        venue_symbol: symbol.to_lowercase(),
        market_type,
        base: "AB".into(),
        quote: "CD".into(),
        contract_size: None,
        contract_value: None,
        price_scale: 2,
        quantity_scale: 3,
        trading: true,
    }
}

fn capability(data_type: Kind, market_types: &[Market]) -> Capability {
    Capability {
        data_type,
        market_types: market_types.to_vec(),
        delivery: Delivery::Push,
        sequence: SequenceRule::Unnumbered,
        checksum: ChecksumRule::Unchecked,
        snapshot: SnapshotSource::NotApplicable,
        contiguous_trade_ids: false,
        completeness: Completeness::Complete,
        max_depth: 0,
    }
}

/// Trades of perpetuals and options, funding of perpetuals, a volatility index.
fn venue() -> Venue {
    Venue {
        exchange: "sim_derivatives".into(),
        market_types: vec![Market::Perpetual, Market::Options],
        capabilities: vec![
            capability(Kind::Trade, &[Market::Perpetual, Market::Options]),
            capability(Kind::FundingRate, &[Market::Perpetual]),
            capability(Kind::VolatilityIndex, &[Market::Options]),
        ],
        endpoints: Vec::new(),
    }
}

fn instruments() -> [Instrument; 3] {
    [
        instrument("AB-CD", Market::Perpetual),
        instrument("AB-CD-261225-100-C", Market::Options),
        instrument("AB", Market::Options),
    ]
}

fn router(asked: Subscription) -> RecordBuilder {
    let origin = Origin {
        edge: "edge-1".into(),
        region: "here".into(),
        adapter: "sim@1.0.0+0123456789ab".into(),
        exchange: "sim_derivatives".into(),
    };
    let envelope = EventEncoder::new(origin, &instruments(), [0; 8]).unwrap();
    let plan = RecordOptions {
        books: None,
        asked,
        depth: 1,
        contiguous_trade_ids: false,
        deduplicate: true,
        every_update: false,
    };
    RecordBuilder::new(plan, envelope, 3)
}

const ONE: Decimal = Decimal { mantissa: 1, scale: 0 };

fn trade(instrument: u32, id: u64) -> Payload {
    let (id, side) = (TradeId::Number(id), Side::Buy);
    Payload::Trade(Trade { instrument, time_us: 1, id, price: ONE, quantity: ONE, side })
}

fn volatility(instrument: u32) -> Payload {
    Payload::VolatilityIndex(VolatilityIndex { instrument, time_us: 1, value: ONE, underlying: "AB".into() })
}

fn funding(instrument: u32) -> Payload {
    Payload::FundingRate(FundingRate {
        instrument,
        time_us: 1,
        rate: ONE,
        funding_time_us: None,
        next_funding_time_us: None,
        interval_hours: None,
        mark_price: None,
        index_price: None,
    })
}

/// One event of each type that polls or repeating streams bring.
fn slow_events() -> Vec<Payload> {
    let ratio = || LongShortRatio {
        instrument: 0,
        time_us: 1,
        long: ONE,
        short: ONE,
        ratio: None,
        period: "5m".into(),
    };
    vec![
        funding(0),
        Payload::OpenInterest(OpenInterest {
            instrument: 0,
            time_us: 1,
            base: Some(ONE),
            contracts: None,
            value_usd: None,
        }),
        Payload::Liquidation(Liquidation {
            instrument: 0,
            time_us: 1,
            side: Side::Sell,
            price: ONE,
            quantity: ONE,
            liquidation_time_us: None,
            id: None,
        }),
        Payload::LsrTopPosition(ratio()),
        Payload::LsrAllAccount(ratio()),
        volatility(0),
    ]
}

/// Goal: a feed gets the data types of the markets that it names; without names all but options; a volatility index whatever the
/// markets; never what the venue does not offer for a market.
/// Method: each combination against the three instruments.
#[test]
fn a_feed_asks_for_cells() {
    let all = [DataType::Trade, DataType::FundingRate, DataType::VolatilityIndex, DataType::OpenInterest];
    let of = |data_types: &[DataType], markets: &[MarketType]| -> Vec<String> {
        let asked = Subscription::new(Some(&venue()), data_types, markets, &instruments());
        let cells =
            (0..3_u32).flat_map(|instrument| DataType::ALL.iter().map(move |kind| (instrument, *kind)));
        cells
            .filter(|(instrument, kind)| asked.includes(*kind, (*instrument).into()))
            .map(|(instrument, kind)| format!("{instrument} {kind}"))
            .collect()
    };
    let volatility = ["1 volatility_index", "2 volatility_index"];
    assert_eq!(of(&all, &[]), [&["0 trade", "0 funding_rate"][..], &volatility].concat());
    assert_eq!(of(&[DataType::Trade], &[MarketType::Options]), ["1 trade", "2 trade"]);
    assert_eq!(of(&[DataType::FundingRate], &[MarketType::Options]), Vec::<String>::new());
    assert_eq!(of(&[DataType::VolatilityIndex], &[MarketType::Perpetual]), volatility);
}

/// Goal: what a feed did not ask for is left out and counted by data type; a volatility index goes to the subject of its coin.
/// Method: trades of a perpetual and of an option, funding, and the index, to a feed for trades and the index.
#[test]
fn unasked_events_are_left_out() {
    let data_types = [DataType::Trade, DataType::VolatilityIndex];
    let mut router = router(Subscription::new(Some(&venue()), &data_types, &[], &instruments()));
    let mut records = Vec::new();
    for payload in [trade(0, 1), trade(1, 1), funding(0), volatility(2), trade(9, 1)] {
        router.event(&payload, &[], 1, 1, &mut records);
    }
    let subjects: Vec<&str> = records.iter().map(|record| record.subject.as_str()).collect();
    assert_eq!(
        subjects,
        ["trade.sim_derivatives.perpetual.AB-CD", "volatility_index.sim_derivatives.options.AB"]
    );
    let routed = router.take_routed();
    assert_eq!((routed.unasked[0], routed.unasked[2]), (2, 1));
}

/// Goal: a polled value that did not change is published once and counted as a copy, for each data type, however many trades come
/// between; a new one is published.
/// Method: each event twice around more trades than an instrument remembers, then with another time.
#[test]
fn repeated_polls_are_published_once() {
    let mut router = router(Subscription::everything(3));
    let mut records = Vec::new();
    for payload in slow_events() {
        router.event(&payload, &[], 1, 1, &mut records);
    }
    assert_eq!(records.len(), 6);
    for id in 0..5_000 {
        router.event(&trade(0, id), &[], 1, 1, &mut records);
    }
    router.take_routed();
    records.clear();
    for payload in slow_events() {
        router.event(&payload, &[], 2, 2, &mut records);
    }
    let repeated = router.take_routed().duplicates;
    assert_eq!((records.len(), repeated.iter().sum::<u64>(), repeated.iter().max()), (0, 6, Some(&1)));
    let mut later = slow_events();
    if let Payload::OpenInterest(interest) = &mut later[1] {
        interest.time_us = 2;
    }
    router.event(&later[1], &[], 3, 3, &mut records);
    assert_eq!(records.len(), 1);
}
