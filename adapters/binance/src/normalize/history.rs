//! Past trades by id: `historicalTrades` on spot, `aggTrades` on USD-M.

use super::control::control;
use super::event::micros;
use crate::BinanceVenue;
use crate::describe::Exchange;
use marketprism_adapter_sdk::{
    BookScales, Cursor, Frame, Ignored, Output, ParseResult, Payload, Side, Trade, TradeId, amount,
    decimal::fit, each_member, once,
};

impl BinanceVenue {
    /// The rows do not name their symbol: they are those of the request's.
    pub(super) fn history(&self, output: &mut Output, frame: Frame<'_>, instrument: u32) -> ParseResult<()> {
        let mut cursor = Cursor::new(frame.bytes);
        let Some(scales) = self.scales(instrument) else {
            return cursor.expected("a source number of the plan");
        };
        if cursor.peek() != b'[' {
            return control(output, frame.bytes);
        }
        let rows = output.each_item(&mut cursor, |output, cursor| {
            output.event(Payload::Trade(self.past_trade(cursor, instrument, scales)?));
            Ok(())
        })?;
        cursor.end()?;
        if rows == 0 {
            output.ignored(Ignored::Empty);
        }
        Ok(())
    }

    fn past_trade(&self, cursor: &mut Cursor<'_>, instrument: u32, scales: BookScales) -> ParseResult<Trade> {
        let [id_key, price_key, quantity_key, time_key, maker_key] = match self.exchange {
            Exchange::Spot => ["id", "price", "qty", "time", "isBuyerMaker"],
            Exchange::UsdM => ["a", "p", "q", "T", "m"],
        };
        let (mut id, mut price, mut quantity, mut time, mut buyer_is_maker) = (None, None, None, None, None);
        each_member(cursor, "a trade", |cursor, key| match key {
            key if key == id_key => once(&mut id, cursor.unsigned("the trade's id")?, cursor),
            key if key == price_key => once(&mut price, amount(cursor, "a price of at least 0")?, cursor),
            key if key == quantity_key => {
                once(&mut quantity, amount(cursor, "a quantity of at least 0")?, cursor)
            }
            key if key == time_key => once(&mut time, cursor.unsigned("the trade's time")?, cursor),
            key if key == maker_key => {
                once(&mut buyer_is_maker, cursor.boolean("whether the buyer was the maker")?, cursor)
            }
            _ => cursor.skip(),
        })?;
        let (Some(id), Some(price), Some(quantity)) = (id, price, quantity) else {
            return cursor.expected("id, price and quantity of the trade");
        };
        let (Some(time), Some(buyer_is_maker)) = (time, buyer_is_maker) else {
            return cursor.expected("time and maker flag of the trade");
        };
        Ok(Trade {
            instrument,
            time_us: micros(cursor, time)?,
            id: TradeId::Number(id),
            price: fit(price, scales.price.places()),
            quantity: fit(quantity, scales.quantity.places()),
            side: if buyer_is_maker { Side::Sell } else { Side::Buy },
        })
    }
}
