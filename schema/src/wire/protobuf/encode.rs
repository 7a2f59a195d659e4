//! Writing the packed form.

use prost::Message as _;

use super::message::event::Body as BodyMessage;
use super::message::{
    Decimal as DecimalMessage, Event as EventMessage, FundingRate as FundingRateMessage,
    Liquidation as LiquidationMessage, LongShortRatio as LongShortRatioMessage, MarketType as MarketTypeName,
    OpenInterest as OpenInterestMessage, OrderBook as OrderBookMessage, Side as SideName,
    Trade as TradeMessage, VolatilityIndex as VolatilityIndexMessage,
};
use crate::{Body, Decimal, Event, LongShortRatio, MarketType, OrderBook, Side};

/// Appends the packed form of an event.
pub fn encode_protobuf(event: &Event<'_>, out: &mut Vec<u8>) {
    let header = &event.header;
    let message = EventMessage {
        exchange: header.exchange.as_ref().to_owned(),
        market_type: market_type(header.market_type).into(),
        symbol: header.symbol.as_ref().to_owned(),
        venue_symbol: header.venue_symbol.as_ref().to_owned(),
        timestamp: header.timestamp_us,
        received_at: header.received_at_ns,
        event_id: header.event_id.0.to_be_bytes().to_vec(),
        edge: header.edge.as_ref().to_owned(),
        region: header.region.as_ref().to_owned(),
        adapter: header.adapter.as_ref().to_owned(),
        body: Some(body(&event.body)),
    };
    out.extend_from_slice(&message.encode_to_vec());
}

fn body(body: &Body<'_>) -> BodyMessage {
    match body {
        Body::Trade(trade) => BodyMessage::Trade(TradeMessage {
            trade_id: trade.trade_id.as_ref().to_owned(),
            price: some(trade.price),
            quantity: some(trade.quantity),
            side: side(trade.side).into(),
        }),
        Body::OrderBook(book) => BodyMessage::Orderbook(order_book(book)),
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
            side: side(order.side).into(),
            price: some(order.price),
            quantity: some(order.quantity),
            liquidation_time: order.liquidation_time_us,
        }),
        Body::LsrTopPosition(shares) => BodyMessage::LsrTopPosition(ratio(shares)),
        Body::LsrAllAccount(shares) => BodyMessage::LsrAllAccount(ratio(shares)),
        Body::VolatilityIndex(index) => BodyMessage::VolatilityIndex(VolatilityIndexMessage {
            index_value: some(index.index_value),
            underlying_asset: index.underlying_asset.as_ref().to_owned(),
        }),
    }
}

fn order_book(book: &OrderBook<'_>) -> OrderBookMessage {
    let prices = |levels: &[[i64; 2]]| {
        let mut before = 0;
        let difference = |[price, _]: &[i64; 2]| price.wrapping_sub(std::mem::replace(&mut before, *price));
        levels.iter().map(difference).collect()
    };
    let quantities = |levels: &[[i64; 2]]| levels.iter().map(|[_, quantity]| *quantity).collect();
    OrderBookMessage {
        last_update_id: book.last_update_id,
        depth: book.depth,
        epoch: book.epoch,
        price_scale: book.levels.price_scale.into(),
        quantity_scale: book.levels.quantity_scale.into(),
        bid_prices: prices(&book.levels.bids),
        bid_quantities: quantities(&book.levels.bids),
        ask_prices: prices(&book.levels.asks),
        ask_quantities: quantities(&book.levels.asks),
    }
}

fn ratio(shares: &LongShortRatio<'_>) -> LongShortRatioMessage {
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

const fn side(side: Side) -> SideName {
    match side {
        Side::Buy => SideName::Buy,
        Side::Sell => SideName::Sell,
    }
}

const fn market_type(market_type: MarketType) -> MarketTypeName {
    match market_type {
        MarketType::Spot => MarketTypeName::Spot,
        MarketType::Perpetual => MarketTypeName::Perpetual,
        MarketType::Futures => MarketTypeName::Futures,
        MarketType::Options => MarketTypeName::Options,
    }
}
