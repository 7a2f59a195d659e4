//! Parts of a description that most venues share.

use crate::types::{
    Capability, ChecksumRule, Completeness, DataType, Delivery, Endpoint, MarketType, SequenceRule,
    SnapshotSource,
};

/// A data type that the venue pushes, complete, without sequence, book and consecutive ids: the base of every capability, changed by
/// struct update.
pub fn pushed(data_type: DataType, market_types: &[MarketType]) -> Capability {
    Capability {
        data_type,
        market_types: market_types.to_vec(),
        delivery: Delivery::Push,
        sequence: SequenceRule::Unnumbered,
        checksum: ChecksumRule::Unchecked,
        snapshot: SnapshotSource::NotApplicable,
        contiguous_trade_ids: false,
        backfill: false,
        completeness: Completeness::Complete,
        max_depth: 0,
    }
}

/// The base addresses `ws` and `rest`.
pub fn endpoints(ws: &str, rest: &str) -> Vec<Endpoint> {
    let endpoint =
        |(name, url): (&str, &str)| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    [("ws", ws), ("rest", rest)].map(endpoint).to_vec()
}
