//! The two exchange ids, and what each offers.

use marketprism_adapter_sdk::{
    Capability, ChecksumRule, Completeness, DataType, Delivery, Description, Endpoint, MarketType,
    SequenceRule, SnapshotSource, Venue,
};

/// One of the two markets of the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Spot,
    UsdM,
}

impl Exchange {
    pub(crate) fn of(id: &str) -> Option<Exchange> {
        [Exchange::Spot, Exchange::UsdM].into_iter().find(|exchange| exchange.id() == id)
    }

    pub(crate) fn id(self) -> &'static str {
        match self {
            Exchange::Spot => "binance_spot",
            Exchange::UsdM => "binance_derivatives",
        }
    }

    /// Deepest order book that a snapshot gives, in levels a side.
    pub(crate) fn max_depth(self) -> u32 {
        match self {
            Exchange::Spot => 5000,
            Exchange::UsdM => 1000,
        }
    }
}

pub(crate) fn describe() -> Description {
    Description {
        name: "binance".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: vec![
            venue(
                Exchange::Spot,
                [("ws", "wss://stream.binance.com:9443"), ("rest", "https://api.binance.com")],
            ),
            venue(
                Exchange::UsdM,
                [("ws", "wss://fstream.binance.com"), ("rest", "https://fapi.binance.com")],
            ),
        ],
    }
}

fn venue(exchange: Exchange, endpoints: [(&str, &str); 2]) -> Venue {
    let endpoint =
        |(name, url): (&str, &str)| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    Venue {
        exchange: exchange.id().to_owned(),
        market_types: match exchange {
            Exchange::Spot => vec![MarketType::Spot],
            Exchange::UsdM => vec![MarketType::Perpetual, MarketType::Futures],
        },
        capabilities: capabilities(exchange),
        endpoints: endpoints.into_iter().map(endpoint).collect(),
    }
}

/// What the exchange id offers, and of which markets.
pub(crate) fn capabilities(exchange: Exchange) -> Vec<Capability> {
    match exchange {
        Exchange::Spot => {
            let spot = pushed(DataType::Trade, &[MarketType::Spot]);
            vec![trade(&spot), orderbook(exchange, &spot)]
        }
        Exchange::UsdM => {
            let every = pushed(DataType::Trade, &[MarketType::Perpetual, MarketType::Futures]);
            let funding = pushed(DataType::FundingRate, &[MarketType::Perpetual]);
            let polled = |data_type, like: &Capability| Capability {
                data_type,
                delivery: Delivery::Poll,
                ..like.clone()
            };
            vec![
                trade(&every),
                orderbook(exchange, &every),
                polled(DataType::OpenInterest, &every),
                Capability {
                    data_type: DataType::Liquidation,
                    completeness: Completeness::LowerBound,
                    ..every.clone()
                },
                polled(DataType::LsrTopPosition, &funding),
                polled(DataType::LsrAllAccount, &funding),
                funding,
            ]
        }
    }
}

/// A data type that the venue pushes, complete, without sequence or book.
fn pushed(data_type: DataType, markets: &[MarketType]) -> Capability {
    Capability {
        data_type,
        market_types: markets.to_vec(),
        delivery: Delivery::Push,
        sequence: SequenceRule::Unnumbered,
        checksum: ChecksumRule::Unchecked,
        snapshot: SnapshotSource::NotApplicable,
        contiguous_trade_ids: false,
        completeness: Completeness::Complete,
        max_depth: 0,
    }
}

fn trade(like: &Capability) -> Capability {
    Capability { data_type: DataType::Trade, contiguous_trade_ids: true, ..like.clone() }
}

fn orderbook(exchange: Exchange, like: &Capability) -> Capability {
    Capability {
        data_type: DataType::Orderbook,
        sequence: match exchange {
            Exchange::Spot => SequenceRule::Contiguous,
            Exchange::UsdM => SequenceRule::Chained,
        },
        snapshot: SnapshotSource::Request,
        max_depth: exchange.max_depth(),
        ..like.clone()
    }
}
