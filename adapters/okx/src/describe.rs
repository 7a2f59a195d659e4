//! The two exchange ids and their capabilities. The venue serves both from the same addresses.

use marketprism_adapter_sdk::{
    Capability, Completeness, DataType, Delivery, Description, MarketType, RankingKey, Refusal, SequenceRule,
    SnapshotSource, Venue, endpoints, pushed, refusal,
};

/// Deepest order book of the `books` channel, in levels a side.
const BOOK_DEPTH: u32 = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Spot,
    Derivatives,
}

impl Exchange {
    pub(crate) fn of(id: &str) -> Result<Exchange, Refusal> {
        let found = [Exchange::Spot, Exchange::Derivatives].into_iter().find(|exchange| exchange.id() == id);
        found.ok_or_else(|| refusal("exchange", id, "an exchange id of this adapter"))
    }

    pub(crate) fn id(self) -> &'static str {
        match self {
            Exchange::Spot => "okx_spot",
            Exchange::Derivatives => "okx_derivatives",
        }
    }
}

/// The markets of the derivatives id that have this data type; none where it is not offered.
pub(crate) fn markets(data_type: DataType) -> &'static [MarketType] {
    use MarketType::{Futures, Options, Perpetual};
    match data_type {
        DataType::Trade | DataType::Orderbook | DataType::OpenInterest => &[Perpetual, Futures, Options],
        DataType::Liquidation => &[Perpetual, Futures],
        DataType::FundingRate | DataType::LsrTopPosition | DataType::LsrAllAccount => &[Perpetual],
        DataType::VolatilityIndex => &[],
    }
}

pub(crate) fn describe() -> Description {
    let spot = [DataType::Trade, DataType::Orderbook].map(|one| capability(one, &[MarketType::Spot]));
    let derivatives = [
        DataType::Trade,
        DataType::Orderbook,
        DataType::FundingRate,
        DataType::OpenInterest,
        DataType::Liquidation,
        DataType::LsrTopPosition,
        DataType::LsrAllAccount,
    ];
    let derivatives = derivatives.map(|one| capability(one, markets(one)));
    Description {
        name: "okx".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: vec![
            venue(Exchange::Spot, &[MarketType::Spot], spot.to_vec()),
            venue(Exchange::Derivatives, markets(DataType::Trade), derivatives.to_vec()),
        ],
    }
}

fn venue(exchange: Exchange, market_types: &[MarketType], capabilities: Vec<Capability>) -> Venue {
    Venue {
        exchange: exchange.id().to_owned(),
        market_types: market_types.to_vec(),
        capabilities,
        endpoints: endpoints("wss://ws.okx.com", "https://www.okx.com"),
        rankings: vec![RankingKey::Volume24h],
    }
}

/// Trade ids are not consecutive: a message covers all matches of a taker at one price and names the last one. The checksum is a
/// constant zero today.
fn capability(data_type: DataType, market_types: &[MarketType]) -> Capability {
    let base = pushed(data_type, market_types);
    match data_type {
        DataType::Orderbook => Capability {
            sequence: SequenceRule::Chained,
            snapshot: SnapshotSource::InBand,
            max_depth: BOOK_DEPTH,
            ..base
        },
        DataType::Liquidation => Capability { completeness: Completeness::LowerBound, ..base },
        DataType::LsrTopPosition | DataType::LsrAllAccount => Capability { delivery: Delivery::Poll, ..base },
        _ => base,
    }
}
