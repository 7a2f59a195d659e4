//! The adapter contract's names in the names of the schema, and back.

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{self, Payload, Venue};
use marketprism_schema::{DataType, MarketType};

/// The market type of the contract in our own names.
#[must_use]
pub const fn market_type(market_type: contract::MarketType) -> MarketType {
    match market_type {
        contract::MarketType::Spot => MarketType::Spot,
        contract::MarketType::Perpetual => MarketType::Perpetual,
        contract::MarketType::Futures => MarketType::Futures,
        contract::MarketType::Options => MarketType::Options,
    }
}

/// Our market type in the contract's names.
#[must_use]
pub const fn contract_market_type(market_type: MarketType) -> contract::MarketType {
    match market_type {
        MarketType::Spot => contract::MarketType::Spot,
        MarketType::Perpetual => contract::MarketType::Perpetual,
        MarketType::Futures => contract::MarketType::Futures,
        MarketType::Options => contract::MarketType::Options,
    }
}

/// The data type of the contract in our own names.
#[must_use]
pub const fn data_type(data_type: contract::DataType) -> DataType {
    match data_type {
        contract::DataType::Trade => DataType::Trade,
        contract::DataType::Orderbook => DataType::OrderBook,
        contract::DataType::FundingRate => DataType::FundingRate,
        contract::DataType::OpenInterest => DataType::OpenInterest,
        contract::DataType::Liquidation => DataType::Liquidation,
        contract::DataType::LsrTopPosition => DataType::LsrTopPosition,
        contract::DataType::LsrAllAccount => DataType::LsrAllAccount,
        contract::DataType::VolatilityIndex => DataType::VolatilityIndex,
    }
}

/// Our data type in the contract's names.
#[must_use]
pub const fn contract_data_type(data_type: DataType) -> contract::DataType {
    match data_type {
        DataType::Trade => contract::DataType::Trade,
        DataType::OrderBook => contract::DataType::Orderbook,
        DataType::FundingRate => contract::DataType::FundingRate,
        DataType::OpenInterest => contract::DataType::OpenInterest,
        DataType::Liquidation => contract::DataType::Liquidation,
        DataType::LsrTopPosition => contract::DataType::LsrTopPosition,
        DataType::LsrAllAccount => contract::DataType::LsrAllAccount,
        DataType::VolatilityIndex => contract::DataType::VolatilityIndex,
    }
}

/// Whether a venue offers a data type for a market type.
#[must_use]
pub fn offers(venue: &Venue, kind: DataType, of: MarketType) -> bool {
    venue.capabilities.iter().any(|capability| {
        data_type(capability.data_type) == kind
            && capability.market_types.iter().any(|offered| market_type(*offered) == of)
    })
}

/// Whether a feed with these market types asks for a data type of a market. A volatility index belongs to a coin, not to a market, so
/// market types do not choose it.
#[must_use]
pub fn wants(kind: DataType, market_types: &[MarketType], of: MarketType) -> bool {
    kind == DataType::VolatilityIndex
        || market_types.contains(&of)
        || (market_types.is_empty() && of != MarketType::Options)
}

/// The data type and the instrument of an event.
pub(crate) fn stream_key(payload: &Payload) -> (DataType, InstrumentIndex) {
    let (kind, instrument) = match payload {
        Payload::Trade(event) => (DataType::Trade, event.instrument),
        Payload::Book(event) => (DataType::OrderBook, event.instrument),
        Payload::FundingRate(event) => (DataType::FundingRate, event.instrument),
        Payload::OpenInterest(event) => (DataType::OpenInterest, event.instrument),
        Payload::Liquidation(event) => (DataType::Liquidation, event.instrument),
        Payload::LsrTopPosition(event) => (DataType::LsrTopPosition, event.instrument),
        Payload::LsrAllAccount(event) => (DataType::LsrAllAccount, event.instrument),
        Payload::VolatilityIndex(event) => (DataType::VolatilityIndex, event.instrument),
    };
    (kind, instrument.into())
}
