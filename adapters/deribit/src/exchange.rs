//! The exchange id, and what it offers.

use marketprism_adapter_sdk::{
    Capability, ChecksumRule, Completeness, DataType, Delivery, Description, Endpoint, MarketType,
    SequenceRule, SnapshotSource, Venue,
};

/// The one exchange id of this adapter.
pub(crate) const EXCHANGE: &str = "deribit_derivatives";

/// The volatility indices that the venue really publishes, each with its coin.
pub(crate) const INDICES: [(&str, &str); 2] = [("btc_usd", "BTC"), ("eth_usd", "ETH")];

/// Deepest order book in levels a side: the venue's REST limit. Its socket sends whole books.
const MAX_DEPTH: u32 = 10_000;

/// The coin of a volatility index; none for any other name.
pub(crate) fn coin_of_index(name: &[u8]) -> Option<&'static str> {
    INDICES.iter().find(|(index, _)| index.as_bytes() == name).map(|(_, coin)| *coin)
}

/// The markets on which a data type is offered.
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
    let endpoints = [("ws", "wss://www.deribit.com"), ("rest", "https://www.deribit.com")];
    let endpoint =
        |(name, url): (&str, &str)| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
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
            endpoints: endpoints.map(endpoint).to_vec(),
        }],
    }
}

fn capability(data_type: DataType) -> Capability {
    let book = data_type == DataType::Orderbook;
    // The venue marks a forced trade about an hour late, and only on REST: what is marked later than we look is not seen.
    let delayed = data_type == DataType::Liquidation;
    Capability {
        data_type,
        market_types: markets(data_type).to_vec(),
        delivery: if delayed { Delivery::Poll } else { Delivery::Push },
        sequence: if book { SequenceRule::Chained } else { SequenceRule::Unnumbered },
        checksum: ChecksumRule::Unchecked,
        snapshot: if book { SnapshotSource::InBand } else { SnapshotSource::NotApplicable },
        contiguous_trade_ids: data_type == DataType::Trade,
        completeness: if delayed { Completeness::LowerBound } else { Completeness::Complete },
        max_depth: if book { MAX_DEPTH } else { 0 },
    }
}
