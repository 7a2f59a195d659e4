//! The messages of `marketprism.proto`, which documents them.
#![allow(missing_docs, reason = "the definition file has the documentation")]

use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct EventMessage {
    #[prost(string, tag = "1")]
    pub exchange: String,
    #[prost(enumeration = "MarketTypeName", tag = "2")]
    pub market_type: i32,
    #[prost(string, tag = "3")]
    pub symbol: String,
    #[prost(string, tag = "4")]
    pub venue_symbol: String,
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
    #[prost(int64, tag = "6")]
    pub received_at: i64,
    #[prost(bytes = "vec", tag = "7")]
    pub event_id: Vec<u8>,
    #[prost(string, tag = "8")]
    pub edge: String,
    #[prost(string, tag = "9")]
    pub region: String,
    #[prost(string, tag = "10")]
    pub adapter: String,
    #[prost(oneof = "BodyMessage", tags = "11, 12, 13, 14, 15, 16, 17, 18")]
    pub body: Option<BodyMessage>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum BodyMessage {
    #[prost(message, tag = "11")]
    Trade(TradeMessage),
    #[prost(message, tag = "12")]
    OrderBook(OrderBookMessage),
    #[prost(message, tag = "13")]
    FundingRate(FundingRateMessage),
    #[prost(message, tag = "14")]
    OpenInterest(OpenInterestMessage),
    #[prost(message, tag = "15")]
    Liquidation(LiquidationMessage),
    #[prost(message, tag = "16")]
    LsrTopPosition(LongShortRatioMessage),
    #[prost(message, tag = "17")]
    LsrAllAccount(LongShortRatioMessage),
    #[prost(message, tag = "18")]
    VolatilityIndex(VolatilityIndexMessage),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum MarketTypeName {
    Unspecified = 0,
    Spot = 1,
    Perpetual = 2,
    Futures = 3,
    Options = 4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum SideName {
    Unspecified = 0,
    Buy = 1,
    Sell = 2,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct DecimalMessage {
    #[prost(sint64, tag = "1")]
    pub mantissa: i64,
    #[prost(uint32, tag = "2")]
    pub scale: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct TradeMessage {
    #[prost(string, tag = "1")]
    pub trade_id: String,
    #[prost(message, optional, tag = "2")]
    pub price: Option<DecimalMessage>,
    #[prost(message, optional, tag = "3")]
    pub quantity: Option<DecimalMessage>,
    #[prost(enumeration = "SideName", tag = "4")]
    pub side: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct OrderBookMessage {
    #[prost(int64, tag = "1")]
    pub last_update_id: i64,
    #[prost(uint32, tag = "2")]
    pub depth: u32,
    #[prost(uint32, tag = "3")]
    pub epoch: u32,
    #[prost(uint32, tag = "4")]
    pub price_scale: u32,
    #[prost(uint32, tag = "5")]
    pub quantity_scale: u32,
    #[prost(sint64, repeated, tag = "6")]
    pub bid_prices: Vec<i64>,
    #[prost(sint64, repeated, tag = "7")]
    pub bid_quantities: Vec<i64>,
    #[prost(sint64, repeated, tag = "8")]
    pub ask_prices: Vec<i64>,
    #[prost(sint64, repeated, tag = "9")]
    pub ask_quantities: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct FundingRateMessage {
    #[prost(message, optional, tag = "1")]
    pub funding_rate: Option<DecimalMessage>,
    #[prost(int64, optional, tag = "2")]
    pub funding_time: Option<i64>,
    #[prost(int64, optional, tag = "3")]
    pub next_funding_time: Option<i64>,
    #[prost(uint32, optional, tag = "4")]
    pub interval_hours: Option<u32>,
    #[prost(message, optional, tag = "5")]
    pub mark_price: Option<DecimalMessage>,
    #[prost(message, optional, tag = "6")]
    pub index_price: Option<DecimalMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct OpenInterestMessage {
    #[prost(message, optional, tag = "1")]
    pub open_interest: Option<DecimalMessage>,
    #[prost(message, optional, tag = "2")]
    pub open_interest_contracts: Option<DecimalMessage>,
    #[prost(message, optional, tag = "3")]
    pub open_interest_value: Option<DecimalMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct LiquidationMessage {
    #[prost(enumeration = "SideName", tag = "1")]
    pub side: i32,
    #[prost(message, optional, tag = "2")]
    pub price: Option<DecimalMessage>,
    #[prost(message, optional, tag = "3")]
    pub quantity: Option<DecimalMessage>,
    #[prost(int64, optional, tag = "4")]
    pub liquidation_time: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LongShortRatioMessage {
    #[prost(message, optional, tag = "1")]
    pub long_share: Option<DecimalMessage>,
    #[prost(message, optional, tag = "2")]
    pub short_share: Option<DecimalMessage>,
    #[prost(message, optional, tag = "3")]
    pub ratio: Option<DecimalMessage>,
    #[prost(string, tag = "4")]
    pub period: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct VolatilityIndexMessage {
    #[prost(message, optional, tag = "1")]
    pub index_value: Option<DecimalMessage>,
    #[prost(string, tag = "2")]
    pub underlying_asset: String,
}
