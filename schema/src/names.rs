//! Closed sets of names: each value has one spelling in payloads, subjects, tables and configuration.

use std::time::Duration;

use enum_map::{Enum, EnumMap};

/// A name outside its closed set. Carries the field, the value and what was allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not one of {allowed}")]
pub struct UnknownName {
    /// Key in the message or column that held it.
    pub field: &'static str,
    /// The name that was given.
    pub value: String,
    /// The names that are known, separated by commas.
    pub allowed: String,
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident, $field:literal, { $($(#[$item_doc:meta])* $item:ident = $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $type { $($(#[$item_doc])* #[serde(rename = $name)] $item),+ }

        impl $type {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$item),+];

            /// The name in payloads, subjects, tables and configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $name),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(value: &str) -> Result<Self, $crate::UnknownName> {
                match value {
                    $($name => Ok(Self::$item),)+
                    _ => Err($crate::UnknownName {
                        field: $field,
                        value: value.to_owned(),
                        allowed: [$($name),+].join(", "),
                    }),
                }
            }
        }
    };
}
pub(crate) use names;

/// One value per data type; `map[DataType::Trade]` is always there.
pub type DataTypeMap<T> = EnumMap<DataType, T>;

names! {
    /// The nine kinds of market data.
    #[derive(Enum)]
    DataType, "data_type", {
        /// One match, or an aggregate of matches where the venue publishes only that.
        Trade = "trade",
        /// A snapshot of the best levels of one order book.
        OrderBook = "orderbook",
        /// The rate that longs pay shorts.
        FundingRate = "funding_rate",
        /// Contracts that are open.
        OpenInterest = "open_interest",
        /// A forced order.
        Liquidation = "liquidation",
        /// Long and short shares of the positions of top traders.
        LsrTopPosition = "lsr_top_position",
        /// Long and short shares of all accounts.
        LsrAllAccount = "lsr_all_account",
        /// Expected volatility, annualized, in percent points.
        VolatilityIndex = "volatility_index",
        /// One change of one order book, or the state that later changes start from. Made by the edge from order-book updates.
        OrderBookDelta = "orderbook_delta",
    }
}

impl DataType {
    /// The data type that an adapter subscribes for this one: the edge makes order-book deltas from a venue's books.
    pub const fn subscribed(self) -> Self {
        match self {
            Self::OrderBookDelta => Self::OrderBook,
            other => other,
        }
    }
}

/// Age of the newest event above which a data type counts as stale in every coverage table.
pub const fn stale_after(data_type: DataType) -> Duration {
    match data_type {
        DataType::Trade | DataType::OrderBook | DataType::OrderBookDelta => Duration::from_secs(60),
        DataType::Liquidation => Duration::from_secs(3_600),
        _ => Duration::from_secs(8 * 3_600),
    }
}

names! {
    /// Where an edge got an event from.
    #[derive(Default)]
    DataSource, "data_source", {
        /// A subscription, or a request on a schedule.
        #[default]
        Live = "live",
        /// The venue's history of trades, to fill a gap.
        Backfill = "backfill",
    }
}

names! {
    /// Kind of instrument.
    MarketType, "market_type", {
        /// Immediate exchange of the two assets.
        Spot = "spot",
        /// A future without an expiry.
        Perpetual = "perpetual",
        /// A future with an expiry.
        Futures = "futures",
        /// Options on an underlying asset.
        Options = "options",
    }
}

names! {
    /// Side of an order: the taker's in a trade, the forced order's in a liquidation.
    Side, "side", {
        /// The order buys the base asset.
        Buy = "buy",
        /// The order sells the base asset.
        Sell = "sell",
    }
}
