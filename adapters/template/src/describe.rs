//! The exchange ids and their capabilities.

use marketprism_adapter_sdk::{
    Capability, DataType, Description, MarketType, SequenceRule, SnapshotSource, Venue, endpoints, pushed,
};

/// The conformance suite tests every claim made here, and the integrity report claims no more: when in doubt, claim less.
pub(crate) fn describe() -> Description {
    // A data type that is missing here is refused at start and never polled.
    let trade = Capability {
        // Only where ids of one instrument rise by exactly one: each hole is then reported as a lost trade.
        contiguous_trade_ids: true,
        // Only where the history gives the trades of the stream: same ids, prices, quantities and sides. The edge then fills holes.
        backfill: true,
        // Pushed, complete, without sequence and checksum; see `pushed` for the other fields.
        ..pushed(DataType::Trade, &[MarketType::Spot])
    };
    let orderbook = Capability {
        // `Contiguous`: an update starts at the previous one's end plus one. `Chained`: it names the previous one's end.
        sequence: SequenceRule::Contiguous,
        // `InBand`: the snapshot is a message of the stream. `Request`: it is a REST answer.
        snapshot: SnapshotSource::InBand,
        max_depth: 500,
        ..pushed(DataType::Orderbook, &[MarketType::Spot])
    };
    Description {
        name: "template".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: vec![Venue {
            exchange: "template_spot".to_owned(),
            market_types: vec![MarketType::Spot],
            capabilities: vec![trade, orderbook],
            // Users and simulators replace these addresses; the plan appends its paths.
            endpoints: endpoints("wss://stream.template.example", "https://api.template.example"),
            // `RankingKey::Volume24h` where the venue has a list of 24 h volumes: `ranking_requests` and `ranking` read it.
            rankings: Vec::new(),
        }],
    }
}
