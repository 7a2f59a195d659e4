//! `depthUpdate`: changes of a book.

use crate::adapter::{Binance, Market, Members, micros, once};
use crate::exchange::Exchange;
use crate::sides::{Scales, Sides};
use marketprism_adapter_sdk::{Book, BookChange, Ignored, Output, Payload, Scan, key};

const EVENT: u64 = key("e");
const BIDS: u64 = key("b");
const ASKS: u64 = key("a");
const EVENT_TIME: u64 = key("E");
const ENGINE_TIME: u64 = key("T");
const SYMBOL: u64 = key("s");
const FIRST: u64 = key("U");
const LAST: u64 = key("u");
const PREVIOUS: u64 = key("pu");
const MARKET: u64 = key("st");

impl Binance {
    /// Reads the members of a `depthUpdate` object.
    pub(crate) fn depth_update(&self, output: &mut Output, members: Members<'_, '_>) -> Scan<()> {
        let Members { cursor, mut named } = members;
        let (mut event_time, mut engine_time) = (None, None);
        let (mut first_id, mut last_id, mut previous_id) = (None, None, None);
        let mut market = Market::default();
        let mut scales: Option<Scales> = None;
        let mut sides = Sides::new(output);
        let mut first = true;
        while cursor.more(b'}', &mut first)? {
            match cursor.short_key()? {
                BIDS => sides.bids(cursor, output, scales)?,
                ASKS => sides.asks(cursor, output, scales)?,
                SYMBOL => {
                    self.symbol(cursor, &mut market)?;
                    scales = market.instrument.and_then(|instrument| self.scales(instrument));
                }
                EVENT_TIME => once(&mut event_time, cursor.unsigned("`E`")?, cursor)?,
                ENGINE_TIME => once(&mut engine_time, cursor.unsigned("`T`")?, cursor)?,
                FIRST => once(&mut first_id, cursor.integer("`U`")?, cursor)?,
                LAST => once(&mut last_id, cursor.integer("`u`")?, cursor)?,
                PREVIOUS => once(&mut previous_id, cursor.integer("`pu`")?, cursor)?,
                MARKET => market.kind(cursor)?,
                EVENT => {
                    once(&mut named, (), cursor)?;
                    cursor.skip()?;
                }
                _ => cursor.skip()?,
            }
        }
        let (Some(first_id), Some(last_id)) = (first_id, last_id) else { return cursor.fault("`U` and `u`") };
        if last_id < first_id {
            return cursor.fault("`u` not below `U`");
        }
        let Some(time) = self.book_time(event_time, engine_time) else { return cursor.fault("`E` or `T`") };
        let time_us = Some(micros(cursor, time)?);
        let Some(instrument) = market.ours(cursor)? else {
            output.ignored(Ignored::OtherInstrument);
            return Ok(());
        };
        let Some(scales) = scales else { return cursor.fault("`s`") };
        let levels = sides.finish(cursor, output, scales)?;
        output.event(Payload::Book(Book {
            instrument,
            change: BookChange::Delta,
            time_us,
            first_id,
            last_id,
            previous_id,
            checksum: None,
            price_scale: levels.scales.price.places(),
            quantity_scale: levels.scales.quantity.places(),
            levels_at: levels.levels_at,
            bids: levels.bids,
            asks: levels.asks,
        }));
        Ok(())
    }

    /// Spot gives the time of the event, USD-M also that of its engine: there `E` is when it was sent.
    fn book_time(&self, event: Option<u64>, engine: Option<u64>) -> Option<u64> {
        match self.exchange {
            Exchange::Spot => event,
            Exchange::UsdM => engine.or(event),
        }
    }
}
