//! Function 1 of 4: what is on offer.

use marketprism_adapter_sdk::{
    Capability, ChecksumRule, Completeness, DataType, Delivery, Description, Endpoint, Instrument,
    MarketType, SequenceRule, SnapshotSource, Venue,
};

pub(crate) const SPOT: &str = "bybit_spot";
pub(crate) const DERIVATIVES: &str = "bybit_derivatives";

/// The deepest of the streams of changes that are used, in levels a side.
const DEPTH_MAX: u32 = 200;

pub(crate) fn describe() -> Description {
    let endpoint = |name: &str, url: &str| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    let venue = |exchange: &str, market_types: &[MarketType]| Venue {
        exchange: exchange.to_owned(),
        market_types: market_types.to_vec(),
        capabilities: capabilities(exchange),
        endpoints: vec![endpoint("ws", "wss://stream.bybit.com"), endpoint("rest", "https://api.bybit.com")],
    };
    Description {
        name: "bybit".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: vec![
            venue(SPOT, &[MarketType::Spot]),
            venue(DERIVATIVES, &[MarketType::Perpetual, MarketType::Futures]),
        ],
    }
}

/// What an exchange id offers, and of which markets.
pub(crate) fn capabilities(exchange: &str) -> Vec<Capability> {
    use MarketType::{Futures, Perpetual, Spot};
    if exchange == SPOT {
        return vec![pushed(DataType::Trade, &[Spot]), orderbook(&[Spot])];
    }
    let contracts = [Perpetual, Futures];
    vec![
        pushed(DataType::Trade, &contracts),
        orderbook(&contracts),
        pushed(DataType::FundingRate, &[Perpetual]),
        pushed(DataType::OpenInterest, &contracts),
        pushed(DataType::Liquidation, &contracts),
        Capability { delivery: Delivery::Poll, ..pushed(DataType::LsrAllAccount, &[Perpetual]) },
    ]
}

/// Whether the venue has this of the instrument.
pub(crate) fn offers(capability: &Capability, instrument: &Instrument) -> bool {
    // The ratio of accounts is documented for contracts in USDT only.
    let in_usdt = capability.data_type != DataType::LsrAllAccount || instrument.quote == "USDT";
    in_usdt && capability.market_types.contains(&instrument.market_type)
}

fn pushed(data_type: DataType, market_types: &[MarketType]) -> Capability {
    Capability {
        data_type,
        market_types: market_types.to_vec(),
        delivery: Delivery::Push,
        sequence: SequenceRule::Unnumbered,
        checksum: ChecksumRule::Unchecked,
        snapshot: SnapshotSource::NotApplicable,
        // Ids of trades are texts without order.
        contiguous_trade_ids: false,
        completeness: Completeness::Complete,
        max_depth: 0,
    }
}

fn orderbook(market_types: &[MarketType]) -> Capability {
    Capability {
        sequence: SequenceRule::Contiguous,
        snapshot: SnapshotSource::InBand,
        max_depth: DEPTH_MAX,
        ..pushed(DataType::Orderbook, market_types)
    }
}
