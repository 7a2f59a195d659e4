//! The two exchange ids and their capabilities.

use marketprism_adapter_sdk::{
    Capability, DataType, Delivery, Description, Instrument, MarketType, RankingKey, SequenceRule,
    SnapshotSource, Venue, endpoints, pushed,
};

pub(crate) const SPOT: &str = "bybit_spot";
pub(crate) const DERIVATIVES: &str = "bybit_derivatives";

/// The deepest stream of changes, in levels a side.
const DEPTH_MAX: u32 = 200;

pub(crate) fn describe() -> Description {
    let venue = |exchange: &str, market_types: &[MarketType]| Venue {
        exchange: exchange.to_owned(),
        market_types: market_types.to_vec(),
        capabilities: capabilities(exchange),
        endpoints: endpoints("wss://stream.bybit.com", "https://api.bybit.com"),
        rankings: vec![RankingKey::Volume24h],
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

/// Trade ids are texts without order.
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

pub(crate) fn offers(capability: &Capability, instrument: &Instrument) -> bool {
    // The ratio of accounts is documented for contracts in USDT only.
    let in_usdt = capability.data_type != DataType::LsrAllAccount || instrument.quote == "USDT";
    in_usdt && capability.market_types.contains(&instrument.market_type)
}

fn orderbook(market_types: &[MarketType]) -> Capability {
    Capability {
        sequence: SequenceRule::Contiguous,
        snapshot: SnapshotSource::InBand,
        max_depth: DEPTH_MAX,
        ..pushed(DataType::Orderbook, market_types)
    }
}
