//! Instruments, events and record builders of one exchange.

use marketprism_adapter_host::contract::{
    Book, BookChange, Decimal, Instrument, MarketType, Payload, Side, Trade, TradeId,
};
use marketprism_edge::records::{EventEncoder, EventOrigin, RecordBuilder, RecordOptions, Subscription};

/// Venue time of the events, microseconds.
pub const AT_US: i64 = 1_700_000_000_000_000;

pub const ONE: Decimal = Decimal { mantissa: 1, scale: 0 };

pub fn instrument(symbol: &str, market_type: MarketType) -> Instrument {
    Instrument {
        symbol: symbol.into(),
        venue_symbol: symbol.replace('-', ""),
        market_type,
        base: "AB".into(),
        quote: "CD".into(),
        contract_size: None,
        contract_value: None,
        price_scale: 2,
        quantity_scale: 3,
        tick_size: None,
        step_size: None,
        trading: true,
    }
}

pub fn encoder(exchange: &str, instruments: &[Instrument]) -> EventEncoder {
    let origin = EventOrigin {
        edge: "edge-1".into(),
        region: "here".into(),
        adapter: "sim@1.0.0+0123456789ab".into(),
        exchange: exchange.into(),
    };
    EventEncoder::new(origin, instruments).unwrap()
}

/// Everything of these instruments, without order books.
pub fn options(instruments: usize) -> RecordOptions {
    RecordOptions {
        books: None,
        subscription: Subscription::everything(instruments),
        depth: 1,
        contiguous_trade_ids: false,
        deduplicate: true,
        every_update: false,
    }
}

pub fn builder(exchange: &str, instruments: &[Instrument], options: RecordOptions) -> RecordBuilder {
    RecordBuilder::new(options, encoder(exchange, instruments), instruments.len())
}

pub fn trade(instrument: u32, id: u64) -> Payload {
    let (id, side) = (TradeId::Number(id), Side::Buy);
    Payload::Trade(Trade { instrument, time_us: AT_US, id, price: ONE, quantity: ONE, side })
}

/// The levels of both sides are the batch's.
pub fn book(instrument: u32, change: BookChange, ids: (i64, i64), sides: (usize, usize)) -> Payload {
    Payload::Book(Book {
        instrument,
        change,
        time_us: Some(AT_US + ids.1),
        first_id: ids.0,
        last_id: ids.1,
        previous_id: None,
        checksum: None,
        price_scale: 2,
        quantity_scale: 3,
        levels_at: 0,
        bids: sides.0 as u32,
        asks: sides.1 as u32,
    })
}
