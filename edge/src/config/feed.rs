//! One `[[feed]]` of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use marketprism_config::{MaskedUrl, Problems, names_schema};
use marketprism_schema::{DataType, DataTypeMap, MarketType, StreamId, WireForm};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::network::{Egress, Network};
use super::raw::RawSettings;
use super::sandbox::Sandbox;
use super::symbols::{SymbolSelection, TopSettings, common};
use crate::limits::LISTING_INTERVAL;

/// Subscription of one exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FeedConfig {
    /// Exchange id, as the adapter names it.
    #[schemars(extend("x-required" = true))]
    pub exchange: String,
    /// The adapter's component.
    #[schemars(extend("x-required" = true, "x-file" = true))]
    pub adapter: PathBuf,
    /// Normalized symbols such as BTC-USDT, BTC-USDT-261225 or BTC-USDT-261225-90000-C, and patterns with `*` for any characters such as
    /// `*-USDT`, `BTC-*`, `BTC-USD-*` (an option chain) or `*`. A pattern selects what trades at the venue.
    #[schemars(extend("x-required" = true, "uniqueItems" = true))]
    pub symbols: Vec<String>,
    /// Symbols and patterns that the patterns of `symbols` leave out.
    #[schemars(extend("uniqueItems" = true))]
    pub exclude: Vec<String>,
    pub top: TopSettings,
    /// Data types to collect.
    #[schemars(schema_with = "data_types")]
    pub data_types: Vec<DataType>,
    /// Market types; none given: all but options. A volatility index belongs to a coin and needs no market type.
    #[schemars(schema_with = "market_types")]
    pub market_types: Vec<MarketType>,
    /// Published levels per side of a book; not given: 400, or the venue's deepest where that is less.
    #[schemars(range(min = 1, max = 5_000))]
    pub depth: Option<u32>,
    /// Least time between two published states of a book.
    #[serde(rename = "publish_interval_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 10, max = 60_000))]
    pub publish_interval: Duration,
    /// Least time between two published states of a book of a feed that collects `orderbook_delta` too: its book can be rebuilt at any time. The first state after it is published, later ones are not waited for.
    #[serde(rename = "state_interval_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 10, max = 120_000))]
    pub state_interval: Duration,
    /// Longest wait before a reconnect. Waits double from 250 ms up to this, with jitter.
    #[serde(rename = "reconnect_wait_max_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 250, max = 600_000))]
    pub reconnect_wait_max: Duration,
    /// Interval at which the venue's instrument lists are read again, a tenth more or less: what `symbols` selects is collected once it is
    /// listed, and ends once it is not.
    #[serde(rename = "listing_interval_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 1_000, max = 86_400_000))]
    pub listing_interval: Duration,
    /// Trades that were missed are requested from the venue's history, where the adapter offers it (`adapter inspect`), also those between two
    /// runs. Such rows have the `data_source` `backfill`.
    pub backfill: bool,
    pub raw: RawSettings,
    /// Additional certificate authority for sockets and requests of this feed.
    #[schemars(extend("x-file" = true))]
    pub ca_file: Option<PathBuf>,
    /// Base addresses that replace the adapter's, by its names for them.
    pub endpoints: BTreeMap<String, MaskedUrl>,
    #[serde(flatten)]
    pub network: Network,
    /// As its keys, `[network]` and the environment say.
    #[serde(skip)]
    pub egress: Egress,
    /// As `[sandbox]` says.
    #[serde(skip)]
    pub sandbox: Sandbox,
    /// As `[wire]` says.
    #[serde(skip)]
    pub wire: DataTypeMap<WireForm>,
    /// Of the content of `ca_file`.
    #[serde(skip)]
    pub ca_digest: Option<u64>,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            exchange: String::new(),
            adapter: PathBuf::new(),
            symbols: Vec::new(),
            exclude: Vec::new(),
            top: TopSettings::default(),
            data_types: Vec::new(),
            market_types: Vec::new(),
            depth: None,
            publish_interval: Duration::from_millis(100),
            state_interval: Duration::from_secs(60),
            reconnect_wait_max: Duration::from_secs(60),
            listing_interval: LISTING_INTERVAL,
            backfill: true,
            raw: RawSettings::default(),
            ca_file: None,
            endpoints: BTreeMap::new(),
            network: Network::default(),
            egress: Egress::default(),
            sandbox: Sandbox::default().of_feeds(),
            wire: DataTypeMap::default(),
            ca_digest: None,
        }
    }
}

impl FeedConfig {
    pub fn selection(&self) -> SymbolSelection {
        SymbolSelection::new(&self.symbols, &self.exclude).with_top(self.top.markets())
    }

    /// Least time between two published states of a book.
    pub fn book_interval(&self) -> Duration {
        match self.data_types.contains(&DataType::OrderBookDelta) {
            true => self.state_interval,
            false => self.publish_interval,
        }
    }

    /// True if the feed collects the stream, provided that the venue lists its instrument.
    pub fn selects(&self, stream: &StreamId) -> bool {
        self.exchange == stream.exchange
            && self.data_types.contains(&stream.data_type)
            && wants(stream.data_type, &self.market_types, stream.market_type)
            && self.selection().includes(&stream.symbol)
    }

    /// True if an instrument of this type that the feed collected `before` is still the feed's.
    pub fn keeps_market(&self, before: &Self, market: MarketType) -> bool {
        let is_same = self.market_types == before.market_types && self.data_types == before.data_types;
        is_same || wants(DataType::Trade, &self.market_types, market)
    }
}

fn data_types(_: &mut SchemaGenerator) -> Schema {
    let items = names_schema(DataType::ALL.iter().map(|kind| kind.as_str()));
    json_schema!({ "type": "array", "items": items, "uniqueItems": true, "x-required": true })
}

fn market_types(_: &mut SchemaGenerator) -> Schema {
    let items = names_schema(MarketType::ALL.iter().map(|market| market.as_str()));
    json_schema!({ "type": "array", "items": items, "uniqueItems": true })
}

/// Two feeds that collect the same would publish every event twice.
pub(super) fn check_overlap(
    at: &str,
    feed: &FeedConfig,
    earlier: &[FeedConfig],
    problems: &mut Problems<'_>,
) {
    for (index, other) in earlier.iter().enumerate() {
        let market_types_meet = feed.market_types.is_empty()
            || other.market_types.is_empty()
            || feed.market_types.iter().any(|market_type| other.market_types.contains(market_type));
        let data_types_meet = feed.data_types.iter().any(|data_type| other.data_types.contains(data_type));
        if feed.exchange == other.exchange
            && market_types_meet
            && data_types_meet
            && let Some((symbol, by)) = common(feed, other)
        {
            let by = if by == symbol { String::new() } else { format!(" as {by:?}") };
            let what =
                format!("{symbol:?} is collected by feed[{index}] already{by}, with the same data type");
            let allowed = "each symbol and data type of an exchange in one feed";
            problems.report(&format!("{at}.symbols"), what, allowed);
        }
    }
}

/// The feeds of one exchange share a folder.
pub(super) fn check_raw(at: &str, feed: &FeedConfig, earlier: &[FeedConfig], problems: &mut Problems<'_>) {
    let shares = |other: &(usize, &FeedConfig)| {
        other.1.exchange == feed.exchange && other.1.raw.enabled && feed.raw.enabled
    };
    let Some((index, other)) = earlier.iter().enumerate().find(shares) else { return };
    let allowed = format!("as in feed[{index}], which keeps raw frames of the same exchange");
    problems.demand(other.raw == feed.raw, &format!("{at}.raw"), "differs", allowed.clone());
    let adapter = format!("{:?}", feed.adapter.display().to_string());
    problems.demand(
        other.adapter == feed.adapter,
        &format!("{at}.adapter"),
        format!("is {adapter}"),
        allowed,
    );
}

/// The names of a closed set, for messages.
pub(super) fn allowed<T: ToString>(names: &[T]) -> String {
    names.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// True if a feed with these market types wants a data type of a market. A volatility index belongs to a coin, not to a market, so it is
/// independent of market types. Options must be named.
pub fn wants(kind: DataType, market_types: &[MarketType], market: MarketType) -> bool {
    kind == DataType::VolatilityIndex
        || market_types.contains(&market)
        || (market_types.is_empty() && market != MarketType::Options)
}
