//! What is on offer.

use marketprism_adapter_sdk::{
    Capability, ChecksumRule, Completeness, DataType, Delivery, Description, Endpoint, MarketType,
    SequenceRule, SnapshotSource, Venue,
};

/// The depths that a book can be subscribed with.
pub(crate) const DEPTHS: [u32; 5] = [10, 25, 100, 500, 1000];

pub(crate) fn describe() -> Description {
    let trade = Capability {
        data_type: DataType::Trade,
        market_types: vec![MarketType::Spot],
        delivery: Delivery::Push,
        sequence: SequenceRule::Unnumbered,
        checksum: ChecksumRule::Unchecked,
        snapshot: SnapshotSource::NotApplicable,
        // Ids rise per pair; that they rise by one is written nowhere.
        contiguous_trade_ids: false,
        completeness: Completeness::Complete,
        max_depth: 0,
    };
    let orderbook = Capability {
        data_type: DataType::Orderbook,
        checksum: ChecksumRule::Crc32Digits10,
        snapshot: SnapshotSource::InBand,
        max_depth: 1000,
        ..trade.clone()
    };
    let endpoint = |name: &str, url: &str| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    Description {
        name: "kraken".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: vec![Venue {
            exchange: "kraken_spot".to_owned(),
            market_types: vec![MarketType::Spot],
            capabilities: vec![trade, orderbook],
            endpoints: vec![
                endpoint("ws", "wss://ws.kraken.com"),
                endpoint("rest", "https://api.kraken.com"),
            ],
        }],
    }
}
