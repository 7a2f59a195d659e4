//! Only subscribed events are published, once.

use marketprism_adapter_host::contract::{
    Capability, ChecksumRule, Completeness, DataType as Kind, Delivery, FundingRate, Instrument, Liquidation,
    LongShortRatio, MarketType as Market, OpenInterest, Payload, SequenceRule, Side, SnapshotSource, Venue,
    VolatilityIndex,
};
use marketprism_edge::records::{RecordBuilder, RecordOptions, Subscription};
use marketprism_schema::{DataType, MarketType};

use crate::records::{AT_US, ONE, builder, instrument, options, trade};

const AT_NS: i64 = AT_US * 1_000;

fn capability(data_type: Kind, market_types: &[Market]) -> Capability {
    Capability {
        data_type,
        market_types: market_types.to_vec(),
        delivery: Delivery::Push,
        sequence: SequenceRule::Unnumbered,
        checksum: ChecksumRule::Unchecked,
        snapshot: SnapshotSource::NotApplicable,
        contiguous_trade_ids: false,
        backfill: false,
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
        rankings: Vec::new(),
    }
}

fn instruments() -> [Instrument; 3] {
    [
        instrument("AB-CD", Market::Perpetual),
        instrument("AB-CD-261225-100-C", Market::Options),
        instrument("AB", Market::Options),
    ]
}

fn record_builder(subscription: Subscription) -> RecordBuilder {
    builder("sim_derivatives", &instruments(), RecordOptions { subscription, ..options(3) })
}

fn volatility(instrument: u32) -> Payload {
    Payload::VolatilityIndex(VolatilityIndex {
        instrument,
        time_us: AT_US,
        value: ONE,
        underlying: "AB".into(),
    })
}

fn funding(instrument: u32) -> Payload {
    Payload::FundingRate(FundingRate {
        instrument,
        time_us: AT_US,
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
        time_us: AT_US,
        long: ONE,
        short: ONE,
        ratio: None,
        period: "5m".into(),
    };
    vec![
        funding(0),
        Payload::OpenInterest(OpenInterest {
            instrument: 0,
            time_us: AT_US,
            base: Some(ONE),
            contracts: None,
            value_usd: None,
        }),
        Payload::Liquidation(Liquidation {
            instrument: 0,
            time_us: AT_US,
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

#[test]
fn a_feed_gets_its_markets_all_but_options_by_default_and_only_what_the_venue_offers() {
    let all = [DataType::Trade, DataType::FundingRate, DataType::VolatilityIndex, DataType::OpenInterest];
    let of = |data_types: &[DataType], markets: &[MarketType]| -> Vec<String> {
        let subscription = Subscription::new(&venue(), data_types, markets, &instruments());
        let cells =
            (0..3_u32).flat_map(|instrument| DataType::ALL.iter().map(move |kind| (instrument, *kind)));
        cells
            .filter(|(instrument, kind)| subscription.includes(*kind, (*instrument).into()))
            .map(|(instrument, kind)| format!("{instrument} {kind}"))
            .collect()
    };
    let volatility = ["1 volatility_index", "2 volatility_index"];
    assert_eq!(of(&all, &[]), [&["0 trade", "0 funding_rate"][..], &volatility].concat());
    assert_eq!(of(&[DataType::Trade], &[MarketType::Options]), ["1 trade", "2 trade"]);
    assert_eq!(of(&[DataType::FundingRate], &[MarketType::Options]), Vec::<String>::new());
    assert_eq!(of(&[DataType::VolatilityIndex], &[MarketType::Perpetual]), volatility);
}

#[test]
fn unsubscribed_events_are_counted_and_a_volatility_index_has_the_subject_of_its_coin() {
    let data_types = [DataType::Trade, DataType::VolatilityIndex];
    let mut builder = record_builder(Subscription::new(&venue(), &data_types, &[], &instruments()));
    let mut records = Vec::new();
    for payload in [trade(0, 1), trade(1, 1), funding(0), volatility(2), trade(9, 1)] {
        builder.event(&payload, &[], AT_NS, AT_NS, &mut records);
    }
    let subjects: Vec<&str> = records.iter().map(|record| record.subject.as_str()).collect();
    assert_eq!(
        subjects,
        ["trade.sim_derivatives.perpetual.AB-CD", "volatility_index.sim_derivatives.options.AB"]
    );
    let counts = builder.take_counts();
    assert_eq!((counts.unsubscribed[DataType::Trade], counts.unsubscribed[DataType::FundingRate]), (2, 1));
}

/// More trades than an instrument remembers come in between.
#[test]
fn a_polled_value_that_did_not_change_is_published_once_per_data_type() {
    let mut builder = record_builder(Subscription::everything(3));
    let mut records = Vec::new();
    for payload in slow_events() {
        builder.event(&payload, &[], AT_NS, AT_NS, &mut records);
    }
    assert_eq!(records.len(), 6);
    for id in 0..5_000 {
        builder.event(&trade(0, id), &[], AT_NS, AT_NS, &mut records);
    }
    builder.take_counts();
    records.clear();
    for payload in slow_events() {
        builder.event(&payload, &[], AT_NS, AT_NS, &mut records);
    }
    let repeated = builder.take_counts().duplicates;
    assert_eq!((records.len(), repeated.values().sum::<u64>(), repeated.values().max()), (0, 6, Some(&1)));
    let mut later = slow_events();
    if let Payload::OpenInterest(interest) = &mut later[1] {
        interest.time_us = AT_US + 1;
    }
    builder.event(&later[1], &[], AT_NS, AT_NS, &mut records);
    assert_eq!(records.len(), 1);
}

#[test]
fn audits_carry_what_the_capability_declares_and_no_more() {
    let of = |change: &dyn Fn(&mut Capability)| {
        let mut described = capability(Kind::Trade, &[Market::Spot]);
        change(&mut described);
        let audited = described.audited();
        (audited.numbering.as_str(), audited.completeness.as_str())
    };
    assert_eq!(of(&|_| {}), ("unnumbered", "complete"));
    assert_eq!(of(&|described| described.contiguous_trade_ids = true), ("by_one", "complete"));
    assert_eq!(of(&|described| described.sequence = SequenceRule::Contiguous), ("linked", "complete"));
    assert_eq!(of(&|described| described.sequence = SequenceRule::Chained), ("linked", "complete"));
    assert_eq!(
        of(&|described| described.completeness = Completeness::LowerBound),
        ("unnumbered", "lower_bound")
    );
}

/// Connections that overlap: what both brought is published once, and a hole between them is a gap.
#[test]
fn a_builder_that_goes_on_with_anothers_streams_knows_their_events_and_trade_ids() {
    let instruments = [instrument("AB-CD", Market::Spot)];
    let builder =
        || builder("sim_spot", &instruments, RecordOptions { contiguous_trade_ids: true, ..options(1) });
    let (mut first, mut second, mut out) = (builder(), builder(), Vec::new());
    for id in [1, 2, 3] {
        first.event(&trade(0, id), &[], AT_NS, AT_NS, &mut out);
    }
    assert_eq!(out.len(), 3);
    second.recall(0.into(), first.into_memories().next().unwrap());
    for id in [2, 3, 4, 6] {
        second.event(&trade(0, id), &[], AT_NS, AT_NS, &mut out);
    }
    let counts = second.take_counts();
    assert_eq!((counts.events[DataType::Trade], counts.duplicates[DataType::Trade]), (2, 2));
    assert_eq!((out.len(), counts.trade_gaps), (5, 1), "5 is missing");
}
