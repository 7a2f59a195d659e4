//! The two exchange ids and their capabilities.

use marketprism_adapter_sdk::{
    Capability, Completeness, DataType, Delivery, Description, MarketType, RankingKey, Refusal, SequenceRule,
    SnapshotSource, Venue, endpoints, pushed, refusal,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Spot,
    UsdM,
}

impl Exchange {
    pub(crate) fn of(id: &str) -> Result<Exchange, Refusal> {
        let found = [Exchange::Spot, Exchange::UsdM].into_iter().find(|exchange| exchange.id() == id);
        found.ok_or_else(|| refusal("exchange", id, "an exchange id of this adapter"))
    }

    pub(crate) fn id(self) -> &'static str {
        match self {
            Exchange::Spot => "binance_spot",
            Exchange::UsdM => "binance_derivatives",
        }
    }
}

pub(crate) fn describe() -> Description {
    Description {
        name: "binance".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: [Exchange::Spot, Exchange::UsdM].map(venue).to_vec(),
    }
}

fn venue(exchange: Exchange) -> Venue {
    Venue {
        exchange: exchange.id().to_owned(),
        market_types: match exchange {
            Exchange::Spot => vec![MarketType::Spot],
            Exchange::UsdM => vec![MarketType::Perpetual, MarketType::Futures],
        },
        capabilities: capabilities(exchange),
        endpoints: match exchange {
            Exchange::Spot => endpoints("wss://stream.binance.com:9443", "https://api.binance.com"),
            Exchange::UsdM => endpoints("wss://fstream.binance.com", "https://fapi.binance.com"),
        },
        rankings: vec![RankingKey::Volume24h],
    }
}

pub(crate) fn capabilities(exchange: Exchange) -> Vec<Capability> {
    use MarketType::{Futures, Perpetual, Spot};
    // The deepest book in levels a side is that of a snapshot.
    let (every, sequence, max_depth): (&[MarketType], _, _) = match exchange {
        Exchange::Spot => (&[Spot], SequenceRule::Contiguous, 5000),
        Exchange::UsdM => (&[Perpetual, Futures], SequenceRule::Chained, 1000),
    };
    let trade = Capability { contiguous_trade_ids: true, backfill: true, ..pushed(DataType::Trade, every) };
    let orderbook = Capability {
        sequence,
        snapshot: SnapshotSource::Request,
        max_depth,
        ..pushed(DataType::Orderbook, every)
    };
    if exchange == Exchange::Spot {
        return vec![trade, orderbook];
    }
    let polled = |data_type, market_types: &[MarketType]| Capability {
        delivery: Delivery::Poll,
        ..pushed(data_type, market_types)
    };
    vec![
        trade,
        orderbook,
        polled(DataType::OpenInterest, every),
        Capability { completeness: Completeness::LowerBound, ..pushed(DataType::Liquidation, every) },
        polled(DataType::LsrTopPosition, &[Perpetual]),
        polled(DataType::LsrAllAccount, &[Perpetual]),
        pushed(DataType::FundingRate, &[Perpetual]),
    ]
}
