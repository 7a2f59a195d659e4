//! The exchange id and its capabilities.

use marketprism_adapter_sdk::{
    Capability, Completeness, DataType, Delivery, Description, MarketType, RankingKey, SequenceRule,
    SnapshotSource, Venue, endpoints, pushed,
};

pub(crate) const EXCHANGE: &str = "deribit_derivatives";

/// The volatility indices that the venue really publishes, each with its coin.
pub(crate) const INDICES: [(&str, &str); 2] = [("btc_usd", "BTC"), ("eth_usd", "ETH")];

/// Deepest order book in levels a side: the venue's REST limit. Its socket sends whole books.
const MAX_DEPTH: u32 = 10_000;

/// The coin of a volatility index; none for any other name.
pub(crate) fn coin_of_index(name: &[u8]) -> Option<&'static str> {
    INDICES.iter().find(|(index, _)| index.as_bytes() == name).map(|(_, coin)| *coin)
}

pub(crate) fn markets(data_type: DataType) -> &'static [MarketType] {
    use MarketType::{Futures, Options, Perpetual};
    match data_type {
        DataType::Trade | DataType::Orderbook | DataType::OpenInterest => &[Perpetual, Futures, Options],
        DataType::FundingRate => &[Perpetual],
        DataType::Liquidation => &[Perpetual, Futures],
        DataType::VolatilityIndex => &[Options],
        DataType::LsrTopPosition | DataType::LsrAllAccount => &[],
    }
}

pub(crate) fn describe() -> Description {
    let offered = [
        DataType::Trade,
        DataType::Orderbook,
        DataType::FundingRate,
        DataType::OpenInterest,
        DataType::Liquidation,
        DataType::VolatilityIndex,
    ];
    Description {
        name: "deribit".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: vec![Venue {
            exchange: EXCHANGE.to_owned(),
            market_types: vec![MarketType::Perpetual, MarketType::Futures, MarketType::Options],
            capabilities: offered.map(capability).to_vec(),
            endpoints: endpoints("wss://www.deribit.com", "https://www.deribit.com"),
            rankings: vec![RankingKey::Volume24h],
        }],
    }
}

fn capability(data_type: DataType) -> Capability {
    let base = pushed(data_type, markets(data_type));
    match data_type {
        DataType::Trade => Capability { contiguous_trade_ids: true, backfill: true, ..base },
        DataType::Orderbook => Capability {
            sequence: SequenceRule::Chained,
            snapshot: SnapshotSource::InBand,
            max_depth: MAX_DEPTH,
            ..base
        },
        // The venue marks a forced trade about an hour late, and only on REST; later marks are missed.
        DataType::Liquidation => {
            Capability { delivery: Delivery::Poll, completeness: Completeness::LowerBound, ..base }
        }
        _ => base,
    }
}
