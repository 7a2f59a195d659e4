//! The two exchange ids, and what each offers.

use marketprism_adapter_sdk::{
    Capability, ChecksumRule, Completeness, DataType, Delivery, Description, Endpoint, MarketType,
    SequenceRule, SnapshotSource, Venue,
};

/// Deepest order book of the `books` channel, in levels a side.
const BOOK_DEPTH: u32 = 400;

/// One of the two exchange ids; the venue serves both from the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Spot,
    Derivatives,
}

impl Exchange {
    pub(crate) fn of(id: &str) -> Option<Exchange> {
        [Exchange::Spot, Exchange::Derivatives].into_iter().find(|exchange| exchange.id() == id)
    }

    pub(crate) fn id(self) -> &'static str {
        match self {
            Exchange::Spot => "okx_spot",
            Exchange::Derivatives => "okx_derivatives",
        }
    }
}

/// The markets of the derivatives id that have this data type; none where it is not offered.
pub(crate) fn markets(data_type: DataType) -> &'static [MarketType] {
    const ALL: &[MarketType] = &[MarketType::Perpetual, MarketType::Futures, MarketType::Options];
    const CONTRACTS: &[MarketType] = &[MarketType::Perpetual, MarketType::Futures];
    const PERPETUAL: &[MarketType] = &[MarketType::Perpetual];
    match data_type {
        DataType::Trade | DataType::Orderbook | DataType::OpenInterest => ALL,
        DataType::Liquidation => CONTRACTS,
        DataType::FundingRate | DataType::LsrTopPosition | DataType::LsrAllAccount => PERPETUAL,
        DataType::VolatilityIndex => &[],
    }
}

pub(crate) fn describe() -> Description {
    let derivatives = [
        DataType::Trade,
        DataType::Orderbook,
        DataType::FundingRate,
        DataType::OpenInterest,
        DataType::Liquidation,
        DataType::LsrTopPosition,
        DataType::LsrAllAccount,
    ];
    Description {
        name: "okx".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        venues: vec![
            venue(
                Exchange::Spot,
                &[MarketType::Spot],
                [DataType::Trade, DataType::Orderbook]
                    .map(|data_type| capability(data_type, &[MarketType::Spot])),
            ),
            venue(
                Exchange::Derivatives,
                markets(DataType::Trade),
                derivatives.map(|data_type| capability(data_type, markets(data_type))),
            ),
        ],
    }
}

fn venue<const N: usize>(
    exchange: Exchange,
    market_types: &[MarketType],
    capabilities: [Capability; N],
) -> Venue {
    let endpoint =
        |(name, url): (&str, &str)| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    let endpoints = [("ws", "wss://ws.okx.com"), ("rest", "https://www.okx.com")];
    Venue {
        exchange: exchange.id().to_owned(),
        market_types: market_types.to_vec(),
        capabilities: capabilities.to_vec(),
        endpoints: endpoints.into_iter().map(endpoint).collect(),
    }
}

fn capability(data_type: DataType, market_types: &[MarketType]) -> Capability {
    let book = data_type == DataType::Orderbook;
    let polled = matches!(data_type, DataType::LsrTopPosition | DataType::LsrAllAccount);
    Capability {
        data_type,
        market_types: market_types.to_vec(),
        delivery: if polled { Delivery::Poll } else { Delivery::Push },
        sequence: if book { SequenceRule::Chained } else { SequenceRule::Unnumbered },
        // The venue's checksum is a constant zero today.
        checksum: ChecksumRule::Unchecked,
        snapshot: if book { SnapshotSource::InBand } else { SnapshotSource::NotApplicable },
        // One message stands for all matches of a taker at one price, and names the last match.
        contiguous_trade_ids: false,
        completeness: if data_type == DataType::Liquidation {
            Completeness::LowerBound
        } else {
            Completeness::Complete
        },
        max_depth: if book { BOOK_DEPTH } else { 0 },
    }
}
