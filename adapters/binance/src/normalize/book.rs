//! Order books: `depthUpdate`, and the snapshots that the depth request returns.

use super::control::control;
use super::event::{EventMarket, EventMembers, micros, other_member, symbol};
use crate::BinanceVenue;
use crate::describe::Exchange;
use marketprism_adapter_sdk::{
    Book, BookChange, BookScales, BookSides, Cursor, Frame, LoadedFeed, Output, ParseResult, Payload,
    each_member, key, once, unless_unset,
};

const BIDS: u64 = key("b");
const ASKS: u64 = key("a");
const EVENT_TIME: u64 = key("E");
const ENGINE_TIME: u64 = key("T");
const SYMBOL: u64 = key("s");
const FIRST: u64 = key("U");
const LAST: u64 = key("u");
const PREVIOUS: u64 = key("pu");

impl BinanceVenue {
    pub(super) fn depth_update(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        members: EventMembers<'_, '_>,
    ) -> ParseResult<()> {
        let EventMembers { cursor, mut named } = members;
        let (mut event_time, mut engine_time) = (None, None);
        let (mut first_id, mut last_id, mut previous_id) = (None, None, None);
        let mut market = EventMarket::default();
        let mut scales: Option<BookScales> = None;
        let mut sides = BookSides::new(output);
        let mut first = true;
        while cursor.more(b'}', &mut first)? {
            match cursor.short_key()? {
                BIDS => sides.bids(cursor, output, scales)?,
                ASKS => sides.asks(cursor, output, scales)?,
                SYMBOL => {
                    symbol(loaded, cursor, &mut market)?;
                    scales = market.instrument.and_then(|instrument| self.scales(instrument));
                }
                EVENT_TIME => once(&mut event_time, unless_unset(cursor, "`E`", Cursor::unsigned)?, cursor)?,
                ENGINE_TIME => {
                    once(&mut engine_time, unless_unset(cursor, "`T`", Cursor::unsigned)?, cursor)?
                }
                FIRST => once(&mut first_id, cursor.integer("`U`")?, cursor)?,
                LAST => once(&mut last_id, cursor.integer("`u`")?, cursor)?,
                PREVIOUS => once(&mut previous_id, unless_unset(cursor, "`pu`", Cursor::integer)?, cursor)?,
                key => other_member(key, cursor, &mut named, &mut market)?,
            }
        }
        let (Some(first_id), Some(last_id)) = (first_id, last_id) else {
            return cursor.expected("`U` and `u`");
        };
        if last_id < first_id {
            return cursor.expected("`u` not below `U`");
        }
        let time = self.book_time(event_time.flatten(), engine_time.flatten());
        let time_us = time.map(|time| micros(cursor, time)).transpose()?;
        let Some(instrument) = market.subscribed(cursor, output)? else { return Ok(()) };
        let Some(scales) = scales else { return cursor.expected("`s`") };
        let levels = sides.finish(cursor, output, scales)?;
        let book = levels.book(instrument, BookChange::Delta);
        output.event(Payload::Book(Book {
            time_us,
            first_id,
            last_id,
            previous_id: previous_id.flatten(),
            ..book
        }));
        Ok(())
    }

    /// Reads the answer of a resync. Spot gives neither symbol nor time; both give `lastUpdateId`, which is -1 for the empty book of a
    /// market that has not opened.
    pub(super) fn snapshot(&self, output: &mut Output, frame: Frame<'_>, instrument: u32) -> ParseResult<()> {
        let mut cursor = Cursor::new(frame.bytes);
        let Some(scales) = self.scales(instrument) else {
            return cursor.expected("a source number of the plan");
        };
        let mut sides = BookSides::new(output);
        let (mut id, mut event_time, mut engine_time, mut refused) = (None, None, None, false);
        each_member(&mut cursor, "an order book", |cursor, key| {
            match key {
                "lastUpdateId" => id = Some(cursor.integer("`lastUpdateId`")?),
                "E" => event_time = unless_unset(cursor, "`E`", Cursor::unsigned)?,
                "T" => engine_time = unless_unset(cursor, "`T`", Cursor::unsigned)?,
                "bids" => sides.bids(cursor, output, Some(scales))?,
                "asks" => sides.asks(cursor, output, Some(scales))?,
                key => {
                    refused |= matches!(key, "code" | "error");
                    cursor.skip()?;
                }
            }
            Ok(())
        })?;
        cursor.end()?;
        if refused && id.is_none() {
            return control(output, frame.bytes);
        }
        let Some(last_id) = id.filter(|id| *id >= -1) else {
            return cursor.expected("`lastUpdateId` of at least -1");
        };
        let time_us = engine_time.or(event_time).map(|time| micros(&cursor, time)).transpose()?;
        let book = sides.finish(&cursor, output, scales)?.book(instrument, BookChange::Snapshot);
        output.event(Payload::Book(Book { time_us, first_id: last_id, last_id, ..book }));
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
