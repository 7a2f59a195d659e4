//! Reading the JSON form.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::{
    Body, BookLevels, DataSource, DataType, Decimal, Event, EventId, FundingRate, Header, Liquidation,
    LongShortRatio, MarketType, OpenInterest, OrderBook, OrderBookDelta, Quote, Side, Trade, UnknownName,
    VolatilityIndex,
};

/// Why a payload is not an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON of the right shape; the text names the key and the place.
    #[error("payload: {0}")]
    Json(#[from] serde_json::Error),
    /// Not a packed message.
    #[error("payload: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A field of a packed message, and what it must be.
    #[error("payload: {0} is not {1}")]
    Field(&'static str, &'static str),
    /// A name outside its closed set.
    #[error("payload: {0}")]
    Name(#[from] UnknownName),
    /// A key that the data type needs is not there.
    #[error("payload: a {data_type} needs {key:?}")]
    Missing {
        /// The payload's type.
        data_type: DataType,
        /// The key that is absent.
        key: &'static str,
    },
    /// The levels of a book do not fit 63 bits at one scale.
    #[error("payload: {0}: levels do not fit 63 bits at a common number of decimal places")]
    Levels(&'static str),
    /// The maker flag says something else than the side.
    #[error("payload: is_maker {is_maker} contradicts side {side}")]
    Maker {
        /// As in the payload.
        is_maker: bool,
        /// As in the payload.
        side: Side,
    },
}

/// The general reader: any order of keys, any form that JSON allows.
pub(super) fn decode_any_json(payload: &[u8]) -> Result<Event<'_>, DecodeError> {
    let raw: Raw<'_> = serde_json::from_slice(payload)?;
    let data_type: DataType = raw.data_type.parse()?;
    let body = body(data_type, &raw)?;
    let header = Header {
        exchange: raw.exchange,
        market_type: raw.market_type.parse::<MarketType>()?,
        symbol: raw.symbol,
        venue_symbol: raw.venue_symbol,
        timestamp_us: raw.timestamp,
        received_at_ns: raw.received_at,
        event_id: raw.event_id.0,
        edge: raw.edge,
        region: raw.region,
        adapter: raw.adapter,
        data_source: raw.data_source.as_deref().map_or(Ok(DataSource::Live), str::parse)?,
    };
    Ok(Event { header, body })
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    data_type: Cow<'a, str>,
    #[serde(borrow)]
    exchange: Cow<'a, str>,
    #[serde(borrow)]
    market_type: Cow<'a, str>,
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    venue_symbol: Cow<'a, str>,
    timestamp: i64,
    received_at: i64,
    event_id: IdText,
    #[serde(borrow)]
    edge: Cow<'a, str>,
    #[serde(borrow)]
    region: Cow<'a, str>,
    #[serde(borrow)]
    adapter: Cow<'a, str>,
    /// Absent: live.
    #[serde(borrow)]
    data_source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    trade_id: Option<Cow<'a, str>>,
    price: Option<DecimalText>,
    quantity: Option<DecimalText>,
    #[serde(borrow)]
    side: Option<Cow<'a, str>>,
    is_maker: Option<bool>,
    last_update_id: Option<i64>,
    checksum: Option<i64>,
    bids: Option<Vec<LevelText>>,
    asks: Option<Vec<LevelText>>,
    depth: Option<u32>,
    epoch: Option<u32>,
    funding_rate: Option<DecimalText>,
    funding_time: Option<i64>,
    next_funding_time: Option<i64>,
    interval_hours: Option<u32>,
    mark_price: Option<DecimalText>,
    index_price: Option<DecimalText>,
    open_interest: Option<DecimalText>,
    open_interest_contracts: Option<DecimalText>,
    open_interest_value: Option<DecimalText>,
    liquidation_time: Option<i64>,
    #[serde(borrow)]
    liquidation_id: Option<Cow<'a, str>>,
    #[serde(alias = "long_account_ratio")]
    long_position_ratio: Option<DecimalText>,
    #[serde(alias = "short_account_ratio")]
    short_position_ratio: Option<DecimalText>,
    ratio: Option<DecimalText>,
    #[serde(borrow)]
    period: Option<Cow<'a, str>>,
    index_value: Option<DecimalText>,
    #[serde(borrow)]
    underlying_asset: Option<Cow<'a, str>>,
    epoch_started_at: Option<i64>,
    number: Option<u64>,
    is_snapshot: Option<bool>,
    parts_left: Option<u32>,
    first_update_id: Option<i64>,
    previous_update_id: Option<i64>,
    is_bids_partial: Option<bool>,
    is_asks_partial: Option<bool>,
    bid_price: Option<DecimalText>,
    bid_quantity: Option<DecimalText>,
    ask_price: Option<DecimalText>,
    ask_quantity: Option<DecimalText>,
}

fn body<'a>(data_type: DataType, raw: &Raw<'a>) -> Result<Body<'a>, DecodeError> {
    let missing = |key| DecodeError::Missing { data_type, key };
    let decimal = |value: Option<DecimalText>, key| value.map(|d| d.0).ok_or_else(|| missing(key));
    let text = |value: &Option<Cow<'a, str>>, key| value.clone().ok_or_else(|| missing(key));
    Ok(match data_type {
        DataType::Trade => Body::Trade(trade(raw, &missing)?),
        DataType::OrderBook => Body::OrderBook(OrderBook {
            last_update_id: raw.last_update_id.ok_or_else(|| missing("last_update_id"))?,
            checksum: raw.checksum,
            levels: both_sides(raw, &missing)?,
            depth: raw.depth.ok_or_else(|| missing("depth"))?,
            epoch: raw.epoch.ok_or_else(|| missing("epoch"))?,
        }),
        DataType::FundingRate => Body::FundingRate(FundingRate {
            funding_rate: decimal(raw.funding_rate, "funding_rate")?,
            funding_time_us: raw.funding_time,
            next_funding_time_us: raw.next_funding_time,
            interval_hours: raw.interval_hours,
            mark_price: raw.mark_price.map(|d| d.0),
            index_price: raw.index_price.map(|d| d.0),
        }),
        DataType::OpenInterest => Body::OpenInterest(OpenInterest {
            open_interest: raw.open_interest.map(|d| d.0),
            open_interest_contracts: raw.open_interest_contracts.map(|d| d.0),
            open_interest_value: raw.open_interest_value.map(|d| d.0),
        }),
        DataType::Liquidation => Body::Liquidation(Liquidation {
            side: text(&raw.side, "side")?.parse()?,
            price: decimal(raw.price, "price")?,
            quantity: decimal(raw.quantity, "quantity")?,
            liquidation_time_us: raw.liquidation_time,
            liquidation_id: raw.liquidation_id.clone().unwrap_or_default(),
        }),
        DataType::LsrTopPosition | DataType::LsrAllAccount => {
            let ratio = LongShortRatio {
                long: decimal(raw.long_position_ratio, "long ratio")?,
                short: decimal(raw.short_position_ratio, "short ratio")?,
                ratio: raw.ratio.map(|d| d.0),
                period: text(&raw.period, "period")?,
            };
            if data_type == DataType::LsrTopPosition {
                Body::LsrTopPosition(ratio)
            } else {
                Body::LsrAllAccount(ratio)
            }
        }
        DataType::VolatilityIndex => Body::VolatilityIndex(VolatilityIndex {
            index_value: decimal(raw.index_value, "index_value")?,
            underlying_asset: text(&raw.underlying_asset, "underlying_asset")?,
        }),
        DataType::OrderBookDelta => Body::OrderBookDelta(order_book_delta(raw, &missing)?),
        DataType::Quote => Body::Quote(quote(raw, &missing)?),
    })
}

fn quote(raw: &Raw<'_>, missing: &dyn Fn(&'static str) -> DecodeError) -> Result<Quote, DecodeError> {
    let level = |price: Option<DecimalText>, quantity: Option<DecimalText>, names: [&'static str; 2]| match (
        price, quantity,
    ) {
        (Some(price), Some(quantity)) => Ok(Some([price.0, quantity.0])),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(missing(names[0])),
        (Some(_), None) => Err(missing(names[1])),
    };
    let bid = level(raw.bid_price, raw.bid_quantity, ["bid_price", "bid_quantity"])?;
    let ask = level(raw.ask_price, raw.ask_quantity, ["ask_price", "ask_quantity"])?;
    let levels = level_columns(bid.as_slice(), ask.as_slice())?;
    Ok(Quote {
        epoch: raw.epoch.ok_or_else(|| missing("epoch"))?,
        last_update_id: raw.last_update_id.ok_or_else(|| missing("last_update_id"))?,
        price_scale: levels.price_scale,
        quantity_scale: levels.quantity_scale,
        bid: levels.bids.first().copied(),
        ask: levels.asks.first().copied(),
    })
}

fn order_book_delta(
    raw: &Raw<'_>,
    missing: &dyn Fn(&'static str) -> DecodeError,
) -> Result<OrderBookDelta<'static>, DecodeError> {
    Ok(OrderBookDelta {
        epoch: raw.epoch.ok_or_else(|| missing("epoch"))?,
        epoch_started_ns: raw.epoch_started_at.ok_or_else(|| missing("epoch_started_at"))?,
        number: raw.number.ok_or_else(|| missing("number"))?,
        is_snapshot: raw.is_snapshot.ok_or_else(|| missing("is_snapshot"))?,
        parts_left: raw.parts_left.unwrap_or_default(),
        first_update_id: raw.first_update_id.ok_or_else(|| missing("first_update_id"))?,
        previous_update_id: raw.previous_update_id,
        last_update_id: raw.last_update_id.ok_or_else(|| missing("last_update_id"))?,
        checksum: raw.checksum,
        is_bids_partial: raw.is_bids_partial.ok_or_else(|| missing("is_bids_partial"))?,
        is_asks_partial: raw.is_asks_partial.ok_or_else(|| missing("is_asks_partial"))?,
        levels: both_sides(raw, missing)?,
    })
}

fn both_sides(
    raw: &Raw<'_>,
    missing: &dyn Fn(&'static str) -> DecodeError,
) -> Result<BookLevels<'static>, DecodeError> {
    let bids = raw.bids.as_deref().ok_or_else(|| missing("bids"))?;
    levels(bids, raw.asks.as_deref().ok_or_else(|| missing("asks"))?)
}

fn trade<'a>(raw: &Raw<'a>, missing: &dyn Fn(&'static str) -> DecodeError) -> Result<Trade<'a>, DecodeError> {
    let side: Side = raw.side.as_deref().ok_or_else(|| missing("side"))?.parse()?;
    let trade = Trade {
        trade_id: raw.trade_id.clone().ok_or_else(|| missing("trade_id"))?,
        price: raw.price.ok_or_else(|| missing("price"))?.0,
        quantity: raw.quantity.ok_or_else(|| missing("quantity"))?.0,
        side,
    };
    match raw.is_maker {
        Some(is_maker) if is_maker != trade.is_maker() => Err(DecodeError::Maker { is_maker, side }),
        _ => Ok(trade),
    }
}

fn levels(bids: &[LevelText], asks: &[LevelText]) -> Result<BookLevels<'static>, DecodeError> {
    let pairs = |side: &[LevelText]| -> Vec<[Decimal; 2]> {
        side.iter().map(|LevelText(price, quantity)| [price.0, quantity.0]).collect()
    };
    level_columns(&pairs(bids), &pairs(asks))
}

/// Brings pairs of price and quantity to one scale each.
pub(super) fn level_columns(
    bids: &[[Decimal; 2]],
    asks: &[[Decimal; 2]],
) -> Result<BookLevels<'static>, DecodeError> {
    let all = || bids.iter().chain(asks);
    let price_scale = all().map(|[price, _]| price.scale).max().unwrap_or_default();
    let quantity_scale = all().map(|[_, quantity]| quantity.scale).max().unwrap_or_default();
    let side = |levels: &[[Decimal; 2]], name| {
        let mut pairs = Vec::with_capacity(levels.len());
        for [price, quantity] in levels {
            let pair = price.rescale(price_scale).zip(quantity.rescale(quantity_scale));
            let (price, quantity) = pair.ok_or(DecodeError::Levels(name))?;
            pairs.push([price, quantity]);
        }
        Ok::<_, DecodeError>(Cow::Owned(pairs))
    };
    Ok(BookLevels { price_scale, quantity_scale, bids: side(bids, "bids")?, asks: side(asks, "asks")? })
}

/// A decimal in a JSON string.
#[derive(Clone, Copy)]
struct DecimalText(Decimal);

/// 32 hex digits.
struct IdText(EventId);

/// `[price, quantity]`.
#[derive(Clone, Copy, Deserialize)]
struct LevelText(DecimalText, DecimalText);

struct DecimalVisitor;
struct IdVisitor;

impl Visitor<'_> for DecimalVisitor {
    type Value = DecimalText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal in a string")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<DecimalText, E> {
        Decimal::parse(value).map(DecimalText).map_err(|e| E::custom(format_args!("{value:?} is {e}")))
    }
}

impl Visitor<'_> for IdVisitor {
    type Value = IdText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 hex digits in a string")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<IdText, E> {
        EventId::parse(value).map(IdText).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
    }
}

impl<'de> Deserialize<'de> for DecimalText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(DecimalVisitor)
    }
}

impl<'de> Deserialize<'de> for IdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(IdVisitor)
    }
}
