//! `markPriceUpdate`: funding rates, and the intervals that `fundingInfo` gives for them.

use super::control::control;
use super::event::{EventMarket, EventMembers, micros, other_member, symbol};
use crate::BinanceVenue;
use marketprism_adapter_sdk::{
    Cursor, Frame, FundingRate, Ignored, LoadedFeed, MarketType, Output, ParseResult, Payload,
    calculated_amount, each_member, key, once, unless_unset,
};

const EVENT_TIME: u64 = key("E");
const SYMBOL: u64 = key("s");
const MARK_PRICE: u64 = key("p");
const INDEX_PRICE: u64 = key("i");
const RATE: u64 = key("r");
const NEXT_FUNDING_TIME: u64 = key("T");

/// The venue lists only symbols whose interval was adjusted; every other one has this.
const INTERVAL_HOURS_DEFAULT: u32 = 8;

impl BinanceVenue {
    pub(super) fn mark_price(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        members: EventMembers<'_, '_>,
    ) -> ParseResult<()> {
        let EventMembers { cursor, mut named } = members;
        let (mut event_time, mut next_time) = (None, None);
        let (mut rate, mut mark_price, mut index_price) = (None, None, None);
        let mut market = EventMarket::default();
        let mut first = true;
        while cursor.more(b'}', &mut first)? {
            match cursor.short_key()? {
                EVENT_TIME => once(&mut event_time, unless_unset(cursor, "`E`", Cursor::unsigned)?, cursor)?,
                SYMBOL => symbol(loaded, cursor, &mut market)?,
                MARK_PRICE => once(
                    &mut mark_price,
                    unless_unset(cursor, "a price of at least 0", calculated_amount)?,
                    cursor,
                )?,
                INDEX_PRICE => once(
                    &mut index_price,
                    unless_unset(cursor, "a price of at least 0", calculated_amount)?,
                    cursor,
                )?,
                RATE => once(&mut rate, unless_unset(cursor, "a rate", Cursor::calculated)?, cursor)?,
                NEXT_FUNDING_TIME => {
                    once(&mut next_time, unless_unset(cursor, "`T`", Cursor::unsigned)?, cursor)?
                }
                key => other_member(key, cursor, &mut named, &mut market)?,
            }
        }
        let time_us = match event_time.flatten() {
            Some(time) => micros(cursor, time)?,
            None => output.received_us(),
        };
        let Some(instrument) = market.subscribed(cursor, output)? else { return Ok(()) };
        // Dated contracts have no funding: the venue leaves rate and time out, empty, or the time 0.
        let next_time = next_time.flatten().filter(|time| *time != 0);
        let Some((rate, next_time)) =
            rate.flatten().zip(next_time).filter(|_| is_perpetual(loaded, instrument))
        else {
            output.ignored(Ignored::Empty);
            return Ok(());
        };
        output.event(Payload::FundingRate(FundingRate {
            instrument,
            time_us,
            rate,
            // `T` is when this rate will be charged: the next time, not that of the rate charged last.
            funding_time_us: None,
            next_funding_time_us: Some(micros(cursor, next_time)?),
            interval_hours: self.intervals.hours(instrument),
            mark_price: mark_price.flatten(),
            index_price: index_price.flatten(),
        }));
        Ok(())
    }

    /// Reads an answer of `fundingInfo`. A row that cannot be read costs only itself: the interval of its instrument is not known then. Of an
    /// answer that is no list, or an empty one, the one before stays in force.
    pub(super) fn funding_info(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
    ) -> ParseResult<()> {
        let mut cursor = Cursor::new(frame.bytes);
        if cursor.peek() != b'[' {
            return control(output, frame.bytes);
        }
        let mut hours = vec![Some(INTERVAL_HOURS_DEFAULT); loaded.instruments.len()];
        let rows = output.each_item(&mut cursor, |_, cursor| {
            let (symbol, interval) = funding_interval(cursor, loaded);
            if let Some(place) = symbol.flatten().and_then(|instrument| hours.get_mut(instrument as usize)) {
                *place = interval.as_ref().ok().copied();
            }
            interval.map(drop)
        })?;
        cursor.end()?;
        // The venue has hundreds of them: without any it says nothing of intervals.
        if rows == 0 {
            output.ignored(Ignored::Empty);
            return Ok(());
        }
        self.intervals.replace(hours);
        output.ignored(Ignored::Reference);
        Ok(())
    }
}

fn is_perpetual(loaded: &LoadedFeed, instrument: u32) -> bool {
    let instrument = loaded.instruments.get(instrument as usize);
    instrument.is_some_and(|one| one.market_type == MarketType::Perpetual)
}

/// One element of `fundingInfo`: the instrument as far as it was read, none for a symbol that is not in the feed, and its interval in hours.
fn funding_interval(cursor: &mut Cursor<'_>, loaded: &LoadedFeed) -> (Option<Option<u32>>, ParseResult<u32>) {
    let (mut symbol, mut hours, mut unreadable) = (None, None, None);
    let read = each_member(cursor, "a symbol object", |cursor, key| match key {
        "symbol" => once(&mut symbol, loaded.position(cursor.text("`symbol`")?.as_bytes()), cursor),
        "fundingIntervalHours" => {
            let start = *cursor;
            let value = cursor.unsigned("a number of hours").ok().and_then(|hours| u32::try_from(hours).ok());
            match value.filter(|hours| *hours > 0) {
                Some(value) => once(&mut hours, value, cursor),
                // The symbol may come behind it.
                None => {
                    unreadable = start.expected::<()>("a number of hours").err();
                    *cursor = start;
                    cursor.skip()
                }
            }
        }
        _ => cursor.skip(),
    });
    let interval = match (read, unreadable, symbol, hours) {
        (Err(error), ..) | (Ok(_), Some(error), ..) => Err(error),
        (Ok(_), None, Some(_), Some(hours)) => Ok(hours),
        _ => cursor.expected("`symbol` and `fundingIntervalHours`"),
    };
    (symbol, interval)
}
