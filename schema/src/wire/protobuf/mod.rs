//! The packed wire form, `marketprism.proto`.

mod fields;
#[allow(
    missing_docs,
    dead_code,
    clippy::doc_markdown,
    reason = "generated from marketprism.proto by tests/protobuf.rs"
)]
mod message;
mod numbers;
mod packed;
mod written_trade;

use self::message::event::Body as BodyMessage;
use self::message::{
    DataSource as DataSourceName, Decimal as DecimalMessage, Event as EventMessage,
    FundingRate as FundingRateMessage, Liquidation as LiquidationMessage,
    LongShortRatio as LongShortRatioMessage, MarketType as MarketTypeName,
    OpenInterest as OpenInterestMessage, OrderBook as OrderBookMessage,
    OrderBookDelta as OrderBookDeltaMessage, Quote as QuoteMessage, Side as SideName, Trade as TradeMessage,
    VolatilityIndex as VolatilityIndexMessage,
};
use self::numbers::{packed_prices, packed_side, quantities, scale};
pub use self::packed::{PackedEvents, PayloadEvents, split_packed_header};
use super::decode::DecodeError;
use crate::{
    Body, BookLevels, DataSource, DataType, Decimal, Event, FundingRate, Liquidation, LongShortRatio,
    MarketType, OpenInterest, OrderBook, OrderBookDelta, Quote, Side, Trade, VolatilityIndex,
};

/// Flags of an order-book delta.
const SNAPSHOT: u32 = 1;
const BIDS_PARTIAL: u32 = 2;
const ASKS_PARTIAL: u32 = 4;

/// Appends the packed message of one event.
pub fn encode_protobuf(event: &Event<'_>, out: &mut Vec<u8>) {
    let header = &event.header;
    packed::write_header(header, market_type_number(header.market_type).into(), out);
    let message = EventMessage {
        timestamp: header.timestamp_us,
        received_after: header.received_at_ns.wrapping_sub(header.timestamp_us.wrapping_mul(1_000)),
        event_id: packed::written_id(header.event_id, &event.body),
        data_source: data_source_number(header.data_source).into(),
        body: Some(write_body(&event.body, header.received_at_ns)),
    };
    packed::write_event(&message, out);
}

fn write_body(body: &Body<'_>, received_at_ns: i64) -> BodyMessage {
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
        Body::OrderBookDelta(delta) => BodyMessage::OrderbookDelta(write_delta(delta, received_at_ns)),
        Body::Quote(quote) => BodyMessage::Quote(write_quote(quote)),
    }
}

fn write_delta(delta: &OrderBookDelta<'_>, received_at_ns: i64) -> OrderBookDeltaMessage {
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    let BookLevels { price_scale, quantity_scale, bids, asks } = &delta.levels;
    OrderBookDeltaMessage {
        epoch: delta.epoch,
        epoch_started_before: received_at_ns.wrapping_sub(delta.epoch_started_ns),
        number: delta.number,
        flags: flag(delta.is_snapshot, SNAPSHOT)
            | flag(delta.is_bids_partial, BIDS_PARTIAL)
            | flag(delta.is_asks_partial, ASKS_PARTIAL),
        parts_left: delta.parts_left,
        first_update_id: delta.first_update_id,
        previous_update_before: delta
            .previous_update_id
            .map(|previous| delta.first_update_id.wrapping_sub(previous)),
        last_update_after: delta.last_update_id.wrapping_sub(delta.first_update_id),
        checksum: delta.checksum,
        price_scale: (*price_scale).into(),
        quantity_scale: (*quantity_scale).into(),
        bid_prices: packed_prices(bids, 0),
        bid_quantities: quantities(bids),
        ask_prices: packed_prices(asks, first_price(bids)),
        ask_quantities: quantities(asks),
    }
}

fn first_price(levels: &[[i64; 2]]) -> i64 {
    levels.first().map_or(0, |[price, _]| *price)
}

fn write_quote(quote: &Quote) -> QuoteMessage {
    let [bid, ask] = [quote.bid, quote.ask].map(Option::unwrap_or_default);
    QuoteMessage {
        epoch: quote.epoch,
        last_update_id: quote.last_update_id,
        price_scale: quote.price_scale.into(),
        quantity_scale: quote.quantity_scale.into(),
        bid_price: bid[0],
        bid_quantity: bid[1].cast_unsigned(),
        ask_above: if quote.ask.is_some() { ask[0].wrapping_sub(bid[0]) } else { 0 },
        ask_quantity: ask[1].cast_unsigned(),
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
        bid_prices: packed_prices(&book.levels.bids, 0),
        bid_quantities: quantities(&book.levels.bids),
        ask_prices: packed_prices(&book.levels.asks, 0),
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

fn read_body(body: BodyMessage, received_at_ns: i64) -> Result<Body<'static>, DecodeError> {
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
        BodyMessage::OrderbookDelta(delta) => Body::OrderBookDelta(order_book_delta(&delta, received_at_ns)?),
        BodyMessage::Quote(quote) => Body::Quote(a_quote(&quote)?),
    })
}

fn order_book_delta(
    delta: &OrderBookDeltaMessage,
    received_at_ns: i64,
) -> Result<OrderBookDelta<'static>, DecodeError> {
    let flags = delta.flags;
    let bids = packed_side(&delta.bid_prices, &delta.bid_quantities, "bid_prices", 0)?;
    let asks = packed_side(&delta.ask_prices, &delta.ask_quantities, "ask_prices", first_price(&bids))?;
    Ok(OrderBookDelta {
        epoch: delta.epoch,
        epoch_started_ns: received_at_ns.wrapping_sub(delta.epoch_started_before),
        number: delta.number,
        is_snapshot: flags & SNAPSHOT != 0,
        parts_left: delta.parts_left,
        first_update_id: delta.first_update_id,
        previous_update_id: delta
            .previous_update_before
            .map(|before| delta.first_update_id.wrapping_sub(before)),
        last_update_id: delta.first_update_id.wrapping_add(delta.last_update_after),
        checksum: delta.checksum,
        is_bids_partial: flags & BIDS_PARTIAL != 0,
        is_asks_partial: flags & ASKS_PARTIAL != 0,
        levels: BookLevels {
            price_scale: scale(delta.price_scale, "price_scale")?,
            quantity_scale: scale(delta.quantity_scale, "quantity_scale")?,
            bids,
            asks,
        },
    })
}

fn a_quote(quote: &QuoteMessage) -> Result<Quote, DecodeError> {
    let level = |price, quantity: u64| (quantity > 0).then(|| [price, quantity.cast_signed()]);
    Ok(Quote {
        epoch: quote.epoch,
        last_update_id: quote.last_update_id,
        price_scale: scale(quote.price_scale, "price_scale")?,
        quantity_scale: scale(quote.quantity_scale, "quantity_scale")?,
        bid: level(quote.bid_price, quote.bid_quantity),
        ask: level(quote.bid_price.wrapping_add(quote.ask_above), quote.ask_quantity),
    })
}

fn order_book(book: &OrderBookMessage) -> Result<OrderBook<'static>, DecodeError> {
    Ok(OrderBook {
        last_update_id: book.last_update_id,
        checksum: book.checksum,
        levels: BookLevels {
            price_scale: scale(book.price_scale, "price_scale")?,
            quantity_scale: scale(book.quantity_scale, "quantity_scale")?,
            bids: packed_side(&book.bid_prices, &book.bid_quantities, "bid_prices", 0)?,
            asks: packed_side(&book.ask_prices, &book.ask_quantities, "ask_prices", 0)?,
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
