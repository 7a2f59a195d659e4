//! `markPriceUpdate`: funding rates, and the intervals that `fundingInfo` gives for them.

use crate::adapter::{Binance, Market, Members, micros, once};
use crate::control::control;
use crate::sides::amount;
use marketprism_adapter_sdk::{
    Cursor, Decimal, Frame, FundingRate, Ignored, InstrumentTable, MarketType, Output, Payload, Scan, key,
};

const EVENT: u64 = key("e");
const EVENT_TIME: u64 = key("E");
const SYMBOL: u64 = key("s");
const MARK_PRICE: u64 = key("p");
const INDEX_PRICE: u64 = key("i");
const RATE: u64 = key("r");
const NEXT_FUNDING_TIME: u64 = key("T");
const MARKET: u64 = key("st");

/// The venue lists only symbols whose interval was adjusted; every other one has this.
const INTERVAL_HOURS_DEFAULT: u32 = 8;

/// What is known of the intervals at which funding is charged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals {
    /// Hours of each instrument; none until the venue's list has come.
    hours: Option<Vec<u32>>,
}

impl Intervals {
    /// Absent while the list is not known: an interval is never assumed.
    fn hours(&self, instrument: u32) -> Option<u32> {
        self.hours.as_ref().and_then(|hours| hours.get(instrument as usize)).copied()
    }
}

impl Binance {
    /// Reads the members of a mark price object.
    pub(crate) fn mark_price(&self, output: &mut Output, members: Members<'_, '_>) -> Scan<()> {
        let Members { cursor, mut named } = members;
        let (mut event_time, mut next_time) = (None, None);
        let (mut rate, mut mark_price, mut index_price) = (None, None, None);
        let mut market = Market::default();
        let mut first = true;
        while cursor.more(b'}', &mut first)? {
            match cursor.short_key()? {
                EVENT_TIME => once(&mut event_time, cursor.unsigned("`E`")?, cursor)?,
                SYMBOL => self.symbol(cursor, &mut market)?,
                MARK_PRICE => once(&mut mark_price, unless_empty(cursor, price)?, cursor)?,
                INDEX_PRICE => once(&mut index_price, unless_empty(cursor, price)?, cursor)?,
                RATE => once(&mut rate, unless_empty(cursor, |cursor| cursor.decimal("a rate"))?, cursor)?,
                NEXT_FUNDING_TIME => once(&mut next_time, cursor.unsigned("`T`")?, cursor)?,
                MARKET => market.kind(cursor)?,
                EVENT => {
                    once(&mut named, (), cursor)?;
                    cursor.skip()?;
                }
                _ => cursor.skip()?,
            }
        }
        let (Some(event_time), Some(next_time)) = (event_time, next_time) else {
            return cursor.fault("`E` and `T`");
        };
        let Some(rate) = rate else { return cursor.fault("`r`") };
        let time_us = micros(cursor, event_time)?;
        let Some(instrument) = market.ours(cursor)? else {
            output.ignored(Ignored::OtherInstrument);
            return Ok(());
        };
        // Dated contracts have no funding: the venue leaves the rate empty, or the time 0.
        let Some(rate) = rate.filter(|_| next_time != 0 && self.is_perpetual(instrument)) else {
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

    fn is_perpetual(&self, instrument: u32) -> bool {
        self.market_types.get(instrument as usize) == Some(&MarketType::Perpetual)
    }

    /// Reads an answer of `fundingInfo`. What was known before is kept unless the whole answer can be read.
    pub(crate) fn funding_info(&mut self, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        let mut cursor = Cursor::new(frame.bytes);
        if cursor.peek() != b'[' {
            return control(output, frame.bytes);
        }
        let mut hours = vec![INTERVAL_HOURS_DEFAULT; self.market_types.len()];
        let mut first = true;
        cursor.expect(b'[', "an array of symbols")?;
        while cursor.more(b']', &mut first)? {
            let (instrument, interval) = funding_interval(&mut cursor, &self.symbols)?;
            if let Some(place) = instrument.and_then(|instrument| hours.get_mut(instrument as usize)) {
                *place = interval;
            }
        }
        cursor.end()?;
        self.intervals.hours = Some(hours);
        output.ignored(Ignored::Reference);
        Ok(())
    }
}

/// One element of `fundingInfo`: the instrument, none for a symbol that the feed does not ask for, and its
/// interval in hours.
fn funding_interval(cursor: &mut Cursor<'_>, symbols: &InstrumentTable) -> Scan<(Option<u32>, u32)> {
    let (mut symbol, mut hours) = (None, None);
    let mut first = true;
    cursor.expect(b'{', "a symbol object")?;
    while cursor.more(b'}', &mut first)? {
        match &*cursor.key_text()? {
            "symbol" => once(&mut symbol, symbols.find(cursor.text("`symbol`")?.as_bytes()), cursor)?,
            "fundingIntervalHours" => {
                let value = cursor.unsigned("`fundingIntervalHours`")?;
                let value = u32::try_from(value).ok().filter(|hours| *hours > 0);
                let Some(value) = value else { return cursor.fault("a number of hours") };
                once(&mut hours, value, cursor)?;
            }
            _ => cursor.skip()?,
        }
    }
    match (symbol, hours) {
        (Some(instrument), Some(hours)) => Ok((instrument, hours)),
        _ => cursor.fault("`symbol` and `fundingIntervalHours`"),
    }
}

/// None for an empty text, which the venue writes for a value that is not set.
fn unless_empty(
    cursor: &mut Cursor<'_>,
    read: impl Fn(&mut Cursor<'_>) -> Scan<Decimal>,
) -> Scan<Option<Decimal>> {
    cursor.peek();
    if cursor.literal(b"\"\"") { Ok(None) } else { read(cursor).map(Some) }
}

fn price(cursor: &mut Cursor<'_>) -> Scan<Decimal> {
    amount(cursor, "a price of at least 0")
}
