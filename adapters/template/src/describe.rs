//! Function 1 of 4: what is on offer.

use marketprism_adapter_sdk::{
    Capability, ChecksumRule, Completeness, DataType, Delivery, Description, Endpoint, MarketType,
    SequenceRule, SnapshotSource, Venue,
};

/// Which exchange ids and data types, with which guarantees. The conformance kit tests what is claimed here, and the integrity
/// report claims no more: when in doubt, claim less.
pub(crate) fn describe() -> Description {
    // A data type that is missing here is refused at start and never polled.
    let trade = Capability {
        data_type: DataType::Trade,
        market_types: vec![MarketType::Spot],
        delivery: Delivery::Push,
        // Sequence, checksum, snapshot and depth are about books only.
        sequence: SequenceRule::Unnumbered,
        checksum: ChecksumRule::Unchecked,
        snapshot: SnapshotSource::NotApplicable,
        max_depth: 0,
        // True only where ids of one instrument rise by exactly one: each hole is then reported as a lost trade.
        contiguous_trade_ids: true,
        // `LowerBound` where the venue leaves out some.
        completeness: Completeness::Complete,
    };
    let orderbook = Capability {
        data_type: DataType::Orderbook,
        // `Contiguous`: an update starts at the previous one's end plus one. `Chained`: it names the previous one's end.
        sequence: SequenceRule::Contiguous,
        // `InBand`: the snapshot is a message of the stream. `Request`: it is a REST answer.
        snapshot: SnapshotSource::InBand,
        contiguous_trade_ids: false,
        max_depth: 500,
        ..trade.clone()
    };
    // Users and simulators replace these addresses; the plan appends its paths.
    let endpoint = |name: &str, url: &str| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    Description {
        name: "template".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: vec![Venue {
            exchange: "template_spot".to_owned(),
            market_types: vec![MarketType::Spot],
            capabilities: vec![trade, orderbook],
            endpoints: vec![
                endpoint("ws", "wss://stream.template.example"),
                endpoint("rest", "https://api.template.example"),
            ],
        }],
    }
}
