//! Names of the contract's cases, as configuration writes them, and of kinds of frames.

use marketprism_adapter_host::contract::{DataType, Instrument, MarketType, Payload};
use marketprism_adapter_sdk as sdk;

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
    sdk::data_type_name(kind.to_sdk())
}

pub(crate) fn market_type(kind: MarketType) -> &'static str {
    sdk::market_type_name(kind.to_sdk())
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

pub(crate) fn subject_of(payload: &Payload) -> (DataType, u32) {
    (payload.data_type().into(), payload.instrument().into())
}

/// The kind of a single frame: that of its first event, else that of its first note.
pub fn kind(normalized: &sdk::Normalized) -> String {
    use sdk::{BookChange, Payload, Remark};
    let name = match (normalized.events.first(), normalized.notes.first()) {
        (Some(event), _) => match &event.payload {
            Payload::Trade(_) => "trade",
            Payload::Book(book) if book.change == BookChange::Snapshot => "book snapshot",
            Payload::Book(_) => "book delta",
            Payload::FundingRate(_) => "funding_rate",
            Payload::OpenInterest(_) => "open_interest",
            Payload::Liquidation(_) => "liquidation",
            Payload::LsrTopPosition(_) => "lsr_top_position",
            Payload::LsrAllAccount(_) => "lsr_all_account",
            Payload::VolatilityIndex(_) => "volatility_index",
        },
        (None, Some(note)) => match &note.remark {
            Remark::Ignored(_) => "ignored",
            Remark::Malformed(_) => "malformed",
            _ => "control",
        },
        (None, None) => "nothing",
    };
    name.to_owned()
}
