//! The rule for the data types of a market that a feed collects.

use marketprism_schema::{DataType, MarketType};

/// True if a feed with these market types wants a data type of a market. A volatility index belongs to a coin, not to a market, so it is
/// independent of market types. Options must be named.
pub fn wants(kind: DataType, market_types: &[MarketType], market: MarketType) -> bool {
    kind == DataType::VolatilityIndex
        || market_types.contains(&market)
        || (market_types.is_empty() && market != MarketType::Options)
}
