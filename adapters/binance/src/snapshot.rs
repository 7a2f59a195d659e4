//! Answers of the depth request: the starting state of a book.

use crate::adapter::{Binance, micros};
use crate::control;
use crate::sides::Sides;
use marketprism_adapter_sdk::{Book, BookChange, Cursor, Frame, Output, Payload, Scan};

impl Binance {
    /// Reads the answer of the resync of this instrument. Spot gives neither symbol nor time; both give
    /// `lastUpdateId`, which is -1 for the empty book of a market that has not opened.
    pub(crate) fn snapshot<'a>(&self, output: &mut Output, frame: Frame<'a>, instrument: u32) -> Scan<()> {
        let mut cursor = Cursor::new(frame.bytes);
        let Some(scales) = self.scales(instrument) else {
            return cursor.fault("a source number of the plan");
        };
        let mut sides = Sides::new(output);
        let (mut id, mut event_time, mut engine_time, mut refused) = (None, None, None, false);
        let mut first = true;
        cursor.expect(b'{', "an order book")?;
        while cursor.more(b'}', &mut first)? {
            match &*cursor.key_text()? {
                "lastUpdateId" => id = Some(cursor.integer("`lastUpdateId`")?),
                "E" => event_time = Some(cursor.unsigned("`E`")?),
                "T" => engine_time = Some(cursor.unsigned("`T`")?),
                "bids" => sides.bids(&mut cursor, output, Some(scales))?,
                "asks" => sides.asks(&mut cursor, output, Some(scales))?,
                key => {
                    refused |= matches!(key, "code" | "error");
                    cursor.skip()?;
                }
            }
        }
        cursor.end()?;
        if refused && id.is_none() {
            return control::control(output, frame.bytes);
        }
        let Some(last_id) = id.filter(|id| *id >= -1) else {
            return cursor.fault("`lastUpdateId` of at least -1");
        };
        let time_us = match engine_time.or(event_time) {
            Some(time) => Some(micros(&cursor, time)?),
            None => None,
        };
        let levels = sides.finish(&cursor, output, scales)?;
        output.event(Payload::Book(Book {
            instrument,
            change: BookChange::Snapshot,
            time_us,
            first_id: last_id,
            last_id,
            previous_id: None,
            checksum: None,
            price_scale: levels.scales.price.places(),
            quantity_scale: levels.scales.quantity.places(),
            levels_at: levels.levels_at,
            bids: levels.bids,
            asks: levels.asks,
        }));
        Ok(())
    }
}
