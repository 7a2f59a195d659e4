//! Reading the packed form.

use prost::Message as _;

use super::message::event::Body as BodyMessage;
use super::message::{
    Decimal as DecimalMessage, Event as EventMessage, LongShortRatio as LongShortRatioMessage,
    MarketType as MarketTypeName, OrderBook as OrderBookMessage, Side as SideName,
};
use crate::wire::DecodeError;
use crate::{
    Body, DataType, Decimal, Event, EventId, FundingRate, Header, Levels, Liquidation, LongShortRatio,
    MarketType, OpenInterest, OrderBook, SCALE_MAX, Side, Trade, VolatilityIndex,
};

/// Reads one packed payload. Fields that this version does not know are passed over.
pub fn decode_protobuf(payload: &[u8]) -> Result<Event<'static>, DecodeError> {
    let message = EventMessage::decode(payload)?;
    let id: [u8; 16] =
        message.event_id.as_slice().try_into().map_err(|_| DecodeError::Field("event_id", "16 bytes"))?;
    let body = message.body.ok_or(DecodeError::Field("body", "one of the eight types"))?;
    let header = Header {
        exchange: message.exchange.into(),
        market_type: market_type(message.market_type)?,
        symbol: message.symbol.into(),
        venue_symbol: message.venue_symbol.into(),
        timestamp_us: message.timestamp,
        received_at_ns: message.received_at,
        event_id: EventId(u128::from_be_bytes(id)),
        edge: message.edge.into(),
        region: message.region.into(),
        adapter: message.adapter.into(),
    };
    Ok(Event { header, body: read_body(body)? })
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
        }),
        BodyMessage::LsrTopPosition(shares) => Body::LsrTopPosition(ratio(DataType::LsrTopPosition, shares)?),
        BodyMessage::LsrAllAccount(shares) => Body::LsrAllAccount(ratio(DataType::LsrAllAccount, shares)?),
        BodyMessage::VolatilityIndex(index) => Body::VolatilityIndex(VolatilityIndex {
            index_value: needed(DataType::VolatilityIndex, index.index_value, "index_value")?,
            underlying_asset: index.underlying_asset.into(),
        }),
    })
}

fn order_book(book: &OrderBookMessage) -> Result<OrderBook<'static>, DecodeError> {
    let side = |prices: &[i64], quantities: &[i64], field| {
        if prices.len() != quantities.len() {
            return Err(DecodeError::Field(field, "as many prices as quantities"));
        }
        let mut price = 0_i64;
        let level = |(difference, quantity): (&i64, &i64)| {
            price = price.wrapping_add(*difference);
            [price, *quantity]
        };
        Ok(prices.iter().zip(quantities).map(level).collect::<Vec<_>>().into())
    };
    Ok(OrderBook {
        last_update_id: book.last_update_id,
        levels: Levels {
            price_scale: scale(book.price_scale, "price_scale")?,
            quantity_scale: scale(book.quantity_scale, "quantity_scale")?,
            bids: side(&book.bid_prices, &book.bid_quantities, "bid_prices")?,
            asks: side(&book.ask_prices, &book.ask_quantities, "ask_prices")?,
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

fn market_type(market_type: i32) -> Result<MarketType, DecodeError> {
    match MarketTypeName::try_from(market_type) {
        Ok(MarketTypeName::Spot) => Ok(MarketType::Spot),
        Ok(MarketTypeName::Perpetual) => Ok(MarketType::Perpetual),
        Ok(MarketTypeName::Futures) => Ok(MarketType::Futures),
        Ok(MarketTypeName::Options) => Ok(MarketType::Options),
        Ok(MarketTypeName::Unspecified) | Err(_) => Err(DecodeError::Field("market_type", "1 to 4")),
    }
}
