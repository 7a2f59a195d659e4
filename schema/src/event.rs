//! The normalized events, as they are in payloads.

use std::borrow::Cow;

use crate::decimal::Decimal;
use crate::event_id::EventId;
use crate::names::{DataSource, DataType, MarketType, Side};

/// One normalized event. Text is borrowed where it can be, so that an edge builds events without allocating.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// Fields of every event.
    pub header: Header<'a>,
    /// Fields of its data type.
    pub body: Body<'a>,
}

/// Fields of every event.
#[derive(Debug, Clone, PartialEq)]
pub struct Header<'a> {
    /// Exchange id, such as the first token of a venue and its market.
    pub exchange: Cow<'a, str>,
    /// Spot, perpetual, future or option.
    pub market_type: MarketType,
    /// Normalized symbol, `BASE-QUOTE` and so on.
    pub symbol: Cow<'a, str>,
    /// The venue's own symbol.
    pub venue_symbol: Cow<'a, str>,
    /// The venue's time, microseconds since 1970 UTC.
    pub timestamp_us: i64,
    /// When the edge received it, nanoseconds since 1970 UTC.
    pub received_at_ns: i64,
    /// See [`EventId`].
    pub event_id: EventId,
    /// Name of the edge.
    pub edge: Cow<'a, str>,
    /// Region of the edge.
    pub region: Cow<'a, str>,
    /// `name@version+digest` of the adapter.
    pub adapter: Cow<'a, str>,
    /// Not part of the event id: a trade from the history has the id of its live copy.
    pub data_source: DataSource,
}

impl Header<'_> {
    /// True if exchange, market type and symbol are the same: all of the subject but the data type.
    pub fn has_market_of(&self, other: &Header<'_>) -> bool {
        self.market_type == other.market_type
            && is_same(&self.exchange, &other.exchange)
            && is_same(&self.symbol, &other.symbol)
    }

    /// True if all texts are the same.
    pub fn has_texts_of(&self, other: &Header<'_>) -> bool {
        is_same(&self.exchange, &other.exchange)
            && is_same(&self.symbol, &other.symbol)
            && is_same(&self.venue_symbol, &other.venue_symbol)
            && is_same(&self.edge, &other.edge)
            && is_same(&self.region, &other.region)
            && is_same(&self.adapter, &other.adapter)
    }
}

/// Events of one packed message have the same piece of it, which need not be compared.
fn is_same(text: &str, other: &str) -> bool {
    std::ptr::eq(text, other) || text == other
}

/// Fields of each data type in addition to the header.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    /// One execution at the venue.
    Trade(Trade<'a>),
    /// An order-book snapshot.
    OrderBook(OrderBook<'a>),
    /// Payment between the sides of a perpetual.
    FundingRate(FundingRate),
    /// Contracts that are not closed.
    OpenInterest(OpenInterest),
    /// A forced order.
    Liquidation(Liquidation<'a>),
    /// Long/short ratio of top traders' positions.
    LsrTopPosition(LongShortRatio<'a>),
    /// Long/short ratio of all accounts.
    LsrAllAccount(LongShortRatio<'a>),
    /// Expected volatility of a coin.
    VolatilityIndex(VolatilityIndex<'a>),
    /// A change of an order book.
    OrderBookDelta(OrderBookDelta<'a>),
    /// Best bid and ask of an order book.
    Quote(Quote),
}

impl Body<'_> {
    /// The data type of this body.
    pub const fn data_type(&self) -> DataType {
        match self {
            Self::Trade(_) => DataType::Trade,
            Self::OrderBook(_) => DataType::OrderBook,
            Self::FundingRate(_) => DataType::FundingRate,
            Self::OpenInterest(_) => DataType::OpenInterest,
            Self::Liquidation(_) => DataType::Liquidation,
            Self::LsrTopPosition(_) => DataType::LsrTopPosition,
            Self::LsrAllAccount(_) => DataType::LsrAllAccount,
            Self::VolatilityIndex(_) => DataType::VolatilityIndex,
            Self::OrderBookDelta(_) => DataType::OrderBookDelta,
            Self::Quote(_) => DataType::Quote,
        }
    }
}

/// One execution at the venue.
#[derive(Debug, Clone, PartialEq)]
pub struct Trade<'a> {
    /// The venue's id, as text because some venues' ids are not numbers.
    pub trade_id: Cow<'a, str>,
    /// Quote units for one base unit. Of an option that the venue prices in its base coin (quote `USD`): base units.
    pub price: Decimal,
    /// Base units.
    pub quantity: Decimal,
    /// The taker's side.
    pub side: Side,
}

impl Trade<'_> {
    /// True if the buyer was the maker: the taker sold.
    pub fn is_maker(&self) -> bool {
        self.side == Side::Sell
    }
}

/// The best levels of one order book at one update.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderBook<'a> {
    /// The venue's id of the last update in it.
    pub last_update_id: i64,
    /// The venue's checksum of the book after that update, where it gives one.
    pub checksum: Option<i64>,
    /// The levels, best first.
    pub levels: BookLevels<'a>,
    /// Levels a side that were asked for; the book may have fewer.
    pub depth: u32,
    /// Counts the resyncs of this book: update ids of different epochs need not be comparable.
    pub epoch: u32,
}

/// Most levels of one [`OrderBookDelta`], both sides together: 500 kB in JSON at most, half of what brokers take. What has more is split.
pub const DELTA_LEVELS_MAX: usize = 10_000;

/// One change of one order book, or its whole state, in the order in which one edge applied them.
///
/// An epoch ends where updates are missing or the book was rebuilt. Its records are numbered without a hole, so that a state is proven by
/// the newest snapshot up to it and every number since.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OrderBookDelta<'a> {
    /// Counts the resyncs of this book in one run of the edge.
    pub epoch: u32,
    /// When the edge received the update that the epoch begins with, nanoseconds: distinguishes the epochs of one edge and book.
    pub epoch_started_ns: i64,
    /// Position in the epoch: 0 for its first snapshot, one more for each record.
    pub number: u64,
    /// The levels are all that are known, instead of those that changed.
    pub is_snapshot: bool,
    /// Records of the same update that follow: one of more than [`DELTA_LEVELS_MAX`] levels is split.
    pub parts_left: u32,
    /// The venue's first id of the update.
    pub first_update_id: i64,
    /// The venue's id of the update before it, where the venue names it.
    pub previous_update_id: Option<i64>,
    /// The venue's last id of the update.
    pub last_update_id: i64,
    /// The venue's checksum of the book after the update, where it gives one.
    pub checksum: Option<i64>,
    /// The venue may have bids beyond those known.
    pub is_bids_partial: bool,
    /// The venue may have asks beyond those known.
    pub is_asks_partial: bool,
    /// Changed levels, best first, each price once; quantity 0 removes the level.
    pub levels: BookLevels<'a>,
}

/// Price and quantity mantissas of both sides, at one scale each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BookLevels<'a> {
    /// Decimal places of the prices.
    pub price_scale: u8,
    /// Decimal places of the quantities.
    pub quantity_scale: u8,
    /// `[price, quantity]`, highest price first.
    pub bids: Cow<'a, [[i64; 2]]>,
    /// `[price, quantity]`, lowest price first.
    pub asks: Cow<'a, [[i64; 2]]>,
}

/// Best bid and ask of one order book at the update that changed one of them. A crossed book has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quote {
    /// Counts the resyncs of this book in one run of the edge: its first quote may repeat the last one of the epoch before.
    pub epoch: u32,
    /// The venue's id of the update.
    pub last_update_id: i64,
    /// Decimal places of the prices.
    pub price_scale: u8,
    /// Decimal places of the quantities.
    pub quantity_scale: u8,
    /// Price and quantity of the highest bid; none in a book without bids.
    pub bid: Option<[i64; 2]>,
    /// Price and quantity of the lowest ask.
    pub ask: Option<[i64; 2]>,
}

impl Quote {
    /// Price and quantity of bid and ask.
    pub fn decimals(&self) -> [Option<[Decimal; 2]>; 2] {
        let decimals = |[price, quantity]: [i64; 2]| {
            [
                Decimal { mantissa: price, scale: self.price_scale },
                Decimal { mantissa: quantity, scale: self.quantity_scale },
            ]
        };
        [self.bid, self.ask].map(|level| level.map(decimals))
    }

    /// True if prices and quantities are the same numbers, at whatever scales.
    pub fn has_levels_of(&self, other: &Self) -> bool {
        if (self.price_scale, self.quantity_scale) == (other.price_scale, other.quantity_scale) {
            return (self.bid, self.ask) == (other.bid, other.ask);
        }
        let numbers = |quote: &Self| {
            quote.decimals().map(|level| level.map(|numbers| numbers.map(Decimal::to_scale_18)))
        };
        numbers(self) == numbers(other)
    }
}

/// Payment between longs and shorts of a perpetual.
#[derive(Debug, Clone, PartialEq)]
pub struct FundingRate {
    /// Fraction paid per interval (0.0001 is one basis point).
    pub funding_rate: Decimal,
    /// Time at which this rate was charged, microseconds. Absent in estimates of the coming charge, which is all that venues push.
    pub funding_time_us: Option<i64>,
    /// Time at which this rate will be charged, microseconds. Absent where funding is charged continuously.
    pub next_funding_time_us: Option<i64>,
    /// Hours between two charges.
    pub interval_hours: Option<u32>,
    /// Price that margins are calculated with, quote units.
    pub mark_price: Option<Decimal>,
    /// Price of the underlying index, quote units.
    pub index_price: Option<Decimal>,
}

/// Open interest, in each unit the venue gives.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenInterest {
    /// Base units.
    pub open_interest: Option<Decimal>,
    /// In contracts.
    pub open_interest_contracts: Option<Decimal>,
    /// US dollars, or the stablecoin that the contract is quoted in.
    pub open_interest_value: Option<Decimal>,
}

/// A forced order.
#[derive(Debug, Clone, PartialEq)]
pub struct Liquidation<'a> {
    /// Side of the forced order: sell closes a long.
    pub side: Side,
    /// Quote units for one base unit: of the fill, or the bankruptcy price where the venue gives that one.
    pub price: Decimal,
    /// Base units.
    pub quantity: Decimal,
    /// When it happened, microseconds.
    pub liquidation_time_us: Option<i64>,
    /// The venue's id of the order, which distinguishes two orders of one moment, price and quantity. Empty where the venue gives none.
    pub liquidation_id: Cow<'a, str>,
}

/// Long and short shares, summing to 1 but for the venue's rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct LongShortRatio<'a> {
    /// Share of the longs.
    pub long: Decimal,
    /// Share of the shorts.
    pub short: Decimal,
    /// Long divided by short: as the venue gives it, or calculated from its shares.
    pub ratio: Option<Decimal>,
    /// The period it covers, a number and `m`, `h` or `d` at every venue: `5m`.
    pub period: Cow<'a, str>,
}

/// Expected volatility of an asset, as the venue calculates it from its options.
#[derive(Debug, Clone, PartialEq)]
pub struct VolatilityIndex<'a> {
    /// Percent points: 129.36 is 129.36 % a year.
    pub index_value: Decimal,
    /// The asset whose volatility it is.
    pub underlying_asset: Cow<'a, str>,
}
