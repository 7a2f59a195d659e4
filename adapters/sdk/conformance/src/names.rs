//! Names of the contract's cases, as configuration writes them.

use marketprism_adapter_host::contract::{DataType, Instrument, MarketType, Payload};

use crate::convert::ToSdk;

pub(crate) const DATA_TYPES: [DataType; 8] = [
    DataType::Trade,
    DataType::Orderbook,
    DataType::FundingRate,
    DataType::OpenInterest,
    DataType::Liquidation,
    DataType::LsrTopPosition,
    DataType::LsrAllAccount,
    DataType::VolatilityIndex,
];

pub(crate) const MARKET_TYPES: [MarketType; 4] =
    [MarketType::Spot, MarketType::Perpetual, MarketType::Futures, MarketType::Options];

pub(crate) fn data_type(kind: DataType) -> &'static str {
    marketprism_adapter_sdk::data_type_name(kind.to_sdk())
}

pub(crate) fn market_type(kind: MarketType) -> &'static str {
    marketprism_adapter_sdk::market_type_name(kind.to_sdk())
}

/// A case of the contract in a word: the bindings print some of them with their type.
pub(crate) fn word(case: &impl std::fmt::Debug) -> String {
    let text = format!("{case:?}");
    text.rsplit("::").next().unwrap_or_default().to_owned()
}

/// The instrument at a position, as causes name it.
pub(crate) fn instrument(instruments: &[Instrument], index: u32) -> String {
    match instruments.get(index as usize) {
        Some(one) => format!("{} {}", market_type(one.market_type), one.symbol),
        None => format!("instrument {index}"),
    }
}

/// True for the pseudo-instrument of a volatility index, whose symbol is a coin: nothing is traded there.
pub(crate) fn is_index(instrument: &Instrument) -> bool {
    !instrument.symbol.contains('-')
}

/// The data type and the instrument of an event.
pub(crate) fn subject_of(payload: &Payload) -> (DataType, u32) {
    (payload.data_type().into(), payload.instrument().into())
}
