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
                &[MarketType::Spot],
                SequenceRule::Contiguous,
                [("ws", "wss://stream.binance.com:9443"), ("rest", "https://api.binance.com")],
            ),
            venue(
                Exchange::UsdM,
                &[MarketType::Perpetual, MarketType::Futures],
                SequenceRule::Chained,
                [("ws", "wss://fstream.binance.com"), ("rest", "https://fapi.binance.com")],
            ),
        ],
    }
}

fn venue(
    exchange: Exchange,
    markets: &[MarketType],
    sequence: SequenceRule,
    endpoints: [(&str, &str); 2],
) -> Venue {
    let trade = Capability {
        data_type: DataType::Trade,
        market_types: markets.to_vec(),
        delivery: Delivery::Push,
        sequence: SequenceRule::Unnumbered,
        checksum: ChecksumRule::Unchecked,
        snapshot: SnapshotSource::NotApplicable,
        contiguous_trade_ids: true,
        completeness: Completeness::Complete,
        max_depth: 0,
    };
    let orderbook = Capability {
        data_type: DataType::Orderbook,
        sequence,
        snapshot: SnapshotSource::Request,
        contiguous_trade_ids: false,
        max_depth: exchange.max_depth(),
        ..trade.clone()
    };
    let endpoint =
        |(name, url): (&str, &str)| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    Venue {
        exchange: exchange.id().to_owned(),
        market_types: markets.to_vec(),
        capabilities: vec![trade, orderbook],
        endpoints: endpoints.into_iter().map(endpoint).collect(),
    }
}
