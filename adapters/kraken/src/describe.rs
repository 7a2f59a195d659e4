//! The exchange id and its capabilities.

use marketprism_adapter_sdk::{
    Capability, ChecksumRule, DataType, Description, MarketType, RankingKey, SnapshotSource, Venue,
    endpoints, pushed,
};

pub(crate) const DEPTHS: [u32; 5] = [10, 25, 100, 500, 1000];

pub(crate) fn describe() -> Description {
    // Trade ids rise by one, but it is not proven that the sockets send every trade: `VENUE.md`.
    let trade = pushed(DataType::Trade, &[MarketType::Spot]);
    let orderbook = Capability {
        checksum: ChecksumRule::Crc32Digits10,
        snapshot: SnapshotSource::InBand,
        max_depth: 1000,
        ..pushed(DataType::Orderbook, &[MarketType::Spot])
    };
    Description {
        name: "kraken".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: vec![Venue {
            exchange: "kraken_spot".to_owned(),
            market_types: vec![MarketType::Spot],
            capabilities: vec![trade, orderbook],
            endpoints: endpoints("wss://ws.kraken.com", "https://api.kraken.com"),
            rankings: vec![RankingKey::Volume24h],
        }],
    }
}
