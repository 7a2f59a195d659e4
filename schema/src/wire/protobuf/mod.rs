//! The packed wire form, `marketprism.proto`.

#[allow(
    missing_docs,
    dead_code,
    clippy::doc_markdown,
    reason = "generated from marketprism.proto by tests/protobuf.rs"
)]
mod message;
mod packed;

use std::borrow::Cow;

use self::message::event::Body as BodyMessage;
use self::message::{
    DataSource as DataSourceName, Decimal as DecimalMessage, Event as EventMessage,
    FundingRate as FundingRateMessage, Liquidation as LiquidationMessage,
    LongShortRatio as LongShortRatioMessage, MarketType as MarketTypeName,
    OpenInterest as OpenInterestMessage, OrderBook as OrderBookMessage,
    OrderBookDelta as OrderBookDeltaMessage, Side as SideName, Trade as TradeMessage,
    VolatilityIndex as VolatilityIndexMessage,
};
pub use self::packed::{PackedEvents, PayloadEvents, split_packed_header};
use super::decode::DecodeError;
use crate::{
    Body, BookLevels, DataSource, DataType, Decimal, Event, FundingRate, Liquidation, LongShortRatio,
    MarketType, OpenInterest, OrderBook, OrderBookDelta, SCALE_MAX, Side, Trade, VolatilityIndex,
};

/// Appends the packed message of one event.
pub fn encode_protobuf(event: &Event<'_>, out: &mut Vec<u8>) {
    let header = &event.header;
    packed::write_header(header, market_type_number(header.market_type).into(), out);
    let message = EventMessage {
        timestamp: header.timestamp_us,
        received_after: header.received_at_ns.wrapping_sub(header.timestamp_us.wrapping_mul(1_000)),
        event_id: header.event_id.0.to_be_bytes().to_vec(),
        data_source: data_source_number(header.data_source).into(),
        body: Some(write_body(&event.body)),
    };
    packed::write_event(&message, out);
}

fn write_body(body: &Body<'_>) -> BodyMessage {
    match body {
        Body::Trade(trade) => BodyMessage::Trade(TradeMessage {
            trade_id: trade.trade_id.as_ref().to_owned(),
            price: some(trade.price),
            quantity: some(trade.quantity),
            side: side_number(trade.side).into(),
        }),
        Body::OrderBook(book) => BodyMessage::Orderbook(write_order_book(book)),
        Body::FundingRate(rate) => BodyMessage::FundingRate(FundingRateMessage {
            funding_rate: some(rate.funding_rate),
            funding_time: rate.funding_time_us,
            next_funding_time: rate.next_funding_time_us,
            interval_hours: rate.interval_hours,
            mark_price: rate.mark_price.and_then(some),
            index_price: rate.index_price.and_then(some),
        }),
        Body::OpenInterest(interest) => BodyMessage::OpenInterest(OpenInterestMessage {
            open_interest: interest.open_interest.and_then(some),
            open_interest_contracts: interest.open_interest_contracts.and_then(some),
            open_interest_value: interest.open_interest_value.and_then(some),
        }),
        Body::Liquidation(order) => BodyMessage::Liquidation(LiquidationMessage {
            side: side_number(order.side).into(),
            price: some(order.price),
            quantity: some(order.quantity),
            liquidation_time: order.liquidation_time_us,
            liquidation_id: order.liquidation_id.as_ref().to_owned(),
        }),
        Body::LsrTopPosition(shares) => BodyMessage::LsrTopPosition(write_ratio(shares)),
        Body::LsrAllAccount(shares) => BodyMessage::LsrAllAccount(write_ratio(shares)),
        Body::VolatilityIndex(index) => BodyMessage::VolatilityIndex(VolatilityIndexMessage {
            index_value: some(index.index_value),
            underlying_asset: index.underlying_asset.as_ref().to_owned(),
        }),
        Body::OrderBookDelta(delta) => BodyMessage::OrderbookDelta(write_delta(delta)),
    }
}

/// Each price but the first as the difference to the one before it.
fn packed_prices(levels: &[[i64; 2]]) -> Vec<i64> {
    let mut before = 0;
    let difference = |[price, _]: &[i64; 2]| price.wrapping_sub(std::mem::replace(&mut before, *price));
    levels.iter().map(difference).collect()
}

fn quantities(levels: &[[i64; 2]]) -> Vec<i64> {
    levels.iter().map(|[_, quantity]| *quantity).collect()
}

fn write_delta(delta: &OrderBookDelta<'_>) -> OrderBookDeltaMessage {
    OrderBookDeltaMessage {
        epoch: delta.epoch,
        epoch_started_at: delta.epoch_started_ns,
        number: delta.number,
        is_snapshot: delta.is_snapshot,
        parts_left: delta.parts_left,
        first_update_id: delta.first_update_id,
        previous_update_before: delta
            .previous_update_id
            .map(|previous| delta.first_update_id.wrapping_sub(previous)),
        last_update_after: delta.last_update_id.wrapping_sub(delta.first_update_id),
        checksum: delta.checksum,
        is_bids_partial: delta.is_bids_partial,
        is_asks_partial: delta.is_asks_partial,
        price_scale: delta.levels.price_scale.into(),
        quantity_scale: delta.levels.quantity_scale.into(),
        bid_prices: packed_prices(&delta.levels.bids),
        bid_quantities: quantities(&delta.levels.bids),
        ask_prices: packed_prices(&delta.levels.asks),
        ask_quantities: quantities(&delta.levels.asks),
    }
}

fn write_order_book(book: &OrderBook<'_>) -> OrderBookMessage {
    OrderBookMessage {
        last_update_id: book.last_update_id,
        checksum: book.checksum,
        depth: book.depth,
        epoch: book.epoch,
        price_scale: book.levels.price_scale.into(),
        quantity_scale: book.levels.quantity_scale.into(),
        bid_prices: packed_prices(&book.levels.bids),
        bid_quantities: quantities(&book.levels.bids),
        ask_prices: packed_prices(&book.levels.asks),
        ask_quantities: quantities(&book.levels.asks),
    }
}

fn write_ratio(shares: &LongShortRatio<'_>) -> LongShortRatioMessage {
    LongShortRatioMessage {
        long_share: some(shares.long),
        short_share: some(shares.short),
        ratio: shares.ratio.and_then(some),
        period: shares.period.as_ref().to_owned(),
    }
}

// A message field is optional by its nature; what it wraps is not.
#[allow(clippy::unnecessary_wraps)]
fn some(decimal: Decimal) -> Option<DecimalMessage> {
    Some(DecimalMessage { mantissa: decimal.mantissa, scale: decimal.scale.into() })
}

const fn side_number(side: Side) -> SideName {
    match side {
        Side::Buy => SideName::Buy,
        Side::Sell => SideName::Sell,
    }
}

const fn data_source_number(source: DataSource) -> DataSourceName {
    match source {
        DataSource::Live => DataSourceName::Live,
        DataSource::Backfill => DataSourceName::Backfill,
    }
}

const fn market_type_number(market_type: MarketType) -> MarketTypeName {
    match market_type {
        MarketType::Spot => MarketTypeName::Spot,
        MarketType::Perpetual => MarketTypeName::Perpetual,
        MarketType::Futures => MarketTypeName::Futures,
        MarketType::Options => MarketTypeName::Options,
    }
}

/// Reads the packed message of one event. Fields that this version does not know are passed over.
pub fn decode_protobuf(payload: &[u8]) -> Result<Event<'_>, DecodeError> {
    let packed = PackedEvents::split(payload)?;
    if packed.len() > 1 {
        return Err(DecodeError::Field("events", "a single event"));
    }
    packed.event(0)
}

fn read_body(body: BodyMessage) -> Result<Body<'static>, DecodeError> {
    Ok(match body {
        BodyMessage::Trade(trade) => Body::Trade(Trade {
            trade_id: trade.trade_id.into(),
            price: needed(DataType::Trade, trade.price, "price")?,
            quantity: needed(DataType::Trade, trade.quantity, "quantity")?,
            side: side(trade.side)?,
        }),
        BodyMessage::Orderbook(book) => Body::OrderBook(order_book(&book)?),
        BodyMessage::FundingRate(rate) => Body::FundingRate(FundingRate {
            funding_rate: needed(DataType::FundingRate, rate.funding_rate, "funding_rate")?,
            funding_time_us: rate.funding_time,
            next_funding_time_us: rate.next_funding_time,
            interval_hours: rate.interval_hours,
            mark_price: optional(rate.mark_price)?,
            index_price: optional(rate.index_price)?,
        }),
        BodyMessage::OpenInterest(interest) => Body::OpenInterest(OpenInterest {
            open_interest: optional(interest.open_interest)?,
            open_interest_contracts: optional(interest.open_interest_contracts)?,
            open_interest_value: optional(interest.open_interest_value)?,
        }),
        BodyMessage::Liquidation(order) => Body::Liquidation(Liquidation {
            side: side(order.side)?,
            price: needed(DataType::Liquidation, order.price, "price")?,
            quantity: needed(DataType::Liquidation, order.quantity, "quantity")?,
            liquidation_time_us: order.liquidation_time,
            liquidation_id: order.liquidation_id.into(),
        }),
        BodyMessage::LsrTopPosition(shares) => Body::LsrTopPosition(ratio(DataType::LsrTopPosition, shares)?),
        BodyMessage::LsrAllAccount(shares) => Body::LsrAllAccount(ratio(DataType::LsrAllAccount, shares)?),
        BodyMessage::VolatilityIndex(index) => Body::VolatilityIndex(VolatilityIndex {
            index_value: needed(DataType::VolatilityIndex, index.index_value, "index_value")?,
            underlying_asset: index.underlying_asset.into(),
        }),
        BodyMessage::OrderbookDelta(delta) => Body::OrderBookDelta(order_book_delta(&delta)?),
    })
}

fn order_book_delta(delta: &OrderBookDeltaMessage) -> Result<OrderBookDelta<'static>, DecodeError> {
    Ok(OrderBookDelta {
        epoch: delta.epoch,
        epoch_started_ns: delta.epoch_started_at,
        number: delta.number,
        is_snapshot: delta.is_snapshot,
        parts_left: delta.parts_left,
        first_update_id: delta.first_update_id,
        previous_update_id: delta
            .previous_update_before
            .map(|before| delta.first_update_id.wrapping_sub(before)),
        last_update_id: delta.first_update_id.wrapping_add(delta.last_update_after),
        checksum: delta.checksum,
        is_bids_partial: delta.is_bids_partial,
        is_asks_partial: delta.is_asks_partial,
        levels: BookLevels {
            price_scale: scale(delta.price_scale, "price_scale")?,
            quantity_scale: scale(delta.quantity_scale, "quantity_scale")?,
            bids: packed_side(&delta.bid_prices, &delta.bid_quantities, "bid_prices")?,
            asks: packed_side(&delta.ask_prices, &delta.ask_quantities, "ask_prices")?,
        },
    })
}

fn packed_side(
    prices: &[i64],
    quantities: &[i64],
    field: &'static str,
) -> Result<Cow<'static, [[i64; 2]]>, DecodeError> {
    if prices.len() != quantities.len() {
        return Err(DecodeError::Field(field, "as many prices as quantities"));
    }
    let mut price = 0_i64;
    let level = |(difference, quantity): (&i64, &i64)| {
        price = price.wrapping_add(*difference);
        [price, *quantity]
    };
    Ok(prices.iter().zip(quantities).map(level).collect::<Vec<_>>().into())
}

fn order_book(book: &OrderBookMessage) -> Result<OrderBook<'static>, DecodeError> {
    Ok(OrderBook {
        last_update_id: book.last_update_id,
        checksum: book.checksum,
        levels: BookLevels {
            price_scale: scale(book.price_scale, "price_scale")?,
            quantity_scale: scale(book.quantity_scale, "quantity_scale")?,
            bids: packed_side(&book.bid_prices, &book.bid_quantities, "bid_prices")?,
            asks: packed_side(&book.ask_prices, &book.ask_quantities, "ask_prices")?,
        },
        depth: book.depth,
        epoch: book.epoch,
    })
}

fn ratio(data_type: DataType, shares: LongShortRatioMessage) -> Result<LongShortRatio<'static>, DecodeError> {
    Ok(LongShortRatio {
        long: needed(data_type, shares.long_share, "long_share")?,
        short: needed(data_type, shares.short_share, "short_share")?,
        ratio: optional(shares.ratio)?,
        period: shares.period.into(),
    })
}

fn needed(
    data_type: DataType,
    decimal: Option<DecimalMessage>,
    key: &'static str,
) -> Result<Decimal, DecodeError> {
    optional(decimal)?.ok_or(DecodeError::Missing { data_type, key })
}

fn optional(decimal: Option<DecimalMessage>) -> Result<Option<Decimal>, DecodeError> {
    let Some(DecimalMessage { mantissa, scale: places }) = decimal else { return Ok(None) };
    Ok(Some(Decimal { mantissa, scale: scale(places, "scale")? }))
}

fn scale(places: u32, field: &'static str) -> Result<u8, DecodeError> {
    u8::try_from(places)
        .ok()
        .filter(|places| *places <= SCALE_MAX)
        .ok_or(DecodeError::Field(field, "0 to 18 decimal places"))
}

fn side(side: i32) -> Result<Side, DecodeError> {
    match SideName::try_from(side) {
        Ok(SideName::Buy) => Ok(Side::Buy),
        Ok(SideName::Sell) => Ok(Side::Sell),
        Ok(SideName::Unspecified) | Err(_) => Err(DecodeError::Field("side", "1 (buy) or 2 (sell)")),
    }
}

fn data_source(source: i32) -> Result<DataSource, DecodeError> {
    match DataSourceName::try_from(source) {
        Ok(DataSourceName::Live) => Ok(DataSource::Live),
        Ok(DataSourceName::Backfill) => Ok(DataSource::Backfill),
        Err(_) => Err(DecodeError::Field("data_source", "0 (live) or 1 (backfill)")),
    }
}

fn market_type(market_type: i32) -> Result<MarketType, DecodeError> {
    match MarketTypeName::try_from(market_type) {
        Ok(MarketTypeName::Spot) => Ok(MarketType::Spot),
        Ok(MarketTypeName::Perpetual) => Ok(MarketType::Perpetual),
        Ok(MarketTypeName::Futures) => Ok(MarketType::Futures),
        Ok(MarketTypeName::Options) => Ok(MarketType::Options),
        Ok(MarketTypeName::Unspecified) | Err(_) => Err(DecodeError::Field("market_type", "1 to 4")),
    }
}
